"""Where the packages come from, and who may import Kafka and Redis."""

from __future__ import annotations

import ast
import importlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("stream", "models", "workers")
ADAPTER = re.compile(r"kafka_\w+|redis_\w+|deadletters|embedded")


def folder(package: str) -> Path:
    file = importlib.import_module(package).__file__
    assert file is not None, f"{package} is a namespace package: something shadows it"
    return Path(file).resolve().parent


def modules(package: str) -> list[Path]:
    return sorted(folder(package).rglob("*.py"))


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_come_from_where_they_should(package: str) -> None:
    if "TIDECAST_WHEEL" in os.environ:  # make wheel-test
        assert not folder(package).is_relative_to(ROOT)
    else:
        assert folder(package) == ROOT / package
    assert (folder(package) / "py.typed").is_file()


@pytest.mark.parametrize("package", PACKAGES)
def test_only_the_adapters_import_kafka_and_redis(package: str) -> None:
    wrong = {
        str(file.relative_to(folder(package).parent)): clients
        for file in modules(package)
        if (clients := {"confluent_kafka", "kafka", "redis"} & set(imported(file)))
        and not (package == "stream" and ADAPTER.fullmatch(file.stem))
    }
    assert not wrong, (
        "clients of Kafka and Redis belong in stream/kafka_*.py, stream/redis_*.py and stream/deadletters.py"
    )

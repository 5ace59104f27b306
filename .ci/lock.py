"""Write constraints.txt: one exact version for each package that a fresh resolve of all extras picks.

Run by `make lock` with the Python that shall be locked for. Asks the package index what `pip install` would install,
and installs nothing.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "constraints.txt"
HEADER = """\
# Every package of Tidecast with all its extras, as `make lock` resolved them. Do not edit.
# torch is held to a minor version only, so that a CPU and a CUDA build both fit; the CUDA libraries that a build of
# torch brings along are pinned by that build itself.
"""
# Raised by hand, after the tests and the accuracy benchmarks have passed with it: a build of it is half a gigabyte, and
# another minor version may change the last digits of every forecast.
TORCH = "torch==2.13.*"
BROUGHT_BY_TORCH = re.compile(r"(nvidia|cuda)-.*|triton")


def resolve() -> dict[str, Any]:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    report = subprocess.run(
        [*command, ".[confluent,dev,embedded]", TORCH], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    parsed: dict[str, Any] = json.loads(report.stdout)
    return parsed


def pins(report: dict[str, Any]) -> list[str]:
    lines = []
    for package in report["install"]:
        name = re.sub(r"[-_.]+", "-", package["metadata"]["name"]).lower()
        version = package["metadata"]["version"]
        if name == "tidecast" or BROUGHT_BY_TORCH.fullmatch(name):
            continue
        lines.append(f"{TORCH}\n" if name == "torch" else f"{name}=={version}\n")
    return sorted(lines)


if __name__ == "__main__":
    lines = pins(resolve())
    TARGET.write_text(HEADER + "".join(lines), encoding="utf-8")
    sys.stdout.write(f"{TARGET.name}: {len(lines)} packages\n")

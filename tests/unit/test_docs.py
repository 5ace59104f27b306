"""The documents are held to the code: settings, snippets, commands, links, messages and numbers."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import click
import pytest
import yaml
from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

from stream.messages import iso
from stream.records import Reason
from tests.unit.engines import HOME, Run, observation, record
from workers.cli import VERBS, cli
from workers.configuration import load
from workers.durations import parse_duration
from workers.settings import FeedSettings, Settings

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("stream", "models", "workers")
PAGES = [
    path for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))) if path.exists()
]
IDS = [path.name for path in PAGES]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NOT_SHELL = ("csv", "yaml", "json", "python", "go", "text", "toml")
each_page = pytest.mark.parametrize("page", PAGES, ids=IDS)


def text_of(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def fences(page: Path) -> list[tuple[str, str]]:
    """Language and content of every fenced block."""
    return FENCE.findall(page.read_text(encoding="utf-8"))


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def code(page: Path) -> Iterator[str]:
    """Inline code, and the lines of blocks that may hold commands."""
    for span in re.findall(r"`([^`]+)`", prose(page)):
        yield " ".join(span.split())
    for language, block in fences(page):
        if language not in NOT_SHELL:
            yield from block.splitlines()


def table(text: str) -> list[list[str]]:
    """The cells of all table rows below their headings."""
    rows = [line.strip().strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows if row[0].strip().startswith("`")]


def sections(model: type[BaseModel], heading: str = "Top level") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every model of the settings and the heading that it has in docs/configuration.md."""
    yield heading, model
    for name, field in model.model_fields.items():
        inner = next((one for one in (field.annotation, *get_args(field.annotation)) if _is_model(one)), None)
        if inner is not None:
            path = heading.strip("`").removeprefix("Top level")
            yield from sections(inner, f"`{path}: {name}`" if path else f"`{name}`")


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


SECTIONS = list(sections(Settings))


@pytest.mark.parametrize(("heading", "model"), SECTIONS, ids=[heading for heading, _ in SECTIONS])
def test_every_setting_stands_in_the_docs_with_its_default(heading: str, model: type[BaseModel]) -> None:
    parts = re.split(r"^#+ (.+)$", text_of("configuration.md"), flags=re.MULTILINE)
    assert heading in parts, f"docs/configuration.md has no section {heading}"
    told = {row[0].strip("`"): row[1] for row in table(parts[parts.index(heading) + 1])}
    wanted = {name: field for name, field in model.model_fields.items() if not _is_model(field.annotation)}
    assert set(told) == set(wanted)
    for name, field in wanted.items():
        if field.is_required():
            assert told[name] == "required", name
            continue
        default = field.get_default()
        assert default is not PydanticUndefined
        assert _same(told[name].strip("`"), default), f"{name}: {told[name]} in the docs, {default!r} in the code"


def _same(written: str, default: Any) -> bool:
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    value = yaml.safe_load(written)
    if isinstance(default, (list, tuple)):
        return bool(value == list(default))
    if isinstance(default, int) and isinstance(value, str):
        return parse_duration(value) == default
    return type(value) is type(default) and bool(value == default)


@each_page
def test_configurations_in_the_docs_are_good(page: Path, tmp_path: Path) -> None:
    for language, block in fences(page):
        if language != "yaml":
            continue
        entries = yaml.safe_load(block)
        assert set(entries) <= set(Settings.model_fields), f"no settings of ours: {block}"
        for secret in re.findall(r"/run/secrets/([\w-]+)", block):
            (tmp_path / secret).write_text("secret", encoding="utf-8")
        feeds = "" if "feeds" in entries else "feeds: [{name: any, topics: [any]}]\n"
        file = tmp_path / "tidecast.yaml"
        file.write_text(block.replace("/run/secrets", str(tmp_path)) + feeds, encoding="utf-8")
        load(file, {})


def test_the_check_of_a_signature_in_the_docs_tells_what_is_genuine() -> None:
    import time

    from stream.signature import sign

    snippet = next(block for language, block in fences(ROOT / "docs/alerts.md") if "def genuine" in block)
    names: dict[str, Any] = {}
    exec(snippet, names)  # noqa: S102 - our own page
    now = int(time.time())
    assert names["genuine"]("key", b"body", sign("key", b"body", now))
    assert not names["genuine"]("key", b"other", sign("key", b"body", now))
    assert not names["genuine"]("key", b"body", sign("key", b"body", now - 600))


def test_the_variables_in_the_docs_are_settings(tmp_path: Path) -> None:
    blocks = [block for language, block in fences(ROOT / "docs/configuration.md") if language == "sh"]
    lines = [line.removeprefix("export ") for block in blocks for line in block.splitlines() if "TIDECAST_" in line]
    environment = dict(shlex.split(line)[0].split("=", 1) for line in lines)
    file = tmp_path / "tidecast.yaml"
    file.write_text("feeds: [{name: any, topics: [any]}]\n", encoding="utf-8")
    settings = load(file, environment)
    assert settings.feeds[0].topics == ["plant.a", "plant.b"]
    assert settings.signing_key is not None
    assert settings.signing_key.get_secret_value() == "12345678"
    named = set(re.findall(r"TIDECAST_[A-Z0-9_]*[A-Z0-9]", text_of("configuration.md"))) - {
        "TIDECAST_CONFIG",
        "TIDECAST_LOG",
    }
    load(file, environment | dict.fromkeys(named - set(environment), "text"))


def test_the_mapping_examples_give_what_the_docs_say() -> None:
    """A block of YAML followed by one of text: ``key`` and ``record``, and what it ``gives``."""
    from stream.decode import Decoder
    from stream.records import Record

    blocks = fences(ROOT / "docs/configuration.md")
    pairs = [(one, two) for (kind, one), (then, two) in pairwise(blocks) if (kind, then) == ("yaml", "text")]
    assert len(pairs) == 4
    for written, said in pairs:
        feed = FeedSettings.model_validate(yaml.safe_load(written)["feeds"][0])
        lines = [line.split(None, 1) for line in said.splitlines()]
        given = {name: rest.encode() for name, rest in lines if name != "gives"}
        decoded = Decoder(feed.fields, feed.limits).decode([Record("t", 0, 0, given.get("key"), given["record"])])
        assert not decoded.rejected
        seen = decoded.observations
        read = [
            "  ".join([name, iso(time_us), *(str(value) for value in values)])
            for name, time_us, values in zip(seen.series, seen.time_us.tolist(), seen.values.tolist(), strict=True)
        ]
        assert read == [rest for name, rest in lines if name == "gives"]


@each_page
def test_commands_in_the_docs_exist(page: Path) -> None:
    for line in code(page):
        for found in re.finditer(r"(?:^|[\s(])tidecast[ \t]+(?P<rest>[^`]*)", line):
            _check_command(line, found["rest"])


def _check_command(line: str, rest: str) -> None:
    words = shlex.split(re.split(r"\s[|<>&]|;|\s#|\s{2,}", rest)[0].replace("'", ""))
    if not words or not re.fullmatch(r"-{0,2}[a-z][a-z-]*", words[0]):
        return  # VERB, or the tag of an image
    command: click.Command = cli
    for word in words:
        if word.startswith("-"):
            names = {
                name
                for option in command.get_params(_context(command))
                for name in (*option.opts, *option.secondary_opts)
            }
            assert word.partition("=")[0] in names, f"{line}: there is no option {word}"
        elif isinstance(command, click.Group):
            inner = command.get_command(_context(command), word)
            assert inner is not None, f"{line}: there is no verb {word}"
            command = inner


def _context(command: click.Command) -> click.Context:
    return click.Context(command, **command.context_settings)


def test_every_verb_stands_in_the_docs() -> None:
    known = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert not [verb for verb in VERBS if f"tidecast {verb}" not in known]


@each_page
def test_make_targets_in_the_docs_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {name for line in code(page) for name in re.findall(r"(?:^|[\s(&;])make[ \t]+([a-z][a-z-]*)", line)}
    assert named <= targets


@each_page
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", prose(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        file = page.parent / target if target else page
        assert file.exists() or _is_elsewhere(target), f"{page.name}: {target} is not there"
        if anchor and file.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", prose(file), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}, (
                f"{target}#{anchor}"
            )
    for path in re.findall(r"`((?:docs|tests|benchmarks|stream|models|workers)/[\w./-]+\.\w+)`", prose(page)):
        assert (ROOT / path).exists() or _is_elsewhere(path), f"{page.name}: {path} is not there"


def _is_elsewhere(path: str) -> bool:
    """Under make wheel-test the packages are installed and not beside us."""
    return "TIDECAST_WHEEL" in os.environ and path.removeprefix("../").split("/")[0] in SHIPPED


def test_the_messages_to_look_up_are_those_of_the_code() -> None:
    source = ""
    for package in SHIPPED:
        file = importlib.import_module(package).__file__
        assert file is not None
        source += "".join(path.read_text(encoding="utf-8") for path in sorted(Path(file).parent.rglob("*.py")))
    begin = text_of("operations.md").index("## When something is wrong")
    messages = [row[0].strip("`") for row in table(text_of("operations.md")[begin:])]
    assert len(messages) > 10
    for message in messages:
        # Where the documents say "..." the code has a placeholder.
        missing = [
            part for part in re.split(r"\.\.\.|[()]", message) if part.strip() and part.strip(" ;:") not in source
        ]
        assert not missing, f"no message has {missing}"


def test_every_reason_of_a_dead_letter_is_explained() -> None:
    begin, end = (text_of("operations.md").index(f"## {heading}") for heading in ("Dead letters", "Logs and health"))
    assert [row[0].strip("`") for row in table(text_of("operations.md")[begin:end])] == [
        reason.value for reason in Reason
    ]


def test_the_exit_codes_are_those_of_the_command_line() -> None:
    from workers.cli import EXIT_CODES

    rows = re.findall(r"^\| (\d) \|", text_of("operations.md"), re.MULTILINE)
    assert set(rows) == {"0", "1", *map(str, EXIT_CODES.values())}


@pytest.mark.parametrize("architecture", ["gru", "lstm"])
def test_a_series_state_is_as_large_as_the_docs_say(architecture: str) -> None:
    from models.checkpoint import pack

    feed = FeedSettings.model_validate(
        {"name": "plant", "topics": ["t"], "step": "1m", "model": {"architecture": architecture}}
    )
    run = Run(feed).feed([record(minute, observation("pump-3", minute, minute % 7)) for minute in range(3)])
    kilobytes = len(pack(*run.engine.snapshot(run.engine.resident[HOME]["pump-3"]))) / 1000
    told = re.search(rf"^\| `{architecture}` \| (\d+) KB", text_of("operations.md"), re.MULTILINE)
    assert told is not None
    assert kilobytes == pytest.approx(int(told[1]), rel=0.05)


def test_the_numbers_of_an_alert_are_those_of_the_code() -> None:
    from models.detection import SPANS
    from models.drift import BIGGEST, NEWEST, DriftSettings
    from models.inputs import INPUT_LIMIT, TARGET_LIMIT
    from models.lags import LONG_WIDTH, QUICK_WIDTH
    from models.tails import BLOCK, LARGEST, MOST
    from workers.alerts import CALM, drift_severity
    from workers.lives import LONGEST
    from workers.settings import AlertSettings

    text = " ".join(text_of("how-it-works.md").split())
    for phrase in (
        f"at most {BIGGEST:g}, so a single spike is no drift",
        f"the newest {NEWEST} errors are on average more than {CALM} times",
        f"lasted for {LONGEST} observations",
        f"after {AlertSettings().keep_firing} calm observations",
        f"over some {SPANS[0]} and {SPANS[1]} observations",
        f"every {BLOCK} values",
        f"the {MOST} largest",
        f"at most {LARGEST:g} mean excesses",
        f"`minimum_rise` ({DriftSettings().minimum_rise})",
        f"Inputs are clipped at {INPUT_LIMIT:g} spreads, targets and forecasts at {TARGET_LIMIT:g}",
        f"{LONG_WIDTH} inputs",
        f"{QUICK_WIDTH} inputs",
        "`critical` from a rise of 4 on, `warning` from 2 on",
    ):
        assert phrase in text, phrase
    assert [drift_severity(rise) for rise in (1.9, 2.0, 4.0)] == ["info", "warning", "critical"]


def test_the_documents_name_no_machine_and_no_address_of_ours() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"/(work|root|home|tmp)/", text), page.name
        assert not re.search(r"https?://[^\s)]*(pypi|index|registry|mirror|artifact)", text), page.name


def test_json_in_the_docs_is_json() -> None:
    for page in PAGES:
        for language, block in fences(page):
            if language == "json":
                json.loads(block)


def test_the_example_of_a_backtest_gives_what_the_docs_say(tmp_path: Path) -> None:
    from click.testing import CliRunner

    blocks = fences(ROOT / "docs/backtest.md")
    at = next(number for number, (language, _) in enumerate(blocks) if language == "csv")
    (_, rows), (_, typed), (language, said) = blocks[at : at + 3]
    assert language == "text"
    verb, file, *options = shlex.split(typed)[1:]
    (tmp_path / file).write_text(rows)
    result = CliRunner().invoke(cli, [verb, str(tmp_path / file), *options])
    assert result.exit_code == 0, result.output
    printed = {line.split("  ")[0]: line.split() for line in result.stdout.splitlines()}
    for line in said.splitlines():
        assert printed[line.split("  ")[0]][: len(line.split())] == line.split()
    assert printed["last value"][-1] == "21"
    answer = json.loads(CliRunner().invoke(cli, [verb, str(tmp_path / file), *options, "--json"]).stdout)
    keys = [key for row in table(text_of("backtest.md")) for key in re.findall(r"`(\w+)`", row[0])]
    assert keys == list(answer)
    named = set(re.findall(r"`(\w+)`", text_of("backtest.md")))
    assert set(answer["overall"]) - {"series", "targets", "alerts", "ratio_last_value"} <= named
    assert {"unit", "deviation", "mase_denominator", "coverage_of_stretches"} <= named & set(answer["series"][0])


def test_the_numbers_of_a_backtest_are_those_of_the_code() -> None:
    from models import rivals
    from workers.backtest.rivals import SHARE
    from workers.backtest.summary import STRETCH

    text = " ".join(text_of("backtest.md").split())
    for phrase in (
        f"at most about {SHARE:.0%}".replace("%", " %"),
        f"SNARIMAX has {rivals.LAGS} lags",
        f"learning rate of {rivals.LEARNING_RATE}",
        f"gradients of at most {rivals.CLIP:g}",
        f"additive with {rivals.LEVEL}, {rivals.TREND} and {rivals.SEASON}",
        f"any {STRETCH:,} origins",
    ):
        assert phrase in text, phrase

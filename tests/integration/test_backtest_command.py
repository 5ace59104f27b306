"""``tidecast backtest`` on files as people have them."""

from __future__ import annotations

import gzip
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from click.testing import CliRunner, Result

from stream.errors import ConfigurationError, InputError
from stream.messages import ForecastMessage, iso
from workers.cli import cli
from workers.scoring import Scorer

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SMALL = ["--context", "24", "--horizon", "6", "--step", "1h", "--rivals-every", "10"]
ROWS = 200
START_US = 1_767_225_600_000_000
HOUR_US = 3_600_000_000


def value(row: int) -> float:
    return round(20 + 5 * math.sin(row / 24 * 2 * math.pi) + (row * 7919 % 13) / 26, 3)


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A CSV with two sensors a row, a cell that is no number, and one that is empty."""
    lines = ["timestamp,hall,yard"]
    for row in range(ROWS):
        yard = {50: "broken", 60: ""}.get(row, str(value(row) - 10))
        lines.append(f"{iso(START_US + row * HOUR_US)},{value(row)},{yard}")
    file = tmp_path / "halls.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(cli, ["backtest", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def told(*arguments: str | Path) -> dict[str, Any]:
    answer = json.loads(run(*arguments, "--json").stdout)
    assert isinstance(answer, dict)
    return answer


def naive_error(values: list[float], horizon: int) -> float:
    """The mean absolute error of "as now", by brute force."""
    errors = [
        abs(values[at + lead] - values[at])
        for at in range(len(values))
        for lead in range(1, horizon + 1)
        if at + lead < len(values)
    ]
    return sum(errors) / len(errors)


def test_a_csv_is_understood_and_scored(wide: Path) -> None:
    answer = told(wide, *SMALL)
    hall, yard = answer["series"]
    assert (hall["series"], hall["observations"]) == ("hall", ROWS)
    assert (yard["series"], yard["observations"]) == ("yard", ROWS - 2)
    scores = hall["forecasters"]
    assert list(scores) == [
        "mixture",
        "least-squares",
        "quick-least-squares",
        "network",
        "last-value",
        "seasonal-naive",
        "snarimax",
        "holt-winters",
    ]
    assert scores["last-value"]["mae"] == pytest.approx(naive_error([value(row) for row in range(ROWS)], 6))
    assert scores["mixture"]["ratio_last_value"] == pytest.approx(
        scores["mixture"]["mae"] / scores["last-value"]["mae"]
    )
    assert 0 < scores["mixture"]["ratio_last_value"] < 1
    assert 0.6 < answer["overall"]["coverage"] <= 1
    assert len(hall["by_lead"]["mae"]["mixture"]) == 6
    assert sum(hall["pit"]) == pytest.approx(1.0)
    assert answer["rejected"] == {"wrong-type": 1}


def test_the_table_names_forecasters_series_scores_and_what_was_rejected(wide: Path) -> None:
    output = run(wide, *SMALL).stdout
    for part in ("halls.csv", "mixture", "SNARIMAX", "hall", "yard", "vs last", "in interval", "Rejected 1"):
        assert part in output
    assert "record 50: wrong-type" in output
    assert "one origin in 10" in output
    assert "river" not in run(wide, *SMALL[:-2], "--no-rivals").stdout


@pytest.mark.parametrize("form", ["iso", "epoch", "epoch_ms"])
@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("header", [True, False])
def test_an_ordinary_csv_needs_no_options(tmp_path: Path, form: str, separator: str, header: bool) -> None:
    scale = {"epoch": 1_000_000, "epoch_ms": 1_000}
    times = [START_US + row * HOUR_US for row in range(30)]
    stamps = [iso(time_us) if form == "iso" else str(time_us // scale[form]) for time_us in times]
    rows = [[stamp, str(value(row)), str(-value(row))] for row, stamp in enumerate(stamps)]
    lines = [["time", "level", "flow"], *rows]
    file = tmp_path / "any.csv"
    file.write_text("\n".join(separator.join(line) for line in lines[0 if header else 1 :]))
    answer = told(file, "--no-rivals")
    names = ["level", "flow"] if header else ["column_1", "column_2"]
    assert [(row["series"], row["observations"]) for row in answer["series"]] == [(name, 30) for name in names]
    assert answer["settings"]["step"] == "1h"
    assert answer["settings"]["horizon"] == 24


def test_forecasts_are_written_as_public_messages_the_same_each_time(wide: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    for file in (one, two):
        run(wide, *SMALL, "--output", file, "--limit", "60")
    assert one.read_bytes() == two.read_bytes()
    messages = [ForecastMessage.model_validate_json(line) for line in one.read_bytes().splitlines()]
    assert len(messages) == 119
    assert {message.series for message in messages} == {"hall", "yard"}
    assert messages[0].horizon == 6
    assert len({(message.id, message.series) for message in messages}) == len(messages)


def test_rejected_records_are_kept_on_request(wide: Path, tmp_path: Path) -> None:
    graves = tmp_path / "dead.jsonl"
    run(wide, *SMALL, "--dead-letters", graves)
    (letter,) = map(json.loads, graves.read_text().splitlines())
    assert letter["headers"]["tidecast-reason"] == "wrong-type"
    assert json.loads(letter["value"])["yard"] == "broken"


@pytest.mark.parametrize("packed", [False, True])
def test_json_lines_score_like_the_csv(wide: Path, tmp_path: Path, packed: bool) -> None:
    lines = [{"time": iso(START_US + row * HOUR_US), "series": "hall", "value": value(row)} for row in range(ROWS)]
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = tmp_path / ("halls.jsonl.gz" if packed else "halls.jsonl")
    file.write_bytes(gzip.compress(text) if packed else text)
    (series,) = told(file, *SMALL)["series"]
    assert series == told(wide, *SMALL)["series"][0]


def test_standard_input_is_scored() -> None:
    lines = [
        json.dumps({"time": START_US // 1000 + 1000 * row, "series": "a", "value": value(row)}) for row in range(40)
    ]
    command = [sys.executable, "-m", "workers.cli", "backtest", "-", "--json", "--context", "8"]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["series"][0]["observations"] == 40
    assert answer["settings"]["step"] == "1s"


def test_a_feed_of_the_configuration_gives_fields_and_settings(tmp_path: Path) -> None:
    config = tmp_path / "tidecast.yaml"
    config.write_text(
        "feeds:\n"
        "  - {name: a, topics: [a]}\n"
        "  - {name: b, topics: [b], fields: {time: at, series: who, value: what}, step: 1h, context: 8, horizon: 4}\n"
    )
    file = tmp_path / "b.jsonl"
    rows = ({"at": iso(START_US + row * HOUR_US), "who": "x", "what": value(row)} for row in range(30))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (series,) = told(file, "--config", config, "--feed", "b")["series"]
    assert (series["series"], len(series["by_lead"]["mae"]["mixture"])) == ("x", 4)


def test_what_cannot_be_used_is_said(tmp_path: Path, wide: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        run(tmp_path / "absent.csv")
    wrong: list[tuple[list[str | Path], str]] = [
        (["--context", "50"], "multiple of patch"),
        (["--feed", "b"], "--config"),
        (["--train-rows", "50"], "give both"),
        (["--no-rivals", "--rivals-every", "3"], "contradict"),
        (["--set", "horizon"], "NAME=VALUE"),
        ([*SMALL, "--output", tmp_path / "absent" / "out.jsonl"], "--output"),
        ([*SMALL, "--html", tmp_path / "absent" / "out.html"], "--html"),
    ]
    for arguments, match in wrong:
        with pytest.raises(ConfigurationError, match=match):
            run(wide, *arguments)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    assert "The file is empty" in run(empty).stdout


def test_the_exit_code_of_an_unusable_file_is_that_of_unusable_input(tmp_path: Path) -> None:
    file = tmp_path / "words.csv"
    file.write_text("a,b\nx,y\n")
    command = [sys.executable, "-m", "workers.cli", "backtest", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 3
    assert done.stderr.startswith("tidecast: words.csv: none of the columns a, b holds times")


class Page(HTMLParser):
    """Checks that elements nest, and gathers what the page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.refers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.refers += [str(content) for name, content in attrs if name in {"src", "href", "xlink:href"}]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_by_itself_and_its_pictures_speak(wide: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    assert f"Pictures are in {file}" in run(wide, *SMALL, "--html", file).stdout.replace("\n", "")
    text = file.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.refers == []
    assert "script" not in page.seen
    assert "prefers-color-scheme: dark" in text
    pictures = re.findall(r'<svg role="img".*?</svg></svg>', text, re.DOTALL)
    # Five pictures of all series and five of each; four fans of each.
    assert len(pictures) == 5 + 2 * (5 + 4)
    for picture in pictures:
        drawn = ET.fromstring(picture)  # noqa: S314 - our own text
        assert [child.tag for child in drawn][:2] == ["title", "desc"]
        assert all(child.text for child in list(drawn)[:2])
        assert not re.search("nan|inf", picture)
        assert drawn.findall(".//path") or drawn.findall(".//rect")
    for heading in (
        "Scores",
        "Error over time",
        "Coverage over time",
        "Error at each lead",
        "PIT histogram",
        "Weights",
    ):
        assert heading in text


def test_a_page_of_series_that_cannot_be_scored_says_so(tmp_path: Path) -> None:
    file, still = tmp_path / "one.csv", tmp_path / "still.csv"
    file.write_text("time,value\n2026-01-01,1\n")
    still.write_text("time,a,b\n" + "".join(f"{iso(START_US + row * HOUR_US)},7,3\n" for row in range(40)))
    for source in (file, still):
        run(source, "--html", tmp_path / f"{source.stem}.html")
    assert "Nothing was scored" in (tmp_path / "one.html").read_text()
    assert "PIT histogram" in (tmp_path / "still.html").read_text()


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="there is no folder shared/data beside the checkout")
@pytest.mark.parametrize(
    ("name", "series"), [("ett/ETTh2.csv", 7), ("nab/realKnownCause/ambient_temperature_system_failure.csv", 1)]
)
def test_real_files_are_forecast_better_than_by_the_last_value(name: str, series: int) -> None:
    answer = told(SHARED / name, "--limit", "1500", "--rivals-every", "50")
    assert answer["overall"]["series"] == series
    assert not answer["rejected"]
    assert answer["overall"]["ratio_last_value"] < 1
    assert 0.8 < answer["overall"]["coverage"] < 0.98
    assert np.isfinite(answer["overall"]["forecasters"]["snarimax"]["mae"])


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="there is no folder shared/data beside the checkout")
def test_the_last_value_scores_under_the_published_protocol_what_others_measured() -> None:
    """ETTh2, trained on 2880 rows, validated on 720, up to row 14400: .404 at horizon 1 and 1.818 at 24."""
    values = np.genfromtxt(SHARED / "ett/ETTh2.csv", delimiter=",", skip_header=1, usecols=range(1, 8))[:14400]
    for horizon, published in ((1, 0.404), (24, 1.818)):
        total = 0.0
        for column in values.T:
            unit, start_us = float(column[:2880].std()), START_US + 3600 * HOUR_US
            scorer = Scorer(horizon, (0.5,), units={"a": unit}, from_us=start_us, whole=True)
            for at, one in enumerate(column.tolist()):
                scorer.take("a", START_US + at * HOUR_US, HOUR_US, 0, one, np.full((horizon, 1), one))
            scorer.finish()
            total += scorer.series["a"].mean("squared", 0) or 0.0
        assert total / 7 == pytest.approx(published, abs=0.0006)

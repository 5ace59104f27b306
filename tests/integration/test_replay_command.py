"""``tidecast replay`` on files as people have them."""

from __future__ import annotations

import gzip
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stream.errors import ConfigurationError, InputError
from stream.messages import ForecastMessage, iso
from workers.cli import cli

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SMALL = ["--context", "24", "--horizon", "6", "--step", "1h"]
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
    result = CliRunner().invoke(cli, ["replay", *map(str, arguments)])
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
    assert hall["mae_last_value"] == pytest.approx(naive_error([value(row) for row in range(ROWS)], 6))
    assert hall["ratio_last_value"] == pytest.approx(hall["mae"] / hall["mae_last_value"])
    assert 0 < hall["ratio_last_value"] < 1
    assert 0.6 < answer["overall"]["coverage"] <= 1
    assert len(hall["mae_by_lead"]) == 6
    assert answer["rejected"] == {"wrong-type": 1}


def test_the_table_names_series_scores_and_what_was_rejected(wide: Path) -> None:
    output = run(wide, *SMALL).stdout
    for part in ("halls.csv", "hall", "yard", "vs last", "in interval", "Rejected 1", "record 50: wrong-type"):
        assert part in output


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


def test_standard_input_is_replayed(tmp_path: Path) -> None:
    lines = [
        json.dumps({"time": START_US // 1000 + 1000 * row, "series": "a", "value": value(row)}) for row in range(40)
    ]
    command = [sys.executable, "-m", "workers.cli", "replay", "-", "--json", "--context", "8", "--step", "1s"]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["series"][0]["observations"] == 40


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
    assert (series["series"], len(series["mae_by_lead"])) == ("x", 4)


def test_what_cannot_be_used_is_said(tmp_path: Path, wide: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        run(tmp_path / "absent.csv")
    with pytest.raises(ConfigurationError, match="multiple of patch"):
        run(wide, "--context", "50")
    with pytest.raises(ConfigurationError, match="--config"):
        run(wide, "--feed", "b")
    with pytest.raises(ConfigurationError, match="--output"):
        run(wide, *SMALL, "--output", tmp_path / "absent" / "out.jsonl")
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    assert "The file is empty" in run(empty).stdout


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="there is no folder shared/data beside the checkout")
@pytest.mark.parametrize(
    ("name", "series"), [("ett/ETTh2.csv", 7), ("nab/realKnownCause/ambient_temperature_system_failure.csv", 1)]
)
def test_real_files_are_forecast_better_than_by_the_last_value(name: str, series: int) -> None:
    answer = told(SHARED / name, "--limit", "1500")
    assert answer["overall"]["series"] == series
    assert not answer["rejected"]
    assert answer["overall"]["ratio_last_value"] < 1
    assert 0.8 < answer["overall"]["coverage"] < 0.98

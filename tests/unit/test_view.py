"""The live view: a scene in, text of an exact size out."""

from __future__ import annotations

import io
import math
from itertools import pairwise

import pytest
from rich.cells import cell_len
from rich.console import Console

from stream.messages import AlertMessage
from workers.demo.chart import Lines, chart
from workers.demo.scene import Scene, Sensor
from workers.demo.stage import FAULT_EVERY_S, FIRST_FAULT_S, STEPS_A_SECOND, faults
from workers.demo.view import number, plain, render, ticks

SIZES = [(80, 24), (100, 30), (60, 16), (40, 10), (200, 60)]


def alert(
    status: str = "firing", title: str = "flow-000: forecast errors are 8.3 times what they were"
) -> AlertMessage:
    time = "2026-01-07T01:10:00Z"
    return AlertMessage.model_validate(
        {
            "id": status,
            "fingerprint": "f",
            "feed": "plant",
            "series": "flow-000",
            "kind": "error-drift",
            "status": status,
            "severity": "critical",
            "started": time,
            "at": time,
            "issued": time,
            "ended": time if status == "resolved" else None,
            "title": title,
        }
    )


def sensor(name: str, **other: object) -> Sensor:
    made = Sensor(name, "m3/h", state="ready", cutoff="Wed 10:40", coverage=0.91, error_ratio=0.72)
    for step in range(300):
        made.truth.append(50 + 10 * math.sin(step / 20))
        made.past_bands.append((40.0, 60.0) if step > 6 else None)
    made.median = [51.5 + step / 10 for step in range(24)]
    made.bands = [(value - 1.25, value + 1.25) for value in made.median]
    for key, value in other.items():
        setattr(made, key, value)
    return made


def scene() -> Scene:
    names = ("temperature-000", "pressure-000", "vibration-000", "flow-000", "power-000")
    made = Scene([sensor(name, firing=name == "flow-000") for name in names], elapsed_s=92, observations=5520)
    made.forecasts, made.rate, made.latency_ms = 5510, 60.2, 23.6
    made.horizon_text, made.where = "4 h", "redis-cli -p 6400 get demo:forecast:plant:temperature-000"
    made.alerts.append(alert())
    return made


def shown(scene: Scene, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), record=True, color_system="truecolor")
    console.print(render(scene, width, height))
    return console.export_text().rstrip("\n").split("\n")


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_view_fits_exactly(width: int, height: int) -> None:
    lines = shown(scene(), width, height)
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize(("width", "height"), SIZES[:2])
def test_the_view_says_what_there_is_to_know(width: int, height: int) -> None:
    text = "\n".join(shown(scene(), width, height))
    for part in (
        *("1:32", "5,520 obs", "60 forecasts/s", "p50 24 ms to Redis", "90 % interval", "4 h ahead"),
        *("temperature-000", "power-000", "next 51.50 m3/h", "90 % 50.25 .. 52.75", "inside 91 %", "error x0.72"),
        *("drift", "Wed 10:40", "1 firing", "flow-000: forecast errors are 8.3 times", "Ctrl-C", "redis-cli -p 6400"),
    ):
        assert part in text


def test_five_sensors_fit_on_80_by_24_with_charts_of_three_lines() -> None:
    lines = shown(scene(), 80, 24)
    rows = [row for row, line in enumerate(lines) if line[2:].startswith(("temp", "pres", "vib", "flow", "power"))]
    assert [second - first for first, second in pairwise(rows)] == [3, 3, 3, 3]


def test_before_the_first_forecast_the_view_says_what_it_waits_for() -> None:
    text = "\n".join(shown(Scene([Sensor("flow-000")]), 80, 24))
    assert "waiting" in text
    assert "The worker starts" in text
    assert "as easy" not in text


def test_a_warming_sensor_is_marked() -> None:
    text = "\n".join(shown(Scene([sensor("flow-000", state="warming")]), 80, 24))
    assert "warming" in text


def test_a_resolved_alert_and_a_long_sentence_are_shown_in_full() -> None:
    told = scene()
    told.alerts.append(alert("resolved", "flow-000: " + "forecast errors are back to normal and " * 3 + "stay so"))
    told.resolved = 1
    text = " ".join(" ".join(shown(told, 80, 24)).split())
    assert "1 resolved" in text
    assert "stay so" in text


def test_markup_in_a_title_is_text() -> None:
    told = scene()
    told.alerts.append(alert(title="[bold]x[/bold] [/nothing]"))
    assert "[bold]x[/bold] [/nothing]" in "\n".join(shown(told, 80, 24))


@pytest.mark.parametrize("width", [5, 20, 61])
def test_a_chart_has_the_asked_size_and_a_rule_before_the_forecast(width: int) -> None:
    one = sensor("a")
    rows = chart(Lines(one.truth, one.past_bands, one.median, one.bands), width, 3)
    assert [row.cell_len for row in rows] == [width] * 3
    assert len({row.plain.index("│") for row in rows}) == 1


@pytest.mark.parametrize("values", [[], [1.0], [2.0] * 50, [math.nan, 1.0, math.inf, 2.0]])
def test_a_chart_takes_anything(values: list[float]) -> None:
    rows = chart(Lines(values, [None] * len(values), [], []), 20, 4)
    assert [row.cell_len for row in rows] == [20] * 4


def test_a_higher_value_stands_higher() -> None:
    first, last = chart(Lines([0.0] * 20 + [1.0] * 20, [None] * 40, [], []), 20, 2)
    assert not first.plain[:9].strip()
    assert not last.plain[-9:].strip()
    assert first.plain[-1] != " "
    assert last.plain[0] != " "


def test_the_plain_frame_has_a_line_for_each_sensor() -> None:
    lines = plain(scene())
    assert lines[0] == "[  92 s] 5,520 observations, 60 forecasts/s, p50 24 ms to Redis"
    assert len(lines) == 6
    assert "51.50 [50.25, 52.75] m3/h" in lines[1]
    assert "drift" in lines[4]


def test_numbers_are_short() -> None:
    assert [number(value) for value in (0.0, 0.1234, 6.214, 21.04, 130.24, 13024.4, 2e9)] == [
        *("0.000", "0.123", "6.21", "21.04", "130.2", "13024", "2e+09"),
    ]
    assert ticks([1.0, 2.0, 3.0]) == "▁▅█"
    assert ticks([]) == ""
    assert ticks([5.0, 5.0]) == "▁▁"


def test_the_first_fault_comes_early_enough_to_be_seen_in_half_a_minute() -> None:
    planned = faults()
    assert planned[0].start == FIRST_FAULT_S * STEPS_A_SECOND
    assert 15 <= FIRST_FAULT_S <= 28
    ends = [fault.start + (fault.steps or 0) for fault in planned]
    assert max(ends[:2]) < (FIRST_FAULT_S + FAULT_EVERY_S) * STEPS_A_SECOND

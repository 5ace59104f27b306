"""The live view: a scene in, text of an exact size out. Nothing here reads a clock or a service."""

from __future__ import annotations

from textwrap import wrap

from rich.cells import cell_len
from rich.console import Group
from rich.style import Style
from rich.text import Text

from stream.messages import AlertMessage
from workers.demo.chart import MEDIAN, TRUTH, Lines, chart
from workers.demo.scene import Scene, Sensor

DIM = Style(color="#8a8a8a")
GOOD, BAD, WAIT = Style(color="#5fd787"), Style(color="#ff5f5f", bold=True), Style(color="#d7af5f")
LEFT, RIGHT = 18, 24
FEWEST_ALERTS = 3
TICKS = "▁▂▃▄▅▆▇█"


def render(scene: Scene, width: int, height: int) -> Group:
    """The scene on ``width`` x ``height`` cells: a header, the sensors, the alerts, and a line on what to do."""
    width, height = max(width, 40), max(height, 10)
    shown = scene.sensors[: max(1, (height - 4 - FEWEST_ALERTS) // 2)]
    for_charts = height - 4 - FEWEST_ALERTS
    rows = min(max(for_charts // max(len(shown), 1), 2), 8)
    # One line between sensors where it does not make the charts flat.
    gap = 1 if rows >= 5 else 0
    lines = [_header(scene, width), _legend(scene, width)]
    for sensor in shown:
        lines += _sensor(sensor, width, rows - gap)
        lines += [Text()] * gap
    lines += _alerts(scene, width, height - len(lines) - 1)
    where = [f"in a browser: {scene.page}"] if scene.page else []
    lines.append(_fitted(Text("  ·  ".join([" Ctrl-C ends", *where, scene.where]), style=DIM), width))
    return Group(*lines[:height])


def _header(scene: Scene, width: int) -> Text:
    text = Text()
    text.append(" TIDECAST ", Style(color="#000000", bgcolor=TRUTH, bold=True))
    facts = [
        f"{int(scene.elapsed_s) // 60}:{int(scene.elapsed_s) % 60:02d}",
        f"{scene.observations:,} observations" if width >= 90 else f"{scene.observations:,} obs.",
        f"{scene.rate:.0f} forecasts/s",
    ]
    if scene.latency_ms is not None:
        facts.append(f"p50 {scene.latency_ms:.0f} ms to Redis")
    text.append("  " + "  ·  ".join(facts))
    return _fitted(text, width)


def _legend(scene: Scene, width: int) -> Text:
    text = Text("─── ", style=DIM)
    text.append("observed", TRUTH)
    text.append(", forecast ", DIM)
    text.append("median", MEDIAN)
    text.append(f" and 90 % interval, {scene.horizon_text} ahead ", DIM)
    text.append("─" * max(0, width - text.cell_len), DIM)
    return _fitted(text, width)


def _sensor(sensor: Sensor, width: int, rows: int) -> list[Text]:
    right = RIGHT if width >= 70 else 0
    drawn = chart(
        Lines(sensor.truth, sensor.past_bands, sensor.median, sensor.bands),
        width - LEFT - right - (1 if right else 0),
        rows,
    )
    left = _padded([_name(sensor), _now(sensor), _standing(sensor)], rows)
    figures = _padded(_figures(sensor), rows) if right else [Text()] * rows
    made = []
    for head, picture, tail in zip(left, drawn, figures, strict=True):
        line = _fitted(head, LEFT) + picture
        if right:
            line = line + Text(" ") + _fitted(tail, right)
        made.append(line)
    return made


def _name(sensor: Sensor) -> Text:
    sign, style = ("✖", BAD) if sensor.firing else ("●", GOOD) if sensor.state == "ready" else ("○", WAIT)
    text = Text(f"{sign} ", style=style)
    return text.append(sensor.name, Style(bold=True))


def _now(sensor: Sensor) -> Text:
    if sensor.value is None:
        return Text(" waiting", style=WAIT)
    return Text(f" {number(sensor.value)} {sensor.unit}")


def _standing(sensor: Sensor) -> Text:
    text = Text(f" {sensor.cutoff}", style=DIM)
    if sensor.firing:
        return text.append(" drift", BAD)
    return text.append(f" {sensor.state}", WAIT) if sensor.value is not None and sensor.state != "ready" else text


def _figures(sensor: Sensor) -> list[Text]:
    if not sensor.median:
        return [Text("no forecast yet", style=DIM)]
    low, high = sensor.bands[0]
    next_value = Text("next ", style=DIM).append(f"{number(sensor.median[0])} {sensor.unit}", Style(color=MEDIAN))
    interval = Text("90 % ", style=DIM).append(f"{number(low)} .. {number(high)}", Style())
    lines = [next_value, interval]
    if sensor.coverage is not None:
        held = Text("inside ", style=DIM).append(f"{100 * sensor.coverage:.0f} %", Style())
        if sensor.error_ratio is not None:
            held.append(" error ", DIM).append(f"x{sensor.error_ratio:.2f}", GOOD if sensor.error_ratio < 1 else WAIT)
        lines.append(held)
    return lines


def _alerts(scene: Scene, width: int, rows: int) -> list[Text]:
    if rows < 1:
        return []
    firing = sum(sensor.firing for sensor in scene.sensors)
    told = f"{firing} firing" if firing else "none firing"
    title = Text("─── ", style=DIM).append("alerts", Style(bold=True))
    title.append(f" {told}, {scene.resolved} resolved ", DIM)
    title.append("─" * max(0, width - title.cell_len), DIM)
    lines = [_fitted(title, width)]
    for alert in reversed(scene.alerts):
        lines += _alert(alert, width)
        if len(lines) >= rows:
            break
    if not scene.alerts:
        lines.append(Text(f" {_calm(scene)}", style=DIM))
    return (lines + [Text()] * rows)[:rows]


def _calm(scene: Scene) -> str:
    if not scene.forecasts:
        return "The worker starts and joins its group: this takes some seconds."
    return "Every sensor is as easy to forecast as before."


def _alert(alert: AlertMessage, width: int) -> list[Text]:
    """The time and the sentence, on as many lines as it takes."""
    sign, style = ("✖", BAD) if alert.status == "firing" else ("✔", GOOD)
    head = f" {sign} {alert.at:%d %b %H:%M} "
    said = wrap(alert.title, width - len(head) - 1)
    return [
        _fitted(Text((" " * len(head) if number else head) + line, style=style), width)
        for number, line in enumerate(said)
    ]


def plain(scene: Scene) -> list[str]:
    """The scene as a few lines for a log: one of totals, one for each sensor."""
    latency = "" if scene.latency_ms is None else f", p50 {scene.latency_ms:.0f} ms to Redis"
    lines = [f"[{scene.elapsed_s:4.0f} s] {scene.observations:,} observations, {scene.rate:.0f} forecasts/s{latency}"]
    if not scene.forecasts:
        return [*lines, f"  {_calm(scene)}"]
    for sensor in scene.sensors:
        state = "drift" if sensor.firing else sensor.state
        line = f"  {sensor.name:16} {state:8} {ticks(list(sensor.truth)[-24:]):24}"
        if sensor.value is not None and sensor.median:
            low, high = sensor.bands[0]
            line += (
                f" {number(sensor.value)} -> {number(sensor.median[0])} [{number(low)}, {number(high)}] {sensor.unit}"
            )
        if sensor.coverage is not None:
            line += f", inside {100 * sensor.coverage:.0f} %"
        if sensor.error_ratio is not None:
            line += f", error x{sensor.error_ratio:.2f} of the last value's"
        lines.append(line)
    return lines


def ticks(values: list[float]) -> str:
    """A curve of block characters."""
    if not values:
        return ""
    low, high = min(values), max(values)
    span = high - low or 1.0
    return "".join(TICKS[min(int((value - low) / span * len(TICKS)), len(TICKS) - 1)] for value in values)


def number(value: float) -> str:
    """Four significant digits, never as an exponent where people would not write one."""
    size = abs(value)
    if size >= 100_000 or 0 < size < 0.001:
        return f"{value:.3g}"
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 3
    return f"{value:.{digits}f}"


def _padded(lines: list[Text], rows: int) -> list[Text]:
    return (lines + [Text()] * rows)[:rows]


def _fitted(text: Text, width: int) -> Text:
    """Exactly ``width`` cells: cut with an ellipsis, or padded."""
    text = text.copy()
    text.no_wrap = True
    if cell_len(text.plain) > width:
        text.truncate(width, overflow="ellipsis")
    text.pad_right(max(0, width - text.cell_len))
    return text

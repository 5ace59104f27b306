"""The pictures of a backtest: errors, coverage, PIT and weights, of one series or of all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape
from itertools import chain, pairwise
from typing import Any

from stream.messages import time_us
from workers.backtest.charts import Chart, span
from workers.backtest.table import called, number, percent
from workers.scoring import LAST, MIXTURE, SEASONAL

OVER_TIME = (MIXTURE, LAST, SEASONAL)
STYLES = {
    MIXTURE: "c0",
    LAST: "c1",
    SEASONAL: "c2",
    "least-squares": "c3",
    "network": "c4",
    "snarimax": "c5",
    "holt-winters": "c6",
}
"""A forecaster looks the same in every picture; one that is not named here takes the colour of another."""
TOLERANCE = 0.05
"""How far coverage may stray for a while: the shaded band."""
HIGHEST = 2.5
"""Lines above so many times the mixture's and the last value's worst lead are cut off: a forecaster that has diverged
would press all others flat."""


def error_over_time(shown: dict[str, Any], units: str) -> str:
    """Mean absolute error by time of the origin, of the mixture and the two naive forecasts."""
    rows = shown["over_time"]
    if not rows:
        return ""
    at = [_middle(row) for row in rows]
    lines = [[row["mae"][name] for row in rows] for name in OVER_TIME]
    better = sum(ours < last for ours, last in zip(lines[0], lines[1], strict=True))
    says = f"The mixture is better than the last value in {better} of {len(rows)} stretches of time."
    chart = Chart("Error over time", says, (min(at), max(at)), span([*chain(*lines)], zero=True), times=True)
    for name, line in zip(OVER_TIME, lines, strict=True):
        chart.line(list(zip(at, line, strict=True)), STYLES[name])
    legend = [(STYLES[name], called(name)) for name in OVER_TIME]
    return figure("Error over time", chart, f"Mean absolute error over all leads, in {units}. {says}", legend)


def coverage_over_time(shown: dict[str, Any], nominal: float) -> str:
    """Share of targets inside the widest interval, by time of the origin."""
    rows = shown["over_time"]
    line = [(_middle(row), row["coverage"]) for row in rows]
    if not rows or rows[0]["coverage"] is None:
        return ""
    shares = [row["coverage"] for row in rows]
    within = sum(abs(share - nominal) <= TOLERANCE for share in shares)
    says = (
        f"The {percent(nominal)} interval holds between {percent(min(shares))} and {percent(max(shares))};"
        f" {within} of {len(rows)} stretches are within {100 * TOLERANCE:.0f} points of nominal."
    )
    low = min(*shares, nominal - 2 * TOLERANCE)
    across = (line[0][0], line[-1][0])
    chart = Chart("Coverage over time", says, across, (max(0.0, low - 0.02), 1.01), times=True, percent=True)
    edges = [[(place, nominal + side) for place in across] for side in (-TOLERANCE, TOLERANCE)]
    chart.band(edges[0], edges[1], "allowed")
    chart.level(nominal)
    chart.line(line, "c0")
    caption = f"Share of targets inside the widest interval. Dashed: nominal; shaded: 5 points around it. {says}"
    return figure("Coverage over time", chart, caption, [])


def error_by_lead(shown: dict[str, Any], units: str) -> str:
    """Mean absolute error at each lead, of every forecaster."""
    by_lead = {name: row for name, row in shown["by_lead"]["mae"].items() if any(value is not None for value in row)}
    if MIXTURE not in by_lead:
        return ""
    horizon = len(by_lead[MIXTURE])
    top = HIGHEST * max(value for name in (MIXTURE, LAST) for value in by_lead[name] if value is not None)
    seen = [value for row in by_lead.values() for value in row if value is not None and value <= top]
    says = f"The mixture's error grows from {number(by_lead[MIXTURE][0])} at lead 1 to {number(by_lead[MIXTURE][-1])} at lead {horizon}."
    leads = range(1, horizon + 1)
    chart = Chart("Error at each lead", says, (1, max(horizon, 2)), span(seen, zero=True))
    styles = [_style(name, at) for at, name in enumerate(by_lead)]
    # The mixture last, so that it lies above the others.
    for style, row in reversed(list(zip(styles, by_lead.values(), strict=True))):
        chart.line([(lead, value) for lead, value in zip(leads, row, strict=True)], style)
    legend = [(style, called(name)) for style, name in zip(styles, by_lead, strict=True)]
    worst = max(value for row in by_lead.values() for value in row if value is not None)
    cut = " Lines that leave the picture are worse still." if worst > top else ""
    return figure("Error at each lead", chart, f"Mean absolute error in {units}, by steps ahead. {says}{cut}", legend)


def pit(shown: dict[str, Any], levels: Sequence[float]) -> str:
    """Where targets fall among the quantiles: flat when they are calibrated."""
    edges = [0.0, *levels, 1.0]
    heights = [share / (high - low) for share, (low, high) in zip(shown["pit"], pairwise(edges), strict=True)]
    says = "; ".join(
        f"{percent(share)} between {low:g} and {high:g} ({percent(high - low)} expected)"
        for share, (low, high) in zip(shown["pit"], pairwise(edges), strict=True)
    )
    chart = Chart("PIT histogram", says, (0.0, 1.0), span([*heights, 1.2], zero=True), height=200)
    for height, (low, high) in zip(heights, pairwise(edges), strict=True):
        chart.bar(low, high, height, "c0", f"{low:g} to {high:g}: {height:.2f} of what is expected")
    chart.level(1.0)
    caption = (
        "Probability integral transform: where targets fall among the forecast quantiles, as a multiple of what is"
        " expected. Flat at 1 is calibrated; a U is too narrow, a hump too wide."
    )
    return figure("PIT histogram", chart, caption, [], says)


def weights_over_time(shown: dict[str, Any]) -> str:
    """The mixture's weights by time of the origin, one above the other."""
    rows = shown["over_time"]
    if not rows or not rows[0]["weights"]:
        return ""
    names, at = list(rows[0]["weights"]), [_middle(row) for row in rows]
    newest = ", ".join(f"{called(name)} {percent(rows[-1]['weights'][name])}" for name in names)
    chart = Chart(
        "Weights of the experts over time",
        f"At the end: {newest}.",
        (min(at), max(at)),
        (0.0, 1.0),
        times=True,
        percent=True,
    )
    floor = [0.0] * len(rows)
    for place, name in enumerate(names):
        top = [low + row["weights"][name] for low, row in zip(floor, rows, strict=True)]
        chart.band(list(zip(at, floor, strict=True)), list(zip(at, top, strict=True)), _style(name, place))
        floor = top
    legend = [(f"{_style(name, place)} area", called(name)) for place, name in enumerate(names)]
    return figure(
        "Weights of the experts over time",
        chart,
        f"Share of each expert in the mixture, mean over leads. At the end: {newest}.",
        legend,
    )


def figure(heading: str, chart: Chart, caption: str, legend: Sequence[tuple[str, str]], more: str = "") -> str:
    """A picture under its heading, with what it says in words and what its lines are."""
    items = "".join(f"<li>{_sample(style)}{escape(name)}</li>" for style, name in legend)
    listed = f'<ul class="legend">{items}</ul>' if legend else ""
    words = f"<details><summary>In words</summary><p>{escape(more)}</p></details>" if more else ""
    title = f"<h3>{escape(heading)}</h3>" if heading else ""
    return f"<figure>{title}{listed}{chart.svg()}<figcaption>{escape(caption)}</figcaption>{words}</figure>"


def _sample(style: str) -> str:
    shape = '<path d="M0,1H32V11H0Z"' if style.endswith("area") else '<path d="M0,6H32"'
    kind = style if style.endswith("area") else f"{style} line"
    return f'<svg viewBox="0 0 32 12" aria-hidden="true">{shape} class="{kind}"/></svg>'


def _style(name: str, place: int) -> str:
    return STYLES.get(name, f"c{place % 7}")


def _middle(row: dict[str, Any]) -> float:
    begun, ended = (time_us(datetime.fromisoformat(row[name])) for name in ("from", "until"))
    return (begun + ended) / 2e6

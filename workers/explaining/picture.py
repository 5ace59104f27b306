"""An explanation as one small picture (SVG): the window with what each stretch of it adds, the forecast's fan, the parts, and the experts."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stream.messages import time_us
from workers.backtest.charts import LEFT, RIGHT, Chart, span
from workers.backtest.table import called
from workers.explaining.message import Explanation
from workers.explaining.words import Numbers, marked_up, printable, shown_parts

WIDTH, ROW, BAR = 720, 20, 300
STRETCHES = 72
"""The window is coloured in at most so many stretches."""
COVERED = 0.95
"""Lags are shown as far back as this share of what all of them add."""
SHADES = ("faint", "light", "clear", "strong")


def picture(told: Explanation, line: NDArray[np.float64]) -> str:
    """The picture; ``line`` [J] is the window of channel 0 by lag, newest first. It stands alone, and loads nothing from elsewhere."""
    numbers, at = Numbers(told.scale), told.lead - 1
    added = np.array(next(iter(told.inputs.values())))[:, at]
    added = np.r_[added, np.zeros(max(0, len(line) - len(added)))][: len(line)]
    shown = _shown(added, told.horizon)
    parts = [(part.says, part.adds[at], numbers.adding(part.adds[at])) for part in shown_parts(told)]
    weights = [
        (called(one.name), one.weight[at], f"{100 * one.weight[at]:.0f} %, says {numbers.plain(one.forecast[at])}")
        for one in told.experts
    ]
    ahead = f"{told.lead} step{'s' if told.lead > 1 else ''} ahead"
    pieces: list[tuple[str, int]] = [
        (_heading(f"{told.series}: what it saw, and its forecast"), 26),
        (_chart(_fan(told, line, added, shown)), 250),
        (_heading(f"What each stretch of the window adds, {ahead}"), 26),
        (_chart(_stretches(told, added, shown)), 130),
        (_heading(f"What its parts add, {ahead}"), 26),
        (_bars(parts), ROW * len(parts) + 8),
        (_heading("What the experts weigh"), 26),
        (_bars(weights, "weight"), ROW * len(weights) + 8),
    ]
    top, body = 0, []
    for piece, height in pieces:
        body.append(f'<g transform="translate(0,{top})">{piece}</g>')
        top += height
    style = (files("workers.explaining") / "picture.css").read_text(encoding="utf-8")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="why" role="img" viewBox="0 0 {WIDTH} {top}">'
        f"<title>Why {marked_up(told.series)} is forecast so</title><desc>{marked_up(' '.join(told.sentences))}</desc>"
        f'<style>{style}</style><rect class="paper" width="{WIDTH}" height="{top}"/>{"".join(body)}</svg>'
    )


def _shown(added: NDArray[np.float64], horizon: int) -> int:
    """How many lags to draw."""
    total = np.abs(added).cumsum()
    reach = int(np.searchsorted(total, COVERED * total[-1])) + 1 if total[-1] > 0 else len(added)
    return min(len(added), max(reach, 2 * horizon, 16))


def _binned(added: NDArray[np.float64], shown: int) -> list[tuple[int, int, float]]:
    """Stretches of lags [from, to) and what each adds."""
    edges = np.unique(np.linspace(0, shown, min(STRETCHES, shown) + 1).astype(int))
    return [(int(first), int(last), float(added[first:last].sum())) for first, last in pairwise(edges)]


def _chart(chart: Chart) -> str:
    return chart.svg().replace("<svg ", f'<svg width="{chart.width}" height="{chart.height}" ', 1)


def _fan(told: Explanation, line: NDArray[np.float64], added: NDArray[np.float64], shown: int) -> Chart:
    now, step = time_us(told.cutoff) / 1e6, told.step_s
    past = [(now - lag * step, float(line[lag])) for lag in range(shown - 1, -1, -1)]
    leads = [now + lead * step for lead in range(told.horizon + 1)]
    low, high = (min(told.quantiles, key=float), max(told.quantiles, key=float)) if told.quantiles else ("", "")
    ends = [*told.quantiles.get(low, []), *told.quantiles.get(high, [])]
    reach = span([value for _, value in past] + told.forecast + ends)
    chart = Chart(
        "The window and the forecast", printable(told.sentences[0]) if told.sentences else "", (past[0][0], leads[-1]), reach,
        WIDTH, 250, times=True,
    )  # fmt: skip
    stretches = _binned(added, shown)
    most = max(abs(value) for *_, value in stretches) or 1.0
    for first, last, value in stretches:
        shade = int(len(SHADES) * min(abs(value) / most, 0.999))
        if abs(value) > most / 20:
            sides = [now - (last - 0.5) * step, now - (first - 0.5) * step]
            style = f"{'up' if value > 0 else 'down'} {SHADES[shade]}"
            chart.band([(side, reach[0]) for side in sides], [(side, reach[1]) for side in sides], style)
    chart.level(told.level)
    if told.quantiles:
        fan = [list(zip(leads, [told.value, *told.quantiles[level]], strict=True)) for level in (low, high)]
        chart.band(fan[0], fan[1], "fan")
    chart.line(past, "truth")
    chart.line(list(zip(leads, [told.value, *told.forecast], strict=True)), "fan")
    chart.upright(now)
    return chart


def _stretches(told: Explanation, added: NDArray[np.float64], shown: int) -> Chart:
    now, step = time_us(told.cutoff) / 1e6, told.step_s
    stretches = _binned(added, shown)
    values = [value for *_, value in stretches]
    across = (now - (shown - 1) * step, now + told.horizon * step)
    chart = Chart("What each stretch adds", "", across, span([*values, 0.0]), WIDTH, 130, times=True)
    for first, last, value in stretches:
        sides = [max(now - (last - 0.5) * step, across[0]), now - (first - 0.5) * step]
        style = "up" if value > 0 else "down"
        chart.band([(side, 0.0) for side in sides], [(side, value) for side in sides], style)
    chart.level(0.0)
    chart.upright(now)
    return chart


def _heading(text: str) -> str:
    return f'<text class="heading" x="{LEFT}" y="18">{marked_up(text)}</text>'


def _bars(rows: Sequence[tuple[str, float, str]], style: str = "") -> str:
    """Bars to the right (up) and left (down) of a zero, or all to the right in one ``style``, with their names and what they say."""
    most = max((abs(value) for _, value, _ in rows), default=0.0) or 1.0
    both = not style and any(value < 0 for _, value, _ in rows)
    left, right = LEFT + 170, WIDTH - RIGHT - 150
    zero, room = ((left + right) / 2, (right - left) / 2) if both else (left, right - left)
    made = []
    for place, (name, value, says) in enumerate(rows):
        length, top = room * abs(value) / most, ROW * place
        begin = zero if value >= 0 else zero - length
        colour = style or ("up" if value > 0 else "down")
        made.append(
            f'<text x="{left - 8}" y="{top + 14}" text-anchor="end">{marked_up(name)}</text>'
            f'<rect class="{colour} area" x="{begin:.1f}" y="{top + 3}" width="{max(length, 0.5):.1f}" height="{ROW - 6}"/>'
            f'<text class="said" x="{right + 8}" y="{top + 14}">{marked_up(says)}</text>'
        )
    return f'{"".join(made)}<path class="grid" d="M{zero:.1f},0V{ROW * len(rows)}"/>'

"""Forecasts drawn as fans over what came."""

from __future__ import annotations

import numpy as np

from workers.backtest.charts import Chart, span
from workers.backtest.pictures import figure
from workers.backtest.running import Backtest
from workers.backtest.table import number
from workers.scoring import Fan, Origins

MOST = 4
"""Fans that are drawn of a series."""
BEFORE = 2
"""Horizons of the past that are shown before each."""


def fans(result: Backtest, name: str) -> str:
    """A few forecasts of a series from evenly spread origins, over the truth; nothing where none can be compared with it."""
    score = result.scorer.series[name]
    if not score.blocks:
        return ""
    origins = Origins.joined(score.blocks)
    horizon = result.feed.horizon
    whole = [fan for fan in score.fans if fan.cutoff_us + horizon * fan.step_us <= origins.cutoff_us[-1]]
    if not whole:
        return ""
    picked = np.unique(np.linspace(min(1, len(whole) - 1), len(whole) - 1, MOST).astype(int))
    pictures = "".join(_fan(result, origins, whole[at], name) for at in picked.tolist())
    legend = "Black: what came. Blue: the median forecast from the dashed line on, with its intervals."
    return f'<h3>Forecasts over what came</h3><p class="dim">{legend}</p><div class="fans">{pictures}</div>'


def _fan(result: Backtest, origins: Origins, fan: Fan, name: str) -> str:
    horizon = result.feed.horizon
    from_us = fan.cutoff_us - BEFORE * horizon * fan.step_us
    until_us = fan.cutoff_us + horizon * fan.step_us
    inside = (origins.cutoff_us >= from_us) & (origins.cutoff_us <= until_us)
    times, values = origins.cutoff_us[inside] / 1e6, origins.value[inside]
    now = float(values[times <= fan.cutoff_us / 1e6][-1])
    ahead = [fan.cutoff_us / 1e6 + lead * fan.step_us / 1e6 for lead in range(horizon + 1)]

    def line(column: int) -> list[tuple[float, float]]:
        return list(zip(ahead, [now, *fan.quantiles[:, column].tolist()], strict=True))

    median, intervals = result.feed.levels.index(0.5), result.scorer.intervals
    errors = np.abs(np.interp(ahead[1:], times, values) - fan.quantiles[:, median])
    says = f"{name}: mean absolute error {number(float(errors.mean()))} over these {horizon} steps."
    reach = span([*values.tolist(), *fan.quantiles.ravel().tolist()])
    chart = Chart(f"A forecast of {name}", says, (from_us / 1e6, until_us / 1e6), reach, 480, 220, times=True)
    for style, (low, high) in zip(("wide", "near"), intervals, strict=False):
        chart.band(line(low), line(high), style)
    chart.upright(fan.cutoff_us / 1e6)
    chart.line(list(zip(times.tolist(), values.tolist(), strict=True)), "truth")
    chart.line(line(median), "c0")
    return figure("", chart, says, [])

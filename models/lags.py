"""What the least-squares experts see of a window: values and means of blocks further and further back, the last season, its phase.

A linear model with a value for every lag would be wide and learn slowly; block means that widen with the lag (as in the
heterogeneous autoregression of Corsi 2009) keep the long memory at a tenth of the width. All are differences to the newest value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.windows import Windows

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

WEEK_US = 604_800_000_000
LONG_EDGES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 48, 64, 80, 96, 128, 160, 192, 240, 288, 336)
"""Block i is the mean of lags [edge i, edge i+1)."""
QUICK_EDGES = (1, 2, 3, 5, 9, 17, 33, 65)
SURE_EDGE, SEASONS = 96, 3.5
"""Blocks end at this lag or this many seasons back, whichever is further: beyond them there is little to learn and much to unlearn."""
SEASON_BLOCKS, SEASON_PART = 8, 24
"""So many blocks of a 24th of a season each, from the newest value's phase one season ago onwards: the hours that the leads lie in."""
LONG_HARMONICS, QUICK_HARMONICS = 6, 4
LIMIT = 10.0
"""Scaled values are clipped here."""
LONG_WIDTH = len(LONG_EDGES) - 1 + SEASON_BLOCKS + 4 + 2 * LONG_HARMONICS + 1
QUICK_WIDTH = len(QUICK_EDGES) - 1 + 2 * QUICK_HARMONICS + 1


def inputs(
    windows: Windows, rows: Rows, slots: Rows, counts: Rows, season: Rows, time_us: Rows, step_us: Rows, unit: Floats
) -> dict[str, tuple[Floats, NDArray[np.bool_]]]:
    """Inputs [B, D] of both experts at the newest ``slots`` [B], and which are alive, [B, D].

    ``counts`` [B] observations so far; ``season`` [B] in slots, 0 for none; ``time_us`` and ``step_us`` [B]; ``unit`` [B] scales. Inputs
    that the season leaves no meaning are 0 and not alive, nor are those about the season before a whole one has been seen: harmonics
    fitted to half a day say anything about the other half. Slots before the first hold the first value, as everywhere.
    """
    longest = LONG_EDGES[-1]
    line = windows.line(rows, slots[:, None] - np.arange(longest))  # [B, 336] by lag, 0 first
    line = _centred(line, line[:, :1], unit)
    sums = line.cumsum(1)  # adds one after the other, so that a row's bits are its own
    long, quick = _means(sums, LONG_EDGES), _means(sums, QUICK_EDGES)
    reach = np.maximum(SURE_EDGE, SEASONS * season)
    alive = np.array(LONG_EDGES[1:]) <= reach[:, None]
    past, there = np.zeros((len(rows), SEASON_BLOCKS + 4)), np.zeros((len(rows), SEASON_BLOCKS + 4), bool)
    for length in sorted(set(season.tolist()) - {0}):
        chosen = np.flatnonzero(season == length)
        past[chosen], there[chosen] = _last_season(windows, rows[chosen], slots[chosen], length, unit[chosen])
    period_us = np.where(season > 0, season * step_us, WEEK_US)
    turns = _harmonics(time_us, period_us)
    ones = np.ones((len(rows), 1))
    whole = (counts * step_us >= period_us)[:, None]
    turning, always = np.broadcast_to(whole, turns.shape), np.ones((len(rows), 1), bool)
    alive = np.concatenate([alive, there & whole, turning, always], axis=1)
    wide = np.concatenate([long, past, turns, ones], axis=1)
    some = 2 * QUICK_HARMONICS
    narrow = np.concatenate([quick, turns[:, :some], ones], axis=1)
    living = np.concatenate([np.ones(quick.shape, bool), turning[:, :some], always], axis=1)
    return {
        "least-squares": (np.where(alive, wide, 0.0), alive),
        "quick-least-squares": (np.where(living, narrow, 0.0), living),
    }


def _centred(values: Floats, newest: Floats, unit: Floats) -> Floats:
    """Values [B, K] minus the newest [B, 1] over the units [B], clipped one by one: an absurd one must not drown its block."""
    with np.errstate(over="ignore"):
        return np.clip((values - newest) / unit[:, None], -LIMIT, LIMIT)


def _means(sums: Floats, edges: tuple[int, ...]) -> Floats:
    """Means of the lags between edges, [B, edges - 1], from the running sums [B, lags] over lags 0, 1, ..."""
    at = np.array(edges) - 1
    upto = sums[:, at]
    return (upto[:, 1:] - upto[:, :-1]) / np.diff(np.array(edges))


def _last_season(
    windows: Windows, rows: Rows, slots: Rows, season: int, unit: Floats
) -> tuple[Floats, NDArray[np.bool_]]:
    """Block means of the last season, newest phase first, and the values at lags S - 1, S, 2S - 1 and 2S: [B, 12], with which exist."""
    part = max(1, season // SEASON_PART)
    oldest_first = season - np.arange(SEASON_BLOCKS * part)  # lags S, S-1, ..., phases from the newest value's onwards
    points = np.array([season - 1, season, 2 * season - 1, 2 * season])
    lags = np.concatenate([oldest_first, points])
    values = windows.line(rows, slots[:, None] - np.maximum(lags, 0))
    values = _centred(values, windows.line(rows, slots[:, None]), unit)
    blocks = values[:, : SEASON_BLOCKS * part].reshape(len(rows), SEASON_BLOCKS, part).cumsum(2)[..., -1] / part
    fits = oldest_first.reshape(SEASON_BLOCKS, part)[:, -1] >= 1
    fits = np.concatenate([fits, (points >= 1) & (points < windows.capacity)])
    return np.concatenate([blocks, values[:, SEASON_BLOCKS * part :]], axis=1), np.broadcast_to(
        fits, (len(rows), len(fits))
    )


def _harmonics(time_us: Rows, period_us: Rows) -> Floats:
    """Sines and cosines of the phase in the period and of its multiples, [B, 12]."""
    angle = (time_us % period_us) * (2.0 * np.pi / period_us)
    turns = [wave(order * angle) for order in range(1, LONG_HARMONICS + 1) for wave in (np.sin, np.cos)]
    return np.stack(turns, axis=1)

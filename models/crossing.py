"""How likely a series is to go beyond a threshold within the horizon, from its forecast's quantiles, recalibrated online.

A quantile forecast tells of each lead by itself; whether any of H leads goes beyond depends on how they hang together. Were they one, the
chance would be that of the likeliest lead; were they independent, one minus the product. The truth lies between, series by series: a
logistic regression on the log odds of both, learnt online from the outcomes (Platt 1999 recalibrates so; steps as in AdaGrad, Duchi, Hazan
and Singer 2011). It begins half-way between the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
START = (0.0, 0.5, 0.5)
"""Coefficients before any outcome: of one, of the likeliest lead's log odds, and of those of independent leads."""
RATE = 0.05
"""Size of a step."""
RARE = 1e-4
"""Chances are held this far from 0 and 1."""
ABOVE, BELOW = 0, 1
SIDES = ("above", "below")


def exceedance(quantiles: Floats, levels: Floats, limits: Floats) -> Floats:
    """The chance that a value lies above ``limits`` [B], [B, H], from ascending quantiles [B, H, Q] at ``levels`` [Q].

    Linear between quantiles, exponential beyond the outer two, as far as these tell; with one level, a step.
    """
    limit = limits[:, None]
    above = np.where(limit < quantiles[..., 0], 1.0, 0.0)
    for place in range(len(levels) - 1):
        low, high = quantiles[..., place], quantiles[..., place + 1]
        width = np.maximum(high - low, np.finfo(float).tiny)
        with np.errstate(over="ignore"):
            part = np.clip((limit - low) / width, 0.0, 1.0)
        share = levels[place] + (levels[place + 1] - levels[place]) * part
        above = np.where((limit >= low) & (limit < high), 1.0 - share, above)
    if len(levels) > 1:
        top = _tail(limit - quantiles[..., -1], quantiles[..., -1] - quantiles[..., -2], 1 - levels[-1], 1 - levels[-2])
        bottom = _tail(quantiles[..., 0] - limit, quantiles[..., 1] - quantiles[..., 0], levels[0], levels[1])
        above = np.where(limit >= quantiles[..., -1], top, above)
        above = np.where(limit < quantiles[..., 0], 1.0 - bottom, above)
    return above


def _tail(beyond: Floats, width: Floats, outer: float, inner: float) -> Floats:
    """The chance that is left ``beyond`` the outermost quantile: it falls as it did over the last ``width``."""
    fall = np.log(inner / outer) / np.maximum(width, np.finfo(float).tiny)
    with np.errstate(over="ignore"):
        left: Floats = outer * np.exp(-np.maximum(beyond, 0.0) * fall)
    return left


def features(chances: Floats) -> Floats:
    """What the regression sees [B, 3] of the chances of each lead [B, H]."""
    one = np.clip(chances.max(1), RARE, 1 - RARE)
    apart = np.clip(1.0 - np.prod(1.0 - chances, axis=1), RARE, 1 - RARE)
    return np.stack([np.ones(len(one)), np.log(one / (1 - one)), np.log(apart / (1 - apart))], axis=1)


class Crossings:
    """Thresholds of N series and what their outcomes taught: by row, side (above, below) and, of what waits, cutoff modulo H."""

    def __init__(self, horizon: int, levels: tuple[float, ...]) -> None:
        self.horizon, self.levels = horizon, np.array(levels)
        self.limits: Floats = np.zeros((0, 2))
        """[N, 2], NaN where a series has no threshold on that side."""
        self.arrays: dict[str, NDArray[Any]] = {}
        self.resize(0)

    def _shapes(self) -> dict[str, tuple[Any, tuple[int, ...], Any]]:
        pending = (self.horizon, 2)
        return {
            "crossing.coefficients": (np.float64, (2, 3), START),
            "crossing.squares": (np.float64, (2, 3), 1.0),
            "crossing.cutoff": (np.int64, (self.horizon,), -1),
            "crossing.seen": (np.int64, (self.horizon,), 0),
            "crossing.features": (np.float64, (*pending, 3), 0.0),
            "crossing.crossed": (np.bool_, pending, False),
        }

    def resize(self, rows: int) -> None:
        """Make room for ``rows`` series."""
        more = rows - len(self.limits)
        self.limits = np.concatenate([self.limits, np.full((max(more, 0), 2), np.nan)])
        for name, (dtype, shape, start) in self._shapes().items():
            fresh = np.full((max(more, 0), *shape), start, dtype)
            have = self.arrays.get(name)
            self.arrays[name] = fresh if have is None else np.concatenate([have, fresh])

    def begin(self, row: int, above: float | None, below: float | None) -> None:
        """A new series in this row, with its thresholds."""
        self.limits[row] = [np.nan if above is None else above, np.nan if below is None else below]
        for name, (_, _, start) in self._shapes().items():
            self.arrays[name][row] = start

    def snapshot(self, row: int) -> dict[str, NDArray[Any]]:
        """A series' state; nothing where it has no threshold."""
        if np.isnan(self.limits[row]).all():
            return {}
        state = {name: np.array(array[row]) for name, array in self.arrays.items()}
        return state | {"crossing.limits": np.array(self.limits[row])}

    def restore(self, row: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Put a snapshot into a row; one with other thresholds, or of before there were any, is left aside."""
        saved = arrays.get("crossing.limits")
        if saved is None or not np.array_equal(saved, self.limits[row], equal_nan=True):
            return
        for name, (_, shape, _) in self._shapes().items():
            if name in arrays and arrays[name].shape == shape:
                self.arrays[name][row] = arrays[name]

    def observe(self, rows: Rows, slots: Rows, values: Floats, quantiles: Floats) -> Floats:
        """Chances [B, 2] that a series goes above and below its thresholds within the horizon; NaN where it has none.

        ``values`` [B] are the newest, at ``slots`` [B], ``quantiles`` [B, H, Q] the forecasts from there; rows unique.
        """
        self._settle(rows, slots, values)
        limits = self.limits[rows]
        above = exceedance(quantiles, self.levels, limits[:, ABOVE])
        below = exceedance(-quantiles[..., ::-1], 1.0 - self.levels[::-1], -limits[:, BELOW])
        seen = np.stack([features(np.nan_to_num(above)), features(np.nan_to_num(below))], axis=1)  # [B, 2, 3]
        at = slots % self.horizon
        arrays = self.arrays
        arrays["crossing.cutoff"][rows, at] = slots
        arrays["crossing.seen"][rows, at] = 0
        arrays["crossing.features"][rows, at] = seen
        arrays["crossing.crossed"][rows, at] = False
        return np.where(np.isnan(limits), np.nan, self._chance(rows, seen))

    def _chance(self, rows: Rows, seen: Floats) -> Floats:
        odds = (self.arrays["crossing.coefficients"][rows] * seen).sum(-1)
        chance: Floats = 1.0 / (1.0 + np.exp(-odds))
        return chance

    def _settle(self, rows: Rows, slots: Rows, values: Floats) -> None:
        """Enter the newest values, and learn from the forecasts whose last target they are."""
        arrays, limits = self.arrays, self.limits[rows]
        cutoffs = arrays["crossing.cutoff"][rows]
        waits = (cutoffs >= np.maximum(slots - self.horizon, 0)[:, None]) & (cutoffs < slots[:, None])
        beyond = np.stack([values > limits[:, ABOVE], values < limits[:, BELOW]], axis=1)
        crossed = arrays["crossing.crossed"][rows] | (waits[..., None] & beyond[:, None])
        seen = arrays["crossing.seen"][rows] + waits
        arrays["crossing.crossed"][rows], arrays["crossing.seen"][rows] = crossed, seen
        at, each = slots % self.horizon, np.arange(len(rows))
        # Only where every target came: a crossing in a gap would go unseen, and one beside it would not.
        whole = (cutoffs[each, at] == slots - self.horizon) & (slots >= self.horizon) & (seen[each, at] == self.horizon)
        known = whole[:, None] & ~np.isnan(limits)
        inputs = arrays["crossing.features"][rows, at]
        slope = (self._chance(rows, inputs) - crossed[each, at])[..., None] * inputs * known[..., None]
        squares = arrays["crossing.squares"][rows] + slope * slope
        arrays["crossing.squares"][rows] = squares
        arrays["crossing.coefficients"][rows] -= RATE * slope / np.sqrt(squares)

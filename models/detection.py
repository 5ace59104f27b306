"""What a series' newest observation says about the series itself: running statistics, and how rare each of them is.

The statistics are the value and its running means over some 12 and 48 observations, each upwards and downwards; the spread about these
means; the forecast's error at lead 1, alone and as means over 4 and 48; and for how many observations the value has stood still. How rare
they are is learnt from the series alone (``models/tails.py``). So is the share of values outside the widest interval, which must also be more
than chance would make of what the interval promises; a share of gaps, late and doubled observations must be more than chance would make of
the usual one.

All is in columns over series, [N, ...]; a row's result depends on its own row alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.tails import Tails

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.int64]

STATISTICS = {
    "value high": "anomaly",
    "value low": "anomaly",
    "mean of 12 high": "anomaly",
    "mean of 12 low": "anomaly",
    "mean of 48 high": "input-drift",
    "mean of 48 low": "input-drift",
    "spread of 12": "anomaly",
    "spread of 48": "input-drift",
    "error": "anomaly",
    "mean error of 4": "anomaly",
    "mean error of 48": "error-drift",
    "standing still": "flatline",
    "outside the interval": "coverage",
    "gaps and repeats": "quality",
}
"""The statistics, and the kind of alert that each raises; the last two are shares."""
NAMES = tuple(STATISTICS)
LASTING, STILL, OUTSIDE, IRREGULAR = (
    NAMES.index(name) for name in ("mean error of 48", "standing still", "outside the interval", "gaps and repeats")
)
REGIME = [place for place, kind in enumerate(STATISTICS.values()) if kind.endswith("-drift")]
"""The statistics that tell of a new regime, and not of a moment."""
SPANS = (12, 48)
"""Observations that the running means are over: exponential weights, 2 / (span + 1) the newest."""
ERROR_SPANS = (4, 48)
SLOWEST = 0.0005
"""Weight of the newest value in the mean and the spread that tell what difference means anything, once there are many."""
OUTLIER, TRUSTED = 20.0, 32
"""A value counts for at most so many slow spreads, once there are so many: an absurd one must not blind the statistics."""
OUTSIDE_RATE, IRREGULAR_RATE, USUAL_RATE = 0.01, 0.02, 0.0005
"""Weights of the newest in the shares, and in the share of irregular observations that is usual."""
STILL_UNIT, OUTSIDE_UNIT = 20.0, 0.4
"""The smallest differences of these that mean anything are ``SHORTEST`` of it: one observation, and a fiftieth."""
MEANINGLESS = 0.01
"""Values this near to an interval, in slow spreads, are inside: that of a series which stands still has no width."""
LEAST_SHARE = 0.01
"""A usual share is taken for at least this."""
WEEK_US = 604_800_000_000
_COUNT, _SLOW, _SLOW_VARIANCE, _MEAN, _VARIANCE, _ERROR, _ERRORS, _LAST, _STILL, _OUTSIDE, _IRREGULAR, _USUAL, _SEEN = (
    0, 1, 2, slice(3, 5), slice(5, 7), slice(7, 9), 9, 10, 11, 12, 13, 14, 15,
)  # fmt: skip
WIDTH = 16


def needed(step_us: Rows, false_alarms_per_week: float) -> Floats:
    """What the rarity of an observation must reach, [B], so that series with these steps raise so many false alarms a week."""
    every = WEEK_US / np.maximum(step_us, 1) / false_alarms_per_week
    return np.log10(np.maximum(every * len(NAMES), 1.0))


class Detectors:
    """The statistics of N series: ``state`` float64 [N, WIDTH], what was last forecast, and the tails."""

    def __init__(self, horizon: int, levels: tuple[float, ...]) -> None:
        """``levels`` of the forecasts; the widest interval is from the first to the last."""
        self.median, self.outside = levels.index(0.5), 1.0 - (levels[-1] - levels[0])
        self.tails = Tails(OUTSIDE + 1)
        self.state = np.zeros((0, WIDTH))
        self.cutoff = np.zeros(0, np.int64)
        self.said = np.zeros((0, horizon))
        self.interval = np.zeros((0, 2))

    def resize(self, rows: int) -> None:
        """Make room for ``rows`` series."""
        have = len(self.state)
        for name in ("state", "cutoff", "said", "interval"):
            column = getattr(self, name)
            setattr(self, name, np.concatenate([column, np.zeros((rows - have, *column.shape[1:]), column.dtype)]))
        self.tails.resize(rows)
        self.reset(np.arange(have, rows))

    def reset(self, rows: Rows) -> None:
        """Begin anew in these rows."""
        self.state[rows] = 0.0
        self.cutoff[rows] = -1
        self.tails.reset(rows)

    def update(self, rows: Rows, slots: Rows, values: Floats, irregular: Rows, quantiles: Floats) -> Floats:
        """Take the values [B] at ``slots`` [B] of ``rows`` [B], unique, and what is forecast from there on, ``quantiles`` [B, H, Q].

        ``irregular`` [B] counts gaps, late and doubled observations so far. Returns [B, len(NAMES)] log10 of how many observations there
        are between one that is so rare and the next, 0 where nothing is rare.
        """
        state = np.ascontiguousarray(self.state[rows].T)
        before = state[_COUNT].copy()
        count = state[_COUNT] = before + 1.0
        fresh = 1.0 / count
        held = _held(state, values, before)
        self._follow(state, held, fresh)
        error, judged = self._errors(rows, slots, held, state)
        still = state[_STILL] = np.where((values == state[_LAST]) & (before > 0), state[_STILL] + 1.0, 1.0)
        state[_LAST] = values
        unit = np.sqrt(state[_SLOW_VARIANCE]) + 1e-12 * np.abs(values) + 1e-300
        outside = self._share_outside(rows, values, MEANINGLESS * unit, judged, state)
        shares = self._share_irregular(irregular, state)
        batch, size = len(rows), OUTSIDE + 1
        made, there = np.empty((size, batch)), np.empty((size, batch), np.bool_)
        means, spreads = state[_MEAN], np.sqrt(state[_VARIANCE])
        made[0:6:2], made[1:6:2] = (held, *means), (-held, *-means)
        made[6:8], made[8], made[9:11] = spreads, error, state[_ERROR]
        made[STILL], made[OUTSIDE] = still, state[_OUTSIDE]
        errors = np.where(judged, state[_ERRORS], 0.0)
        there[:2] = there[STILL] = True
        there[2:4] = there[6] = before >= SPANS[0]
        there[4:6] = there[7] = before >= SPANS[1]
        there[8:10], there[LASTING], there[OUTSIDE] = (
            errors > 2 * SPANS[0],
            errors > 2 * ERROR_SPANS[1],
            errors > 1.0 / OUTSIDE_RATE,
        )
        units = np.empty((batch, size))
        units[:] = unit[:, None]
        units[:, STILL], units[:, OUTSIDE] = STILL_UNIT, OUTSIDE_UNIT
        rare = np.empty((batch, len(NAMES)))
        rare[:, :size] = self.tails.update(rows, made.T.copy(), there.T.copy(), units)
        rare[:, OUTSIDE] = np.minimum(rare[:, OUTSIDE], outside)
        rare[:, IRREGULAR] = shares
        self.state[rows] = state.T
        self.cutoff[rows] = slots
        self.said[rows] = quantiles[:, :, self.median]
        self.interval[rows] = quantiles[:, 0, [0, -1]]
        return rare

    @staticmethod
    def _follow(state: Floats, values: Floats, fresh: Floats) -> None:
        """Move the running means and variances on."""
        for mean, variance, least in (
            (_SLOW, _SLOW_VARIANCE, SLOWEST),
            *((_MEAN.start + place, _VARIANCE.start + place, 2.0 / (span + 1)) for place, span in enumerate(SPANS)),
        ):
            rate = np.maximum(least, fresh)
            away = values - state[mean]
            state[mean] += rate * away
            state[variance] += rate * (away * (values - state[mean]) - state[variance])
            # The first value has no spread, and rounding none below zero.
            np.maximum(state[variance], 0.0, out=state[variance])

    def _errors(self, rows: Rows, slots: Rows, values: Floats, state: Floats) -> tuple[Floats, Flags]:
        """Size of the error [B] of the newest forecast about these slots, and where there was one; keeps their running mean."""
        lead = slots - self.cutoff[rows]
        judged = (self.cutoff[rows] >= 0) & (lead >= 1) & (lead <= self.said.shape[1])
        said = self.said[rows, np.where(judged, lead - 1, 0)]
        error = np.where(judged, np.abs(values - said), 0.0)
        state[_ERRORS] += judged
        for place, span in enumerate(ERROR_SPANS, _ERROR.start):
            rate = np.maximum(2.0 / (span + 1), 1.0 / np.maximum(state[_ERRORS], 1.0))
            state[place] += np.where(judged, rate * (error - state[place]), 0.0)
        return error, judged

    def _share_outside(self, rows: Rows, values: Floats, least: Floats, judged: Flags, state: Floats) -> Floats:
        at_once = judged & (state[_ERRORS] > 1.0 / OUTSIDE_RATE)
        bounds = self.interval[rows]
        outside = (values < bounds[:, 0] - least) | (values > bounds[:, 1] + least)
        state[_OUTSIDE] += np.where(at_once, OUTSIDE_RATE * (outside - state[_OUTSIDE]), 0.0)
        return np.where(at_once, _rarity(state[_OUTSIDE], np.full(len(rows), self.outside), OUTSIDE_RATE), 0.0)

    @staticmethod
    def _share_irregular(irregular: Rows, state: Floats) -> Floats:
        one = np.minimum(irregular - state[_SEEN], 1.0)
        state[_SEEN] = irregular
        rare = _rarity(state[_IRREGULAR], state[_USUAL], IRREGULAR_RATE)
        state[_IRREGULAR] += IRREGULAR_RATE * (one - state[_IRREGULAR])
        state[_USUAL] += np.maximum(USUAL_RATE, 1.0 / state[_COUNT]) * (one - state[_USUAL])
        return np.where(state[_COUNT] > 2.0 / IRREGULAR_RATE, rare, 0.0)

    def snapshot(self, row: int) -> dict[str, NDArray[Any]]:
        """One series as plain arrays; ``restore`` is the exact inverse."""
        own = {f"detect.{name}": np.array(getattr(self, name)[row]) for name in ("state", "cutoff", "said", "interval")}
        return own | self.tails.snapshot(row)

    def restore(self, row: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Put a snapshot into a row. Raises KeyError or ValueError where it is of other detectors."""
        for name in ("state", "cutoff", "said", "interval"):
            column, kept = getattr(self, name), arrays[f"detect.{name}"]
            if kept.shape != column.shape[1:]:
                raise ValueError(f"detectors' {name} of shape {kept.shape} is of others")
        for name in ("state", "cutoff", "said", "interval"):
            getattr(self, name)[row] = arrays[f"detect.{name}"]
        self.tails.restore(row, arrays)


def _held(state: Floats, values: Floats, count: Floats) -> Floats:
    """The values [B], those beyond ``OUTLIER`` slow spreads held there."""
    reach = OUTLIER * np.sqrt(state[_SLOW_VARIANCE])
    reach = np.where((count >= TRUSTED) & (reach > 0), reach, np.inf)
    return np.clip(values, state[_SLOW] - reach, state[_SLOW] + reach)


def _rarity(share: Floats, usual: Floats, rate: float) -> Floats:
    """log10 of how rarely a running share reaches ``share`` where ``usual`` is true: Chernoff's bound on normal deviations."""
    usual = np.clip(usual, LEAST_SHARE, 1.0 - LEAST_SHARE)
    deviation = np.sqrt(usual * (1.0 - usual) * rate / (2.0 - rate))
    away = np.maximum(share - usual, 0.0) / deviation
    rarity: Floats = 0.5 * away * away * np.log10(np.e)
    return rarity

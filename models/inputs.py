"""From windows to what the experts and the network see: centred on the last value, scaled per series, with masks and calendar."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.arena import Arrays, Field
from models.calendar import calendar
from models.spec import ModelSpec
from models.windows import Windows

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
INPUT_LIMIT = 10.0
"""Centred and scaled inputs are clipped here: a physically absurd value must not saturate the network."""
TARGET_LIMIT = 20.0
"""The same for targets and forecasts."""


class Scales:
    """Typical spread of each channel inside a window: exponentially weighted mean of window variances, float64 [N, C]."""

    SLOWEST = 0.02
    """Weight of the newest window once there are many."""
    TRUSTED = 8
    """Observations after which the scale so far bounds what the next may do to it."""
    OUTLIER = 20.0
    LARGEST = 1e150
    """Squares beyond it would overflow."""
    STEADY = 0.0002
    """As ``SLOWEST``, for the steady scale of channel 0, on which the least-squares experts stand."""

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.arrays: Arrays = {}

    def fields(self) -> list[Field]:
        """See ``models.arena.Part``."""
        return [Field("scale.variance", np.float64, (self.channels,)), Field("scale.steady", np.float64)]

    @property
    def variance(self) -> Floats:
        """Mean window variance, [N, C]."""
        return self.arrays["scale.variance"]

    def update(self, rows: Rows, values: Floats, seen: NDArray[np.bool_], counts: Rows) -> None:
        """Take the window [B, L, C] with its seen slots [B, L]; ``counts`` [B] is how many observations the series has had."""
        mask = seen[..., None]
        number = np.maximum(seen.sum(1), 1)[:, None]
        # One absurd value must not make everything else look flat: beyond OUTLIER scales a value counts as being there.
        known = np.where((counts > self.TRUSTED)[:, None], self.OUTLIER * np.sqrt(self.variance[rows]), np.inf)
        bound = np.minimum(np.where(known > 0, known, np.inf), self.LARGEST)[:, None]
        away = np.where(mask, np.clip(values - np.median(values, axis=1)[:, None], -bound, bound), 0.0)
        mean = away.sum(1) / number
        variance = np.where(mask, (away - mean[:, None]) ** 2, 0.0).sum(1) / number
        rate = np.maximum(self.SLOWEST, 1.0 / np.maximum(counts - 1, 1))[:, None]
        self.variance[rows] += rate * (variance - self.variance[rows])
        steady, pace = self.arrays["scale.steady"], np.maximum(self.STEADY, 1.0 / np.maximum(counts - 1, 1))
        steady[rows] += pace * (variance[:, 0] - steady[rows])

    def clear(self, rows: Rows) -> None:
        """Forget the scales of these rows."""
        self.variance[rows] = 0.0
        self.arrays["scale.steady"][rows] = 0.0

    def of(self, rows: Rows, level: Floats) -> Floats:
        """Scale [B, C], never zero: at least what float64 can just tell apart at the level [B, C]."""
        floor = 1e-12 * np.abs(level) + 1e-12
        return np.maximum(np.sqrt(self.variance[rows]), floor)

    def steady(self, rows: Rows, level: Floats) -> Floats:
        """Steady scale [B] of channel 0 at the level [B], never zero."""
        return np.maximum(np.sqrt(self.arrays["scale.steady"][rows]), 1e-12 * np.abs(level) + 1e-12)


def normalised(values: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Windows [B, R, L, C] minus their last value, over the scale [B, C] (reversible instance normalisation, Kim et al. 2022).

    Returns the centred windows and the last values [B, R, C].
    """
    last = np.ascontiguousarray(values[:, :, -1])
    with np.errstate(over="ignore"):  # an absurd value over a tiny scale is clipped like any other
        return np.clip((values - last[:, :, None]) / scale[:, None, None], -INPUT_LIMIT, INPUT_LIMIT), last


def patches(
    centred: Floats, seen: NDArray[np.bool_], last_us: Rows, step_us: Rows, spec: ModelSpec
) -> NDArray[np.float32]:
    """Inputs of each recurrent step, [B, R, S, F]: ``patch`` slots of channels and mask, and the calendar at the patch's end.

    ``last_us`` [B, R] is the time of each window's last slot, ``step_us`` [B].
    """
    series, windows, length, _ = centred.shape
    steps = length // spec.patch
    slots = np.concatenate([centred, seen[..., None]], axis=-1).reshape(series, windows, steps, -1)
    back = spec.patch * np.arange(1 - steps, 1)
    time = (last_us[..., None] + back * step_us[:, None, None]).astype(np.int64, copy=False)
    return np.concatenate([slots, calendar(time)], axis=-1).astype(np.float32)


def differences(
    windows: Windows, rows: Rows, cutoffs: Rows, steps: int, scale: Floats, last_us: Rows, step_us: Rows
) -> NDArray[np.float32]:
    """Inputs of ``steps`` recurrent steps up to ``cutoffs`` [B], [B, S, F]: each slot's step from the one before it over the scale [B, C], its
    mask and the calendar. They are the same whichever window a slot is seen in, so a state can be carried over them.

    ``last_us`` [B] is the time of the cutoffs.
    """
    values, seen = windows.span(rows, cutoffs[:, None], steps + 1)
    return moves(values[:, 0], seen[:, 0], scale, last_us, step_us)


def moves(values: Floats, seen: NDArray[np.bool_], scale: Floats, last_us: Rows, step_us: Rows) -> NDArray[np.float32]:
    """The same from the values [B, S+1, C] and seen slots [B, S+1] that the steps lie between."""
    with np.errstate(over="ignore"):
        moved = np.clip((values[:, 1:] - values[:, :-1]) / scale[:, None], -INPUT_LIMIT, INPUT_LIMIT)
    time = (last_us[:, None] + np.arange(1 - moved.shape[1], 1) * step_us[:, None]).astype(np.int64, copy=False)
    return np.concatenate([moved, seen[:, 1:, None], calendar(time)], axis=-1).astype(np.float32)


def seasonal(windows: Windows, rows: Rows, cutoffs: Rows, season: Rows, horizon: int, fallback: Floats) -> Floats:
    """The value one season before each target, [B, H]; ``fallback`` [B] where the series has no season or no history there."""
    leads = np.arange(1, horizon + 1)
    period = np.maximum(season, 1)[:, None]
    back = period * (-(-leads // period))
    values, there = windows.at(rows, cutoffs[:, None] + leads - back)
    return np.where(there & (season > 0)[:, None], values, fallback[:, None])


def replay_cutoffs(keys: NDArray[np.uint64], slots: Rows, low: Rows, high: Rows, count: int) -> Rows:
    """``count`` older cutoffs for each row, [B, count], uniform in [low, high): a hash of series key, slot and number, so that a replay of
    the stream draws the same ones. Where there is none (high <= low) the result is ``low``."""
    number = np.arange(1, count + 1, dtype=np.uint64)
    mixed = keys[:, None] ^ (slots.astype(np.uint64)[:, None] * np.uint64(0x9E3779B97F4A7C15) + number)
    # splitmix64 finaliser (Steele, Lea and Flood 2014)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    room = np.maximum(high - low, 1).astype(np.uint64)[:, None]
    drawn: Rows = low[:, None] + (mixed % room).astype(np.int64)
    return drawn

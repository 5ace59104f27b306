"""History of many series, made ready to train on: every window as a forecaster would have seen it live, and nothing
later.

All slots of all series lie one after the other in flat arrays, so a window is a cutoff: an index into them. What a
window shows (centring, scale, masks, calendar) comes from ``models/inputs.py``, as in live running; the scale at a
cutoff is the running spread that the forecaster would have had there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from models.inputs import TARGET_LIMIT, Scales, moves, normalised, patches
from models.spec import ModelSpec

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Rows = NDArray[np.int64]

HELD_OUT = 0.1
"""Share of the newest windows by which models are compared. Nothing is chosen by them but the champion."""
VALIDATION = 0.1
"""Share of the windows before those, by which training decides when to stop."""
FEWEST = {"train": 128, "validation": 16, "held_out": 16}
"""Windows of each part below which training says more about chance than about the feed."""
_BLOCK = 4_096


@dataclass(frozen=True, slots=True)
class SeriesHistory:
    """A stretch of one series on its grid: slot i lies at ``first_us + i*step_us``.

    ``values`` float64 [T, C] without NaN, channel 0 first; ``seen`` bool [T], the first slot seen. As in ``Windows``,
    an unseen slot holds the value before it. A series may come in several stretches, where it was silent for long.
    """

    name: str
    step_us: int
    first_us: int
    values: Floats
    seen: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Split:
    """Cutoffs int64 [n] by purpose, in time: train, then validation, then held out. No target of one part reaches into
    the next.
    """

    train: Rows
    validation: Rows
    held_out: Rows

    @property
    def shortfall(self) -> str | None:
        """What is missing for training to make sense; None when there is enough."""
        for name, fewest in FEWEST.items():
            count = len(getattr(self, name))
            if count < fewest:
                return f"{count} windows in the {name.replace('_', '-')} part, at least {fewest} are needed"
        return None


@dataclass(frozen=True, slots=True)
class Batch:
    """R windows as the network takes them: patches [1, R, S, F], centred [1, R, L], targets and known [1, R, H]; all
    float32.
    """

    patches: Floats32
    centred: Floats32
    targets: Floats32
    known: Floats32


class History:
    """Windows of all series under a spec. Raises ValueError for a series that is not as ``SeriesHistory`` says."""

    def __init__(self, series: Sequence[SeriesHistory], spec: ModelSpec) -> None:
        for one in series:
            _check(one, spec)
        lengths = np.array([len(one.seen) for one in series], np.int64)
        ends = np.cumsum(lengths)
        owner = np.repeat(np.arange(len(series)), lengths)
        steps = np.array([one.step_us for one in series], np.int64)
        firsts = np.array([one.first_us for one in series], np.int64)
        seasons = np.array([spec.season_slots(one.step_us) for one in series], np.int64)
        self.spec = spec
        self.values: Floats = np.concatenate([np.zeros((0, spec.channels)), *(one.values for one in series)])
        self.seen: NDArray[np.bool_] = np.concatenate([np.zeros(0, bool), *(one.seen for one in series)])
        self.begin: Rows = (ends - lengths)[owner]
        self.end: Rows = ends[owner]
        self.step_us: Rows = steps[owner]
        self.season: Rows = seasons[owner]
        self.time_us: Rows = firsts[owner] + (np.arange(len(owner)) - self.begin) * self.step_us
        self.scales = Scales(spec.channels)
        spreads = [running_variance(one.values, one.seen, spec.context) for one in series]
        self.scales.arrays["scale.variance"] = np.concatenate([np.zeros((0, spec.channels)), *spreads])

    @property
    def cutoffs(self) -> Rows:
        """Every cutoff that a forecast would be made at, with a quarter of its window there and a known target; in flat
        order.
        """
        counted = np.concatenate([[0], np.cumsum(self.seen)])
        at = np.arange(len(self.seen))
        ahead = counted[np.minimum(at + 1 + self.spec.horizon, self.end)] - counted[at + 1]
        kept: Rows = np.flatnonzero(self.seen & (at - self.begin >= self.spec.context // 4) & (ahead > 0))
        return kept

    def split(self) -> Split:
        """Cutoffs by time over all series at once: no series tells of another's future. Purged by the horizon."""
        cutoffs = self.cutoffs
        if not len(cutoffs):
            return Split(cutoffs, cutoffs, cutoffs)
        made = self.time_us[cutoffs]
        reach = made + self.spec.horizon * self.step_us[cutoffs]
        ordered = np.sort(made)
        validation_us = ordered[int(len(ordered) * (1 - HELD_OUT - VALIDATION))]
        held_out_us = ordered[int(len(ordered) * (1 - HELD_OUT))]
        return Split(
            train=cutoffs[reach < validation_us],
            validation=cutoffs[(made >= validation_us) & (reach < held_out_us)],
            held_out=cutoffs[made >= held_out_us],
        )

    def batch(self, cutoffs: Rows) -> Batch:
        """The windows [R] that end at ``cutoffs``, and what came after them."""
        begin = self.begin[cutoffs][:, None]
        slots = cutoffs[:, None] + np.arange(-self.spec.context, 1)
        inside = np.maximum(slots, begin)
        values, seen = self.values[inside], self.seen[inside] & (slots >= begin)  # [R, L + 1, C], [R, L + 1]
        scale = self.scales.of(cutoffs, self.values[cutoffs])
        last_us, step_us = self.time_us[cutoffs], self.step_us[cutoffs]
        # The scale is one for each window here, so the windows stand on the axis that live running has its series on.
        centred, _ = normalised(values[:, None, 1:], scale)
        if self.spec.policy == "carried":
            steps = moves(values, seen, scale, last_us, step_us)[:, None]
        else:
            steps = patches(centred, seen[:, None, 1:], last_us[:, None], step_us, self.spec)
        targets, known = self.targets(cutoffs)
        line = np.ascontiguousarray(centred[None, :, 0, :, 0]).astype(np.float32)
        return Batch(steps.swapaxes(0, 1), line, targets[None].astype(np.float32), known[None].astype(np.float32))

    def targets(self, cutoffs: Rows) -> tuple[Floats, NDArray[np.bool_]]:
        """Targets [R, H], centred and scaled as the forecasts are, and which are known."""
        at = cutoffs[:, None] + np.arange(1, self.spec.horizon + 1)
        inside = at < self.end[cutoffs][:, None]
        at = np.where(inside, at, cutoffs[:, None])
        known = inside & self.seen[at]
        return np.where(known, self._relative(cutoffs, at), 0.0), known

    def seasonal(self, cutoffs: Rows) -> Floats:
        """What the seasonal naive forecast says, [R, H], centred and scaled: the last value where there is no season to
        look back on.
        """
        leads = np.arange(1, self.spec.horizon + 1)
        period = np.maximum(self.season[cutoffs], 1)[:, None]
        back: Rows = period * np.ceil(leads / period).astype(np.int64)
        at: Rows = cutoffs[:, None] + leads - back
        there = (at >= self.begin[cutoffs][:, None]) & (self.season[cutoffs] > 0)[:, None]
        at = np.where(there, at, cutoffs[:, None])
        return np.where(there & self.seen[at], self._relative(cutoffs, at), 0.0)

    def _relative(self, cutoffs: Rows, at: Rows) -> Floats:
        """Channel 0 at ``at`` [R, H], minus the value at each cutoff, over its scale."""
        unit = self.scales.of(cutoffs, self.values[cutoffs])[:, :1]
        relative: Floats = (self.values[at, 0] - self.values[cutoffs, :1]) / unit
        return np.clip(relative, -TARGET_LIMIT, TARGET_LIMIT)


def running_variance(values: Floats, seen: NDArray[np.bool_], context: int) -> Floats:
    """What ``Scales`` holds after each observation of a series, [T, C]: a window's variance, exponentially weighted; 0
    at unseen slots. Absurd values are not bounded as they are there: training clips its inputs and targets.
    """
    kept = np.flatnonzero(seen)
    limited = np.clip(values, -Scales.LARGEST, Scales.LARGEST)
    padded = np.concatenate([np.zeros((context - 1, values.shape[1])), limited])
    present = np.concatenate([np.zeros(context - 1, bool), seen])
    windows, masks = sliding_window_view(padded, context, axis=0), sliding_window_view(present, context)
    variance = np.zeros((len(kept), values.shape[1]))
    for begin in range(0, len(kept), _BLOCK):
        at = kept[begin : begin + _BLOCK]
        window, mask = windows[at], masks[at][:, None]  # [n, C, L], [n, 1, L]
        number = mask.sum(-1)
        mean = np.where(mask, window, 0.0).sum(-1) / number
        variance[begin : begin + _BLOCK] = np.where(mask, (window - mean[..., None]) ** 2, 0.0).sum(-1) / number
    rates = np.maximum(Scales.SLOWEST, 1.0 / np.maximum(np.arange(len(kept)), 1)).tolist()
    out = np.zeros_like(values)
    for channel in range(values.shape[1]):
        running, smoothed = 0.0, []
        # Each depends on the one before; plain floats are the fastest way through.
        for rate, newest in zip(rates, variance[:, channel].tolist(), strict=True):
            running += rate * (newest - running)
            smoothed.append(running)
        out[kept, channel] = smoothed
    return out


def _check(one: SeriesHistory, spec: ModelSpec) -> None:
    if one.values.shape != (len(one.seen), spec.channels):
        raise ValueError(
            f"series {one.name!r}: values {one.values.shape} for {len(one.seen)} slots of {spec.channels} channels"
        )
    if not len(one.seen) or not one.seen[0] or one.step_us < 1:
        raise ValueError(f"series {one.name!r}: must begin with a seen slot and have a positive step")
    if not np.isfinite(one.values).all():
        raise ValueError(f"series {one.name!r}: values must be finite")

"""The forecaster of one feed: every series' windows, experts, network, mixture and calibration, stacked, advanced together.

The order at each new observation is the promise of the whole project: settle the forecasts that it decides, then forecast, then learn,
all from what is known at that moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arena import Arena, Arrays, Field
from models.calibration import widen
from models.fleet import Fleet
from models.inputs import TARGET_LIMIT, Scales, normalised, patches, replay_cutoffs, seasonal
from models.lags import LONG_WIDTH, QUICK_WIDTH
from models.lags import inputs as lag_inputs
from models.least_squares import LeastSquares
from models.pending import Pending
from models.scores import Scores
from models.spec import ModelSpec
from models.windows import Windows

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

MAE_TO_DEVIATION = 1.2533
"""Standard deviation over mean absolute deviation of a normal error: sqrt(pi/2)."""


@dataclass(slots=True)
class Beat:
    """The series' clocks for one call: ``step_us`` and ``phase_us`` [B]; slot s lies at phase + s*step."""

    step_us: Rows
    phase_us: Rows

    def time(self, slots: Rows) -> Rows:
        """Time of slots [B, ...] in microseconds."""
        shape = (-1,) + (1,) * (slots.ndim - 1)
        return self.phase_us.reshape(shape) + slots * self.step_us.reshape(shape)


@dataclass(slots=True)
class Issued:
    """Forecasts of B series: quantiles [B, H, Q] in the series' own units, mean mixture weights [B, E], and whether each series is ready.

    ``experts`` [B, H, E]: what each expert says by itself, in the series' own units; None unless the forecaster ``tells_experts``.
    """

    quantiles: Floats
    weights: Floats
    ready: NDArray[np.bool_]
    experts: Floats | None = None


@dataclass(slots=True)
class Settled:
    """What an observation decided: the standardised lead-1 error [B] of the median (0 where not ``known``)."""

    error: Floats
    known: NDArray[np.bool_]


class Forecaster:
    """N series of one feed. Rows are handed out by the caller, which names them with a stable ``key`` each."""

    def __init__(self, spec: ModelSpec, seed: int, step_us: int = 0) -> None:
        self.spec = spec
        self.levels = np.array(spec.levels)
        self.normal = np.array([NormalDist().inv_cdf(level) for level in spec.levels])
        self.windows = Windows(spec.window_capacity(step_us), spec.channels)
        self.scales = Scales(spec.channels)
        self.fleet = Fleet(spec, seed)
        self.regressions = [
            LeastSquares(name, width, spec.horizon, forgetting)
            for name, width, forgetting in (
                ("least-squares", LONG_WIDTH, spec.rls_forgetting),
                ("quick-least-squares", QUICK_WIDTH, spec.rls_quick_forgetting),
            )
            if name in spec.experts
        ]
        self.pending = Pending(spec.horizon, len(spec.experts), len(spec.levels))
        self.scores = Scores(spec.horizon, len(spec.experts), len(spec.levels))
        self.tells_experts = False
        self.arrays: Arrays = {}
        self.arena = Arena([self, self.windows, self.scales, *self.regressions, self.pending, self.scores])

    def fields(self) -> list[Field]:
        """See ``models.arena.Part``: a series' own number, from which its replay draws come."""
        return [Field("key", np.uint64)]

    @property
    def keys(self) -> NDArray[np.uint64]:
        """The series' numbers, [N]."""
        return self.arrays["key"]

    @property
    def capacity(self) -> int:
        """Rows there is room for."""
        return len(self.keys)

    def resize(self, rows: int) -> None:
        """Make room for ``rows`` series."""
        self.arena.resize(rows)
        self.fleet.resize(rows)

    def start(self, rows: Rows, keys: NDArray[np.uint64]) -> None:
        """Begin new series in these rows, from the starting weights."""
        self.windows.clear(rows)
        self.scales.clear(rows)
        self.fleet.reset(rows)
        for regression in self.regressions:
            regression.reset(rows)
        self.pending.clear(rows)
        self.scores.reset(rows)
        self.keys[rows] = keys

    def restart(self, rows: Rows) -> None:
        """After a long silence: a new window, nothing pending; what was learnt (weights, mixture, calibration) stays."""
        self.windows.clear(rows)
        self.pending.clear(rows)
        self.scores.arrays["score.run"][rows] = 0

    def observe(
        self, rows: Rows, slots: Rows, values: Floats, beat: Beat, thin: Rows | int = 1
    ) -> tuple[Settled, Issued]:
        """Take one observation of each row, at a slot after its newest: settle, forecast, learn.

        rows [B] unique, slots [B], values [B, C] finite in channel 0. The forecasts have their cutoff at ``slots``. Of the observations
        that a row would learn at it takes every ``thin``-th, of all or by row [B].
        """
        spec = self.spec
        settled = self._settle(rows, slots, values[:, 0])
        self.windows.push(rows, slots, values)
        count = self.scores.observe(rows)
        room = spec.replay
        low = np.minimum(np.maximum(self.windows.first[rows] + 1, slots - self.windows.capacity + spec.context), slots)
        mature = slots - spec.horizon
        older = replay_cutoffs(self.keys[rows], slots, low, mature, room)
        ends = np.concatenate([slots[:, None], mature[:, None], older], axis=1)  # [B, R]
        window, seen = self.windows.span(rows, np.maximum(ends, 0), spec.context)
        self.scales.update(rows, np.ascontiguousarray(window[:, 0]), np.ascontiguousarray(seen[:, 0]), count)
        scale = self.scales.of(rows, np.ascontiguousarray(window[:, 0, -1]))
        centred, last = normalised(window, scale)
        unit = scale[:, 0]
        steps = patches(centred, seen, beat.time(ends), beat.step_us, spec)
        targets, known = self._targets(rows, ends[:, 1:], low, last[:, 1:, 0], unit)
        learn = (count % (spec.learn_every * thin)) == 0
        line = np.ascontiguousarray(centred[..., 0]).astype(np.float32)
        network = self.fleet.step(rows, steps, line, targets, known, learn) if "network" in spec.experts else None
        points, quantiles = self._experts(rows, slots, last[:, 0, 0], unit, beat, network)
        weights = self.scores.arrays["score.weights"][rows]
        mixed = (weights[..., None] * quantiles).sum(2)  # [B, H, Q]
        typical = self.scores.typical(rows)
        mixed = widen(mixed, self.scores.arrays["score.offsets"][rows], typical[..., None], spec.median)
        mixed = np.clip(mixed, -TARGET_LIMIT, TARGET_LIMIT)
        self.pending.put(rows, slots, last[:, 0, 0], unit, points, mixed)
        ahead = last[:, 0, 0][:, None, None] + unit[:, None, None] * mixed
        experts = last[:, 0, 0][:, None, None] + unit[:, None, None] * points if self.tells_experts else None
        return settled, Issued(
            ahead, weights.mean(1), self.scores.arrays["score.run"][rows] >= spec.ready_after, experts
        )

    def fill(self, rows: Rows, slots: Rows, values: Floats) -> NDArray[np.bool_]:
        """Put late observations [B, C] into their empty slots and settle what they decide; False where the slot was taken (a duplicate)."""
        free = self.windows.fill(rows, slots, values)
        self._settle(rows[free], slots[free], values[free, 0])
        self.scores.arrays["score.count"][rows[free]] += 1
        return free

    def _settle(self, rows: Rows, slots: Rows, values: Floats) -> Settled:
        spec = self.spec
        due = self.pending.due(rows, slots)
        unit = np.where(due.known, due.scale, 1.0)
        target = np.where(
            due.known, np.clip((values[:, None] - due.origin) / unit, -TARGET_LIMIT, TARGET_LIMIT), 0.0
        )  # [B, H]
        for regression in self.regressions:
            regression.learn(rows, due.cutoffs, values[:, None] - due.origin, due.known)
        losses: Floats = np.abs(target[..., None] - due.points)
        covered = target[..., None] <= due.quantiles
        error: Floats = target - due.quantiles[..., spec.median]
        return Settled(*self.scores.settle(rows, losses, covered, error, due.known, unit[:, 0], self.levels, spec))

    def _targets(
        self, rows: Rows, cutoffs: Rows, low: Rows, origin: Floats, unit: Floats
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Targets [B, R, H] of mature cutoffs [B, R], centred and scaled, and which are known: all of them lie at or before the newest."""
        leads = np.arange(1, self.spec.horizon + 1)
        slots = (cutoffs[..., None] + leads).reshape(len(rows), -1)
        values, there = self.windows.at(rows, slots)
        shape = (*cutoffs.shape, self.spec.horizon)
        mature = (cutoffs >= low[:, None]) & (cutoffs <= self.windows.newest[rows][:, None] - self.spec.horizon)
        known = there.reshape(shape) & mature[..., None]
        targets = (values.reshape(shape) - origin[..., None]) / unit[:, None, None]
        limited = np.where(known, np.clip(targets, -TARGET_LIMIT, TARGET_LIMIT), 0.0)
        return limited.astype(np.float32), known.astype(np.float32)

    def _experts(
        self, rows: Rows, slots: Rows, last: Floats, unit: Floats, beat: Beat, network: NDArray[np.float32] | None
    ) -> tuple[Floats, Floats]:
        """Each expert's points [B, H, E] and quantiles [B, H, E, Q], centred and scaled; ``network`` [B, H, Q] or None."""
        spec = self.spec
        season = np.array([spec.season_slots(int(step)) for step in beat.step_us], np.int64)
        made = [np.zeros((len(rows), spec.horizon))]
        if "seasonal-naive" in spec.experts:
            past = seasonal(self.windows, rows, slots, season, spec.horizon, last)
            made.append((past - last[:, None]) / unit[:, None])
        made += self._regress(rows, slots, last, unit, season, beat)
        if network is not None:
            made.append(network[..., spec.median].astype(np.float64))
        points = np.clip(np.stack(made, axis=-1), -TARGET_LIMIT, TARGET_LIMIT)
        spreads = self.scores.spread(rows)[..., None] * MAE_TO_DEVIATION * self.normal  # [B, H, E, Q]
        quantiles = points[..., None] + spreads
        if network is not None:
            quantiles[:, :, -1] = network
        return points, quantiles

    def _regress(self, rows: Rows, slots: Rows, last: Floats, unit: Floats, season: Rows, beat: Beat) -> list[Floats]:
        """What each least-squares expert says, [B, H], centred and scaled."""
        if not self.regressions:
            return []
        steady = self.scales.steady(rows, last)
        counts = self.scores.arrays["score.count"][rows]
        seen = lag_inputs(self.windows, rows, slots, counts, season, beat.time(slots), beat.step_us, steady)
        return [
            regression.forecast(rows, slots, *seen[regression.name], steady) / unit[:, None]
            for regression in self.regressions
        ]

    def snapshot(self, row: int) -> Arrays:
        """Everything of one series as plain arrays; ``restore`` is the exact inverse, into any row of any forecaster of the same spec."""
        return self.arena.snapshot(row) | self.fleet.snapshot(row)

    def restore(self, row: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Put a snapshot into a row. Raises ValueError where it comes from another spec."""
        self.fleet.restore(row, arrays)
        self.arena.restore(row, arrays)

"""Everything that an observation does but the network, in numpy over a batch of series: the definition, and what runs without a compiler."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from models.arena import Arrays, Field, Part
from models.calibration import widen
from models.inputs import INPUT_LIMIT, TARGET_LIMIT, Scales, differences, normalised, patches, replay_cutoffs, seasonal
from models.lags import LONG_WIDTH, QUICK_WIDTH
from models.lags import inputs as lag_inputs
from models.least_squares import LeastSquares
from models.observation import Beat, Floats, Floats32, Issued, Rows, Settled, Sight
from models.pending import Pending
from models.scores import Scores
from models.spec import ModelSpec
from models.windows import Windows

MAE_TO_DEVIATION = 1.2533
"""Standard deviation over mean absolute deviation of a normal error: sqrt(pi/2)."""

LOOSE = 10
"""Errors that the running means of a lead count as having had when a new regime begins."""


class Surroundings:
    """What N series keep beside their networks, stacked. ``models.observation.Observer`` says what ``before`` and ``after`` do."""

    def __init__(self, spec: ModelSpec, step_us: int) -> None:
        self.spec = spec
        self.levels = np.array(spec.levels)
        self.normal = np.array([NormalDist().inv_cdf(level) for level in spec.levels])
        self.windows = Windows(spec.window_capacity(step_us), spec.channels)
        self.scales = Scales(spec.channels)
        self.regressions = [
            LeastSquares(name, width, spec.horizon, forgetting)
            for name, width, forgetting in (
                ("least-squares", LONG_WIDTH, spec.rls_forgetting),
                ("quick-least-squares", QUICK_WIDTH, spec.rls_quick_forgetting),
            )
            if name in spec.experts
        ]
        self.pending = Pending(spec.horizon, len(spec.experts), len(spec.levels))
        self.scores = Scores(spec.horizon, spec.experts, len(spec.levels))
        self.arrays: Arrays = {}
        # The rings of the windows come last: an observation touches little of them, so they are not fetched ahead.
        self.parts: tuple[Part, ...] = (self, self.scales, self.scores, self.pending, *self.regressions, self.windows)

    def fields(self) -> list[Field]:
        """See ``models.arena.Part``: a series' own number, from which its replay draws come."""
        return [Field("key", np.uint64)]

    @property
    def keys(self) -> NDArray[np.uint64]:
        """The series' numbers, [N]."""
        return self.arrays["key"]

    def start(self, rows: Rows, keys: NDArray[np.uint64]) -> None:
        """Begin new series in these rows."""
        self.windows.clear(rows)
        self.scales.clear(rows)
        for regression in self.regressions:
            regression.reset(rows)
        self.pending.clear(rows)
        self.scores.reset(rows)
        self.keys[rows] = keys

    def restart(self, rows: Rows) -> None:
        """After a long silence: a new window, nothing pending; what was learnt stays."""
        self.windows.clear(rows)
        self.pending.clear(rows)
        self.scores.arrays["score.run"][rows] = 0

    def loosen(self, rows: Rows) -> None:
        """A new regime: let what was learnt be overruled sooner. The regressions believe new windows as they did at the start, half of the
        mixture's evidence is forgotten, and running errors and calibration of all leads but the first begin anew.

        Lead 1 keeps its running errors, since the drift tests stand on their scale.
        """
        arrays = self.scores.arrays
        for regression in self.regressions:
            regression.loosen(rows)
        evidence = arrays["score.evidence"]
        evidence[rows] = 0.5 * (evidence[rows] + self.scores.prior)
        settled = arrays["score.settled"]
        settled[rows, 1:] = np.minimum(settled[rows, 1:], LOOSE)

    def seasons(self, step_us: Rows) -> Rows:
        """The seasons [B] of series with these steps, in slots; 0 for none."""
        if len(step_us) and (step_us == step_us[0]).all():
            return np.full(len(step_us), self.spec.season_slots(int(step_us[0])), np.int64)
        return np.array([self.spec.season_slots(int(step)) for step in step_us], np.int64)

    def before(
        self, rows: Rows, slots: Rows, values: Floats, beat: Beat, thin: Rows, counts: Rows
    ) -> tuple[Settled, Sight]:
        """See ``models.observation.Observer``."""
        spec = self.spec
        settled = self.settle(rows, slots, values[:, 0])
        self.windows.push(rows, slots, values)
        season = self.seasons(beat.step_us)
        count = self.scores.observe(rows, season)
        low = np.minimum(np.maximum(self.windows.first[rows] + 1, slots - self.windows.capacity + spec.context), slots)
        mature = slots - spec.ahead
        older = replay_cutoffs(self.keys[rows], slots, low, mature, spec.replay)
        ends = np.concatenate([slots[:, None], mature[:, None], older], axis=1)  # [B, R]
        window, seen = self.windows.span(rows, np.maximum(ends, 0), spec.context)
        self.scales.update(rows, np.ascontiguousarray(window[:, 0]), np.ascontiguousarray(seen[:, 0]), count)
        scale = self.scales.of(rows, np.ascontiguousarray(window[:, 0, -1]))
        centred, last = normalised(window, scale)
        unit = scale[:, 0]
        inputs = self._inputs(rows, slots, ends, centred, seen, last, scale, beat)
        fresh = np.zeros((len(rows), 0, inputs.shape[-1]), np.float32)
        if spec.policy == "carried":
            fresh = self._fresh(rows, slots, int(counts.max(initial=1)), counts, scale, beat)
        targets, known = self._targets(rows, ends[:, 1:], low, last[:, 1:, 0], unit)
        learn = (count % (spec.learn_every * thin)) == 0
        origin = np.stack([last[:, 0, 0], unit, self.scales.steady(rows, last[:, 0, 0])], axis=1)
        line = np.ascontiguousarray(centred[..., 0]).astype(np.float32)
        return settled, Sight(rows, slots, beat, season, inputs, fresh, counts, line, targets, known, learn, origin)

    def after(self, sight: Sight, network: Floats32 | None, tell: bool) -> Issued:
        """See ``models.observation.Observer``."""
        spec, rows, slots = self.spec, sight.rows, sight.slots
        last, unit = sight.origin[:, 0], sight.origin[:, 1]
        points, quantiles = self._experts(sight, network)
        weights = self.scores.weights(rows)
        mixed = (weights[..., None] * quantiles).sum(2)  # [B, H, Q]
        typical = self.scores.typical(rows)
        mixed = widen(mixed, self.scores.arrays["score.offsets"][rows], typical[..., None], spec.median)
        mixed = np.clip(mixed, -TARGET_LIMIT, TARGET_LIMIT)
        self.pending.put(rows, slots, last, unit, points, mixed)
        ahead = last[:, None, None] + unit[:, None, None] * mixed
        experts = last[:, None, None] + unit[:, None, None] * points if tell else None
        ready = self.scores.arrays["score.run"][rows] >= spec.ready_after
        return Issued(ahead, weights.mean(1), ready, experts)

    def fill(self, rows: Rows, slots: Rows, values: Floats) -> NDArray[np.bool_]:
        """Put late observations [B, C] into their empty slots and settle what they decide; False where the slot was taken (a duplicate)."""
        free = self.windows.fill(rows, slots, values)
        self.settle(rows[free], slots[free], values[free, 0])
        self.scores.arrays["score.count"][rows[free]] += 1
        return free

    def settle(self, rows: Rows, slots: Rows, values: Floats) -> Settled:
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

    def _inputs(
        self,
        rows: Rows,
        slots: Rows,
        ends: Rows,
        centred: Floats,
        seen: NDArray[np.bool_],
        last: Floats,
        scale: Floats,
        beat: Beat,
    ) -> Floats32:
        """The recurrence's inputs under the feed's policy; ``ends`` [B, R] are the windows' last slots, ``last`` [B, R, C] their values."""
        spec = self.spec
        if spec.policy == "carried":
            cutoffs = np.maximum(ends[:, 1], 0)
            return differences(self.windows, rows, cutoffs, spec.truncation, scale, beat.time(cutoffs), beat.step_us)[
                :, None
            ]
        if spec.policy == "window":
            return patches(centred, seen, beat.time(ends), beat.step_us, spec)
        length = spec.context + spec.ahead
        window, seen = self.windows.span(rows, slots[:, None], length)
        with np.errstate(over="ignore"):
            joint = np.clip((window - last[:, 1:2, None]) / scale[:, None, None], -INPUT_LIMIT, INPUT_LIMIT)
        return patches(joint, seen, beat.time(slots[:, None]), beat.step_us, spec)

    def _fresh(self, rows: Rows, slots: Rows, most: int, counts: Rows, scale: Floats, beat: Beat) -> Floats32:
        """Inputs [B, most, F] of the new steps of carried states, of which each row has ``counts``."""
        made = differences(self.windows, rows, slots, most, scale, beat.time(slots), beat.step_us)
        at = np.minimum(np.arange(most) + (most - counts)[:, None], most - 1)
        fresh: Floats32 = made[np.arange(len(rows))[:, None], at]
        return fresh

    def _experts(self, sight: Sight, network: Floats32 | None) -> tuple[Floats, Floats]:
        """Each expert's points [B, H, E] and quantiles [B, H, E, Q], centred and scaled; ``network`` [B, H, Q] or None."""
        spec, rows = self.spec, sight.rows
        last, unit = sight.origin[:, 0], sight.origin[:, 1]
        made = [np.zeros((len(rows), spec.horizon))]
        if "seasonal-naive" in spec.experts:
            past = seasonal(self.windows, rows, sight.slots, sight.season, spec.horizon, last)
            made.append((past - last[:, None]) / unit[:, None])
        made += self._regress(sight)
        if network is not None:
            made.append(network[..., spec.median].astype(np.float64))
        points = np.clip(np.stack(made, axis=-1), -TARGET_LIMIT, TARGET_LIMIT)
        spreads = self.scores.spread(rows)[..., None] * MAE_TO_DEVIATION * self.normal  # [B, H, E, Q]
        quantiles = points[..., None] + spreads
        if network is not None:
            quantiles[:, :, -1] = network
        return points, quantiles

    def _regress(self, sight: Sight) -> list[Floats]:
        """What each least-squares expert says, [B, H], centred and scaled."""
        if not self.regressions:
            return []
        rows, slots, beat, steady = sight.rows, sight.slots, sight.beat, sight.origin[:, 2]
        counts = self.scores.arrays["score.count"][rows]
        seen = lag_inputs(self.windows, rows, slots, counts, sight.season, beat.time(slots), beat.step_us, steady)
        return [
            regression.forecast(rows, slots, *seen[regression.name], steady) / sight.origin[:, 1:2]
            for regression in self.regressions
        ]

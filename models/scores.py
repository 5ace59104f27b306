"""The running scores of each series: errors of every expert, mixture weights, calibration offsets, realised coverage."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.arena import Arrays, Field
from models.calibration import track
from models.mixture import PATIENCE, PRIOR_ERRORS, SEASONAL, blend, pace, prior, reweigh, trust
from models.spec import ModelSpec

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

ERROR_RATE = 0.02
"""Weight of the newest error in the running means, once there are 50."""
SQUARE_RATE = 0.01
"""The same for the squared errors, in whose units the mixture counts."""
SLOW_RATE = 0.002
"""The same for the scale on which errors are standardised for the drift tests: slow, so that a change stands out against it."""
OUTLIER = 5.0
"""An error counts in the slow scale for at most this many times that scale."""
SMALLEST = 1e-12
PRIOR_ERROR = 0.3
"""Expected error at lead 1, in window spreads, before any was seen; it grows with the square root of the lead, as a random walk's."""


class Scores:
    """Stacked scores: errors and evidence [N, H, E], offsets [N, H, Q], settled counts [N, H], coverage [N, Q], counts [N]."""

    def __init__(self, horizon: int, experts: tuple[str, ...], levels: int) -> None:
        self.horizon, self.experts, self.levels = horizon, len(experts), levels
        self.prior = prior(experts)
        self.seasonal = experts.index(SEASONAL) if SEASONAL in experts else None
        self.arrays: Arrays = {}

    def fields(self) -> list[Field]:
        """See ``models.arena.Part``."""
        horizon = self.horizon
        return [
            Field("score.errors", np.float64, (horizon, self.experts)),
            Field("score.evidence", np.float64, (horizon, self.experts)),
            Field("score.offsets", np.float64, (horizon, self.levels)),
            Field("score.settled", np.int64, (horizon,)),
            Field("score.mixed", np.float64, (horizon,)),
            Field("score.squares", np.float64, (horizon, self.experts)),
            Field("score.moves", np.float64, (2,)),
            Field("score.coverage", np.float64, (self.levels,)),
            Field("score.slow", np.float64),
            Field("score.count", np.int64),
            Field("score.run", np.int64),
            Field("score.season", np.int64),
        ]

    def reset(self, rows: Rows) -> None:
        """Begin: no evidence, no offsets, the random walk's errors."""
        for field in self.fields():
            self.arrays[field.name][rows] = 0
        growth = PRIOR_ERROR * np.sqrt(np.arange(1, self.horizon + 1))
        self.arrays["score.errors"][rows] = growth[:, None]
        self.arrays["score.mixed"][rows] = growth
        self.arrays["score.evidence"][rows] = self.prior

    def observe(self, rows: Rows, season: Rows) -> Rows:
        """Count one observation of each row, of series with these seasons [B], in slots, 0 for none; returns the counts [B]."""
        self.arrays["score.season"][rows] = season
        self.arrays["score.count"][rows] += 1
        self.arrays["score.run"][rows] += 1
        count: Rows = self.arrays["score.count"][rows]
        return count

    def typical(self, rows: Rows) -> Floats:
        """Running mean absolute error of the mixture's median, [B, H], in window spreads."""
        errors: Floats = self.arrays["score.mixed"][rows]
        return errors

    def spread(self, rows: Rows) -> Floats:
        """Running mean absolute error of each expert, [B, H, E]."""
        errors: Floats = self.arrays["score.errors"][rows]
        return errors

    def weights(self, rows: Rows) -> Floats:
        """The mixture's weights [B, H, E] for a forecast made now."""
        arrays = self.arrays
        factors = np.repeat(trust(arrays["score.moves"][rows], arrays["score.count"][rows])[:, None], self.experts, 1)
        factors[:, 0] = 1.0
        if self.seasonal is not None:
            season = arrays["score.season"][rows]
            factors[:, self.seasonal] = (season > 0) & (arrays["score.run"][rows] >= (1 + PATIENCE) * season)
        return blend(arrays["score.evidence"][rows], arrays["score.squares"][rows], factors)

    def settle(
        self,
        rows: Rows,
        losses: Floats,
        covered: NDArray[np.bool_],
        error: Floats,
        known: NDArray[np.bool_],
        unit: Floats,
        levels: Floats,
        spec: ModelSpec,
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Take matured errors: losses [B, H, E], covered [B, H, Q], error of the median [B, H], each where ``known`` [B, H].

        These are in window spreads, of which ``unit`` [B] is the size of the one at lead 1. Returns the standardised lead-1 error [B]
        and whether there was one: standardised by its slow mean in the series' own units, since a burst widens the spreads as well.
        """
        arrays = self.arrays
        arrays["score.settled"][rows] += known
        settled = arrays["score.settled"][rows]
        rate = np.maximum(ERROR_RATE, 1.0 / np.maximum(settled, 1))
        mixed = arrays["score.mixed"][rows]
        self._judge(rows, losses * losses, known, settled, spec)
        moved = (spec.calibration_rate * pace(self.horizon) + 1.0 / (settled + 10.0))[..., None]
        arrays["score.offsets"][rows] = track(arrays["score.offsets"][rows], covered, levels, known, moved)
        errors = arrays["score.errors"][rows]
        # Held above zero: what only ever halves ends in denormal numbers, which are slow and divide to infinity.
        arrays["score.errors"][rows] = np.maximum(errors + (known * rate)[..., None] * (losses - errors), SMALLEST)
        arrays["score.mixed"][rows] = np.maximum(mixed + known * rate * (np.abs(error) - mixed), SMALLEST)
        share = np.where(known[..., None], covered, 0.0)
        number = known.sum(1)
        mean = np.ascontiguousarray(share.transpose(0, 2, 1)).sum(-1) / np.maximum(number, 1)[:, None]
        coverage = arrays["score.coverage"][rows]
        pace_1 = np.where(known, rate, 0.0).max(1)[:, None]
        arrays["score.coverage"][rows] = coverage + pace_1 * (mean - coverage)
        return self._standardise(rows, error[:, 0] * unit, known[:, 0], settled[:, 0])

    def _judge(self, rows: Rows, squares: Floats, known: NDArray[np.bool_], settled: Rows, spec: ModelSpec) -> None:
        """What squared errors [B, H, E] do to the mixture."""
        arrays = self.arrays
        typical = arrays["score.squares"][rows]
        asleep = np.zeros((len(rows), self.experts), np.bool_)
        rate = np.repeat(np.maximum(SQUARE_RATE, 1.0 / np.maximum(settled, 1))[..., None], self.experts, 2)
        if self.seasonal is not None:
            past = arrays["score.run"][rows] - arrays["score.season"][rows]
            asleep[:, self.seasonal] = (past < 0) | (arrays["score.season"][rows] == 0)
            woken = np.maximum(rate[..., self.seasonal], 1.0 / (np.maximum(past, 0) + PRIOR_ERRORS)[:, None])
            rate[..., self.seasonal] = woken
        judged = known & (settled > 1)
        arrays["score.evidence"][rows] = reweigh(
            arrays["score.evidence"][rows],
            squares,
            typical,
            judged,
            settled,
            asleep,
            spec.mixture_rate,
            spec.mixture_share,
        )
        moved = np.maximum(typical + rate * (squares - typical), SMALLEST**2)
        if self.seasonal is not None:
            # Asleep, it has the best one's record, and wakes with it.
            best = np.delete(moved, self.seasonal, 2).min(-1)
            moved[..., self.seasonal] = np.where(asleep[:, None, self.seasonal], best, moved[..., self.seasonal])
        arrays["score.squares"][rows] = np.where(known[..., None], moved, typical)
        move = np.where(known[:, 0], squares[:, 0, 0], 0.0)
        arrays["score.moves"][rows] += np.stack([move, move * move], axis=1)

    def _standardise(
        self, rows: Rows, error: Floats, known: NDArray[np.bool_], settled: Rows
    ) -> tuple[Floats, NDArray[np.bool_]]:
        slow = self.arrays["score.slow"][rows]
        judged = known & (slow > 0)
        standardised = np.where(judged, error / np.where(slow > 0, slow, 1.0), 0.0)
        size = np.abs(error)
        size = np.where((slow > 0) & (settled > 30), np.minimum(size, OUTLIER * slow), size)
        # The first errors of a series are its worst: they must fade sooner than an even mean would let them.
        rate = np.maximum(SLOW_RATE, 4.0 / (settled + 3.0))
        self.arrays["score.slow"][rows] = np.where(known, slow + rate * (size - slow), slow)
        return standardised, judged

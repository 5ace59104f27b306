"""What an observation does around the network, compiled (models/observer/): as ``models.surroundings`` defines it, many times faster."""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from models import inputs, lags, least_squares, mixture, scores
from models.arena import Arena
from models.calendar import WIDTH
from models.observation import Beat, Floats, Floats32, Issued, Rows, Settled, Sight
from models.spec import POLICIES, ModelSpec
from models.surroundings import MAE_TO_DEVIATION, Surroundings

log = logging.getLogger(__name__)

FIELDS = (
    "key", "window.first", "window.newest", "window.seen", "window.values", "scale.variance", "scale.steady",
    "pending.cutoff", "pending.origin", "pending.scale", "pending.points", "pending.quantiles",
    "score.errors", "score.evidence", "score.offsets", "score.settled", "score.mixed", "score.squares", "score.coverage",
    "score.moves", "score.slow", "score.count", "score.run", "score.season",
)  # fmt: skip
"""The record's fields in the order of models/observer/record.h, as are all the numbers below."""
REGRESSION_FIELDS = ("covariance", "coefficients", "inputs", "gains", "units")


@cache
def compiled() -> ModuleType | None:
    """The module models._observer, or None where it was not built, which is said once."""
    try:
        return import_module("models._observer")
    except ImportError as reason:
        log.warning("the compiled forecaster is not there, so every observation takes many times longer: %s", reason)
        return None


class CompiledObserver:
    """``models.observation.Observer`` on the arrays of ``surroundings``; ``level`` is a place in the module's ``LEVELS``, -1 the fastest."""

    def __init__(self, surroundings: Surroundings, arena: Arena, level: int = -1) -> None:
        """``arena`` holds the surroundings' records. Raises RuntimeError where the module was not built."""
        module = compiled()
        if module is None:
            raise RuntimeError("there is no compiled forecaster in this installation")
        self._module, self._level = module, level
        self._around, self._arena, self.spec = surroundings, arena, surroundings.spec
        spec = self.spec
        self._integers = np.array([*_offsets(surroundings, arena), *_sizes(surroundings)], np.int64)
        self._reals = np.concatenate(
            [_constants(spec), surroundings.levels, surroundings.normal, mixture.pace(spec.horizon)]
        )
        carried, joint = spec.policy == "carried", spec.policy == "joint"
        self._runs = 2 + (spec.replay if spec.policy == "window" else 0)
        length = spec.context + (spec.ahead if joint else 0)
        self._steps = spec.truncation if carried else length // spec.patch
        self._features = spec.patch * (spec.channels + 1) + WIDTH

    def before(
        self, rows: Rows, slots: Rows, values: Floats, beat: Beat, thin: Rows, counts: Rows
    ) -> tuple[Settled, Sight]:
        """See ``models.observation.Observer``."""
        spec, batch, runs = self.spec, len(rows), self._runs
        season = self._around.seasons(beat.step_us)
        settled = Settled(np.empty(batch), np.empty(batch, np.bool_))
        sight = Sight(
            rows=np.ascontiguousarray(rows),
            slots=np.ascontiguousarray(slots),
            beat=Beat(np.ascontiguousarray(beat.step_us), np.ascontiguousarray(beat.phase_us)),
            season=season,
            inputs=np.empty((batch, runs if spec.policy == "window" else 1, self._steps, self._features), np.float32),
            fresh=np.zeros((batch, int(counts.max(initial=0)), self._features), np.float32),
            counts=np.ascontiguousarray(counts),
            centred=np.empty((batch, runs, spec.context), np.float32),
            targets=np.empty((batch, runs - 1, spec.horizon), np.float32),
            known=np.empty((batch, runs - 1, spec.horizon), np.float32),
            learn=np.empty(batch, np.bool_),
            origin=np.empty((batch, 3)),
        )
        self._module.before(
            *self._common(sight), np.ascontiguousarray(values, np.float64), np.ascontiguousarray(thin), sight.counts,
            settled.error, settled.known, sight.inputs, sight.fresh, sight.centred, sight.targets, sight.known,
            sight.learn, sight.origin, self._level,
        )  # fmt: skip
        return settled, sight

    def after(self, sight: Sight, network: Floats32 | None, tell: bool) -> Issued:
        """See ``models.observation.Observer``."""
        spec, batch = self.spec, len(sight.rows)
        shape = (batch, spec.horizon, len(spec.levels))
        issued = Issued(
            np.empty(shape), np.empty((batch, len(spec.experts))), np.empty(batch, np.bool_),
            np.empty((batch if tell else 0, spec.horizon, len(spec.experts))),
        )  # fmt: skip
        said = np.empty((0, *shape[1:]), np.float32) if network is None else np.ascontiguousarray(network, np.float32)
        self._module.after(
            *self._common(sight), sight.origin, said,
            issued.quantiles, issued.weights, issued.ready, issued.experts, self._level,
        )  # fmt: skip
        if not tell:
            issued.experts = None
        return issued

    def _common(self, sight: Sight) -> tuple[NDArray[np.generic], ...]:
        beat = sight.beat
        return (
            self._arena.records, self._integers, self._reals,
            sight.rows, sight.slots, beat.step_us, beat.phase_us, sight.season,
        )  # fmt: skip


def _offsets(around: Surroundings, arena: Arena) -> list[int]:
    """Where the fields stand in a record."""
    made = [arena.offset(name) for name in FIELDS]
    has = {regression.name for regression in around.regressions}
    for name in ("least-squares", "quick-least-squares"):
        made += [arena.offset(f"{name}.{field}") if name in has else -1 for field in REGRESSION_FIELDS]
    return made


def _sizes(around: Surroundings) -> list[int]:
    """Sizes, the experts' places, and the edges of the lags' blocks."""
    spec = around.spec
    place = {name: number for number, name in enumerate(spec.experts)}
    return [
        spec.context, spec.horizon, spec.channels, len(spec.levels), spec.median, spec.patch,
        POLICIES.index(spec.policy), spec.replay, spec.truncation, around.windows.capacity, spec.ready_after, spec.learn_every,
        lags.SEASON_BLOCKS, lags.SEASON_PART, lags.LONG_HARMONICS, lags.QUICK_HARMONICS, lags.SURE_EDGE,
        len(lags.LONG_EDGES), len(lags.QUICK_EDGES), len(spec.experts),
        *(place.get(name, -1) for name in ("seasonal-naive", "least-squares", "quick-least-squares", "network")),
        *lags.LONG_EDGES, *lags.QUICK_EDGES,
    ]  # fmt: skip


def _constants(spec: ModelSpec) -> list[float]:
    """Rates and bounds."""
    scales = inputs.Scales
    return [
        spec.rls_forgetting, spec.rls_quick_forgetting, spec.mixture_rate, spec.mixture_share, spec.calibration_rate,
        inputs.INPUT_LIMIT, inputs.TARGET_LIMIT, scales.TRUSTED, scales.SLOWEST, scales.STEADY, scales.OUTLIER, scales.LARGEST,
        least_squares.START_VARIANCE, least_squares.TRACE_LIMIT, least_squares.TARGET_LIMIT, least_squares.ERROR_LIMIT,
        lags.LIMIT, lags.SEASONS, float(lags.WEEK_US),
        mixture.WORST_LOSS, mixture.EARLY, mixture.PATIENCE, float(mixture.PRIOR_ERRORS), mixture.TRUSTED_MOVES, mixture.TRUSTED_COUNT,
        mixture.SMALLEST, scores.ERROR_RATE, scores.SQUARE_RATE, scores.SLOW_RATE, scores.OUTLIER, scores.SMALLEST,
        MAE_TO_DEVIATION,
    ]  # fmt: skip

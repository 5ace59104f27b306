"""Published protocols: the first rows train, the next validate, only the rest is scored, in deviations of the first.

Rows are moments: the distinct event times of the file, over all series. Weights are trained on all series together, so
a boundary must be one moment for all of them, or one series would tell of another's future.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.history import History, SeriesHistory, Split
from models.training import Weights, train
from stream.errors import InputError
from stream.records import Record
from workers.backtest.files import Survey
from workers.history import gather
from workers.settings import FeedSettings

NO_ROWS = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Boundaries:
    """Event times, in microseconds: training rows end before ``validate_us``, validation rows before ``score_us``."""

    train_rows: int
    validation_rows: int
    validate_us: int
    score_us: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """What training rows gave: starting weights with validation losses (the start's first), and by series the standard
    deviation and the mean move of one step, of the training rows.
    """

    boundaries: Boundaries
    weights: Weights
    validation: list[float]
    deviations: dict[str, float]
    mean_moves: dict[str, float]


def boundaries(found: Survey, train_rows: int, validation_rows: int) -> Boundaries:
    """Raises InputError where no rows are left to score."""
    kept = train_rows + validation_rows
    if len(found.moments) <= kept:
        raise InputError(
            f"the file has {len(found.moments):,} rows (moments); {train_rows:,} to train and {validation_rows:,} to"
            " validate leave none to score"
        )
    return Boundaries(train_rows, validation_rows, int(found.moments[train_rows]), int(found.moments[kept]))


def prepare(
    feed: FeedSettings, records: Iterable[Record], limits: Boundaries, seed: int, progress: Callable[[float], None]
) -> Prepared:
    """Train on records up to ``limits.score_us``; nothing of a later one is looked at. Raises InputError where there are
    too few to train on.
    """
    gathered = gather(feed, records, lambda _: None)
    stretches = [cut for one in gathered.stretches if (cut := _before(one, limits.score_us)) is not None]
    history = History(stretches, feed.spec())
    split = split_at(history, limits)
    for name, part in (("train", split.train), ("validation", split.validation)):
        if not len(part):
            raise InputError(
                f"--{name}-rows leaves no window of {feed.context} steps back and {feed.horizon} ahead; give more rows"
            )
    trained = train(
        history,
        split,
        start=None,
        seed=seed,
        epochs=feed.retrain.epochs,
        should_stop=lambda: False,
        progress=lambda done, _: progress(done),
    )
    deviations, moves = _scales(stretches, limits.validate_us)
    return Prepared(limits, trained.weights, trained.validation, deviations, moves)


def split_at(history: History, limits: Boundaries) -> Split:
    """Windows whose targets all lie in the training rows, and those whose targets all lie in the validation rows."""
    cutoffs = history.cutoffs
    made, step = history.time_us[cutoffs], history.step_us[cutoffs]
    reach = made + history.spec.horizon * step
    validation = (made + step >= limits.validate_us) & (reach < limits.score_us)
    return Split(cutoffs[reach < limits.validate_us], cutoffs[validation], NO_ROWS)


def _before(one: SeriesHistory, end_us: int) -> SeriesHistory | None:
    slots = -(-(end_us - one.first_us) // one.step_us)
    if slots <= 0:
        return None
    return SeriesHistory(one.name, one.step_us, one.first_us, one.values[:slots], one.seen[:slots])


def _scales(stretches: list[SeriesHistory], end_us: int) -> tuple[dict[str, float], dict[str, float]]:
    """Deviation (1 where values do not differ) and mean move of each series' observations before ``end_us``."""
    deviations, moves = {}, {}
    for name, group in itertools.groupby(stretches, key=lambda one: one.name):
        values: list[NDArray[np.float64]] = []
        steps: list[NDArray[np.float64]] = []
        for one in group:
            if (cut := _before(one, end_us)) is None:
                continue
            values.append(cut.values[cut.seen, 0])
            steps.append(np.abs(np.diff(cut.values[:, 0]))[cut.seen[1:] & cut.seen[:-1]])
        everything = np.concatenate([np.zeros(0), *values])
        deviation = float(everything.std()) if len(everything) else 0.0
        deviations[name] = deviation if deviation > 0 else 1.0
        moved = np.concatenate([np.zeros(0), *steps])
        if len(moved):
            moves[name] = float(moved.mean())
    return deviations, moves

"""A backtest: records of a file through the engine that runs live, scored as if they had just come."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

from stream.decode import Decoder
from stream.records import Record, Rejected
from stream.sources.base import Source
from workers.alerts import AlertEvent
from workers.backtest.crossing import CrossingScores
from workers.backtest.files import Arranged, Survey, open_source, read, survey
from workers.backtest.protocol import Prepared, boundaries, prepare
from workers.backtest.rivals import RivalField
from workers.engine import Effects, Engine, Place
from workers.publishing import encode
from workers.scoring import Scorer
from workers.settings import FeedSettings

if TYPE_CHECKING:
    from stream.deadletters import DeadLetterSink

BATCH = 512
FIRST_REJECTED = 5
Progress = Callable[[str, float | None], None]
"""Gets what is being done, and the share of it that is done where that is known."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may ask of a backtest. ``rivals_every`` 0: no rivals; None: as often as time allows."""

    limit: int | None = None
    rivals_every: int | None = None
    train_rows: int = 0
    validation_rows: int = 0
    seed: int = 0


@dataclass(slots=True)
class Backtest:
    """What a backtest brought."""

    name: str
    feed: FeedSettings
    scorer: Scorer
    crossings: CrossingScores
    options: Options = field(default_factory=Options)
    prepared: Prepared | None = None
    rivals: RivalField | None = None
    observations: int = 0
    forecasts: int = 0
    records: int = 0
    alerts: list[AlertEvent] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    first_rejected: list[Rejected] = field(default_factory=list)
    passed_over: dict[str, int] = field(default_factory=dict)
    backwards: bool = False


def backtest_file(
    path: str,
    feed: FeedSettings,
    options: Options,
    *,
    output: BinaryIO | None = None,
    dead_letters: DeadLetterSink | None = None,
    progress: Progress = lambda _what, _share: None,
) -> Backtest:
    """Look through a file, train on its first rows if asked, and run it through the engine.

    Raises InputError where the file cannot be used. Standard input is read whole before the first forecast.
    """
    held: list[Record] | None = None
    if path == "-":
        with closing(open_source(path, feed.fields)) as stream:
            held = list(_each(stream, options.limit))

    def opened() -> Source:
        return open_source(path, feed.fields) if held is None else Arranged(held)

    with closing(opened()) as source:
        chunks = read(source, options.limit)
        found = survey(chunks, feed.fields, feed.limits, lambda: progress("reading", _share(source)))
    if not found.in_order:
        with closing(opened()) as source:
            held = found.arranged(list(_each(source, options.limit)))
    feed = _with_step(feed, found)
    prepared = None
    if options.train_rows:
        limits = boundaries(found, options.train_rows, options.validation_rows)
        with closing(opened()) as source:
            first = islice(_each(source, None), found.records_before(limits.score_us))
            prepared = prepare(feed, first, limits, options.seed, lambda done: progress("training", done))
    with closing(opened()) as source:
        return backtest(
            source,
            feed,
            found,
            options,
            name=path,
            prepared=prepared,
            output=output,
            dead_letters=dead_letters,
            progress=progress,
        )


def _each(source: Source, limit: int | None) -> Iterator[Record]:
    return (record for chunk in read(source, limit) for record in chunk)


def _share(source: Source) -> float | None:
    total = getattr(source, "bytes_total", None)
    return source.bytes_read / total if total and hasattr(source, "bytes_read") else None


def _with_step(feed: FeedSettings, found: Survey) -> FeedSettings:
    """The feed with the step that all series of the file share, where it names none."""
    return feed if feed.step_us or found.step_us is None else feed.model_copy(update={"step": found.step_us})


def backtest(
    source: Source,
    feed: FeedSettings,
    found: Survey,
    options: Options,
    *,
    name: str,
    prepared: Prepared | None = None,
    output: BinaryIO | None = None,
    dead_letters: DeadLetterSink | None = None,
    progress: Progress = lambda _what, _share: None,
) -> Backtest:
    """Run the records of ``source``, which come in the order of ``found``, through an engine of their own.

    Time is event time: forecasts are ``issued`` at the newest event time of their batch, so that the same file gives
    the same forecasts. For the same reason nothing becomes stale.
    """
    engine = Engine(feed, options.seed, tells_experts=True, steps_us=found.steps_us)
    decoder = Decoder(feed.fields, feed.limits)
    rivals = None if options.rivals_every == 0 else RivalField(feed.horizon, options.rivals_every, time.process_time)
    scorer = Scorer(
        feed.horizon,
        feed.levels,
        experts=engine.spec.experts,
        rivals=rivals.names if rivals else (),
        units=prepared.deviations if prepared else None,
        from_us=prepared.boundaries.score_us if prepared else 0,
        whole=prepared is not None,
    )
    crossings = CrossingScores(feed.horizon)
    result = Backtest(name, feed, scorer, crossings, options, prepared, rivals, backwards=found.backwards)
    now_us, total = 0, max(1, len(found.order))
    for records in _batches(source, options.limit, _adoption(found, prepared)):
        if prepared is not None and result.records == _adoption(found, prepared):
            engine.adopt("trained", prepared.weights)
        decoded = decoder.decode(records)
        for run in decoded.runs:
            if (place := Place(run.topic, run.partition)) not in engine.known:
                engine.open(place, ())
        if len(decoded.observations):
            now_us = max(now_us, int(decoded.observations.time_us.max()))
        effects = engine.step(decoded, now_us)
        result.records += len(records)
        result.observations += len(decoded.observations)
        _take(result, engine, effects)
        _bury(result, decoded.rejected + effects.rejected, dead_letters)
        if output is not None and effects.forecasts is not None:
            for texts in encode(engine, effects.forecasts, decoded, now_us).values():
                output.writelines(text + b"\n" for _, text in texts)
        progress("forecasting", result.records / total)
    scorer.finish()
    _count(result, engine)
    return result


def _adoption(found: Survey, prepared: Prepared | None) -> int | None:
    """The number of records after which the trained weights are taken up: the training rows.

    From there on, in the validation rows, the mixture learns how good the trained network is, on rows that it was not
    trained on. Over the training rows it would look better than it is.
    """
    return None if prepared is None else found.records_before(prepared.boundaries.validate_us)


def _batches(source: Source, limit: int | None, cut: int | None) -> Iterator[list[Record]]:
    """Records in batches, one of which begins after ``cut``."""
    taken = 0
    while not source.exhausted and taken != limit:
        room = min(BATCH, *(end - taken for end in (limit, cut) if end is not None and end > taken), BATCH)
        if records := source.poll(room, 0.2):
            yield records
            taken += len(records)


def _take(result: Backtest, engine: Engine, effects: Effects) -> None:
    result.alerts += [event for _, event in effects.alerts]
    made = effects.forecasts
    if made is None or made.experts is None:
        return
    result.forecasts += len(made.series)
    if made.crossings is not None:
        result.crossings.take(made, engine.crossings.limits[made.row])
    season = engine.spec.season_slots
    rivals = result.rivals.take(made, season) if result.rivals else [None] * len(made.series)
    rows = zip(
        made.series,
        made.cutoff_us.tolist(),
        made.step_us.tolist(),
        made.value.tolist(),
        made.quantiles,
        made.experts,
        rivals,
        made.weights,
        strict=True,
    )
    for series, cutoff_us, step_us, value, quantiles, experts, others, weights in rows:
        result.scorer.take(series, cutoff_us, step_us, season(step_us), value, quantiles, experts, others, weights)


def _bury(result: Backtest, rejected: list[Rejected], dead_letters: DeadLetterSink | None) -> None:
    for one in rejected:
        result.rejected[one.reason.value] += 1
        if len(result.first_rejected) < FIRST_REJECTED:
            result.first_rejected.append(one)
        if dead_letters is not None:
            dead_letters.send(one)
    if dead_letters is not None:
        dead_letters.flush()


def _count(result: Backtest, engine: Engine) -> None:
    table = engine.table
    counts = {
        "late": int(table.late.sum()),
        "duplicate": int(table.duplicates.sum()),
        "filled in late": int(table.fills.sum()),
    }
    result.passed_over = {name: count for name, count in counts.items() if count}

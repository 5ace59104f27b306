"""One retraining run: history from the log, a challenger trained on it, and the champion's place for it if it forecasts
better.

What decides is the newest tenth of the history, which neither training nor its early stopping has looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import structlog
from numpy.typing import NDArray

from models.checkpoint import digest, pack
from models.history import History, Split
from models.spec import ModelSpec
from models.training import Progress, Score, Trained, check_weights, evaluate, evaluate_baselines, train, untrained
from stream.messages import iso
from stream.redis_models import ModelRegistry
from workers.adoption import load_model
from workers.history import Gathered, ReadHistory, gather
from workers.runs import Ending, Outcome, dumps
from workers.settings import FeedSettings, Settings

LEAST_GAIN = 0.01
"""A champion is replaced for a gain of this share at least: every series then goes on from the new weights, which costs its own tuning."""

log = structlog.get_logger()
Weights = Mapping[str, NDArray[Any]]


@dataclass(slots=True)
class Incumbent:
    """What the challenger must beat: the champion, or the untrained start where none can run."""

    name: str
    version: str | None
    weights: Weights | None


def retrain(
    settings: Settings,
    feed: FeedSettings,
    *,
    registry: ModelRegistry,
    read: ReadHistory,
    clock: Callable[[], int],
    progress: Progress,
    history_us: int | None = None,
    fence: int | None = None,
    dry_run: bool = False,
) -> Outcome:
    """Train a challenger for a feed on the last ``history_us`` (default: the feed's own), and promote it if it is
    better.

    ``clock`` gives microseconds since 1970. ``progress`` gets the share done and a dict with ``stage`` (reading,
    training, scoring). ``fence`` is the number of the lease under which the run acts. A dry run stores, promotes and
    logs nothing. Every other run is logged in the registry, a failed one too, before its error is raised: ServiceError
    where Kafka or Redis fails.
    """
    outcome = Outcome(feed.name, clock(), fence=fence, dry_run=dry_run)
    try:
        _run(settings, feed, registry, read, clock, progress, history_us or feed.retrain.history, outcome)
    except Exception as error:
        outcome.ending, outcome.reason = Ending.FAILED, f"{type(error).__name__}: {error}"
        _conclude(outcome, registry, clock, quietly=True)
        raise
    _conclude(outcome, registry, clock)
    return outcome


def _run(
    settings: Settings,
    feed: FeedSettings,
    registry: ModelRegistry,
    read: ReadHistory,
    clock: Callable[[], int],
    progress: Progress,
    history_us: int,
    outcome: Outcome,
) -> None:
    now_us = clock()
    ends_us = now_us + feed.retrain.time_limit
    records = read((now_us - history_us) // 1000, now_us // 1000 + 1)
    gathered = gather(feed, records, lambda count: progress(0.0, {"stage": "reading", "records": count}))
    spec = feed.spec()
    history = History(gathered.stretches, spec)
    split = history.split()
    _note(outcome, gathered, split)
    if shortfall := split.shortfall:
        outcome.ending = Ending.TOO_LITTLE_DATA
        outcome.reason = f"{gathered.observations} observations of {gathered.series} series: {shortfall}"
        return
    incumbent = _incumbent(registry, feed, spec, settings)
    outcome.champion = incumbent.version
    trained = train(
        history,
        split,
        start=incumbent.weights,
        seed=settings.worker.seed,
        epochs=feed.retrain.epochs,
        should_stop=lambda: clock() >= ends_us,
        progress=lambda done, detail: progress(done, {"stage": "training"} | detail),
    )
    outcome.epochs = trained.epochs
    progress(1.0, {"stage": "scoring"})
    rival = incumbent.weights or untrained(spec, settings.worker.seed)
    scores = {"challenger": evaluate(history, trained.weights, split.held_out)}
    scores[incumbent.name] = evaluate(history, rival, split.held_out)
    scores |= evaluate_baselines(history, split)
    outcome.scores = {name: asdict(score) for name, score in scores.items()}
    better, outcome.reason = verdict(scores, incumbent.name, incumbent.version)
    outcome.ending = Ending.PROMOTED if better else Ending.KEPT
    if not outcome.dry_run:
        outcome.version = _store(settings, feed, registry, trained, outcome)
        if better:
            _promote(feed, registry, outcome)


def verdict(scores: Mapping[str, Score], incumbent: str, version: str | None) -> tuple[bool, str]:
    """Whether the challenger is better than the incumbent and than the last value, and the reason in words."""
    mine, theirs, naive = (scores[name].pinball for name in ("challenger", incumbent, "last-value"))
    rival = f"champion {version}" if incumbent == "champion" else "untrained weights"
    figures = f"held-out pinball loss {mine:.4g}; {rival} {theirs:.4g}, last value {naive:.4g}"
    # A loss that is no number is better than none.
    if not mine < (1 - LEAST_GAIN) * theirs:
        return False, f"not better than {rival} by {LEAST_GAIN:.0%}: {figures}"
    if not mine < naive:
        return False, f"no better than the last value: {figures}"
    return True, f"better than {rival}: {figures}"


def _incumbent(registry: ModelRegistry, feed: FeedSettings, spec: ModelSpec, settings: Settings) -> Incumbent:
    version = registry.champion(feed.name)
    if version is not None:
        try:
            weights = load_model(registry, feed, version, settings.signing_key)
            check_weights(weights, spec)
            return Incumbent("champion", version, weights)
        except ValueError as error:
            log.warning(
                "the champion cannot run here, so it defends nothing",
                feed=feed.name,
                version=version,
                reason=str(error),
            )
    return Incumbent("untrained", version, None)


def _store(settings: Settings, feed: FeedSettings, registry: ModelRegistry, trained: Trained, outcome: Outcome) -> str:
    """Put the challenger into the registry, champion or not: its scores can be looked up, and a person may still choose
    it.
    """
    version = str(registry.next_version(feed.name))
    about = {
        "version": version,
        "feed": feed.name,
        "created": iso(outcome.started_us),
        "architecture": feed.model.architecture,
        "spec": feed.spec().to_dict(),
    }
    blob = pack(trained.weights, about)
    key = settings.signing_key.get_secret_value().encode() if settings.signing_key else None
    manifest = about | {
        "digest": digest(blob, key),
        "parent": outcome.champion,
        "records": outcome.records,
        "observations": outcome.observations,
        "series": outcome.series,
        "windows": outcome.windows,
        "from": iso(outcome.from_us),
        "until": iso(outcome.until_us),
        "epochs": trained.epochs,
        "ended": trained.ended,
        "validation": trained.validation,
        "scores": outcome.scores,
    }
    registry.put_model(feed.name, version, blob, dumps(manifest))
    return version


def _promote(feed: FeedSettings, registry: ModelRegistry, outcome: Outcome) -> None:
    assert outcome.version is not None  # noqa: S101 - stored just before; this tells the type checker
    now = registry.champion(feed.name)
    if now != outcome.champion:
        outcome.ending = Ending.KEPT
        outcome.reason = f"the champion has changed from {outcome.champion} to {now} meanwhile; {outcome.reason}"
    elif not registry.set_champion(feed.name, outcome.version, fence=outcome.fence):
        outcome.ending = Ending.KEPT
        outcome.reason = f"a later leader has set the champion meanwhile; {outcome.reason}"


def _note(outcome: Outcome, gathered: Gathered, split: Split) -> None:
    outcome.records, outcome.rejected = gathered.records, gathered.rejected
    outcome.observations, outcome.series = gathered.observations, gathered.series
    outcome.from_us, outcome.until_us = gathered.from_us, gathered.until_us
    outcome.windows = sum(len(part) for part in (split.train, split.validation, split.held_out))


def _conclude(outcome: Outcome, registry: ModelRegistry, clock: Callable[[], int], quietly: bool = False) -> None:
    outcome.seconds = round((clock() - outcome.started_us) / 1e6, 3)
    tell = log.error if outcome.ending is Ending.FAILED else log.info
    tell(
        "retraining ended",
        feed=outcome.feed,
        ending=outcome.ending.value,
        reason=outcome.reason,
        version=outcome.version,
        observations=outcome.observations,
        seconds=outcome.seconds,
        dry_run=outcome.dry_run,
    )
    if outcome.dry_run:
        return
    try:
        registry.add_run(outcome.feed, outcome.to_json())
    except Exception:
        # On the way out with an error, that error is the news.
        if not quietly:
            raise

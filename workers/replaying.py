"""Replay: records from a file through the engine that runs live, scored as if they had just come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pydantic import ValidationError

from stream.decode import Decoder
from stream.errors import ConfigurationError, InputError
from stream.fields import FieldMapping
from stream.messages import iso
from stream.records import Rejected
from stream.sources.base import Source
from stream.sources.csv_file import CsvSource, detect_csv
from stream.sources.json_lines import JsonLinesSource
from workers.alerts import AlertEvent
from workers.durations import write_duration
from workers.engine import Effects, Engine, Place
from workers.publishing import encode
from workers.scoring import Scorer, ratio, typical_ratio
from workers.settings import FeedSettings
from workers.spacing import file_step

if TYPE_CHECKING:
    from stream.deadletters import DeadLetterSink

BATCH = 512
FIRST_REJECTED = 5
JSON_LINES = (".jsonl", ".ndjson", ".json")


@dataclass(slots=True)
class Replay:
    """What a replay brought."""

    name: str
    scorer: Scorer
    observations: int = 0
    forecasts: int = 0
    records: int = 0
    alerts: list[AlertEvent] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    first_rejected: list[Rejected] = field(default_factory=list)
    passed_over: dict[str, int] = field(default_factory=dict)


def is_json_lines(path: str) -> bool:
    """Whether the name says JSON lines, packed or not; ``-`` is standard input."""
    return path == "-" or path.removesuffix(".gz").endswith(JSON_LINES)


def open_source(path: str, fields: Any) -> CsvSource | JsonLinesSource:
    """The file as a source of records."""
    if path == "-":
        return JsonLinesSource(None)
    return JsonLinesSource(Path(path)) if is_json_lines(path) else CsvSource(Path(path), fields)


def feed_for(
    path: str, base: FeedSettings | None, changes: dict[str, Any], model_changes: dict[str, Any]
) -> FeedSettings:
    """The feed that ``path`` is replayed as: ``base``, or one for the columns found, with the options' values over it.

    Raises ConfigurationError where the values do not fit together, InputError where the file has no usable columns.
    """
    if base is None:
        if path != "-" and not Path(path).is_file():
            raise InputError(f"{path}: there is no such file")
        fields = {} if is_json_lines(path) else {"fields": detect_csv(Path(path)).model_dump()}
        entries: dict[str, Any] = {"name": "replay", "topics": ["replay"], **fields}
        if changes.get("step") is None and path != "-":
            changes = changes | {"step": _step_of(path, FieldMapping(**fields.get("fields", {})))}
    else:
        entries = base.model_dump()
    entries |= {name: value for name, value in changes.items() if value is not None}
    entries["model"] = dict(entries.get("model", {})) | {k: v for k, v in model_changes.items() if v is not None}
    try:
        return FeedSettings.model_validate(entries)
    except ValidationError as error:
        raise ConfigurationError("; ".join(map(_said, error.errors(include_url=False)))) from None


def _step_of(path: str, fields: FieldMapping) -> str | None:
    with closing(open_source(path, fields)) as source:
        step_us = file_step(source, fields)
    return None if step_us is None else write_duration(step_us)


def _said(fault: Any) -> str:
    """A fault of the settings, after the name of the option that it is about, where it is about one."""
    where = ".".join(str(part) for part in fault["loc"] if str(part).isidentifier())
    said = str(fault["msg"]).removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


def replay(
    source: Source,
    feed: FeedSettings,
    *,
    name: str,
    seed: int = 0,
    limit: int | None = None,
    output: BinaryIO | None = None,
    dead_letters: DeadLetterSink | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Replay:
    """Run the records of ``source``, at most ``limit``, through an engine of their own.

    Time is event time: forecasts are ``issued`` at the newest event time of their batch, so that the same file gives
    the same bytes. For the same reason nothing becomes stale.
    """
    engine, decoder = Engine(feed, seed), Decoder(feed.fields, feed.limits)
    result = Replay(name, Scorer(feed.horizon, feed.levels))
    now_us = 0
    while not source.exhausted and (limit is None or result.records < limit):
        room = BATCH if limit is None else min(BATCH, limit - result.records)
        records = source.poll(room, 0.2)
        if not records:
            continue
        for record in records:
            place = Place(record.topic, record.partition)
            if place not in engine.resident:
                engine.open(place, ())
        decoded = decoder.decode(records)
        if len(decoded.observations):
            now_us = max(now_us, int(decoded.observations.time_us.max()))
        effects = engine.step(decoded, now_us)
        result.records += len(records)
        result.observations += len(decoded.observations)
        _take(result, engine, effects)
        _bury(result, decoded.rejected + effects.rejected, dead_letters)
        if output is not None and effects.forecasts is not None:
            for texts in encode(engine, effects.forecasts, records, now_us).values():
                output.writelines(text + b"\n" for _, text in texts)
        progress()
    _count(result, engine)
    return result


def _take(result: Replay, engine: Engine, effects: Effects) -> None:
    result.alerts += [event for _, event in effects.alerts]
    made = effects.forecasts
    if made is None:
        return
    result.forecasts += len(made.series)
    rows = zip(
        made.series, made.cutoff_us.tolist(), made.step_us.tolist(), made.value.tolist(), made.quantiles, strict=True
    )
    for series, cutoff_us, step_us, value, quantiles in rows:
        result.scorer.take(series.name, cutoff_us, step_us, engine.spec.season_slots(step_us), value, quantiles)


def _bury(result: Replay, rejected: list[Rejected], dead_letters: DeadLetterSink | None) -> None:
    for one in rejected:
        result.rejected[one.reason.value] += 1
        if len(result.first_rejected) < FIRST_REJECTED:
            result.first_rejected.append(one)
        if dead_letters is not None:
            dead_letters.send(one)
    if dead_letters is not None:
        dead_letters.flush()


def _count(result: Replay, engine: Engine) -> None:
    here = [series for by_name in engine.resident.values() for series in by_name.values()]
    counts = {
        "late": sum(series.late for series in here),
        "duplicate": sum(series.duplicates for series in here),
        "filled in late": sum(series.fills for series in here),
    }
    result.passed_over = {name: count for name, count in counts.items() if count}


def summary(result: Replay) -> dict[str, Any]:
    """The replay as one JSON object. Errors are in the series' units; ratios below 1 are better than the naive one."""
    rows = [_series_row(result, name) for name in result.scorer.series]
    return {
        "file": result.name,
        "records": result.records,
        "observations": result.observations,
        "forecasts": result.forecasts,
        "rejected": dict(result.rejected),
        "passed_over": result.passed_over,
        "overall": {
            "series": len(rows),
            "ratio_last_value": typical_ratio(row["ratio_last_value"] for row in rows),
            "ratio_seasonal": typical_ratio(row["ratio_seasonal"] for row in rows),
            "coverage": _overall_coverage(result.scorer),
            "nominal": result.scorer.nominal,
            "alerts": sum(row["alerts"] for row in rows),
        },
        "series": rows,
        "alerts": [_alert_row(event) for event in result.alerts],
    }


def _series_row(result: Replay, name: str) -> dict[str, Any]:
    score = result.scorer.series[name]
    mae, last, seasonal = (score.mean(errors) for errors in (score.forecast, score.last_value, score.seasonal))
    return {
        "series": name,
        "observations": score.observations,
        "targets": int(score.settled.sum()),
        "mae": mae,
        "mae_last_value": last,
        "mae_seasonal": seasonal,
        "ratio_last_value": ratio(mae, last),
        "ratio_seasonal": ratio(mae, seasonal),
        "coverage": score.mean(score.inside),
        "alerts": sum(event.series == name and event.status == "firing" for event in result.alerts),
        "mae_by_lead": score.by_lead(score.forecast),
        "mae_last_value_by_lead": score.by_lead(score.last_value),
    }


def _overall_coverage(scorer: Scorer) -> float | None:
    settled = sum(float(score.settled.sum()) for score in scorer.series.values())
    inside = sum(float(score.inside.sum()) for score in scorer.series.values())
    return inside / settled if settled else None


def _alert_row(event: AlertEvent) -> dict[str, Any]:
    return {
        "series": event.series,
        "kind": event.kind,
        "status": event.status,
        "severity": event.severity,
        "at": iso(event.at_us),
        "fingerprint": event.fingerprint,
        "title": event.title,
        "evidence": event.evidence,
    }

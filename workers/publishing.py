"""From the engine's effects to messages: forecasts and alerts of one feed."""

from __future__ import annotations

import numpy as np

from stream.encode import ForecastColumns, encode_forecasts, with_crossings
from stream.messages import AlertMessage, iso
from stream.records import Decoded
from workers.alerts import AlertEvent
from workers.engine import Engine, Forecasts, Place


def encode(
    engine: Engine, forecasts: Forecasts, decoded: Decoded, issued_us: int
) -> dict[Place, list[tuple[str, bytes]]]:
    """Series and forecast as JSON, in order, by partition."""
    # Forecasts are in the order of the records, so each run of a partition has a slice of them.
    stops = np.searchsorted(forecasts.record, [run.stop for run in decoded.runs])
    columns = ForecastColumns(
        sources=[f"{run.topic}:{run.partition}" for run in decoded.runs],
        source=np.repeat(np.arange(len(stops), dtype=np.int32), np.diff(stops, prepend=0)),
        offset=decoded.offsets[forecasts.record],
        item=forecasts.item,
        feed=engine.feed.name,
        series=forecasts.series,
        state=forecasts.ready.astype(np.uint8),
        cutoff_us=forecasts.cutoff_us,
        issued_us=issued_us,
        step_us=forecasts.step_us,
        value=forecasts.value,
        levels=engine.spec.levels,
        quantiles=forecasts.quantiles,
        models=engine.models,
        model=forecasts.model,
        weights=forecasts.weights,
        experts=engine.spec.experts,
    )
    texts = encode_forecasts(columns)
    if forecasts.crossings is not None:
        texts = with_crossings(texts, engine.crossings.limits[forecasts.row], forecasts.crossings)
    made = list(zip(forecasts.series, texts, strict=True))
    by_place: dict[Place, list[tuple[str, bytes]]] = {}
    start = 0
    for run, stop in zip(decoded.runs, stops.tolist(), strict=True):
        by_place.setdefault(Place(run.topic, run.partition), []).extend(made[start:stop])
        start = stop
    return by_place


def alert_message(feed: str, event: AlertEvent, issued_us: int) -> AlertMessage:
    """An alert's transition as the public message; its id is the same in a replay."""
    return AlertMessage.model_validate(
        {
            "id": f"{event.fingerprint}-{event.status}",
            "fingerprint": event.fingerprint,
            "feed": feed,
            "series": event.series,
            "kind": event.kind,
            "status": event.status,
            "severity": event.severity,
            "started": iso(event.started_us),
            "at": iso(event.at_us),
            "issued": iso(issued_us),
            "ended": iso(event.at_us) if event.status == "resolved" else None,
            "title": event.title,
            "evidence": event.evidence,
        }
    )

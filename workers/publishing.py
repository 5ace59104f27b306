"""From the engine's effects to messages: forecasts, alerts and cards of one feed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from models.forecaster import EXPERTS
from stream.encode import ForecastColumns, encode_forecasts
from stream.messages import STATES, AlertMessage, SeriesCard, iso
from stream.records import Decoded
from workers.alerts import AlertEvent
from workers.engine import Engine, Forecasts, Place
from workers.series import Series

NO_ERROR = 1e-9
"""Below this many window spreads the last value is exact, and no ratio to it says anything."""


def encode(
    engine: Engine, forecasts: Forecasts, decoded: Decoded, issued_us: int
) -> dict[Place, list[tuple[str, bytes]]]:
    """Series and forecast as JSON, in order, by partition."""
    names = decoded.observations.series
    series = [names[index] for index in forecasts.index.tolist()]
    # Forecasts are in the order of the records, so each run of a partition has a slice of them.
    stops = np.searchsorted(forecasts.record, [run.stop for run in decoded.runs])
    columns = ForecastColumns(
        sources=[f"{run.topic}:{run.partition}" for run in decoded.runs],
        source=np.repeat(np.arange(len(stops), dtype=np.int32), np.diff(stops, prepend=0)),
        offset=decoded.offsets[forecasts.record],
        item=forecasts.item,
        feed=engine.feed.name,
        series=series,
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
        experts=EXPERTS,
    )
    made = list(zip(series, encode_forecasts(columns), strict=True))
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


def cards(engine: Engine, chosen: Iterable[Series], now_us: int) -> dict[str, bytes]:
    """The cards of series that have had a forecast."""
    made = {}
    forecaster, scores, table = engine.forecaster, engine.forecaster.scores.arrays, engine.table
    pairs = [
        (low, high) for low in engine.spec.levels for high in engine.spec.levels if low < 0.5 and _mirror(low, high)
    ]
    for series in chosen:
        row = series.row
        newest = forecaster.windows.newest[row]
        count = int(scores["score.count"][row])
        if newest < 0 or not count:
            continue
        value = float(forecaster.windows.values[row, newest % forecaster.windows.capacity, 0])
        unit = float(forecaster.scales.of(np.array([row]), np.array([[value] * engine.spec.channels]))[0, 0])
        judged = int(scores["score.settled"][row, 0]) > 0
        error, naive = float(scores["score.mixed"][row, 0]), float(scores["score.errors"][row, 0, 0])
        share = scores["score.coverage"][row]
        at = engine.spec.levels.index
        made[series.name] = SeriesCard.model_validate(
            {
                "feed": engine.feed.name,
                "series": series.name,
                "state": STATES[series.state],
                "model": engine.models[table.model[row]],
                "step_s": int(engine.grid.step_us[row]) / 1e6,
                "observations": count,
                "gaps": series.count("gaps"),
                "late": series.count("late"),
                "duplicates": series.count("duplicates"),
                "cutoff": iso(int(engine.grid.phase_us[row] + newest * engine.grid.step_us[row])),
                "value": value,
                "error": error * unit if judged else None,
                "error_last_value": naive * unit if judged else None,
                "error_ratio": error / naive if judged and naive > NO_ERROR else None,
                "coverage": {
                    f"{high - low:.6g}": max(0.0, float(share[at(high)] - share[at(low)])) for low, high in pairs
                }
                if judged
                else {},
                "nominal": max((high - low for low, high in pairs), default=0.0),
                "weights": dict(zip(EXPERTS, scores["score.weights"][row].mean(0).astype(float).tolist(), strict=True)),
                "partition": series.place.partition,
                "offset": max(series.applied, 0),
                "updated": iso(now_us),
            }
        ).to_json()
    return made


def _mirror(low: float, high: float) -> bool:
    return abs(low + high - 1.0) < 1e-9

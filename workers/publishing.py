"""From the engine's effects to messages: forecasts, alerts and cards of one feed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from models.forecaster import EXPERTS
from stream.encode import ForecastColumns, encode_forecasts
from stream.messages import STATES, AlertMessage, SeriesCard, iso
from stream.records import Record
from workers.alerts import AlertEvent
from workers.engine import Engine, Forecasts, Place
from workers.series import Series

NO_ERROR = 1e-9
"""Below this many window spreads the last value is exact, and no ratio to it says anything."""


def forecast_id(record: Record, item: int, series: str) -> str:
    """What names a forecast for ever: where its observation stands in the log, and the series, as one item may hold several."""
    return f"{record.topic}:{record.partition}:{record.offset}:{item}:{series}"


def encode(
    engine: Engine, forecasts: Forecasts, records: list[Record], issued_us: int
) -> dict[Place, list[tuple[str, bytes]]]:
    """Series and forecast as JSON, in order, by partition."""
    columns = ForecastColumns(
        ids=[
            forecast_id(records[record], item, series.name)
            for record, item, series in zip(
                forecasts.record.tolist(), forecasts.item.tolist(), forecasts.series, strict=True
            )
        ],
        feed=engine.feed.name,
        series=[series.name for series in forecasts.series],
        state=forecasts.ready.astype(np.uint8),
        cutoff_us=forecasts.cutoff_us,
        issued_us=issued_us,
        step_us=forecasts.step_us,
        value=forecasts.value,
        levels=engine.spec.levels,
        quantiles=forecasts.quantiles,
        model=forecasts.model,
        weights=forecasts.weights.astype(np.float32),
        experts=EXPERTS,
    )
    by_place: dict[Place, list[tuple[str, bytes]]] = {}
    for series, text in zip(forecasts.series, encode_forecasts(columns), strict=True):
        by_place.setdefault(series.place, []).append((series.name, text))
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
    forecaster, scores = engine.forecaster, engine.forecaster.scores.arrays
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
                "model": series.model,
                "step_s": int(engine.grid.step_us[row]) / 1e6,
                "observations": count,
                "gaps": series.gaps,
                "late": series.late,
                "duplicates": series.duplicates,
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

"""Made-up publications for the tests of the store."""

from __future__ import annotations

from typing import Any

from stream.messages import AlertMessage, ForecastMessage, SeriesCard
from stream.redis_store import Claim, PartitionPublication

FEED = "temperatures"
TOPIC = "sensors"


def forecast(series: str, value: float = 1.0) -> bytes:
    return ForecastMessage.model_validate(
        {
            "id": f"{series}/{value}",
            "feed": FEED,
            "series": series,
            "state": "ready",
            "cutoff": "2026-01-01T00:00:00Z",
            "issued": "2026-01-01T00:00:01Z",
            "step_s": 60.0,
            "horizon": 2,
            "value": value,
            "median": [value, value],
            "quantiles": {"0.05": [0.0, 0.0], "0.95": [9.0, 9.0]},
            "model": "gru:3",
            "weights": {"gru": 1.0},
        }
    ).to_json()


def card(series: str, offset: int = 0) -> bytes:
    return SeriesCard.model_validate(
        {
            "feed": FEED,
            "series": series,
            "state": "ready",
            "model": "gru:3",
            "step_s": 60.0,
            "observations": 1,
            "gaps": 0,
            "late": 0,
            "duplicates": 0,
            "cutoff": "2026-01-01T00:00:00Z",
            "value": 1.0,
            "nominal": 0.9,
            "partition": 0,
            "offset": offset,
            "updated": "2026-01-01T00:00:00Z",
        }
    ).to_json()


def alert(series: str, status: str = "firing") -> AlertMessage:
    return AlertMessage.model_validate(
        {
            "id": f"{series}/{status}",
            "fingerprint": f"print of {series}",
            "feed": FEED,
            "series": series,
            "kind": "error-drift",
            "status": status,
            "severity": "warning",
            "started": "2026-01-01T00:00:00Z",
            "at": "2026-01-01T00:00:00Z",
            "issued": "2026-01-01T00:00:01Z",
            "ended": "2026-01-01T00:00:00Z" if status == "resolved" else None,
            "title": f"Errors of {series} have grown",
        }
    )


def publication(claim: Claim, offset: int, series: str = "hall-7", **other: Any) -> PartitionPublication:
    fields: dict[str, Any] = {
        "claim": claim,
        "feed": FEED,
        "first_offset": offset,
        "offset": offset,
        "forecasts": [(series, forecast(series, offset))],
        "cards": {series: card(series, offset)},
        "alerts": [alert(series)],
        "states": {series: b"state at %d" % offset},
        "new_series": [series],
    }
    return PartitionPublication(**(fields | other))


def contents(client: Any, namespace: str, *, leaving_out: str = "\n") -> dict[bytes, bytes]:
    return {key: client.dump(key) for key in client.scan_iter(f"{namespace}:*") if leaving_out not in key.decode()}

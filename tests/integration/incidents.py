"""Made-up incidents, put into Redis the way a worker does it."""

from __future__ import annotations

from typing import Any

from stream.messages import AlertMessage
from stream.redis_connect import connect
from stream.redis_store import PartitionPublication, RedisStore


def alert(series: str, status: str = "firing", **other: Any) -> AlertMessage:
    """A transition of the one incident of a series."""
    fields: dict[str, Any] = {
        "id": f"print-{series}-{status}",
        "fingerprint": f"print-{series}",
        "feed": "plant",
        "series": series,
        "kind": "error-drift",
        "status": status,
        "severity": "warning",
        "started": "2026-01-01T00:00:00Z",
        "at": "2026-01-01T00:10:00Z",
        "issued": "2026-01-01T00:10:01Z",
        "ended": "2026-01-01T00:10:00Z" if status == "resolved" else None,
        "title": f"{series}: forecast errors are {'back to normal' if status == 'resolved' else '4.0 times what they were'}",
        "evidence": {"detector": "adwin", "rise": 4.0, "errors_after": 12},
    }
    return AlertMessage.model_validate(fields | other)


class Raiser:
    """Publishes alerts as a worker does."""

    def __init__(self, redis_url: str, namespace: str, *, alert_maxlen: int = 100_000) -> None:
        self._store = RedisStore(connect(redis_url), namespace, alert_maxlen=alert_maxlen)
        self._claim = self._store.claim("sensors", 0, "test")

    def __call__(self, *alerts: AlertMessage) -> None:
        publication = PartitionPublication(self._claim, "plant", 0, 0, alerts=alerts, by_clock=True)
        assert not self._store.publish([publication]).fenced

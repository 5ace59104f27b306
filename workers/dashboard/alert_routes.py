"""The API of alerts: what fires, and what has."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from stream.messages import AlertMessage
from stream.redis_reader import RedisReader


def alert_routes(reader: RedisReader) -> APIRouter:
    """Routes under /api/alerts."""
    router = APIRouter(prefix="/api/alerts", tags=["alerts"])

    @router.get("/open")
    def _open() -> list[AlertMessage]:
        """What fires now, the newest first."""
        return sorted(reader.open_alerts().values(), key=lambda alert: alert.at, reverse=True)

    @router.get("")
    def _newest(
        count: Annotated[int, Query(ge=1, le=1_000)] = 200,
        series: Annotated[str, Query(max_length=256, description="only of this series")] = "",
    ) -> list[AlertMessage]:
        """The newest transitions, the newest first."""
        return [alert for _, alert in reader.last_alerts(count) if not series or alert.series == series]

    return router

"""The API of series: the list, and of one series its card, its latest forecast, its history, and a live stream of forecasts."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel

from stream.keys import check_series
from stream.messages import ForecastMessage, SeriesCard
from stream.redis_reader import RedisReader
from workers.dashboard.hub import Hub
from workers.dashboard.overview import Overview, Sort

KEEP_ALIVE_S = 15.0
QUIETEST_S = 0.2
"""A page gets a new forecast at most every so often: nobody looks faster."""
Feed = Annotated[str, Query(description="name of the feed; may be left out where there is only one")]
SeriesId = Annotated[
    str,
    Query(
        description="the series id; instead of the one in the path, for ids that no path can hold ('.', '..', with line breaks)"
    ),
]


class Row(BaseModel):
    """A line of the list."""

    series: str
    state: str
    value: float | None
    error: float | None
    error_ratio: float | None
    """Recent error over that of the last value."""
    coverage: float | None
    """Recent share of targets inside the widest interval, whose nominal share is ``nominal``."""
    nominal: float | None
    cutoff: str | None
    step_s: float | None
    model: str | None
    alerts: int
    recent: list[float | None]


class Page(BaseModel):
    """Some lines of the list, and how many series there are, by state and in all."""

    total: int
    counts: dict[str, int]
    rows: list[Row]


def series_routes(reader: RedisReader, overview: Overview, hub: Hub) -> APIRouter:
    """Routes under /api/series."""
    router = APIRouter(prefix="/api", tags=["series"])
    feeds = list(overview.feeds)

    def chosen(feed: str) -> str:
        if feed in feeds:
            return feed
        if not feed and len(feeds) == 1:
            return feeds[0]
        raise HTTPException(404, f"name one of the feeds: {', '.join(feeds)}")

    def there(text: bytes | None) -> Response:
        if text is None:
            raise HTTPException(404, "this series is not known, or has had no forecast yet")
        return Response(text, media_type="application/json")

    @router.get("/series")
    def _list(
        feed: Feed = "",
        search: Annotated[str, Query(max_length=256, description="words that all stand in the id")] = "",
        state: Annotated[str, Query(pattern="^(|warming|ready|stale|firing)$")] = "",
        sort: Sort = "alerts",
        descending: bool = True,
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> Page:
        """Series with their newest facts."""
        name = chosen(feed)
        total, rows = overview.page(name, search, state, sort, descending=descending, offset=offset, limit=limit)
        return Page(
            total=total, counts=overview.listing(name).counts, rows=[Row.model_construct(**row) for row in rows]
        )

    @router.get("/series/{path:path}/forecast", responses={200: {"model": ForecastMessage}})
    def _forecast(path: str, feed: Feed = "", series: SeriesId = "") -> Response:
        """The latest forecast."""
        return there(reader.latest_text(chosen(feed), check_series(series or path)))

    @router.get("/series/{path:path}/card", responses={200: {"model": SeriesCard}})
    def _card(path: str, feed: Feed = "", series: SeriesId = "") -> Response:
        """How the series does."""
        [(_, text)] = reader.card_texts(chosen(feed), [check_series(series or path)])
        return there(text)

    @router.get("/series/{path:path}/history")
    def _history(
        path: str, feed: Feed = "", series: SeriesId = "", count: Annotated[int, Query(ge=1, le=500)] = 200
    ) -> list[ForecastMessage]:
        """The newest forecasts that the stream still holds, oldest first."""
        return reader.recent_forecasts(chosen(feed), check_series(series or path), count)

    @router.get("/series/{path:path}/live", response_class=StreamingResponse)
    async def _live(path: str, feed: Feed = "", series: SeriesId = "") -> StreamingResponse:
        """Server-sent events: each new forecast as ``data``, as it comes."""
        if hub.is_full:
            raise HTTPException(503, "too many pages watch already; close some")
        told = events(reader, hub, chosen(feed), check_series(series or path))
        return StreamingResponse(told, media_type="text/event-stream")

    return router


async def events(reader: RedisReader, hub: Hub, feed: str, series: str) -> AsyncGenerator[str]:
    """Server-sent events of a series: the newest forecast now, each new one as it comes, and a comment in long silences."""
    changes = hub.changes(feed, series, KEEP_ALIVE_S)
    yield ": watching\n\n"
    text: Any = await anyio.to_thread.run_sync(reader.latest_text, feed, series)
    if text is not None:
        yield f"data: {text.decode()}\n\n"
    async for came in changes:
        if not came:
            yield ": still watching\n\n"
            continue
        text = await anyio.to_thread.run_sync(reader.latest_text, feed, series)
        if text is not None:
            yield f"data: {text.decode()}\n\n"
        await anyio.sleep(QUIETEST_S)

"""Live notices from Redis, shared out to the pages that watch a series."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import structlog

from stream.errors import ServiceError
from stream.redis_live import notices

log = structlog.get_logger()
MOST_WATCHERS = 256
AGAIN_S = 1.0
Watch = tuple[str, str]


class Hub:
    """One subscription a feed, for all watchers; it is open only while somebody watches. Lives in one event loop."""

    def __init__(self, url: str, channel: Callable[[str], str]) -> None:
        self._url, self._channel = url, channel
        self._watchers: dict[Watch, set[asyncio.Event]] = {}
        self._listeners: dict[str, asyncio.Task[None]] = {}
        self._closed = False

    def close(self) -> None:
        """End all watching: an open stream would hold up the server's end."""
        self._closed = True
        for watching in self._watchers.values():
            for event in watching:
                event.set()

    @property
    def is_full(self) -> bool:
        """Whether as many watch as may."""
        return sum(map(len, self._watchers.values())) >= MOST_WATCHERS

    async def changes(self, feed: str, series: str, at_least_every_s: float) -> AsyncIterator[bool]:
        """True when the series has a new forecast, False when none came for ``at_least_every_s``."""
        event = asyncio.Event()
        self._watchers.setdefault((feed, series), set()).add(event)
        if feed not in self._listeners:
            self._listeners[feed] = asyncio.create_task(self._listen(feed))
        try:
            while not self._closed:
                with suppress(TimeoutError):
                    async with asyncio.timeout(at_least_every_s):
                        await event.wait()
                came = event.is_set()
                event.clear()
                yield came
        finally:
            self._leave(feed, series, event)

    def _leave(self, feed: str, series: str, event: asyncio.Event) -> None:
        watching = self._watchers[feed, series]
        watching.discard(event)
        if not watching:
            del self._watchers[feed, series]
        if not any(name == feed for name, _ in self._watchers):
            self._listeners.pop(feed).cancel()

    async def _listen(self, feed: str) -> None:
        while True:
            try:
                async for notice in notices(self._url, self._channel(feed)):
                    for series in notice.series:
                        for event in self._watchers.get((feed, series), ()):
                            event.set()
            except ServiceError as error:
                log.warning("live notices are interrupted, trying again", feed=feed, reason=str(error))
                await asyncio.sleep(AGAIN_S)

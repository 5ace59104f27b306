"""When each feed was retrained last, in Redis: so that a restarted scheduler neither repeats a run nor forgets one."""

from __future__ import annotations

from typing import Any

import redis

from stream.keys import Keys, check_name
from stream.redis_connect import service_errors


class ScheduleTimes:
    """Per feed, in microseconds since 1970: since when it is on schedule, and the start of its last finished run.

    Two fields of the hash ``{ns}:schedule``: ``{feed}:since`` and ``{feed}:last``. All methods raise ServiceError when
    Redis fails.
    """

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client: Any = client  # redis-py cannot type that all replies are bytes
        self._key = Keys(namespace).schedule

    def since(self, feed: str, now_us: int) -> int:
        """Since when the feed is on schedule: ``now_us`` if this is the first that is heard of it."""
        field = f"{check_name(feed)}:since"
        with service_errors(f"reading the schedule of feed {feed}"):
            self._client.hsetnx(self._key, field, now_us)
            return int(self._client.hget(self._key, field))

    def last(self, feed: str) -> int | None:
        """Start of the last run that came to its end; None before there is one."""
        with service_errors(f"reading the schedule of feed {feed}"):
            found = self._client.hget(self._key, f"{check_name(feed)}:last")
        return None if found is None else int(found)

    def finished(self, feed: str, started_us: int) -> None:
        """A run that started then has come to its end, good or bad."""
        with service_errors(f"writing the schedule of feed {feed}"):
            self._client.hset(self._key, f"{check_name(feed)}:last", started_us)

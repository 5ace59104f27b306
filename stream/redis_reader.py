"""The reading side of Redis, for the dashboard, the command line and tests. Writes only to strike off dead workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import orjson
import redis
from pydantic import TypeAdapter

from stream.keys import Keys, check_series
from stream.messages import AlertMessage, ForecastBatch, ForecastMessage, Message, SeriesCard
from stream.redis_connect import service_errors

M = TypeVar("M", bound=Message)

_BACKWARDS = 50
"""Entries that are read at once when walking the stream backwards."""
_ALERTS_AT_ONCE = 1_000
_FORECASTS: TypeAdapter[list[ForecastMessage]] = TypeAdapter(list[ForecastMessage])


class RedisReader:
    """Reads what the workers of a namespace publish. All methods raise ServiceError when Redis fails.

    A message of a version or shape that this release does not know raises pydantic.ValidationError.
    """

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self.keys = Keys(namespace)
        self._client: Any = client  # redis-py cannot type that all replies are bytes
        timeout_s = client.connection_pool.connection_kwargs.get("socket_timeout", 5.0)
        # A wait that outlasts the socket's timeout would end in an error instead of "nothing new".
        self._longest_block_ms = None if timeout_s is None else max(1, int(timeout_s * 500))

    def ping(self) -> None:
        """Returns where Redis answers."""
        with service_errors("asking whether it is there"):
            self._client.ping()

    def latest(self, feed: str, series: str) -> ForecastMessage | None:
        return self._one(self.keys.forecast(feed, series), ForecastMessage)

    def card(self, feed: str, series: str) -> SeriesCard | None:
        return self._one(self.keys.card(feed, series), SeriesCard)

    def latest_many(self, feed: str, series: list[str]) -> dict[str, ForecastMessage]:
        """The latest forecasts of those series that have one, in one round trip."""
        return self._many({name: self.keys.forecast(feed, name) for name in series}, ForecastMessage)

    def cards(self, feed: str, series: list[str]) -> dict[str, SeriesCard]:
        """The cards of those series that have one, in one round trip."""
        return self._many({name: self.keys.card(feed, name) for name in series}, SeriesCard)

    def latest_text(self, feed: str, series: str) -> bytes | None:
        """The latest forecast as it lies in Redis."""
        with service_errors(f"reading the forecast of a series of feed {feed}"):
            text: bytes | None = self._client.get(self.keys.forecast(feed, series))
        return text

    def card_texts(self, feed: str, series: list[str]) -> list[tuple[str, bytes | None]]:
        """Each series with its card as it lies in Redis, in one round trip: a list of thousands is not checked card by card."""
        if not series:
            return []
        with service_errors(f"reading {len(series)} cards of feed {feed}"):
            texts = self._client.mget([self.keys.card(feed, name) for name in series])
        return list(zip(series, texts, strict=True))

    def recent_forecasts(
        self, feed: str, series: str, count: int, most_bytes: int = 32_000_000
    ) -> list[ForecastMessage]:
        """The newest forecasts of a series in the stream, up to ``count``, oldest first.

        The stream holds all series, so this walks it backwards, at most ``most_bytes`` of it.
        """
        found: list[ForecastMessage] = []
        wanted, newest, walked = b'"series":%b,' % orjson.dumps(series), "+", 0
        while len(found) < count and walked < most_bytes:
            with service_errors(f"reading the forecasts of feed {feed}"):
                entries = self._client.xrevrange(self.keys.forecasts(feed), newest, count=_BACKWARDS)
            for _, fields in entries:
                text = fields[b"forecasts"]
                walked += len(text)
                if wanted in text:
                    batch = [one for one in orjson.loads(text) if one["series"] == series]
                    found += map(ForecastMessage.model_validate, reversed(batch))
            if len(entries) < _BACKWARDS:
                break
            newest = f"({entries[-1][0].decode()}"
        return found[:count][::-1]

    def series(self, feed: str) -> Iterator[str]:
        """All series ids of the feed, in no order, each once."""
        yield from (name for name, _ in self.places(feed))

    def places(self, feed: str) -> Iterator[tuple[str, str]]:
        """Series ids of the feed and their ``topic/partition``."""
        seen: set[bytes] = set()
        with service_errors(f"listing the series of feed {feed}"):
            for name, place in self._client.hscan_iter(self.keys.series(feed), count=512):
                if name not in seen:
                    seen.add(name)
                    yield name.decode(), place.decode()

    def place(self, feed: str, series: str) -> tuple[str, int] | None:
        """Topic and partition of a series of the feed; None where the feed has no such series."""
        with service_errors(f"looking up {series!r} of feed {feed}"):
            place = self._client.hget(self.keys.series(feed), check_series(series))
        if place is None:
            return None
        topic, _, partition = place.decode().rpartition("/")
        return topic, int(partition)

    def state(self, topic: str, partition: int, feed: str, series: str) -> bytes | None:
        """What a worker saved last of a series; None before it has."""
        with service_errors(f"reading the state of {series!r} of feed {feed}"):
            state: bytes | None = self._client.hget(self.keys.state(topic, partition, feed), series)
        return state

    def partition(self, topic: str, partition: int) -> dict[str, str]:
        """``epoch``, ``owner``, ``updated`` and, once something is published, ``offset``; empty when never claimed."""
        with service_errors(f"reading {topic}/{partition}"):
            fields = self._client.hgetall(self.keys.partition(topic, partition))
        return {name.decode(): value.decode() for name, value in fields.items()}

    def alerts(
        self, after_id: str = "0-0", count: int = 100, block_ms: int | None = None
    ) -> list[tuple[str, AlertMessage]]:
        """Up to ``count`` alerts after the entry ``after_id``, oldest first, with entry ids.

        "$" means those to come; in a loop, pass the last id instead, or what comes between two calls is missed. With
        ``block_ms`` waits for the first, at most half of the socket's timeout; empty when none came.
        """
        entries = self._entries(self.keys.alerts, after_id, count, block_ms)
        return [(entry, AlertMessage.model_validate_json(fields[b"alert"])) for entry, fields in entries]

    def last_alerts(self, count: int = 100) -> list[tuple[str, AlertMessage]]:
        """The newest ``count`` alerts, newest first."""
        with service_errors("reading alerts"):
            entries = self._client.xrevrange(self.keys.alerts, count=count)
        return [(entry.decode(), AlertMessage.model_validate_json(fields[b"alert"])) for entry, fields in entries]

    def alert(self, fingerprint: str) -> AlertMessage | None:
        """The oldest message that the stream still holds of an alert: its firing, if that has not been cut off."""
        found, upto = None, "+"
        while True:
            with service_errors("reading alerts"):
                entries = self._client.xrevrange(self.keys.alerts, max=upto, count=_ALERTS_AT_ONCE)
            for entry, fields in entries:
                upto = f"({entry.decode()}"
                if fields[b"fingerprint"].decode() == fingerprint:
                    found = fields[b"alert"]
            if len(entries) < _ALERTS_AT_ONCE:
                return None if found is None else AlertMessage.model_validate_json(found)

    def open_alerts(self) -> dict[str, AlertMessage]:
        """Fingerprint -> alert that is firing, all feeds."""
        with service_errors("reading open alerts"):
            fields = self._client.hgetall(self.keys.alerts_open)
        return {name.decode(): AlertMessage.model_validate_json(text) for name, text in fields.items()}

    def forecasts(
        self, feed: str, after_id: str = "0-0", count: int = 10, block_ms: int | None = None
    ) -> list[tuple[str, ForecastBatch]]:
        """Up to ``count`` entries of the forecast stream after ``after_id``; arguments as in ``alerts``."""
        batches = []
        for entry, fields in self._entries(self.keys.forecasts(feed), after_id, count, block_ms):
            forecasts = _FORECASTS.validate_json(fields.pop(b"forecasts"))
            # The other fields are numbers as text, which pydantic turns back.
            text: dict[str, Any] = {name.decode(): value.decode() for name, value in fields.items()}
            text["v"] = int(text["v"])
            batches.append((entry, ForecastBatch(forecasts=forecasts, **text)))
        return batches

    def workers(self) -> dict[str, dict[str, Any]]:
        """Worker id -> what its last heartbeat said, for those whose heartbeat has not expired."""
        with service_errors("reading heartbeats"):
            ids = sorted(name.decode() for name in self._client.smembers(self.keys.workers))
            if not ids:
                return {}
            beats = self._client.mget([self.keys.worker(worker_id) for worker_id in ids])
            gone = [worker_id for worker_id, beat in zip(ids, beats, strict=True) if beat is None]
            if gone:
                # One that comes back just now is missed only until its next beat.
                self._client.srem(self.keys.workers, *gone)
        return {name: orjson.loads(beat) for name, beat in zip(ids, beats, strict=True) if beat is not None}

    def _one(self, key: str, kind: type[M]) -> M | None:
        with service_errors(f"reading {key}"):
            text = self._client.get(key)
        return None if text is None else kind.model_validate_json(text)

    def _many(self, keys: dict[str, str], kind: type[M]) -> dict[str, M]:
        if not keys:
            return {}
        with service_errors(f"reading {len(keys)} keys"):
            texts = self._client.mget(list(keys.values()))
        found = zip(keys, texts, strict=True)
        return {name: kind.model_validate_json(text) for name, text in found if text is not None}

    def _entries(
        self, key: str, after_id: str, count: int, block_ms: int | None
    ) -> list[tuple[str, dict[bytes, bytes]]]:
        if block_ms is not None and self._longest_block_ms is not None:
            block_ms = min(block_ms, self._longest_block_ms)
        with service_errors(f"reading stream {key}"):
            reply = self._client.xread({key: after_id}, count=count, block=block_ms)
        return [(entry.decode(), fields) for _, entries in reply or () for entry, fields in entries]

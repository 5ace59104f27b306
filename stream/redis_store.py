"""The writing side of Redis: ownership of partitions, and what an engine batch brought about, as one transaction."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import redis

from stream.errors import ServiceError
from stream.keys import Keys
from stream.messages import VERSION, AlertMessage, LiveNotice, iso
from stream.redis_connect import service_errors

_ATTEMPTS = 8
# Quotes inside JSON's strings are escaped, so this is the field and nothing that a series id could hold.
_MARK_STALE = """
local found = redis.call('GET', KEYS[1])
if found then redis.call('SET', KEYS[1], (string.gsub(found, '"state":"%a+"', '"state":"stale"', 1))) end
"""
_READ_FENCES = """
local found = {}
for i, key in ipairs(KEYS) do found[i] = redis.call('HMGET', key, 'epoch', 'offset') end
return found
"""


Thinning = tuple[tuple[int, int], ...]
"""Offsets, ascending, each with the thinning of learning that was in force from it on; 1 before the first."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to publish for a partition, until somebody claims it with a higher epoch."""

    topic: str
    partition: int
    epoch: int
    offset: int | None
    """Highest offset whose effects were published when the claim was made; None when none ever were."""
    complete: int | None = None
    """The saved states held every record up to this offset when the claim was made: go on after it. None: from the beginning."""
    thin: Thinning = ()
    """How learning was thinned at the offsets between ``complete`` and ``offset``."""


@dataclass(frozen=True, slots=True)
class PartitionPublication:
    """What the records ``first_offset`` to ``offset`` (both included) of one partition brought about for one feed."""

    claim: Claim
    feed: str
    first_offset: int
    offset: int
    forecasts: Sequence[tuple[str, bytes]] = ()
    """Series and its ForecastMessage as JSON, in order; a series may stand here more than once."""
    cards: Mapping[str, bytes] = field(default_factory=dict)
    alerts: Sequence[AlertMessage] = ()
    states: Mapping[str, bytes] = field(default_factory=dict)
    """Series -> state. Goes in also when the effects have been published before."""
    new_series: Sequence[str] = ()
    """Series that are to be entered in the feed's index."""
    complete: int | None = None
    """With these ``states`` saved, the saved states of all feeds hold every record up to this offset. None: unchanged."""
    stale: Sequence[str] = ()
    """Series that have fallen silent: the state in their latest forecast becomes ``stale``."""
    thin: Thinning | None = None
    """How learning was thinned up to ``offset``, as far as it may be asked for again. None: unchanged."""
    by_clock: bool = False
    """Brought about by the clock and not by a record: the effects go in whatever the published offset is, and do not move it."""


@dataclass(frozen=True, slots=True)
class Published:
    fenced: frozenset[Claim]
    """Claims that are void: another worker has the partition now and nothing of it was written."""
    champions: Mapping[str, str | None]
    """Feed -> version that is champion now, for the feeds of the publications."""


class RedisStore:
    """Claims partitions, loads and saves state, publishes. One thread at a time may publish for a claim.

    The streams are cut at about ``forecast_maxlen`` entries (one is a whole batch, some MB at a thousand forecasts;
    0 keeps no forecast stream) and ``alert_maxlen`` alerts. All methods raise ServiceError when Redis fails.
    """

    def __init__(
        self, client: redis.Redis, namespace: str, *, forecast_maxlen: int = 1_000, alert_maxlen: int = 100_000
    ) -> None:
        self.keys = Keys(namespace)
        self._client: Any = client  # redis-py cannot type that all replies are bytes
        self._forecast_maxlen = forecast_maxlen
        self._alert_maxlen = alert_maxlen

    def claim(self, topic: str, partition: int, owner: str) -> Claim:
        """Take the partition: from now on, every earlier claim to it is fenced."""
        key = self.keys.partition(topic, partition)
        with service_errors(f"claiming {topic}/{partition}"), self._client.pipeline(transaction=True) as pipe:
            pipe.hincrby(key, "epoch", 1)
            pipe.hset(key, mapping={"owner": owner, "updated": _now()})
            pipe.hmget(key, "offset", "complete", "thin")
            epoch, _, (offset, complete, thin) = pipe.execute()
        return Claim(
            topic,
            partition,
            int(epoch),
            None if offset is None else int(offset),
            None if complete is None else int(complete),
            () if thin is None else tuple((int(at), int(factor)) for at, factor in orjson.loads(thin)),
        )

    def load_states(self, topic: str, partition: int, feed: str, *, chunk: int = 256) -> Iterator[tuple[str, bytes]]:
        """Series and state, each series once, about ``chunk`` at a time so that a big partition does not block Redis.

        Claim first: then nobody else writes while this reads.
        """
        seen: set[bytes] = set()
        with service_errors(f"loading states of {topic}/{partition} of feed {feed}"):
            for series, state in self._client.hscan_iter(self.keys.state(topic, partition, feed), count=chunk):
                # HSCAN may name a field twice while Redis grows or shrinks the hash.
                if series not in seen:
                    seen.add(series)
                    yield series.decode(), state

    def load_state(self, topic: str, partition: int, feed: str, series: str) -> bytes | None:
        with service_errors(f"loading the state of {series!r} of feed {feed}"):
            state: bytes | None = self._client.hget(self.keys.state(topic, partition, feed), series)
        return state

    def count_states(self, topic: str, partition: int, feed: str) -> int:
        with service_errors(f"counting states of {topic}/{partition} of feed {feed}"):
            return int(self._client.hlen(self.keys.state(topic, partition, feed)))

    def publish(self, publications: Sequence[PartitionPublication]) -> Published:
        """Write all of it or nothing, in one transaction; leave out partitions that another worker has claimed.

        A publication whose ``offset`` is not above the partition's published offset is a replay: only its states are
        written. So calling again after a ServiceError is safe, also when the first call did its work and only the
        answer was lost. Feeds that share a partition must travel in one call, else the second looks like a replay.
        Records at or below the published offset inside a publication that reaches beyond it are the caller's to drop.
        """
        if not publications:
            return Published(frozenset(), {})
        claims = {(item.claim.topic, item.claim.partition): item.claim for item in publications}
        if any(claims[item.claim.topic, item.claim.partition] != item.claim for item in publications):
            raise ValueError("two claims to one partition in one call")
        keys = {claim: self.keys.partition(claim.topic, claim.partition) for claim in claims.values()}
        with service_errors(f"publishing {len(keys)} partitions"), self._client.pipeline(transaction=True) as pipe:
            for _ in range(_ATTEMPTS):
                try:
                    return self._publish_once(pipe, publications, keys)
                except redis.WatchError:
                    # Somebody has claimed one of the partitions meanwhile, or the connection broke and it is not known
                    # whether the transaction took place. Epochs and offsets, read again, tell both.
                    continue
        raise ServiceError(f"Redis: publishing {len(keys)} partitions: they changed hands {_ATTEMPTS} times meanwhile")

    def beat(self, worker_id: str, info: Mapping[str, str | int | float | bool | None], ttl_s: float) -> None:
        """Say that the worker lives; after ``ttl_s`` seconds without another beat it is taken for gone."""
        with service_errors(f"heartbeat of {worker_id!r}"), self._client.pipeline(transaction=True) as pipe:
            pipe.set(self.keys.worker(worker_id), orjson.dumps(dict(info)), px=max(1, round(ttl_s * 1e3)))
            pipe.sadd(self.keys.workers, worker_id)
            pipe.execute()

    def _publish_once(
        self, pipe: Any, publications: Sequence[PartitionPublication], keys: Mapping[Claim, str]
    ) -> Published:
        pipe.watch(*keys.values())
        rows = pipe.eval(_READ_FENCES, len(keys), *keys.values())
        offsets = {
            claim: -1 if offset is None else int(offset)
            for claim, (epoch, offset) in zip(keys, rows, strict=True)
            if epoch is not None and int(epoch) == claim.epoch
        }
        pipe.multi()
        latest: dict[str, bytes] = {}
        reached: dict[Claim, int] = {}
        for item in publications:
            if item.claim not in offsets:
                continue
            if item.states:
                state_key = self.keys.state(item.claim.topic, item.claim.partition, item.feed)
                pipe.hset(state_key, mapping=item.states)
            if item.complete is not None:
                pipe.hset(keys[item.claim], "complete", item.complete)
            if item.by_clock:
                self._add_effects(pipe, item, latest)
            elif item.offset > offsets[item.claim]:
                reached[item.claim] = max(item.offset, reached.get(item.claim, -1))
                if item.thin is not None:
                    pipe.hset(keys[item.claim], "thin", orjson.dumps(item.thin))
                self._add_effects(pipe, item, latest)
        if latest:
            pipe.mset(latest)
        for claim, offset in reached.items():
            pipe.hset(keys[claim], mapping={"offset": offset, "updated": _now()})
        feeds = list(dict.fromkeys(item.feed for item in publications))
        pipe.mget([self.keys.champion(feed) for feed in feeds])
        versions = pipe.execute()[-1]
        champions = {feed: None if v is None else v.decode() for feed, v in zip(feeds, versions, strict=True)}
        return Published(frozenset(claim for claim in keys if claim not in offsets), champions)

    def _add_effects(self, pipe: Any, item: PartitionPublication, latest: dict[str, bytes]) -> None:
        keys, claim = self.keys, item.claim
        for series, card in item.cards.items():
            latest[keys.card(item.feed, series)] = card
        for series in item.stale:
            pipe.eval(_MARK_STALE, 1, keys.forecast(item.feed, series))
        if item.new_series:
            place = f"{claim.topic}/{claim.partition}"
            pipe.hset(keys.series(item.feed), mapping=dict.fromkeys(item.new_series, place))
        if item.forecasts:
            for series, forecast in item.forecasts:
                latest[keys.forecast(item.feed, series)] = forecast
            self._add_to_stream(pipe, item)
            series_once = list(dict.fromkeys(series for series, _ in item.forecasts))
            notice = LiveNotice.model_construct(
                feed=item.feed,
                topic=claim.topic,
                partition=claim.partition,
                last_offset=item.offset,
                series=series_once,
            )
            pipe.publish(keys.live(item.feed), notice.to_json())
        for alert in item.alerts:
            text = alert.to_json()
            pipe.xadd(keys.alerts, alert.stream_fields(text), maxlen=self._alert_maxlen)
            pipe.publish(keys.alerts_live, text)
            if alert.status == "firing":
                pipe.hset(keys.alerts_open, alert.fingerprint, text)
            else:
                pipe.hdel(keys.alerts_open, alert.fingerprint)

    def _add_to_stream(self, pipe: Any, item: PartitionPublication) -> None:
        if not self._forecast_maxlen:
            return
        entry = {
            "v": VERSION,
            "feed": item.feed,
            "topic": item.claim.topic,
            "partition": item.claim.partition,
            "first_offset": item.first_offset,
            "last_offset": item.offset,
            "n": len(item.forecasts),
            "forecasts": b"[" + b",".join(forecast for _, forecast in item.forecasts) + b"]",
        }
        pipe.xadd(self.keys.forecasts(item.feed), entry, maxlen=self._forecast_maxlen)


def _now() -> str:
    return iso(time.time_ns() // 1000)

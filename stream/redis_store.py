"""The writing side of Redis: ownership of partitions, and what an engine batch brought about, as one transaction."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import orjson
import redis

from stream.errors import ServiceError
from stream.keys import Keys
from stream.messages import VERSION, AlertMessage, LiveNotice, iso
from stream.redis_connect import service_errors

_ATTEMPTS = 8
_MODEL = "model:"
# Quotes inside JSON's strings are escaped, so this is the field and nothing that a series id could hold.
_MARK_STALE = """
local found = redis.call('GET', KEYS[1])
if found then redis.call('SET', KEYS[1], (string.gsub(found, '"state":"%a+"', '"state":"stale"', 1))) end
"""
_READ_FENCES = """
local found = {}
for i, key in ipairs(KEYS) do found[i] = redis.call('HMGET', key, 'epoch', 'token', 'written', 'offset') end
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
    models: tuple[tuple[str, str], ...] = ()
    """Feed and version of the model under which its last records were published."""
    token: str = ""
    """Of this claim alone: a Redis that has lost its last second gives out an epoch twice."""

    @property
    def behind(self) -> bool:
        """Whether records are to be run again that were published before."""
        return self.offset is not None and (self.complete is None or self.complete < self.offset)


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
    model: str | None = None
    """Version of the model under which this is published. None: unchanged."""
    anew: bool = False
    """The partition's log begins again: what was published and saved of the old one is forgotten, as far as offsets go."""
    by_clock: bool = False
    """Brought about by the clock and not by a record: the effects go in whatever the published offset is, and do not move it."""


@dataclass(frozen=True, slots=True)
class Published:
    fenced: frozenset[Claim]
    """Claims that are void: another worker has the partition now and nothing of it was written."""
    forgotten: frozenset[Claim]
    """Claims under which Redis had confirmed more than it knows now: nothing of it was written. Claim anew, and run again."""
    champions: Mapping[str, str | None]
    """Feed -> version that is champion now, for the feeds of the publications."""


class _Standing(Enum):
    """What Redis says to a claim."""

    GOOD = "all that it confirmed is there"
    WRITTEN = "this very write is there already: only its answer was lost"
    FENCED = "another worker has claimed since"
    FORGOTTEN = "what we wrote is no longer there"


class RedisStore:
    """Claims partitions, loads and saves state, publishes. One thread at a time may publish for a claim.

    Every write is numbered, and each partition holds the number of its last one. So a write whose answer was lost is told from one that
    never arrived, and a Redis that came back without its last second is noticed before anything is built upon what it has lost.

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
        self._confirmed: dict[str, tuple[Claim, int]] = {}
        """By partition's key: our newest claim, and the number of the last write under it that Redis has confirmed."""
        self._number = 0
        # The last claim that Redis has taken must be the last that is noted here, and a number belongs to one call.
        self._lock = threading.RLock()
        self._trying: Sequence[PartitionPublication] | None = None

    def claim(self, topic: str, partition: int, owner: str) -> Claim:
        """Take the partition: from now on, every earlier claim to it is fenced."""
        key, token = self.keys.partition(topic, partition), secrets.token_hex(8)
        with (
            self._lock,
            service_errors(f"claiming {topic}/{partition}"),
            self._client.pipeline(transaction=True) as pipe,
        ):
            return self._claim_once(pipe, key, topic, partition, owner, token)

    def _claim_once(self, pipe: Any, key: str, topic: str, partition: int, owner: str, token: str) -> Claim:
        pipe.hincrby(key, "epoch", 1)
        pipe.hset(key, mapping={"owner": owner, "token": token, "written": 0, "updated": _now()})
        pipe.hgetall(key)
        epoch, _, held = pipe.execute()
        offset, complete, thin = (held.get(name) for name in (b"offset", b"complete", b"thin"))
        claim = Claim(
            topic,
            partition,
            int(epoch),
            None if offset is None else int(offset),
            None if complete is None else int(complete),
            () if thin is None else tuple((int(at), int(factor)) for at, factor in orjson.loads(thin)),
            tuple(
                (name.decode().removeprefix(_MODEL), version.decode())
                for name, version in held.items()
                if name.startswith(_MODEL.encode())
            ),
            token,
        )
        self._confirmed[key] = (claim, 0)
        return claim

    def standing(self, claims: Sequence[Claim]) -> Published:
        """Which of these claims are void, without writing anything: whoever writes seldom finds out seldom."""
        if not claims:
            return Published(frozenset(), frozenset(), {})
        keys = {claim: self.keys.partition(claim.topic, claim.partition) for claim in claims}
        with service_errors(f"looking at {len(keys)} partitions"):
            found, _ = self._read_standing(self._client, keys)
        return _published(found, {})

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
        """Write all of it or nothing, in one transaction; leave out partitions that another worker has claimed, or where Redis has lost
        what it had confirmed.

        A publication whose ``offset`` is not above the partition's published offset is a replay: only its states are
        written. So calling again after a ServiceError is safe, also when the first call did its work and only the
        answer was lost; call with the same object then, for by that it is told that this is the same write. Feeds that
        share a partition must travel in one call, else the second looks like a replay. Records at or below the
        published offset inside a publication that reaches beyond it are the caller's to drop.
        """
        if not publications:
            return Published(frozenset(), frozenset(), {})
        claims = {(item.claim.topic, item.claim.partition): item.claim for item in publications}
        if any(claims[item.claim.topic, item.claim.partition] != item.claim for item in publications):
            raise ValueError("two claims to one partition in one call")
        keys = {claim: self.keys.partition(claim.topic, claim.partition) for claim in claims.values()}
        action = f"publishing {len(keys)} partitions"
        with self._lock, service_errors(action), self._client.pipeline(transaction=True) as pipe:
            if self._trying is not publications:
                self._number += 1
                self._trying = publications
            for _ in range(_ATTEMPTS):
                try:
                    done = self._publish_once(pipe, publications, keys)
                    self._trying = None
                    return done
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

    def _read_standing(self, client: Any, keys: Mapping[Claim, str]) -> tuple[dict[Claim, _Standing], dict[Claim, int]]:
        """How each claim stands, and the published offset of each partition, -1 for none."""
        rows = client.eval(_READ_FENCES, len(keys), *keys.values())
        found: dict[Claim, _Standing] = {}
        offsets: dict[Claim, int] = {}
        for (claim, key), (epoch, token, written, offset) in zip(keys.items(), rows, strict=True):
            ours, confirmed = self._confirmed.get(key, (None, 0))
            offsets[claim] = -1 if offset is None else int(offset)
            if ours != claim:
                found[claim] = _Standing.FENCED
            elif epoch is None or int(epoch) < claim.epoch:
                found[claim] = _Standing.FORGOTTEN
            elif token is None or token.decode() != claim.token:
                found[claim] = _Standing.FENCED
            elif int(written) < confirmed:
                found[claim] = _Standing.FORGOTTEN
            else:
                found[claim] = _Standing.WRITTEN if int(written) == self._number else _Standing.GOOD
        return found, offsets

    def _publish_once(
        self, pipe: Any, publications: Sequence[PartitionPublication], keys: Mapping[Claim, str]
    ) -> Published:
        pipe.watch(*keys.values())
        standing, offsets = self._read_standing(pipe, keys)
        pipe.multi()
        good = {claim: key for claim, key in keys.items() if standing[claim] is _Standing.GOOD}
        self._write(pipe, [item for item in publications if item.claim in good], offsets, good)
        feeds = list(dict.fromkeys(item.feed for item in publications))
        pipe.mget([self.keys.champion(feed) for feed in feeds])
        versions = pipe.execute()[-1]
        for claim, key in keys.items():
            if standing[claim] in (_Standing.GOOD, _Standing.WRITTEN):
                self._confirmed[key] = (claim, self._number)
        champions = {feed: None if v is None else v.decode() for feed, v in zip(feeds, versions, strict=True)}
        return _published(standing, champions)

    def _write(
        self,
        pipe: Any,
        publications: Sequence[PartitionPublication],
        offsets: Mapping[Claim, int],
        keys: Mapping[Claim, str],
    ) -> None:
        latest: dict[str, bytes] = {}
        reached: dict[Claim, int] = {}
        for item in publications:
            if item.anew:
                pipe.hdel(keys[item.claim], "offset", "complete", "thin")
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
                if item.model is not None:
                    pipe.hset(keys[item.claim], f"{_MODEL}{item.feed}", item.model)
                self._add_effects(pipe, item, latest)
        if latest:
            pipe.mset(latest)
        for claim, offset in reached.items():
            pipe.hset(keys[claim], mapping={"offset": offset, "updated": _now()})
        for key in keys.values():
            pipe.hset(key, "written", self._number)

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


def _published(standing: Mapping[Claim, _Standing], champions: Mapping[str, str | None]) -> Published:
    void = {kind: frozenset(claim for claim, how in standing.items() if how is kind) for kind in _Standing}
    return Published(void[_Standing.FENCED], void[_Standing.FORGOTTEN], champions)


def _now() -> str:
    return iso(time.time_ns() // 1000)

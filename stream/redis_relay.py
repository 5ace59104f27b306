"""What the relay knows of a target, in Redis: what it was told, what waits, what is on its way, and its dead letters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import redis

from stream.keys import Keys
from stream.messages import AlertMessage
from stream.redis_connect import service_errors
from stream.redis_subscription import AlertGroup, Entry

LETTERS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Letter:
    """A notification that could not be delivered."""

    id: str
    at: str
    reason: str
    attempts: int
    notification: bytes
    """As JSON; what it is, the relay knows."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of some fingerprints."""

    told: Mapping[str, AlertMessage]
    """Those that the target holds for firing, as it was told last."""
    waiting: Mapping[str, AlertMessage]
    lost: frozenset[str]
    """Those whose firing is a dead letter."""


@dataclass(slots=True)
class Settlement:
    """What has become of some alerts, written as one transaction."""

    entries: list[Entry] = field(default_factory=list)
    """Done with: they do not come again."""
    told: dict[str, AlertMessage | None] = field(default_factory=dict)
    """Fingerprint -> what the target holds for firing from now on; None: nothing any more."""
    waiting: dict[str, AlertMessage | None] = field(default_factory=dict)
    recovered: list[str] = field(default_factory=list)
    """Fingerprints that are no longer lost."""
    counts: dict[str, int] = field(default_factory=dict)
    fields: dict[str, str | bytes] = field(default_factory=dict)
    letter: dict[str, str | bytes | int] | None = None
    """A dead letter to be kept."""
    lost: list[str] = field(default_factory=list)
    """Fingerprints whose firing it holds."""
    sending: bytes | None = None
    """What is on its way from now on; empty: nothing any more; None: as before."""
    replayed: str = ""
    """Id of a letter whose replay has ended."""
    replay_succeeded: bool = False

    def count(self, name: str, by: int = 1) -> None:
        """Add to one of the counters that ``TargetState.fields`` shows."""
        self.counts[name] = self.counts.get(name, 0) + by


class TargetState:
    """The state of one target. One process at a time writes it. All methods raise ServiceError when Redis fails."""

    def __init__(self, client: redis.Redis, namespace: str, target: str) -> None:
        keys = Keys(namespace)
        self.target = target
        self._client: Any = client  # redis-py cannot type that all replies are bytes
        self._hash = keys.relay(target)
        self._told, self._waiting, self._lost, self._sending, self._letters, self._replay = (
            keys.relay(target, part) for part in ("told", "waiting", "lost", "sending", "letters", "replay")
        )

    def lookup(self, fingerprints: Iterable[str]) -> Known:
        """What is known of these."""
        asked = list(dict.fromkeys(fingerprints))
        if not asked:
            return Known({}, {}, frozenset())
        with service_errors(f"target {self.target}"), self._client.pipeline(transaction=False) as pipe:
            for key in (self._told, self._waiting, self._lost):
                pipe.hmget(key, asked)
            told, waiting, lost = pipe.execute()
        return Known(
            {name: AlertMessage.model_validate_json(text) for name, text in zip(asked, told, strict=True) if text},
            {name: AlertMessage.model_validate_json(text) for name, text in zip(asked, waiting, strict=True) if text},
            frozenset(name for name, text in zip(asked, lost, strict=True) if text),
        )

    def told(self) -> list[AlertMessage]:
        """Every alert that the target holds for firing."""
        return self._alerts(self._told)

    def waiting(self) -> list[AlertMessage]:
        """Every alert that is to be told once no silence covers it."""
        return self._alerts(self._waiting)

    def fields(self) -> dict[str, bytes]:
        """Counters, and what the relay keeps for itself."""
        with service_errors(f"target {self.target}"):
            found = self._client.hgetall(self._hash)
        return {name.decode(): value for name, value in found.items()}

    def sending(self) -> bytes | None:
        """The notification that was on its way."""
        with service_errors(f"target {self.target}"):
            text: bytes | None = self._client.get(self._sending)
        return text

    def settle(self, done: Settlement, group: AlertGroup) -> None:
        """Write what has become of alerts: all of it or nothing."""
        with service_errors(f"target {self.target}"), self._client.pipeline(transaction=True) as pipe:
            group.add_acknowledgement(pipe, done.entries)
            for key, changes in ((self._told, done.told), (self._waiting, done.waiting)):
                for fingerprint, alert in changes.items():
                    if alert is None:
                        pipe.hdel(key, fingerprint)
                    else:
                        pipe.hset(key, fingerprint, alert.to_json())
            if done.recovered:
                pipe.hdel(self._lost, *done.recovered)
            if done.letter is not None:
                pipe.xadd(self._letters, done.letter, maxlen=LETTERS_MAX)
            if done.lost:
                pipe.hset(self._lost, mapping=dict.fromkeys(done.lost, 1))
            for name, by in done.counts.items():
                pipe.hincrby(self._hash, name, by)
            if done.fields:
                pipe.hset(self._hash, mapping=done.fields)
            if done.sending is not None:
                pipe.set(self._sending, done.sending) if done.sending else pipe.delete(self._sending)
            if done.replayed:
                pipe.lrem(self._replay, 0, done.replayed)
                if done.replay_succeeded:
                    pipe.xdel(self._letters, done.replayed)
            pipe.execute()

    def letters(self, count: int = 1_000) -> list[Letter]:
        """The dead letters, oldest first."""
        with service_errors(f"letters of target {self.target}"):
            found = self._client.xrange(self._letters, count=count)
        return [_letter(entry, fields) for entry, fields in found]

    def ask_for_replay(self, letter_ids: Sequence[str]) -> int:
        """Let the relay send these letters again, in this order; how many were not waiting for it already."""
        with service_errors(f"letters of target {self.target}"):
            waiting = {one.decode() for one in self._client.lrange(self._replay, 0, -1)}
            new = [one for one in letter_ids if one not in waiting]
            if new:
                self._client.rpush(self._replay, *new)
        return len(new)

    def drop_letters(self, letter_ids: Sequence[str]) -> int:
        """Throw letters away; how many there were."""
        if not letter_ids:
            return 0
        with service_errors(f"letters of target {self.target}"):
            return int(self._client.xdel(self._letters, *letter_ids))

    def next_replay(self) -> Letter | None:
        """The first letter that is to be sent again; None when there is none. Letters that are gone are passed over."""
        with service_errors(f"letters of target {self.target}"):
            while (first := self._client.lindex(self._replay, 0)) is not None:
                found = self._client.xrange(self._letters, min=first, max=first)
                if found:
                    return _letter(*found[0])
                self._client.lrem(self._replay, 0, first)
        return None

    def _alerts(self, key: str) -> list[AlertMessage]:
        with service_errors(f"target {self.target}"):
            found = dict(self._client.hscan_iter(key, count=500))
        return [AlertMessage.model_validate_json(text) for text in found.values()]


def dead_letter(notification: bytes, reason: str, attempts: int, at: str) -> dict[str, str | bytes | int]:
    """The fields of a letter's entry."""
    return {"at": at, "reason": reason, "attempts": attempts, "notification": notification}


def read_state(fields: Mapping[str, bytes], name: str) -> Any:
    """A field that holds JSON; None where there is none."""
    return orjson.loads(fields[name]) if fields.get(name) else None


def _letter(entry: bytes, fields: Mapping[bytes, bytes]) -> Letter:
    return Letter(
        entry.decode(),
        fields[b"at"].decode(),
        fields[b"reason"].decode(),
        int(fields[b"attempts"]),
        fields[b"notification"],
    )

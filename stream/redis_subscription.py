"""A named place in the stream of alerts, kept by Redis: a consumer group, and the ids of what it has acknowledged."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import redis
from pydantic import ValidationError

from stream.keys import Keys, check_name
from stream.messages import AlertMessage
from stream.redis_connect import service_errors

SEEN_MAX = 20_000
"""So many of the newest acknowledged ids are kept to drop repeats by."""

_DEAD_MS = 86_400_000
_log = logging.getLogger(__name__)

# How many entries were cut off between where the group stands and the oldest entry there is: 0 for none, -1 where the
# server does not count (before Redis 7). Redis itself goes on counting as if nothing had been skipped, so that is set right.
_CUT_OFF = """
local function fields(flat)
  local found = {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end
local function before(a, b)
  local ams, aseq = string.match(a, '(%d+)-(%d+)')
  local bms, bseq = string.match(b, '(%d+)-(%d+)')
  if ams ~= bms then return tonumber(ams) < tonumber(bms) end
  return tonumber(aseq) < tonumber(bseq)
end
local stream = fields(redis.call('XINFO', 'STREAM', KEYS[1]))
local first = stream['first-entry']
local group
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local one = fields(flat)
  if one['name'] == ARGV[1] then group = one end
end
if not group then return redis.error_reply('NOGROUP no such group') end
local stands = group['last-delivered-id']
if not first or not before(stands, first[1]) then return {0, stands, stands} end
if not stream['entries-added'] then return {-1, stands, first[1]} end
local gone = tonumber(stream['entries-added']) - tonumber(stream['length'])
local read = group['entries-read']
local missed = read and gone - tonumber(read) or -1
if missed > 0 then redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], stands, 'ENTRIESREAD', gone) end
return {missed, stands, first[1]}
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the stream of alerts. ``alert`` is None where this release cannot read the message."""

    id: str
    alert: AlertMessage | None
    cut: bool = False
    """Whether it was cut from the stream after it was handed out and before it was acknowledged."""


@dataclass(frozen=True, slots=True)
class Missed:
    """Alerts were cut from the stream before the subscription had read them."""

    count: int | None
    """How many; None where Redis does not tell (before Redis 7, or after it lost its memory)."""
    after: str
    """Id of the last entry that was read before them, or of the first of them."""
    until: str
    """Id of the first entry after them that is still there, or of the last of them."""

    def __str__(self) -> str:
        count = "an unknown number of" if self.count is None else self.count
        return (
            f"{count} alerts between {self.after} and {self.until} were cut from the stream before they were read: "
            "read more often, or raise redis.alert_maxlen; the hash of open alerts tells what fires now"
        )


class AlertGroup:
    """The consumer group ``name`` of the stream of alerts, as the consumer ``consumer`` of it.

    All methods raise ServiceError when Redis fails; then ``ensure`` is called again before going on.
    """

    def __init__(self, client: redis.Redis, namespace: str, name: str, consumer: str) -> None:
        self.keys = Keys(namespace)
        self.name, self.consumer = check_name(name, "subscription"), consumer
        self._client: Any = client  # redis-py cannot type that all replies are bytes
        self._seen = self.keys.seen(name)
        self._told_until = ""
        timeout_s = client.connection_pool.connection_kwargs.get("socket_timeout", 5.0)
        # A wait that outlasts the socket's timeout would end in an error instead of "nothing new".
        self._longest_block_ms = None if timeout_s is None else max(1, int(timeout_s * 500))

    def ensure(self, *, from_beginning: bool) -> bool:
        """Make the group if it is not there; whether it was made. It begins with the oldest entry, or with what is to come."""
        with service_errors(f"subscription {self.name}"):
            try:
                start = "0-0" if from_beginning else "$"
                self._client.xgroup_create(self.keys.alerts, self.name, start, mkstream=True)
            except redis.ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise
                self._strike_off_dead()
                return False
        return True

    def missed(self) -> Missed | None:
        """What was cut off between the last entry read and the oldest there is, told once; None where nothing was."""
        with service_errors(f"subscription {self.name}"):
            count, after, until = self._client.eval(_CUT_OFF, 1, self.keys.alerts, self.name)
        known = count != -1
        # A new group that begins with the oldest entry has missed nothing.
        if count == 0 or after == b"0-0" or (not known and until.decode() == self._told_until):
            return None
        self._told_until = until.decode()
        return Missed(count if known else None, after.decode(), until.decode())

    def pending(self, count: int, after: str = "0-0") -> list[Entry]:
        """Entries after ``after`` that this consumer was given and has not acknowledged, oldest first."""
        return self._read(after, count, None)

    def new(self, count: int, block_ms: int | None) -> list[Entry]:
        """Entries that no consumer of the group was given yet; waits ``block_ms`` for the first, or not at all."""
        if block_ms is not None and self._longest_block_ms is not None:
            block_ms = min(block_ms, self._longest_block_ms)
        return self._read(">", count, block_ms)

    def claim(self, idle_s: float, count: int) -> list[Entry]:
        """Take over what other consumers were given and have not acknowledged for ``idle_s``: they are taken for dead."""
        found: list[Entry] = []
        start: bytes | str = "0-0"
        with service_errors(f"subscription {self.name}: claiming"):
            while len(found) < count:
                start, entries, *cut = self._client.xautoclaim(
                    self.keys.alerts, self.name, self.consumer, round(idle_s * 1e3), start, count=count - len(found)
                )
                found += self._parsed(entries)
                # Redis has taken these off the list of what is pending, whoever was given them; before 7 it does not say which.
                found += [Entry(entry.decode(), None, cut=True) for entry in (cut[0] if cut else ())]
                if start in (b"0-0", "0-0"):
                    break
        return found

    def seen(self, message_ids: Sequence[str]) -> set[str]:
        """Those of the ids that have been acknowledged before."""
        if not message_ids:
            return set()
        with service_errors(f"subscription {self.name}"):
            scores = self._client.zmscore(self._seen, list(message_ids))
        return {one for one, score in zip(message_ids, scores, strict=True) if score is not None}

    def acknowledge(self, entries: Iterable[Entry]) -> None:
        """These are done with: neither they nor repeats of them come again."""
        done = list(entries)
        if not done:
            return
        with (
            service_errors(f"subscription {self.name}: acknowledging"),
            self._client.pipeline(transaction=True) as pipe,
        ):
            self.add_acknowledgement(pipe, done)
            pipe.execute()

    def add_acknowledgement(self, pipe: Any, entries: Sequence[Entry]) -> None:
        """The same as a part of a transaction."""
        placed = [entry.id for entry in entries if entry.id]
        if placed:
            pipe.xack(self.keys.alerts, self.name, *placed)
        ids = [entry.alert.id for entry in entries if entry.alert is not None]
        if ids:
            pipe.zadd(self._seen, dict.fromkeys(ids, time.time_ns() // 1_000_000))
            pipe.zremrangebyrank(self._seen, 0, -SEEN_MAX - 1)

    def behind(self) -> int | None:
        """How many entries are yet to be read or acknowledged; None where Redis does not tell (before 7)."""
        with service_errors(f"subscription {self.name}"):
            if not self._client.exists(self.keys.alerts):
                return 0
            groups = self._client.xinfo_groups(self.keys.alerts)
        mine = next((one for one in groups if one["name"] == self.name.encode()), None)
        if mine is None or mine.get("lag") is None:
            return 0 if mine is None else None
        return int(mine["lag"]) + int(mine["pending"])

    def leave(self) -> None:
        """Strike this consumer off the group, where it has nothing left to acknowledge."""
        with service_errors(f"subscription {self.name}: leaving"):
            for one in self._client.xinfo_consumers(self.keys.alerts, self.name):
                if one["name"] == self.consumer.encode() and not one["pending"]:
                    self._client.xgroup_delconsumer(self.keys.alerts, self.name, self.consumer)

    def remove(self) -> None:
        """Forget the subscription: its place and what it has seen."""
        with service_errors(f"subscription {self.name}: removing"), self._client.pipeline(transaction=True) as pipe:
            pipe.xgroup_destroy(self.keys.alerts, self.name)
            pipe.delete(self._seen)
            pipe.execute()

    def _strike_off_dead(self) -> None:
        """Consumers that were killed stay in the group's list: those with nothing to claim and silent for a day go."""
        for one in self._client.xinfo_consumers(self.keys.alerts, self.name):
            if not one["pending"] and one["idle"] > _DEAD_MS and one["name"] != self.consumer.encode():
                self._client.xgroup_delconsumer(self.keys.alerts, self.name, one["name"])

    def _read(self, after: str, count: int, block_ms: int | None) -> list[Entry]:
        with service_errors(f"subscription {self.name}: reading"):
            reply = self._client.xreadgroup(
                self.name, self.consumer, {self.keys.alerts: after}, count=count, block=block_ms
            )
        return [entry for _, entries in _streams(reply) for entry in self._parsed(entries)]

    def _parsed(self, entries: Iterable[tuple[bytes | None, dict[bytes, bytes] | None]]) -> list[Entry]:
        return [
            Entry(entry.decode(), self._alert(entry, fields) if fields else None, not fields)
            for entry, fields in entries
            if entry is not None  # so Redis before 7 says that a claimed entry was cut
        ]

    def _alert(self, entry: bytes, fields: dict[bytes, bytes]) -> AlertMessage | None:
        try:
            return AlertMessage.model_validate_json(fields.get(b"alert", b""))
        except ValidationError as error:
            # Its text may be anything: what is wrong is said, and not what it says.
            faults = "; ".join(sorted({str(fault["type"]) for fault in error.errors(include_input=False)}))
            _log.warning("entry %s of the stream of alerts cannot be read by this release: %s", entry.decode(), faults)
            return None


def _streams(reply: Any) -> list[tuple[bytes, list[tuple[bytes | None, dict[bytes, bytes] | None]]]]:
    # A list with RESP2, a mapping with RESP3.
    if isinstance(reply, dict):
        return [(key, entries[0]) for key, entries in reply.items()]
    return list(reply or ())

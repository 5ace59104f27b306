"""A member of a consumer group whose offsets are kept elsewhere: what the worker asks of it, and what all clients do alike."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from stream.kafka_config import TopicPartition
from stream.records import Record
from stream.sources.base import Source
from stream.turns import Turns

_log = logging.getLogger(__name__)

OnAssigned = Callable[[Sequence[TopicPartition]], Mapping[TopicPartition, int | None]]
OnRevoked = Callable[[Sequence[TopicPartition], bool], None]
OnReset = Callable[[TopicPartition, int, int], None]

DEFAULTS: dict[str, Any] = {
    # A topic that is misspelt must not come into being by being read.
    "allow_auto_create_topics": False,
    "auto_offset_reset": "earliest",
    "client_id": "tidecast",
    # A worker that dies is noticed after this time. Heartbeats do not depend on how long a batch takes; and with one
    # of them each member learns of a rebalance, of which a move of partitions needs two.
    "session_timeout_ms": 10_000,
    "heartbeat_interval_ms": 1_000,
    "max_poll_interval_ms": 300_000,
    # A fetch is handed out partition by partition. With the usual megabyte of each, thousands of records of one would
    # come before the first of another, and fair shares would need all of them in memory. With much less, a producer's
    # batch is often larger, which a broker then sends of one partition alone, and every request costs kafka-python most of
    # a millisecond.
    "max_partition_fetch_bytes": 128 * 1024,
    # A fetch leaves out partitions of which something is still held here. One that is left with idle partitions alone
    # waits this long at the broker, and what comes for the others waits with it.
    "fetch_max_wait_ms": 25,
    # New topics and partitions are found after this time at the latest.
    "metadata_max_age_ms": 30_000,
}
"""Settings of every client, under kafka-python's names."""
LOOKUP_TIMEOUT_MS = 10_000
BEYOND_END_S = 10.0
"""After a failover the end that a broker tells may lag behind an offset that is good: no longer than this."""
CLOSE_TIMEOUT_MS = 5_000
_SLICE_S = 0.1
_AHEAD = 8
"""Records held for fair shares, in batches: the bound on what ``poll`` keeps in memory beside the client's own buffers."""


class GroupSource(Source, Protocol):
    """A member of a consumer group. Never exhausted. Not thread-safe, but for ``commit`` within ``on_revoked``.

    The constructor connects and subscribes; the group is joined by the first ``poll``. ``on_assigned(partitions)`` runs
    on the thread that polls, and returns the offset to begin at for each; None or nothing: the earliest there is. If it
    fails, ``poll`` raises its error, and the next one asks again. ``on_revoked(partitions, lost)`` may run on another
    thread while the one that polls or closes waits; until it returns, no other member gets the partitions, unless they
    are ``lost``: others may own them by now. What it raises is logged: the partitions are gone all the same.
    ``on_reset(partition, wanted, actual)`` tells that an offset is out of range (retention, or a topic made anew):
    reading begins at ``actual`` instead, and what it delivers comes with the ``poll`` that made the call, or a later one.

    ``poll`` gives equal shares of the partitions that have records. It joins the group and rebalances where that is due,
    and raises what ``on_assigned`` raises, and ServiceError. ``close`` leaves the group, after ``on_revoked`` for all.
    """

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Tell Kafka the next offsets, for tools that show lag, in the background. A failure is logged, no more."""
        ...

    def lag(self) -> dict[TopicPartition, int]:
        """How many records behind the end of the log each partition is, where that is known."""
        ...

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Fetch nothing more from these. A rebalance that takes and gives back a partition resumes it."""
        ...

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Fetch from these again."""
        ...

    def retake(self, partitions: Sequence[TopicPartition]) -> None:
        """Ask ``on_assigned`` anew where to begin with these, as far as they are still ours, before anything more of them is read."""
        ...


class Membership:
    """What a member knows of its partitions, from their assignment to their revocation, and the records fetched from them."""

    def __init__(self, on_assigned: OnAssigned, on_revoked: OnRevoked, on_reset: OnReset | None) -> None:
        self.on_assigned, self.on_revoked, self.on_reset = on_assigned, on_revoked, on_reset
        self.unplaced: set[TopicPartition] = set()
        """Assigned but not yet begun to read."""
        self._wanted: dict[TopicPartition, int | None] = {}
        self.committed: dict[TopicPartition, int] = {}
        self.turns = Turns()

    def poll(
        self,
        max_records: int,
        timeout_s: float,
        place: Callable[[], None],
        receive: Callable[[int, float], Sequence[Record]],
    ) -> list[Record]:
        """At most ``max_records`` in fair shares; none after ``timeout_s`` seconds.

        ``place`` begins to read what is unplaced. ``receive(max_records, timeout_s)`` moves records from the client into ``turns``, and
        returns them.
        """

        def fetch(timeout_s: float) -> bool:
            deadline = time.monotonic() + timeout_s
            while True:
                if self.unplaced:
                    place()
                # In slices, as what is assigned meanwhile waits for us to say where to begin.
                records = receive(max_records, min(max(0.0, deadline - time.monotonic()), _SLICE_S))
                if records or (time.monotonic() >= deadline and not self.unplaced):
                    return bool(records)

        found = fetch(0.0 if len(self.turns) else timeout_s)
        # What has been fetched costs nothing to look at: until no partition has more, or enough is at hand for fair shares.
        while found and len(self.turns) < _AHEAD * max_records:
            found = fetch(0.0)
        return self.turns.take(max_records)

    def wanted(self) -> dict[TopicPartition, int | None]:
        """Where to begin with each that is unplaced; raises what ``on_assigned`` raises."""
        partitions = sorted(self.unplaced)
        if unknown := [partition for partition in partitions if partition not in self._wanted]:
            answer = self.on_assigned(unknown)
            self._wanted.update({partition: answer.get(partition) for partition in unknown})
        return {partition: self._wanted[partition] for partition in partitions}

    def placed(self, partition: TopicPartition) -> None:
        """It is read from now on."""
        self.unplaced.discard(partition)
        self._wanted.pop(partition, None)

    def place_anew(self, partition: TopicPartition) -> None:
        """Forget what was fetched from it, and ask again where to begin."""
        self.turns.drop(partition)
        self._wanted.pop(partition, None)
        self.unplaced.add(partition)

    def place_at(self, partition: TopicPartition, wanted: int) -> None:
        """Begin anew with it, at ``wanted``; what was fetched from it is still handed out."""
        self._wanted[partition] = wanted
        self.unplaced.add(partition)

    def give_up(self, partitions: Iterable[TopicPartition], *, lost: bool) -> None:
        """They are another's: tells ``on_revoked``, whatever that raises."""
        gone = sorted(partitions)
        # Where on_assigned was not asked yet there is nothing to save.
        known = [p for p in gone if p not in self.unplaced or p in self._wanted]
        for partition in gone:
            self.placed(partition)
            self.committed.pop(partition, None)
            self.turns.drop(partition)
        if not known:
            return
        try:
            self.on_revoked(known, lost)
        except Exception:  # noqa: BLE001 - whatever it is, the group must not wait for us
            _log.exception("on_revoked failed for %s; their next owner goes on from what was saved before", known)

    def report_reset(self, partition: TopicPartition, wanted: int, actual: int) -> None:
        """Tell that ``wanted`` is out of range."""
        _log.warning(
            "offset %s of topic %s partition %s is out of range: reading from %s on", wanted, *partition, actual
        )
        if self.on_reset is not None:
            self.on_reset(partition, wanted, actual)


def warn_absent(topics: Sequence[str], existing: Iterable[str]) -> None:
    """Say which topics are not there yet."""
    if absent := sorted(set(topics) - set(existing)):
        _log.warning("topic %s does not exist yet: waiting for it", ", ".join(absent))


def warn_uncommitted(error: object) -> None:
    """Say that a commit failed, which only tools that show lag are concerned with."""
    _log.warning("offsets are not committed to Kafka (lag tools will be behind): %s", error)


def warn_not_left(error: object) -> None:
    """Say that the group was not left as it should be."""
    _log.warning("the group was not left in order, it will notice after the session timeout: %s", error)

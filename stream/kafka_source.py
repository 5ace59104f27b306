"""Records from Kafka: a consumer of a group whose offsets are kept elsewhere (Redis), not by Kafka.

How kafka-python 3 rebalances, as read in its coordinator/base.py and coordinator/consumer.py: the protocol runs as
coroutines on an I/O thread of the consumer's own, which also sends the heartbeats. A rebalance is driven only from
within ``poll`` and ``close``, and the thread that called them waits until the listener has returned. No listener runs
beside the caller of ``poll``; but one that blocks the I/O thread stops the heartbeats, and the broker expels a consumer
whose listener takes longer than the session timeout. Hence:

- ``on_revoked`` runs on a thread of its own, awaited by the I/O thread, before the group goes on: until it returns, no
  other member gets the partitions (unless they are lost), and heartbeats flow.
- ``on_assigned`` runs on the thread that polls. The partitions are paused until it has said where to begin: nothing is
  fetched from where Kafka thinks the group is. If it fails, ``poll`` raises its error, and the next one asks again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError
from kafka.future import Future
from kafka.structs import OffsetAndMetadata

from stream.kafka_config import TopicPartition, kafka_errors, open_client, to_record
from stream.records import Record
from stream.turns import Turns

__all__ = ["KafkaSource", "TopicPartition"]

_log = logging.getLogger(__name__)

_DEFAULTS: dict[str, Any] = {
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
    # come before the first of another, and fair shares would need all of them in memory.
    "max_partition_fetch_bytes": 64 * 1024,
    # A fetch leaves out partitions of which something is still held here. One that is left with idle partitions alone
    # waits this long at the broker, and what comes for the others waits with it.
    "fetch_max_wait_ms": 25,
    # New topics and partitions are found after this time at the latest.
    "metadata_max_age_ms": 30_000,
    # Members keep what they have while others come and go; only what moves is saved and loaded.
    "partition_assignment_strategy": (CooperativeStickyAssignor,),
}
_SLICE_S = 0.1
_AHEAD = 8
"""Records held for fair shares, in batches: the bound on what ``poll`` keeps in memory beside the client's own buffers."""
_LOOKUP_TIMEOUT_MS = 10_000
_BEYOND_END_S = 10.0
"""After a failover the end that a broker tells may lag behind an offset that is good: no longer than this."""
_CLOSE_TIMEOUT_MS = 5_000

OnAssigned = Callable[[Sequence[TopicPartition]], Mapping[TopicPartition, int | None]]
OnRevoked = Callable[[Sequence[TopicPartition], bool], None]
OnReset = Callable[[TopicPartition, int, int], None]


class KafkaSource:
    """A member of a consumer group. Never exhausted. Not thread-safe, but for ``commit`` within ``on_revoked``."""

    exhausted = False

    def __init__(
        self,
        topics: Sequence[str],
        group_id: str,
        kafka: Mapping[str, Any],
        on_assigned: OnAssigned,
        on_revoked: OnRevoked,
        *,
        on_reset: OnReset | None = None,
    ) -> None:
        """Connect and subscribe; the group is joined by the first ``poll``.

        ``on_assigned(partitions)`` returns the offset to begin at for each; None or nothing: the earliest there is.
        ``on_revoked(partitions, lost)`` runs on another thread while this one waits; ``lost``: others may own them by
        now. What it raises is logged: the partitions are gone all the same. ``on_reset(partition, wanted, actual)``
        tells that an offset is out of range (retention, or a topic made anew): reading begins at ``actual`` instead,
        and what it delivers comes with the ``poll`` that made the call, or a later one.

        ConfigurationError for settings that Kafka refuses, ServiceError where no broker answers.
        """
        self._kafka = kafka
        self._on_assigned, self._on_revoked, self._on_reset = on_assigned, on_revoked, on_reset
        # Assigned but not yet begun to read; and where to begin, once that is known.
        self._unplaced: set[TopicPartition] = set()
        self._wanted: dict[TopicPartition, int | None] = {}
        # Offsets asked for that the broker has not confirmed to exist, and until when to wait for that.
        self._sought: dict[TopicPartition, tuple[int, float]] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._turns = Turns()
        self._closed = False
        settings = {**kafka, "group_id": group_id, "enable_auto_commit": False}
        self._consumer, self._client = open_client(KafkaConsumer, settings, _DEFAULTS)
        self._reset_to_end = self._consumer.config["auto_offset_reset"] == "latest"
        try:
            with kafka_errors("look up topics", kafka):
                absent = sorted(topic for topic in topics if not self._consumer.partitions_for_topic(topic))
            if absent:
                _log.warning("topic %s does not exist yet: waiting for it", ", ".join(absent))
            with kafka_errors("subscribe", kafka):
                self._consumer.subscribe(topics=list(topics), listener=_Listener(self, self._client))
        except BaseException:
            self.close()
            raise

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """At most ``max_records`` records, in equal shares of the partitions that have some, each in the order of offsets;
        none after ``timeout_s`` seconds.

        Joins the group and rebalances where that is due. Raises what ``on_assigned`` raises, and ServiceError.
        """
        found = self._fetch(max_records, 0.0 if len(self._turns) else timeout_s)
        # What has been fetched costs nothing to look at: until no partition has more, or enough is at hand for fair shares.
        while found and len(self._turns) < _AHEAD * max_records:
            found = self._fetch(max_records, 0.0)
        return self._turns.take(max_records)

    def _fetch(self, max_records: int, timeout_s: float) -> bool:
        """Move records from the client to ``_turns``; whether there were any."""
        deadline = time.monotonic() + timeout_s
        while True:
            if self._unplaced:
                self._place()
            left = max(0.0, deadline - time.monotonic())
            with kafka_errors("poll", self._kafka):
                # In slices, as what is assigned meanwhile waits for us to say where to begin.
                polled = self._consumer.poll(timeout_ms=int(1000 * min(left, _SLICE_S)), max_records=max_records)
            records = [to_record(found) for batch in polled.values() for found in batch]
            # First of all: the client counts them as delivered, whatever fails from here on.
            self._turns.add(records)
            if self._sought:
                self._confirm(records)
            if records or (time.monotonic() >= deadline and not self._unplaced):
                return bool(records)

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Tell Kafka the next offsets, for tools that show lag, in the background. A failure is logged, no more."""
        self._committed.update(offsets)
        try:
            self._consumer.commit_async(_kafka_offsets(offsets), callback=_log_commit)
        except KafkaError as error:
            _log.warning("offsets are not committed to Kafka (lag tools will be behind): %s", error)

    def lag(self) -> dict[TopicPartition, int]:
        """How many records behind the end of the log each partition is, where that is known."""
        behind: dict[TopicPartition, int] = {}
        for found in self._consumer.assignment():
            partition = _ours(found)
            if partition in self._unplaced:
                continue
            with suppress(KafkaError):
                end, position = self._consumer.highwater(found), self._consumer.position(found, timeout_ms=0)
                if end is not None and position is not None:
                    behind[partition] = max(0, end - position) + self._turns.waiting(partition)
        return behind

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Fetch nothing more from these. A rebalance that takes and gives back a partition resumes it."""
        self._consumer.pause(*(partition.to_kafka() for partition in self._held(partitions)))

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Fetch from these again."""
        placed = [partition for partition in self._held(partitions) if partition not in self._unplaced]
        self._consumer.resume(*(partition.to_kafka() for partition in placed))

    def retake(self, partitions: Sequence[TopicPartition]) -> None:
        """Ask ``on_assigned`` anew where to begin with these, as far as they are still ours, before anything more of them is read."""
        held = self._held(partitions)
        self._consumer.pause(*(partition.to_kafka() for partition in held))
        for partition in held:
            self._turns.drop(partition)
            self._wanted.pop(partition, None)
        self._unplaced.update(held)

    def close(self) -> None:
        """Leave the group, after ``on_revoked`` for all partitions. May be called twice."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._committed:
                self._consumer.commit(_kafka_offsets(self._committed), timeout_ms=_CLOSE_TIMEOUT_MS)
        except KafkaError as error:
            _log.warning("offsets are not committed to Kafka (lag tools will be behind): %s", error)
        try:
            self._consumer.close(autocommit=False, timeout_ms=_CLOSE_TIMEOUT_MS)
        except KafkaError as error:
            _log.warning("the group was not left in order, it will notice after the session timeout: %s", error)
        finally:
            self._client.close()

    def _held(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        held = {_ours(found) for found in self._consumer.assignment()}
        return [partition for partition in partitions if partition in held]

    def _place(self) -> None:
        """Begin to read what has been assigned."""
        partitions = sorted(self._unplaced)
        unknown = [partition for partition in partitions if partition not in self._wanted]
        if unknown:
            answer = self._on_assigned(unknown)
            self._wanted.update({partition: answer.get(partition) for partition in unknown})
        theirs = [partition.to_kafka() for partition in partitions]
        with kafka_errors("look up offsets", self._kafka):
            first = self._consumer.beginning_offsets(theirs, timeout_ms=_LOOKUP_TIMEOUT_MS)
        for partition, found in zip(partitions, theirs, strict=True):
            wanted = self._wanted.pop(partition)
            if wanted is not None and wanted >= first[found]:
                self._consumer.seek(found, wanted)
                self._sought[partition] = (wanted, time.monotonic() + _BEYOND_END_S)
            elif wanted is None and self._reset_to_end:
                self._consumer.seek_to_end(found)
            else:
                self._consumer.seek(found, first[found])
                if wanted is not None:
                    self._report_reset(partition, wanted, first[found])
            self._unplaced.discard(partition)
            self._consumer.resume(found)

    def _confirm(self, records: Sequence[Record]) -> None:
        """See whether the offsets that we asked for exist; kafka-python falls back to the first one without a word."""
        begun: dict[TopicPartition, int] = {}
        for record in records:
            begun.setdefault(TopicPartition(record.topic, record.partition), record.offset)
        for partition, (wanted, until) in list(self._sought.items()):
            found = partition.to_kafka()
            actual = begun.get(partition)
            with kafka_errors("look up offsets", self._kafka):
                end = self._consumer.highwater(found)
                if actual is None:
                    actual = self._consumer.position(found, timeout_ms=0)
                if actual is None or (actual >= wanted and end is None):
                    continue
                if actual >= wanted > end:
                    if time.monotonic() < until:
                        continue
                    # Not every broker refuses an offset beyond the end: some say that there is nothing yet.
                    actual = self._consumer.beginning_offsets([found], timeout_ms=_LOOKUP_TIMEOUT_MS)[found]
                    self._consumer.seek(found, actual)
            del self._sought[partition]
            if actual < wanted:
                self._report_reset(partition, wanted, actual)

    def _report_reset(self, partition: TopicPartition, wanted: int, actual: int) -> None:
        _log.warning(
            "offset %s of topic %s partition %s is out of range: reading from %s on", wanted, *partition, actual
        )
        if self._on_reset is not None:
            self._on_reset(partition, wanted, actual)

    def _assigned(self, found: Sequence[Any]) -> None:
        self._consumer.pause(*found)
        self._unplaced.update(map(_ours, found))

    def _taken(self, found: Sequence[Any], *, lost: bool) -> None:
        partitions = sorted(_ours(partition) for partition in found)
        # Where on_assigned was not asked yet there is nothing to save.
        known = [p for p in partitions if p not in self._unplaced or p in self._wanted]
        self._unplaced.difference_update(partitions)
        for partition in partitions:
            self._wanted.pop(partition, None)
            self._sought.pop(partition, None)
            self._committed.pop(partition, None)
            self._turns.drop(partition)
        if not known:
            return
        try:
            self._on_revoked(known, lost)
        except Exception:  # noqa: BLE001 - whatever it is, the group must not wait for us
            _log.exception("on_revoked failed for %s; their next owner goes on from what was saved before", known)


class _Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Passes kafka-python's calls on, off its I/O thread where they may take long."""

    def __init__(self, source: KafkaSource, client: Any) -> None:
        self._source = source
        self._client = client

    async def on_partitions_assigned(self, assigned: Any) -> None:
        self._source._assigned(sorted(assigned))  # noqa: SLF001 - one unit with the source

    async def on_partitions_revoked(self, revoked: Any) -> None:
        await self._take(sorted(revoked), lost=False)

    async def on_partitions_lost(self, lost: Any) -> None:
        await self._take(sorted(lost), lost=True)

    async def _take(self, partitions: Sequence[Any], *, lost: bool) -> None:
        if not partitions:
            return
        done = Future()

        def run() -> None:
            try:
                self._source._taken(partitions, lost=lost)  # noqa: SLF001 - one unit with the source
            finally:
                done.success(None)
                # The loop sleeps in select and would find out only with the next packet.
                self._client.wakeup()

        threading.Thread(target=run, name="tidecast-revoked", daemon=True).start()
        await done


def _ours(found: Any) -> TopicPartition:
    return TopicPartition(found.topic, found.partition)


def _kafka_offsets(offsets: Mapping[TopicPartition, int]) -> dict[Any, Any]:
    return {partition.to_kafka(): OffsetAndMetadata(offset, "", -1) for partition, offset in offsets.items()}


def _log_commit(_offsets: Any, outcome: Any) -> None:
    if isinstance(outcome, Exception):
        _log.warning("offsets are not committed to Kafka (lag tools will be behind): %s", outcome)

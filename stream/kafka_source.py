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

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError
from kafka.future import Future
from kafka.structs import OffsetAndMetadata

from stream import kafka_group
from stream.kafka_config import TopicPartition, kafka_errors, open_client, to_record
from stream.kafka_group import (
    CLOSE_TIMEOUT_MS,
    LOOKUP_TIMEOUT_MS,
    Membership,
    OnAssigned,
    OnReset,
    OnRevoked,
    warn_absent,
    warn_not_left,
    warn_uncommitted,
)
from stream.records import Record

# Members keep what they have while others come and go; only what moves is saved and loaded.
_DEFAULTS = kafka_group.DEFAULTS | {"partition_assignment_strategy": (CooperativeStickyAssignor,)}


class KafkaSource:
    """A ``GroupSource`` on kafka-python. ``on_revoked`` runs on another thread while the one that polls waits."""

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
        """Connect and subscribe. ConfigurationError for settings that Kafka refuses, ServiceError where no broker answers."""
        self._kafka = kafka
        self._membership = Membership(on_assigned, on_revoked, on_reset)
        # Offsets asked for that the broker has not confirmed to exist, and until when to wait for that.
        self._sought: dict[TopicPartition, tuple[int, float]] = {}
        self._closed = False
        settings = {**kafka, "group_id": group_id, "enable_auto_commit": False}
        self._consumer, self._client = open_client(KafkaConsumer, settings, _DEFAULTS)
        self._reset_to_end = self._consumer.config["auto_offset_reset"] == "latest"
        try:
            with kafka_errors("look up topics", kafka):
                warn_absent(topics, [topic for topic in topics if self._consumer.partitions_for_topic(topic)])
            with kafka_errors("subscribe", kafka):
                self._consumer.subscribe(topics=list(topics), listener=_Listener(self, self._client))
        except BaseException:
            self.close()
            raise

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        return self._membership.poll(max_records, timeout_s, self._place, self._receive)

    def _receive(self, max_records: int, timeout_s: float) -> list[Record]:
        with kafka_errors("poll", self._kafka):
            polled = self._consumer.poll(timeout_ms=int(1000 * timeout_s), max_records=max_records)
        records = [to_record(found) for batch in polled.values() for found in batch]
        # First of all: the client counts them as delivered, whatever fails from here on.
        self._membership.turns.add(records)
        if self._sought:
            self._confirm(records)
        return records

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._membership.committed.update(offsets)
        try:
            self._consumer.commit_async(_kafka_offsets(offsets), callback=_log_commit)
        except KafkaError as error:
            warn_uncommitted(error)

    def lag(self) -> dict[TopicPartition, int]:
        behind: dict[TopicPartition, int] = {}
        for found in self._consumer.assignment():
            partition = _ours(found)
            if partition in self._membership.unplaced:
                continue
            with suppress(KafkaError):
                end, position = self._consumer.highwater(found), self._consumer.position(found, timeout_ms=0)
                if end is not None and position is not None:
                    behind[partition] = max(0, end - position) + self._membership.turns.waiting(partition)
        return behind

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._consumer.pause(*(partition.to_kafka() for partition in self._held(partitions)))

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        unplaced = self._membership.unplaced
        self._consumer.resume(*(one.to_kafka() for one in self._held(partitions) if one not in unplaced))

    def retake(self, partitions: Sequence[TopicPartition]) -> None:
        held = self._held(partitions)
        self._consumer.pause(*(partition.to_kafka() for partition in held))
        for partition in held:
            self._membership.place_anew(partition)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if self._membership.committed:
                self._consumer.commit(_kafka_offsets(self._membership.committed), timeout_ms=CLOSE_TIMEOUT_MS)
        except KafkaError as error:
            warn_uncommitted(error)
        try:
            self._consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)
        except KafkaError as error:
            warn_not_left(error)
        finally:
            self._client.close()

    def _held(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        held = {_ours(found) for found in self._consumer.assignment()}
        return [partition for partition in partitions if partition in held]

    def _place(self) -> None:
        """Begin to read what has been assigned."""
        asked = {partition: (partition.to_kafka(), wanted) for partition, wanted in self._membership.wanted().items()}
        with kafka_errors("look up offsets", self._kafka):
            first = self._consumer.beginning_offsets(
                [found for found, _ in asked.values()], timeout_ms=LOOKUP_TIMEOUT_MS
            )
        for partition, (found, wanted) in asked.items():
            if wanted is not None and wanted >= first[found]:
                self._consumer.seek(found, wanted)
                self._sought[partition] = (wanted, time.monotonic() + kafka_group.BEYOND_END_S)
            elif wanted is None and self._reset_to_end:
                self._consumer.seek_to_end(found)
            else:
                self._consumer.seek(found, first[found])
                if wanted is not None:
                    self._membership.report_reset(partition, wanted, first[found])
            self._membership.placed(partition)
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
                    actual = self._consumer.beginning_offsets([found], timeout_ms=LOOKUP_TIMEOUT_MS)[found]
                    self._consumer.seek(found, actual)
            del self._sought[partition]
            if actual < wanted:
                self._membership.report_reset(partition, wanted, actual)

    def _assigned(self, found: Sequence[Any]) -> None:
        self._consumer.pause(*found)
        self._membership.unplaced.update(map(_ours, found))

    def _taken(self, found: Sequence[Any], *, lost: bool) -> None:
        partitions = [_ours(partition) for partition in found]
        for partition in partitions:
            self._sought.pop(partition, None)
        self._membership.give_up(partitions, lost=lost)


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
        warn_uncommitted(outcome)

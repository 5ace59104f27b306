"""Records from Kafka by confluent-kafka (librdkafka): the same member of a group as ``stream.kafka_source``, in C.

librdkafka fetches and sends heartbeats on threads of its own, but calls back only from within ``consume`` and ``close``,
on the thread that called them; a rebalance waits until the callback has returned. A partition that is assigned is put
into what is fetched (``incremental_assign``) only once it is known where to begin: until then it is the group's word
alone that it is ours. So nothing has to be paused, or sought before librdkafka is ready for it. An offset out of range
comes as an error, never as a silent jump.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ConfluentPartition

from stream import kafka_group
from stream.errors import ConfigurationError
from stream.kafka_config import BOOTSTRAP_TIMEOUT_MS, TopicPartition
from stream.kafka_confluent_config import confluent_errors, librdkafka_log, librdkafka_settings, our_error
from stream.kafka_group import (
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

_log = logging.getLogger(__name__)

_DEFAULTS: dict[str, Any] = {
    # As kafka-python does without being told.
    "check.crcs": True,
    "isolation.level": "read_uncommitted",
    # Fetched ahead in all, and of each partition; what is above it is looked at again after the backoff.
    "queued.max.messages.kbytes": 16 * 1024,
    "queued.min.messages": 10_000,
    "fetch.queue.backoff.ms": 10,
}
_OURS: dict[str, Any] = {
    "partition.assignment.strategy": "cooperative-sticky",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
}
_ABSENT = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)  # noqa: SLF001 - so librdkafka's own codes are called


class ConfluentSource:
    """A ``GroupSource`` on confluent-kafka. ``on_revoked`` runs on the thread that polls."""

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
        # What is ours and fetched, and where it was begun.
        self._begun: dict[TopicPartition, int] = {}
        # Begun beyond the end, and until when to wait for the end to come there; and those where it did not.
        self._beyond: dict[TopicPartition, tuple[int, float]] = {}
        self._refused: set[TopicPartition] = set()
        self._trouble: Any = None
        self._closed = False
        self._reset_to_end = kafka.get("auto_offset_reset") == "latest"
        settings = librdkafka_settings({**kafka_group.DEFAULTS, **kafka, "group_id": group_id})
        calls = {"error_cb": self._failed, "on_commit": _log_commit, "logger": librdkafka_log()}
        try:
            self._consumer = Consumer({**_DEFAULTS, **settings, **_OURS, **calls})
        except KafkaException as error:
            raise ConfigurationError(f"Kafka settings: {error.args[0].str()}") from error
        try:
            self._look_up_topics(topics, kafka.get("bootstrap_timeout_ms", BOOTSTRAP_TIMEOUT_MS) / 1000)
            with confluent_errors("subscribe", kafka):
                self._consumer.subscribe(
                    list(topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
                )
        except BaseException:
            self.close()
            raise

    def _look_up_topics(self, topics: Sequence[str], timeout_s: float) -> None:
        try:
            with confluent_errors("connect", self._kafka):
                warn_absent(topics, self._consumer.list_topics(timeout=timeout_s).topics)
        except Exception:
            # Why the broker did not let us in comes as a callback.
            self._consumer.poll(0)
            self._raise_trouble("connect")
            raise

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        return self._membership.poll(max_records, timeout_s, self._place, self._receive)

    def _receive(self, max_records: int, timeout_s: float) -> list[Record]:
        with confluent_errors("poll", self._kafka):
            found = self._consumer.consume(max_records, 0)
            if not found and timeout_s > 0:
                # It waits until it has as many as it was asked for.
                found = self._consumer.consume(1, timeout_s)
        records: list[Record] = []
        begun, topic, partition, ours = self._begun, "", -1, False
        for message in found:
            if message.error() is not None:
                self._note(message)
                continue
            if message.partition() != partition or message.topic() != topic:
                topic, partition = message.topic(), message.partition()
                # A rebalance in the midst of the call may have taken what came before it.
                ours = TopicPartition(topic, partition) in begun
            if ours:
                _, taken_ms = message.timestamp()
                headers = message.headers()
                records.append(
                    Record(
                        topic,
                        partition,
                        message.offset(),
                        message.key(),
                        message.value(),
                        taken_ms,
                        tuple((name, value or b"") for name, value in headers) if headers else (),
                    )
                )
        self._membership.turns.add(records)
        if self._beyond:
            self._confirm(records)
        self._raise_trouble("poll")
        return records

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._membership.committed.update(offsets)
        self._commit(offsets, wait=False)

    def lag(self) -> dict[TopicPartition, int]:
        behind: dict[TopicPartition, int] = {}
        for found in self._consumer.position([ConfluentPartition(*one) for one in self._begun]):
            partition = TopicPartition(found.topic, found.partition)
            # Until something has been handed out there is no position.
            position = found.offset if found.offset >= 0 else self._begun[partition]
            known = self._consumer.get_watermark_offsets(found, cached=True)
            if known is not None and known[1] >= 0:
                behind[partition] = max(0, known[1] - position) + self._membership.turns.waiting(partition)
        return behind

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._consumer.pause([ConfluentPartition(*one) for one in partitions if one in self._begun])

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._consumer.resume([ConfluentPartition(*one) for one in partitions if one in self._begun])

    def retake(self, partitions: Sequence[TopicPartition]) -> None:
        held = [partition for partition in partitions if partition in self._begun]
        self._end(held)
        for partition in held:
            self._membership.place_anew(partition)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._membership.committed:
            self._commit(self._membership.committed, wait=True)
        try:
            self._consumer.close()
        except KafkaException as error:
            warn_not_left(error)

    def _commit(self, offsets: Mapping[TopicPartition, int], *, wait: bool) -> None:
        given = [ConfluentPartition(*partition, offset) for partition, offset in offsets.items()]
        try:
            self._consumer.commit(offsets=given, asynchronous=not wait)
        except KafkaException as error:
            warn_uncommitted(error)

    def _place(self) -> None:
        """Begin to read what has been assigned."""
        for partition, wanted in self._membership.wanted().items():
            place = ConfluentPartition(*partition)
            with confluent_errors("look up offsets", self._kafka):
                low, high = self._consumer.get_watermark_offsets(place, timeout=LOOKUP_TIMEOUT_MS / 1000)
            refused = wanted is not None and (partition in self._refused or wanted < low)
            if wanted is None:
                place.offset = high if self._reset_to_end else low
            else:
                place.offset = low if refused else wanted
            with confluent_errors("begin to read", self._kafka):
                self._consumer.incremental_assign([place])
                self._consumer.resume([place])
            self._begun[partition] = place.offset
            self._refused.discard(partition)
            self._membership.placed(partition)
            if place.offset > high:
                self._beyond[partition] = (place.offset, time.monotonic() + kafka_group.BEYOND_END_S)
            if refused and wanted is not None:
                self._membership.report_reset(partition, wanted, low)

    def _confirm(self, records: Sequence[Record]) -> None:
        """See whether the ends have come to where we began: not every broker refuses an offset beyond it."""
        heard = {TopicPartition(record.topic, record.partition) for record in records}
        for partition, (wanted, until) in list(self._beyond.items()):
            known = self._consumer.get_watermark_offsets(ConfluentPartition(*partition), cached=True)
            if partition in heard or (known is not None and known[1] >= wanted):
                del self._beyond[partition]
            elif time.monotonic() >= until:
                self._refuse(partition, wanted)

    def _refuse(self, partition: TopicPartition, wanted: int) -> None:
        """There is no such offset: begin at the first there is."""
        self._end([partition])
        self._refused.add(partition)
        self._membership.place_at(partition, wanted)

    def _end(self, partitions: Sequence[TopicPartition]) -> None:
        """Fetch no more from these."""
        begun = [partition for partition in partitions if self._begun.pop(partition, None) is not None]
        for partition in partitions:
            self._beyond.pop(partition, None)
            self._refused.discard(partition)
        # Called with none, too: a rebalance goes on once it was.
        self._consumer.incremental_unassign([ConfluentPartition(*partition) for partition in begun])

    # Called by librdkafka, from within consume and close

    def _assigned(self, consumer: Any, found: Sequence[Any]) -> None:
        self._membership.unplaced.update(map(_ours, found))
        # Otherwise all of them would be, from where Kafka thinks that the group is.
        consumer.incremental_assign([])

    def _revoked(self, _consumer: Any, found: Sequence[Any]) -> None:
        self._taken(found, lost=False)

    def _lost(self, _consumer: Any, found: Sequence[Any]) -> None:
        self._taken(found, lost=True)

    def _taken(self, found: Sequence[Any], *, lost: bool) -> None:
        partitions = list(map(_ours, found))
        try:
            self._membership.give_up(partitions, lost=lost)
        finally:
            self._end(partitions)

    def _failed(self, error: Any) -> None:
        if error.fatal() or error.code() == KafkaError._AUTHENTICATION:  # noqa: SLF001 - so librdkafka's own codes are called
            self._trouble = error

    def _note(self, message: Any) -> None:
        """What comes in the place of a record."""
        error = message.error()
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - as above
            if (partition := _ours(message)) in self._begun:
                self._refuse(partition, max(0, message.offset()))
        elif error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED):
            self._trouble = error
        elif error.code() not in _ABSENT:
            _log.warning("Kafka: %s", error.str())

    def _raise_trouble(self, action: str) -> None:
        if (trouble := self._trouble) is not None:
            self._trouble = None
            raise our_error(action, self._kafka, trouble)


def _ours(found: Any) -> TopicPartition:
    """Of a partition or a message of confluent-kafka."""
    if isinstance(found, ConfluentPartition):
        return TopicPartition(found.topic, found.partition)
    return TopicPartition(found.topic(), found.partition())


def _log_commit(error: Any, _partitions: Any) -> None:
    if error is not None:
        warn_uncommitted(error)

"""Topics and their past: creating topics, counting partitions, and reading a span of history without a group."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer
from kafka.errors import (
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    PolicyViolationError,
    TopicAlreadyExistsError,
    UnsupportedVersionError,
    for_code,
)
from kafka.structs import OffsetAndTimestamp

from stream.errors import ConfigurationError, ServiceError
from stream.kafka_config import TopicPartition, kafka_errors, open_client, servers, to_record
from stream.records import Record

_log = logging.getLogger(__name__)
_TIMEOUT_MS = 15_000
_REFUSED = (InvalidTopicError, InvalidPartitionsError, InvalidReplicationFactorError, PolicyViolationError)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic to be. Replication -1: as many copies as the broker makes by default."""

    name: str
    partitions: int = 1
    replication_factor: int = -1
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TopicsCreated:
    """Names of topics that were made, and of those that were there before (and are left as they are)."""

    created: list[str]
    existed: list[str]


def create_topics(kafka: Mapping[str, Any], specs: Sequence[TopicSpec]) -> TopicsCreated:
    """Make the topics that are not there yet.

    ConfigurationError for a name, a number of partitions or of copies that Kafka refuses; ServiceError otherwise.
    """
    outcome = TopicsCreated([], [])
    if not specs:
        return outcome
    wanted = {
        spec.name: {
            "num_partitions": spec.partitions,
            "replication_factor": spec.replication_factor,
            "configs": dict(spec.config),
        }
        for spec in specs
    }
    admin, _ = open_client(KafkaAdminClient, kafka, {"client_id": "tidecast-admin"})
    with closing(admin), kafka_errors("create topics", kafka):
        answer = admin.create_topics(wanted, timeout_ms=_TIMEOUT_MS, raise_errors=False)
        refused = []
        for topic in answer["topics"]:
            error = for_code(topic["error_code"])
            if error is TopicAlreadyExistsError:
                outcome.existed.append(topic["name"])
            elif topic["error_code"] == 0:
                outcome.created.append(topic["name"])
            else:
                refused.append((error, f"topic {topic['name']}: {topic['error_message'] or error.description}"))
        if outcome.created:
            admin.wait_for_topics(outcome.created, timeout_ms=_TIMEOUT_MS)
    if refused:
        text = f"Kafka at {servers(kafka)}: create topics: " + "; ".join(why for _, why in refused)
        ours = all(issubclass(error, _REFUSED) for error, _ in refused)
        raise ConfigurationError(text) if ours else ServiceError(text)
    return outcome


def partitions(kafka: Mapping[str, Any], topics: Sequence[str]) -> dict[str, list[int]]:
    """The partitions of each topic; none for a topic that does not exist."""
    found: dict[str, list[int]] = {topic: [] for topic in topics}
    if not topics:
        return found
    admin, _ = open_client(KafkaAdminClient, kafka, {"client_id": "tidecast-admin"})
    with closing(admin), kafka_errors("describe topics", kafka):
        for topic in admin.describe_topics(list(topics)):
            if topic["error_code"] == 0:
                found[topic["name"]] = sorted(part["partition_index"] for part in topic["partitions"])
    return found


def read_history(
    kafka: Mapping[str, Any],
    topics: Sequence[str],
    since_ms: int,
    until_ms: int,
    max_records: int,
    *,
    idle_timeout_s: float = 10.0,
) -> Iterator[Record]:
    """Records that the log took in [since_ms, until_ms), in the order of offsets within each partition.

    Reads without a group, from all partitions, up to where each ended when reading began; at most ``max_records``. Ends
    with a warning where nothing comes for ``idle_timeout_s`` before that. ServiceError where Kafka cannot be read.
    """
    places = [TopicPartition(topic, number) for topic, found in partitions(kafka, topics).items() for number in found]
    if not places:
        return
    settings = {name: value for name, value in kafka.items() if name not in {"group_id", "group_instance_id"}}
    consumer, _ = open_client(
        KafkaConsumer,
        {**settings, "enable_auto_commit": False, "auto_offset_reset": "earliest", "allow_auto_create_topics": False},
        {"client_id": "tidecast-history"},
    )
    with closing(consumer):
        history = _History(kafka, consumer, places, since_ms)
        history.begin()
        left = max_records
        for record in history.records(idle_timeout_s):
            if left <= 0:
                return
            if since_ms <= record.timestamp_ms < until_ms:
                left -= 1
                yield record


class _History:
    """One reading of partitions from a moment on."""

    def __init__(
        self, kafka: Mapping[str, Any], consumer: Any, places: Sequence[TopicPartition], since_ms: int
    ) -> None:
        self._kafka = kafka
        self._consumer = consumer
        self._places = [place.to_kafka() for place in places]
        self._since_ms = since_ms
        self._first: dict[Any, int] = {}
        # Where the broker's answer to "the first record since" is yet to be checked: the offset it gave.
        self._answers: dict[Any, int] = {}
        self._ends: dict[Any, int] = {}

    def begin(self) -> None:
        """Seek to the first record of the span in each partition, one earlier where that has to be checked.

        By definition the record before the answer is older than the span, and the last of all is, where there is no
        answer. A broker of which that is not true (the embedded one) is read from the beginning.
        """
        consumer = self._consumer
        with kafka_errors("look up offsets", self._kafka):
            consumer.assign(self._places)
            self._first = consumer.beginning_offsets(self._places, timeout_ms=_TIMEOUT_MS)
            ends = consumer.end_offsets(self._places, timeout_ms=_TIMEOUT_MS)
            try:
                times = {place: max(0, self._since_ms) for place in self._places}
                found = consumer.offsets_for_times(times, timeout_ms=_TIMEOUT_MS)
            except UnsupportedVersionError:
                found = {place: OffsetAndTimestamp(first, -1, -1) for place, first in self._first.items()}
            for place, first in self._first.items():
                answer = found[place].offset if found[place] is not None else ends[place]
                if answer > first:
                    self._answers[place] = answer
                consumer.seek(place, max(first, answer - 1))

    def records(self, idle_timeout_s: float) -> Iterator[Record]:
        """All records from there on, to the ends as they were at first."""
        consumer = self._consumer
        heard = time.monotonic()
        while True:
            with kafka_errors("read history", self._kafka):
                polled = consumer.poll(timeout_ms=200, max_records=5000)
                self._check(polled)
                unfinished = self._unfinished()
            if polled:
                heard = time.monotonic()
            for place, batch in polled.items():
                yield from (to_record(one) for one in batch if one.offset < self._ends[place])
            if not unfinished:
                return
            if time.monotonic() - heard > idle_timeout_s:
                _log.warning("history of %s: nothing for %s s, reading ends early", unfinished, idle_timeout_s)
                return

    def _check(self, polled: dict[Any, list[Any]]) -> None:
        """Go back to the beginning where the first record shows that the broker's answer was wrong."""
        for place in [place for place in polled if place in self._answers]:
            answer, before = self._answers.pop(place), polled[place][0]
            if before.offset < answer and before.timestamp >= self._since_ms and before.offset > self._first[place]:
                self._consumer.seek(place, self._first[place])
                del polled[place]

    def _unfinished(self) -> list[str]:
        """The partitions that have not been read to their ends; these are noted when first told, with a fetch."""
        unfinished = []
        for place in self._places:
            end = self._ends.get(place, self._consumer.highwater(place))
            if end is not None:
                self._ends[place] = end
                position = self._consumer.position(place, timeout_ms=0)
                if position is not None and position >= end:
                    continue
            unfinished.append(f"{place.topic}/{place.partition}")
        return unfinished

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from kafka import KafkaProducer

from stream.errors import ConfigurationError
from stream.kafka_admin import TopicSpec, create_topics, partitions, read_history
from stream.records import Record
from tests.services import Service

pytestmark = pytest.mark.kafka
Topics = Callable[..., str]
NOON_MS = 1_772_366_400_000


@pytest.fixture
def filled(bootstrap_servers: str, topic: Topics) -> str:
    """Two partitions with a record a second each, 100 of them, in many batches; the third is empty."""
    name = topic(3)
    producer = KafkaProducer(bootstrap_servers=bootstrap_servers)
    for n in range(100):
        for number in (0, 1):
            producer.send(name, value=b"%d" % n, partition=number, timestamp_ms=NOON_MS + 1000 * n)
        if n % 10 == 0:
            producer.flush()
    producer.close()
    return name


def history(
    servers: str, topics: list[str], since_s: int, until_s: int, most: int = 10_000, **more: Any
) -> list[Record]:
    settings = {"bootstrap_servers": servers, "group_id": "not-used"}
    return list(read_history(settings, topics, NOON_MS + 1000 * since_s, NOON_MS + 1000 * until_s, most, **more))


@pytest.mark.parametrize(("since_s", "until_s"), [(-100, 1000), (0, 100), (17, 60), (99, 100), (50, 50), (100, 200)])
def test_history_is_exactly_the_records_of_the_span(
    bootstrap_servers: str, filled: str, since_s: int, until_s: int
) -> None:
    found = history(bootstrap_servers, [filled], since_s, until_s)
    expected = [b"%d" % n for n in range(100) if since_s <= n < until_s]
    for number in (0, 1):
        assert [record.value for record in found if record.partition == number] == expected
    assert len(found) == 2 * len(expected)


def test_history_ends_where_the_log_ended_and_does_not_wait(bootstrap_servers: str, filled: str) -> None:
    started = time.monotonic()
    history(bootstrap_servers, [filled], 0, 1000, idle_timeout_s=60.0)
    assert time.monotonic() - started < 20.0


def test_history_is_bounded(bootstrap_servers: str, filled: str) -> None:
    assert len(history(bootstrap_servers, [filled], 0, 1000, 7)) == 7


def test_history_of_topics_that_do_not_exist_is_empty(bootstrap_servers: str, filled: str) -> None:
    assert history(bootstrap_servers, ["tidecast-test-none"], 0, 1000) == []


def test_history_of_an_empty_topic_is_empty(bootstrap_servers: str, topic: Topics) -> None:
    assert history(bootstrap_servers, [topic(2)], 0, 1000) == []


def test_history_is_whole_where_timestamps_are_out_of_order(bootstrap_servers: str, topic: Topics) -> None:
    name = topic()
    producer = KafkaProducer(bootstrap_servers=bootstrap_servers)
    for second in (0, 50, 10, 60, 20, 70):
        producer.send(name, value=b"%d" % second, timestamp_ms=NOON_MS + 1000 * second)
        producer.flush()
    producer.close()
    assert [record.value for record in history(bootstrap_servers, [name], 15, 65)] == [b"50", b"60", b"20"]


def test_topics_are_made_once_and_found_the_second_time(bootstrap_servers: str) -> None:
    settings = {"bootstrap_servers": bootstrap_servers}
    specs = [TopicSpec(f"tidecast-test-{uuid.uuid4().hex[:12]}", partitions=n) for n in (1, 3)]
    names = [spec.name for spec in specs]
    first = create_topics(settings, specs[:1])
    assert (first.created, first.existed) == (names[:1], [])
    second = create_topics(settings, specs)
    assert (second.created, second.existed) == (names[1:], names[:1])
    assert partitions(settings, [*names, "tidecast-test-none"]) == {
        names[0]: [0],
        names[1]: [0, 1, 2],
        "tidecast-test-none": [],
    }
    from kafka import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers)
    admin.delete_topics(names, raise_errors=False)
    admin.close()


def test_a_topic_that_kafka_refuses_is_a_configuration_error(kafka_service: Service, bootstrap_servers: str) -> None:
    kafka_service.require_real("the embedded broker takes any name and any number of copies")
    settings = {"bootstrap_servers": bootstrap_servers}
    with pytest.raises(ConfigurationError, match="two words"):
        create_topics(settings, [TopicSpec("two words")])
    with pytest.raises(ConfigurationError, match="replication"):
        create_topics(settings, [TopicSpec(f"t-{uuid.uuid4().hex}", replication_factor=7)])


def test_no_topics_need_no_broker() -> None:
    assert create_topics({"bootstrap_servers": "127.0.0.1:1"}, []).created == []
    assert partitions({"bootstrap_servers": "127.0.0.1:1"}, []) == {}

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka import TopicPartition as KafkaTopicPartition

from stream.decode import Decoder
from stream.embedded import free_port
from stream.errors import ConfigurationError, ServiceError
from stream.fields import FieldMapping, Limits
from stream.kafka_clients import Client, open_source
from stream.kafka_config import TopicPartition
from stream.records import Reason, Record
from tests.services import Service
from tests.services.kafka import require_confluent

pytestmark = pytest.mark.kafka
Topics = Callable[..., str]
Members = Callable[..., AbstractContextManager["Member"]]


@pytest.fixture
def member(kafka_client: Client) -> Members:
    """``member(servers, topics, group, offsets)`` is a ``Member`` that leaves in the end."""
    return partial(opened, kafka_client)


class Member:
    """A member of a group that writes down what it is told."""

    def __init__(
        self,
        client: Client,
        servers: str,
        topics: Sequence[str],
        group: str,
        offsets: Mapping[TopicPartition, int],
        **kafka: Any,
    ) -> None:
        self.assigned: list[TopicPartition] = []
        self.revoked: list[tuple[TopicPartition, bool]] = []
        self.resets: list[tuple[TopicPartition, int, int]] = []
        self.threads: set[str] = set()
        self.offsets = dict(offsets)
        self.records: list[Record] = []
        self.failures: list[Exception] = []
        self.owned: set[TopicPartition] = set()
        self.source: Any = open_source(
            client,
            topics,
            group,
            {"bootstrap_servers": servers, "session_timeout_ms": 6000, **kafka},
            self.on_assigned,
            self.on_revoked,
            on_reset=lambda *told: self.resets.append(told),
        )

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int | None]:
        if self.failures:
            raise self.failures.pop()
        self.assigned += partitions
        self.owned.update(partitions)
        self.threads.add(threading.current_thread().name)
        return {partition: self.offsets.get(partition) for partition in partitions}

    def on_revoked(self, partitions: Sequence[TopicPartition], lost: bool) -> None:
        self.revoked += [(partition, lost) for partition in partitions]
        self.owned.difference_update(partitions)

    def poll_until(self, done: Callable[[], bool], limit_s: float = 30.0) -> list[Record]:
        end = time.monotonic() + limit_s
        while not done():
            assert time.monotonic() < end, f"assigned {self.assigned}, {len(self.records)} records"
            self.records += self.source.poll(100, 0.2)
        return self.records

    def read(self, n: int) -> list[Record]:
        return self.poll_until(lambda: len(self.records) >= n)


@contextmanager
def opened(
    client: Client,
    servers: str,
    topics: Sequence[str],
    group: str,
    offsets: Mapping[TopicPartition, int] | None = None,
    **kafka: Any,
) -> Iterator[Member]:
    one = Member(client, servers, topics, group, offsets or {}, **kafka)
    try:
        yield one
    finally:
        one.source.close()


@pytest.fixture
def group() -> str:
    return f"tidecast-test-{uuid.uuid4().hex[:12]}"


def produce(servers: str, topic: str, values: Iterable[bytes | None], partition: int = 0, **more: Any) -> None:
    producer = KafkaProducer(bootstrap_servers=servers, max_request_size=8_000_000)
    sent = [producer.send(topic, value=value, key=b"k", partition=partition, **more) for value in values]
    producer.flush()
    for future in sent:
        future.get(timeout=10)
    producer.close()


def numbered(n: int) -> list[bytes]:
    return [b"%d" % number for number in range(n)]


def test_a_new_group_reads_everything_from_the_beginning(
    member: Members, bootstrap_servers: str, topic: Topics, group: str
) -> None:
    name = topic(2)
    produce(bootstrap_servers, name, numbered(5), 0, headers=[("h", b"1")], timestamp_ms=1_772_366_400_123)
    produce(bootstrap_servers, name, numbered(3), 1)
    with member(bootstrap_servers, [name], group) as one:
        records = one.read(8)
        assert sorted(one.assigned) == [TopicPartition(name, 0), TopicPartition(name, 1)]
    by_partition = {number: [r for r in records if r.partition == number] for number in (0, 1)}
    assert [record.offset for record in by_partition[0]] == list(range(5))
    assert [record.value for record in by_partition[1]] == numbered(3)
    first = by_partition[0][0]
    assert first == Record(name, 0, 0, b"k", b"0", 1_772_366_400_123, (("h", b"1"),))
    assert all(not lost for _, lost in one.revoked)
    assert len(one.revoked) == 2


def test_reading_begins_where_the_caller_says_and_not_where_kafka_thinks(
    member: Members, bootstrap_servers: str, topic: Topics, group: str
) -> None:
    name = topic()
    place = TopicPartition(name, 0)
    produce(bootstrap_servers, name, numbered(10))
    with member(bootstrap_servers, [name], group) as one:
        one.read(10)
        one.source.commit({place: 10})
    with member(bootstrap_servers, [name], group, {place: 4}) as other:
        assert [record.offset for record in other.read(6)] == list(range(4, 10))
        assert other.resets == []


def test_a_commit_tells_kafka_the_next_offset_for_tools(
    member: Members, bootstrap_servers: str, topic: Topics, group: str
) -> None:
    name = topic()
    produce(bootstrap_servers, name, numbered(10))
    with member(bootstrap_servers, [name], group) as one:
        one.read(10)
        one.source.commit({TopicPartition(name, 0): 7})
    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers)
    found = admin.list_group_offsets([group])
    admin.close()
    assert found[group][KafkaTopicPartition(name, 0)].offset == 7


def test_lag_is_what_is_left_to_read(member: Members, bootstrap_servers: str, topic: Topics, group: str) -> None:
    name = topic()
    produce(bootstrap_servers, name, numbered(10))
    with member(bootstrap_servers, [name], group) as one:
        while not one.records:
            one.records += one.source.poll(4, 0.5)
        assert one.source.lag() == {TopicPartition(name, 0): 10 - len(one.records)}
        one.read(10)
        assert one.source.lag() == {TopicPartition(name, 0): 0}


def test_nothing_comes_from_a_paused_partition_until_it_is_resumed(
    member: Members, bootstrap_servers: str, topic: Topics, group: str
) -> None:
    name = topic()
    with member(bootstrap_servers, [name], group) as one:
        one.poll_until(lambda: bool(one.assigned))
        one.source.pause([TopicPartition(name, 0), TopicPartition(name, 99)])
        produce(bootstrap_servers, name, numbered(3))
        assert one.source.poll(10, 1.0) == []
        one.source.resume([TopicPartition(name, 0)])
        one.read(3)


def test_an_empty_poll_returns_after_its_time(
    member: Members, bootstrap_servers: str, topic: Topics, group: str
) -> None:
    with member(bootstrap_servers, [topic()], group) as one:
        one.poll_until(lambda: bool(one.assigned))
        started = time.monotonic()
        assert one.source.poll(10, 0.5) == []
        assert 0.4 < time.monotonic() - started < 2.0


def test_an_offset_beyond_the_end_falls_back_to_the_earliest_and_says_so(
    member: Members,
    bootstrap_servers: str,
    topic: Topics,
    group: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream.kafka_group.BEYOND_END_S", 0.5)
    name = topic()
    place = TopicPartition(name, 0)
    produce(bootstrap_servers, name, numbered(3))
    with member(bootstrap_servers, [name], group, {place: 500}) as one:
        assert [record.offset for record in one.read(3)] == [0, 1, 2]
        assert one.resets == [(place, 500, 0)]
    (warning,) = [entry.getMessage() for entry in caplog.records if entry.name == "stream.kafka_group"]
    assert f"offset 500 of topic {name} partition 0 is out of range: reading from 0 on" in warning


def test_an_offset_that_retention_took_falls_to_the_earliest_that_is_left(
    member: Members, kafka_service: Service, bootstrap_servers: str, topic: Topics, group: str
) -> None:
    kafka_service.require_real("the embedded broker keeps no log start that moves")
    name = topic()
    place = TopicPartition(name, 0)
    produce(bootstrap_servers, name, numbered(10))
    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers)
    admin.delete_records({KafkaTopicPartition(name, 0): 6})
    admin.close()
    with member(bootstrap_servers, [name], group, {place: 2}) as one:
        assert [record.offset for record in one.read(4)] == [6, 7, 8, 9]
        assert one.resets == [(place, 2, 6)]


def test_an_offset_at_the_very_end_is_in_range(
    member: Members, bootstrap_servers: str, topic: Topics, group: str
) -> None:
    name = topic()
    place = TopicPartition(name, 0)
    produce(bootstrap_servers, name, numbered(3))
    with member(bootstrap_servers, [name], group, {place: 3}) as one:
        assert one.source.poll(10, 2.0) == []
        assert one.resets == []
        produce(bootstrap_servers, name, [b"next"])
        assert [record.offset for record in one.read(1)] == [3]


def test_partitions_are_shared_and_come_back_without_loss(
    member: Members, bootstrap_servers: str, topic: Topics, group: str
) -> None:
    name = topic(4)
    places = {TopicPartition(name, number) for number in range(4)}
    with member(bootstrap_servers, [name], group) as one:
        one.poll_until(lambda: one.owned == places)
        with member(bootstrap_servers, [name], group) as other:
            end = time.monotonic() + 30
            while not (len(one.owned) == 2 and one.owned | other.owned == places and len(other.assigned) >= 2):
                assert time.monotonic() < end, (one.owned, other.owned)
                one.records += one.source.poll(100, 0.05)
                other.records += other.source.poll(100, 0.05)
            # Only what moves is taken away.
            assert {place for place, _ in one.revoked} == other.owned
            for number in range(4):
                produce(bootstrap_servers, name, numbered(5), number)
            while len(one.records) + len(other.records) < 20:
                assert time.monotonic() < end
                one.records += one.source.poll(100, 0.05)
                other.records += other.source.poll(100, 0.05)
            assert {TopicPartition(r.topic, r.partition) for r in other.records} == other.owned
            one.offsets = dict.fromkeys(places, 5)
        assert len(other.revoked) == 2
        one.poll_until(lambda: one.owned == places and len(one.assigned) >= 6)
        read = len(one.records)
        for number in range(4):
            produce(bootstrap_servers, name, [b"late"], number)
        one.read(read + 4)
        assert {record.value for record in one.records[read:]} == {b"late"}


def test_members_of_both_clients_share_a_group_so_that_workers_can_change_one_by_one(
    kafka_client: Client, bootstrap_servers: str, topic: Topics, group: str
) -> None:
    require_confluent()
    name = topic(4)
    places = {TopicPartition(name, number) for number in range(4)}
    second: Client = "confluent" if kafka_client == "kafka-python" else "kafka-python"
    with opened(kafka_client, bootstrap_servers, [name], group) as one:
        one.poll_until(lambda: one.owned == places)
        with opened(second, bootstrap_servers, [name], group) as other:
            end = time.monotonic() + 30
            while not (len(one.owned) == 2 and one.owned | other.owned == places):
                assert time.monotonic() < end, (one.owned, other.owned)
                one.source.poll(100, 0.05)
                other.source.poll(100, 0.05)
            assert {place for place, _ in one.revoked} == other.owned
        one.poll_until(lambda: one.owned == places)
        assert not any(lost for _, lost in one.revoked + other.revoked)


def test_what_is_retaken_is_read_from_where_the_caller_says_then(
    member: Members, bootstrap_servers: str, topic: Topics, group: str
) -> None:
    name = topic(2)
    for number in range(2):
        produce(bootstrap_servers, name, numbered(5), number)
    with member(bootstrap_servers, [name], group) as one:
        one.read(10)
        one.offsets = {TopicPartition(name, 1): 3}
        one.source.retake([TopicPartition(name, 1), TopicPartition(name, 99)])
        again = one.read(12)[10:]
        assert [(record.partition, record.offset) for record in again] == [(1, 3), (1, 4)]
        assert one.source.poll(10, 0.5) == []
        assert one.revoked == []


def test_a_failing_assignment_is_raised_and_asked_again_by_the_next_poll(
    member: Members, bootstrap_servers: str, topic: Topics, group: str
) -> None:
    name = topic()
    produce(bootstrap_servers, name, numbered(3))
    with member(bootstrap_servers, [name], group) as one:
        one.failures = [ServiceError("no Redis"), ServiceError("no Redis")]
        for _ in range(2):
            with pytest.raises(ServiceError, match="no Redis"):
                one.poll_until(lambda: False)
        assert [record.offset for record in one.read(3)] == [0, 1, 2]
        assert one.threads == {threading.current_thread().name}


def test_a_slow_assignment_does_not_cost_the_membership(
    member: Members, bootstrap_servers: str, topic: Topics, group: str
) -> None:
    name = topic()
    produce(bootstrap_servers, name, numbered(3))
    with member(bootstrap_servers, [name], group) as one:
        quick = one.on_assigned

        def slow(partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int | None]:
            time.sleep(9.0)
            return quick(partitions)

        one.source._membership.on_assigned = slow
        one.read(3)
        one.poll_until(lambda: True)
        assert one.source.poll(10, 2.0) == []
        assert one.revoked == []


def test_a_slow_revocation_is_waited_for_with_heartbeats(
    member: Members, bootstrap_servers: str, topic: Topics, group: str
) -> None:
    name = topic(2)
    order: list[str] = []
    with member(bootstrap_servers, [name], group) as one:
        one.poll_until(lambda: len(one.assigned) == 2)

        def slow(partitions: Sequence[TopicPartition], lost: bool) -> None:
            time.sleep(8.0)
            order.append(f"revoked {lost}")

        one.source._membership.on_revoked = slow
        with member(bootstrap_servers, [name], group) as other:
            quick = other.on_assigned

            def noted(partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int | None]:
                order.append("assigned")
                return quick(partitions)

            other.source._membership.on_assigned = noted
            running = threading.Event()

            def poll_one() -> None:
                while not running.is_set():
                    one.source.poll(10, 0.1)

            thread = threading.Thread(target=poll_one)
            thread.start()
            try:
                other.poll_until(lambda: bool(other.assigned), 40.0)
            finally:
                running.set()
                thread.join()
            assert order == ["revoked False", "assigned"]
            one.source._membership.on_revoked = one.on_revoked


def test_a_revocation_that_fails_is_logged_and_the_group_goes_on(
    member: Members, bootstrap_servers: str, topic: Topics, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(partitions: Sequence[TopicPartition], lost: bool) -> None:
        raise ValueError("not saved")

    with member(bootstrap_servers, [topic()], group) as one:
        one.poll_until(lambda: bool(one.assigned))
        one.source._membership.on_revoked = fail
    assert "on_revoked failed" in caplog.text
    assert "not saved" in caplog.text


def test_closing_twice_does_no_harm_and_leaves_no_thread(
    member: Members, bootstrap_servers: str, topic: Topics, group: str
) -> None:
    before = {thread.name for thread in threading.enumerate()}
    with member(bootstrap_servers, [topic()], group, client_id=group) as one:
        one.poll_until(lambda: bool(one.assigned))
    one.source.close()
    assert {thread.name for thread in threading.enumerate()} <= before


def test_bad_records_come_through_whole_and_decode_to_their_reasons(
    member: Members, bootstrap_servers: str, topic: Topics, group: str
) -> None:
    name = topic(1, max_message_bytes="4000000")
    bad = {
        b"not json": Reason.NOT_JSON,
        b'{"time":1,"series":"a"}': Reason.MISSING_FIELD,
        b'{"time":1,"series":"a","value":NaN}': Reason.NOT_FINITE,
        b'{"time":1,"series":"a","value":1e400}': Reason.NOT_FINITE,
        b'{"time":"9999-01-01T00:00:00Z","series":"a","value":1}': Reason.TIME_RANGE,
        b"x" * 2_000_000: Reason.TOO_LARGE,
    }
    produce(bootstrap_servers, name, [*bad, b'{"time":1,"series":"a","value":1}'])
    with member(bootstrap_servers, [name], group) as one:
        decoded = Decoder(FieldMapping(), Limits()).decode(one.read(7))
    assert [(found.record.value, found.reason) for found in decoded.rejected] == list(bad.items())
    assert decoded.observations.record.tolist() == [6]


def test_a_topic_that_does_not_exist_is_waited_for_and_not_made(
    member: Members,
    kafka_service: Service,
    bootstrap_servers: str,
    topic: Topics,
    group: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kafka_service.require_real("the embedded broker makes every topic that is asked for")
    topic()
    name = f"tidecast-test-none-{group}"
    with caplog.at_level(logging.WARNING), member(bootstrap_servers, [name], group) as one:
        assert one.source.poll(10, 0.5) == []
    assert f"topic {name} does not exist yet" in caplog.text
    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers)
    assert name not in admin.list_topics()
    admin.close()


def test_an_unreachable_broker_is_a_service_error_that_names_it_but_no_password(kafka_client: Client) -> None:
    port = free_port()
    settings = {
        "bootstrap_servers": f"127.0.0.1:{port}",
        "bootstrap_timeout_ms": 500,
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "me",
        "sasl_plain_password": "s3cret",
        "client_id": "unreachable",
    }
    with pytest.raises(ServiceError) as caught:
        open_source(kafka_client, ["t"], "g", settings, lambda _: {}, lambda *_: None)
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert not [thread for thread in threading.enumerate() if "unreachable" in thread.name]


@pytest.mark.parametrize("wrong", [{"bootstrap_server": "x:1"}, {"security_protocol": "PLAIN"}])
def test_settings_that_kafka_does_not_know_are_a_configuration_error(
    kafka_client: Client, bootstrap_servers: str, wrong: dict[str, str]
) -> None:
    with pytest.raises(ConfigurationError):
        open_source(
            kafka_client, ["t"], "g", {"bootstrap_servers": bootstrap_servers, **wrong}, lambda _: {}, lambda *_: None
        )

"""The servers under the tests are real: what goes in comes out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from tests.services import Service
from tests.services.kafka import ApacheKafka
from tests.services.redis import RedisServer


def produce(bootstrap_servers: str, topic: str, values: list[bytes], compression: str | None = None) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap_servers, compression_type=compression, linger_ms=50)
    try:
        for value in values:
            producer.send(topic, value, partition=0)
        producer.flush(timeout=20)
    finally:
        producer.close(timeout=5)


def consume(bootstrap_servers: str, topic: str, count: int) -> list[bytes]:
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest", consumer_timeout_ms=15_000
    )
    try:
        consumer.assign([TopicPartition(topic, 0)])
        values: list[bytes] = []
        for record in consumer:
            values.append(record.value)
            if len(values) == count:
                break
        return values
    finally:
        consumer.close()


@pytest.mark.kafka
@pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
def test_records_come_back_in_their_order(
    bootstrap_servers: str, topic: Callable[..., str], compression: str | None
) -> None:
    name = topic()
    values = [f"value {number}".encode() for number in range(100)]
    produce(bootstrap_servers, name, values, compression)
    assert consume(bootstrap_servers, name, 100) == values


@pytest.mark.kafka
def test_offsets_are_told(kafka_service: Service, topic: Callable[..., str]) -> None:
    kafka_service.require_real("end offsets and offsets by time")
    name = topic(2)
    produce(kafka_service.address, name, [b"a", b"b", b"c"])
    consumer = KafkaConsumer(bootstrap_servers=kafka_service.address)
    try:
        partition, empty = TopicPartition(name, 0), TopicPartition(name, 1)
        assert consumer.end_offsets([partition, empty]) == {partition: 3, empty: 0}
        found = consumer.offsets_for_times({partition: 0})[partition]
        assert found is not None
        assert found.offset == 0
    finally:
        consumer.close()


@pytest.mark.kafka
def test_topics_do_not_come_by_themselves(kafka_service: Service, topic: Callable[..., str]) -> None:
    kafka_service.require_real("auto.create.topics.enable=false")
    made = topic(3, cleanup_policy="compact")
    consumer = KafkaConsumer(bootstrap_servers=kafka_service.address)
    try:
        assert consumer.partitions_for_topic(made) == {0, 1, 2}
        assert not consumer.partitions_for_topic("tidecast-test-never-made")
        assert "tidecast-test-never-made" not in consumer.topics()
    finally:
        consumer.close()


@pytest.mark.redis
def test_redis_keeps_what_it_is_given(redis_url: str, namespace: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"{namespace}:key", b"\x00value")
        assert client.get(f"{namespace}:key") == b"\x00value"


@pytest.mark.redis
def test_a_killed_redis_comes_back_with_its_keys(own_redis: RedisServer) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.set("key", "value")
    own_redis.kill9()
    with redis.Redis.from_url(own_redis.url) as client, pytest.raises(redis.ConnectionError):
        client.ping()
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.get("key") == b"value"


@pytest.mark.kafka
@pytest.mark.slow
def test_a_killed_kafka_comes_back_with_its_records(own_kafka: ApacheKafka) -> None:
    from kafka import KafkaAdminClient
    from kafka.admin import NewTopic

    admin = KafkaAdminClient(bootstrap_servers=own_kafka.bootstrap_servers)
    admin.create_topics([NewTopic("readings", num_partitions=1, replication_factor=1)], wait_for_metadata=True)
    admin.close()
    produce(own_kafka.bootstrap_servers, "readings", [b"a", b"b"])
    own_kafka.kill9()
    own_kafka.start()
    assert consume(own_kafka.bootstrap_servers, "readings", 2) == [b"a", b"b"]

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaTopicPartition

from stream.deadletters import DeadLetters, JsonLinesDeadLetters
from stream.embedded import free_port
from stream.errors import ServiceError
from stream.records import Reason, Record, Rejected

kafka = pytest.mark.kafka
Topics = Callable[..., str]


def rejected(
    offset: int = 5, item: int | None = None, value: bytes | None = b"?", key: bytes | None = b"k", **more: Any
) -> Rejected:
    record = Record("feed", 2, offset, key, value, 1234, (("trace", b"\x00\xff"),))
    return Rejected(record, Reason.NOT_JSON, f"détail {item}", item, **more)


def letters(servers: str, topic: str, n: int) -> list[Any]:
    consumer = KafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest", group_id=None)
    consumer.assign([KafkaTopicPartition(topic, 0)])
    consumer.seek_to_beginning()
    found: list[Any] = []
    for _ in range(50):
        for batch in consumer.poll(timeout_ms=200).values():
            found += batch
        if len(found) >= n:
            break
    consumer.close()
    return found


@kafka
def test_a_dead_letter_is_the_record_unchanged_with_its_reason(bootstrap_servers: str, topic: Topics) -> None:
    name = topic()
    sink = DeadLetters({"bootstrap_servers": bootstrap_servers, "group_id": "g"}, name)
    sink.send(rejected(value=b"\xff\x00 not json"))
    sink.close()
    (letter,) = letters(bootstrap_servers, name, 1)
    assert (letter.key, letter.value) == (b"k", b"\xff\x00 not json")
    assert dict(letter.headers) == {
        "trace": b"\x00\xff",
        "tidecast-reason": b"not-json",
        "tidecast-detail": "détail None".encode(),
        "tidecast-topic": b"feed",
        "tidecast-partition": b"2",
        "tidecast-offset": b"5",
        "tidecast-timestamp": b"1234",
    }


@kafka
def test_a_record_with_several_bad_items_is_sent_once(bootstrap_servers: str, topic: Topics) -> None:
    name = topic()
    sink = DeadLetters({"bootstrap_servers": bootstrap_servers}, name)
    for item in (3, 1, 3):
        sink.send(rejected(item=item))
    sink.send(rejected(offset=6))
    sink.flush()
    first, second = letters(bootstrap_servers, name, 2)
    sink.close()
    assert dict(first.headers)["tidecast-item"] == b"[1,3]"
    assert dict(first.headers)["tidecast-detail"] == "détail 3".encode()
    assert "tidecast-item" not in dict(second.headers)


@kafka
@pytest.mark.parametrize(("key", "sent"), [(b"k", None), (None, b"")])
def test_a_value_that_is_too_large_is_left_out_and_its_size_told(
    bootstrap_servers: str, topic: Topics, key: bytes | None, sent: bytes | None
) -> None:
    name = topic()
    sink = DeadLetters({"bootstrap_servers": bootstrap_servers, "max_request_size": 100_000}, name)
    sink.send(rejected(value=b"x" * 2_000_000, key=key))
    sink.send(rejected(offset=6, key=key))
    sink.flush()
    sink.close()
    found = {dict(letter.headers)["tidecast-offset"]: letter for letter in letters(bootstrap_servers, name, 2)}
    assert found[b"5"].value == sent
    assert dict(found[b"5"].headers)["tidecast-omitted-bytes"] == b"2000000"
    assert found[b"6"].value == b"?"


@kafka
def test_a_value_that_only_the_broker_refuses_is_left_out_too(
    kafka_service: Any, bootstrap_servers: str, topic: Topics
) -> None:
    kafka_service.require_real("the embedded broker takes records of any size")
    name = topic(1, max_message_bytes="10000")
    sink = DeadLetters({"bootstrap_servers": bootstrap_servers}, name)
    sink.send(rejected(value=os.urandom(500_000)))
    sink.close()
    (letter,) = letters(bootstrap_servers, name, 1)
    assert letter.value is None
    assert dict(letter.headers)["tidecast-omitted-bytes"] == b"500000"


@kafka
def test_a_record_without_key_and_value_is_sent_all_the_same(bootstrap_servers: str, topic: Topics) -> None:
    name = topic()
    sink = DeadLetters({"bootstrap_servers": bootstrap_servers}, name)
    sink.send(rejected(key=None, value=None))
    sink.close()
    assert len(letters(bootstrap_servers, name, 1)) == 1


@kafka
def test_a_letter_that_is_not_delivered_makes_flush_fail(own_kafka: Any) -> None:
    settings = {
        "bootstrap_servers": own_kafka.bootstrap_servers,
        "delivery_timeout_ms": 2500,
        "request_timeout_ms": 1000,
        "max_block_ms": 2000,
    }
    from stream.kafka_admin import TopicSpec, create_topics

    create_topics(settings, [TopicSpec("dead")])
    sink = DeadLetters(settings, "dead")
    sink.send(rejected())
    sink.flush()
    own_kafka.kill9()
    sink.send(rejected(offset=6))
    for _ in range(2):
        with pytest.raises(ServiceError, match=r"feed/2/6"):
            sink.flush()
    own_kafka.start()
    for _ in range(10):
        # The client comes back in its own time.
        with suppress(ServiceError):
            sink.flush()
            break
    sink.close()
    assert [dict(letter.headers)["tidecast-offset"] for letter in letters(own_kafka.bootstrap_servers, "dead", 2)] == [
        b"5",
        b"6",
    ]


def test_an_unreachable_broker_is_a_service_error() -> None:
    with pytest.raises(ServiceError, match="no answer"):
        DeadLetters({"bootstrap_servers": f"127.0.0.1:{free_port()}", "bootstrap_timeout_ms": 300}, "dead")


def test_a_file_of_dead_letters_has_one_object_a_record(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    sink = JsonLinesDeadLetters(path)
    sink.flush()
    assert not path.exists()
    sink.send(rejected(item=1))
    sink.send(rejected(item=2))
    sink.send(rejected(offset=6, value=b"\xff", key=None))
    sink.close()
    first, second = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert (first["key"], first["value"]) == ("k", "?")
    assert first["headers"]["tidecast-item"] == "[1,2]"
    assert second["value_base64"] == "/w=="
    assert second["key"] is None


def test_a_file_that_cannot_be_written_is_a_service_error(tmp_path: Path) -> None:
    sink = JsonLinesDeadLetters(tmp_path / "none" / "dead.jsonl")
    sink.send(rejected())
    with pytest.raises(ServiceError, match="cannot be written"):
        sink.flush()

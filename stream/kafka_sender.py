"""Records to a topic, for feeds that we make ourselves; workers only read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kafka import KafkaProducer

from stream.kafka_config import kafka_errors, open_client
from stream.records import Record

_DEFAULTS: dict[str, Any] = {"client_id": "tidecast-feeder", "linger_ms": 5, "max_block_ms": 15_000}


class KafkaSender:
    """Sends keys and values to one topic; records of one key keep their order.

    ServiceError where Kafka does not answer.
    """

    def __init__(self, kafka: Mapping[str, Any], topic: str) -> None:
        self._kafka, self._topic = kafka, topic
        self._producer, _ = open_client(KafkaProducer, kafka, _DEFAULTS)

    def send(self, records: Sequence[Record]) -> None:
        """Hand records to the client, which sends them on its own. The log takes them at its own time."""
        with kafka_errors(f"send to topic {self._topic}", self._kafka):
            for record in records:
                self._producer.send(self._topic, value=record.value, key=record.key)

    def close(self) -> None:
        """Send what is left, and disconnect."""
        with kafka_errors(f"flush topic {self._topic}", self._kafka):
            self._producer.close(timeout=5)

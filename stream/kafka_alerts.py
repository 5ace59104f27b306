"""Alerts back to Kafka: one record an alert, keyed by its series, so that those of a series keep their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from stream.errors import ServiceError
from stream.kafka_config import kafka_errors, open_client, servers
from stream.messages import AlertMessage

_DEFAULTS: dict[str, Any] = {
    "client_id": "tidecast-relay",
    "acks": -1,
    "enable_idempotence": False,
    "max_block_ms": 10_000,
    "request_timeout_ms": 10_000,
    "delivery_timeout_ms": 20_000,
}


class AlertTopic:
    """A topic that alerts are written to. It connects when it is first needed, and again after a failure."""

    def __init__(self, kafka: Mapping[str, Any], topic: str) -> None:
        self._kafka, self._topic = kafka, topic
        self._producer: Any = None

    def send(self, alerts: Sequence[AlertMessage]) -> None:
        """Return once Kafka has all of them, each with its id in the header ``tidecast-id``; ServiceError if it may not."""
        try:
            with kafka_errors(f"send to topic {self._topic}", self._kafka):
                if self._producer is None:
                    self._producer, _ = open_client(KafkaProducer, self._kafka, _DEFAULTS)
                sent = [self._hand_over(alert) for alert in alerts]
                for future in sent:
                    future.get(timeout=_DEFAULTS["delivery_timeout_ms"] / 1e3 + 5)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Disconnect; what was not confirmed may be lost."""
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                producer.close(timeout=0)
            except KafkaError as error:
                raise ServiceError(f"Kafka at {servers(self._kafka)}: closing: {error}") from error

    def _hand_over(self, alert: AlertMessage) -> Any:
        headers = [("tidecast-id", alert.id.encode()), ("tidecast-fingerprint", alert.fingerprint.encode())]
        return self._producer.send(self._topic, key=alert.series.encode(), value=alert.to_json(), headers=headers)

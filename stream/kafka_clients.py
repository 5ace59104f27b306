"""The clients that records can be read from Kafka with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from stream.errors import ConfigurationError

if TYPE_CHECKING:
    # The settings name the clients, and must not load one.
    from stream.kafka_group import GroupSource, OnAssigned, OnReset, OnRevoked

Client = Literal["kafka-python", "confluent"]


def open_source(
    client: Client,
    topics: Sequence[str],
    group_id: str,
    kafka: Mapping[str, Any],
    on_assigned: OnAssigned,
    on_revoked: OnRevoked,
    *,
    on_reset: OnReset | None = None,
) -> GroupSource:
    """A member of a group, on that client; ``kafka`` is under kafka-python's names for either. See ``GroupSource``.

    ConfigurationError for settings that Kafka or the client refuses, and where the client is not installed; ServiceError where no broker
    answers.
    """
    if client == "kafka-python":
        from stream.kafka_source import KafkaSource

        return KafkaSource(topics, group_id, kafka, on_assigned, on_revoked, on_reset=on_reset)
    try:
        from stream.kafka_confluent import ConfluentSource
    except ImportError as error:
        remedy = "pip install 'tidecast[confluent]', or set kafka.client to kafka-python"
        raise ConfigurationError(
            f"kafka.client is confluent, and confluent-kafka is not installed: {remedy}"
        ) from error
    return ConfluentSource(topics, group_id, kafka, on_assigned, on_revoked, on_reset=on_reset)

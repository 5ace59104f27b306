"""kafka-python's settings as librdkafka's, and librdkafka's errors and log as ours."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from kafka import KafkaConsumer

from stream.errors import ConfigurationError, ServiceError
from stream.kafka_config import GRANT, NOT_AUTHENTICATED, check_settings, reach, servers

_NAMES = {
    "auto_offset_reset": None,  # what it says is done by the source, as for any client
    "bootstrap_timeout_ms": None,
    "enable_auto_commit": None,
    "client_dns_lookup": "client.dns.lookup",
    "fetch_max_wait_ms": "fetch.wait.max.ms",
    "metadata_max_age_ms": "topic.metadata.refresh.interval.ms",
    "receive_buffer_bytes": "socket.receive.buffer.bytes",
    "receive_message_max_bytes": "receive.message.max.bytes",
    "request_timeout_ms": "socket.timeout.ms",
    "sasl_plain_password": "sasl.password",
    "sasl_plain_username": "sasl.username",
    "send_buffer_bytes": "socket.send.buffer.bytes",
    "ssl_cafile": "ssl.ca.location",
    "ssl_certfile": "ssl.certificate.location",
    "ssl_check_hostname": "ssl.endpoint.identification.algorithm",
    "ssl_ciphers": "ssl.cipher.suites",
    "ssl_crlfile": "ssl.crl.location",
    "ssl_keyfile": "ssl.key.location",
    "ssl_password": "ssl.key.password",
} | {
    # The same but for the dots.
    name: name.replace("_", ".")
    for name in (
        "allow_auto_create_topics",
        "bootstrap_servers",
        "check_crcs",
        "client_id",
        "client_rack",
        "connections_max_idle_ms",
        "fetch_max_bytes",
        "fetch_min_bytes",
        "group_id",
        "group_instance_id",
        "heartbeat_interval_ms",
        "isolation_level",
        "max_partition_fetch_bytes",
        "max_poll_interval_ms",
        "reconnect_backoff_max_ms",
        "reconnect_backoff_ms",
        "retry_backoff_ms",
        "sasl_kerberos_service_name",
        "sasl_mechanism",
        "security_protocol",
        "session_timeout_ms",
    )
}


def librdkafka_settings(kafka: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """What a consumer takes of ``kafka``, under librdkafka's names.

    ConfigurationError for what no client knows, and for what only kafka-python's consumer can be told.
    """
    check_settings(kafka)
    given = {name: value for name, value in kafka.items() if value is not None and name in KafkaConsumer.DEFAULT_CONFIG}
    if unmapped := sorted(set(given) - set(_NAMES)):
        advice = "leave it out, or set kafka.client to kafka-python"
        raise ConfigurationError(f"confluent-kafka has no {', '.join(unmapped)}: {advice}")
    if given.get("sasl_mechanism") == "OAUTHBEARER":
        raise ConfigurationError("kafka.client confluent has no token provider for OAUTHBEARER: use kafka-python")
    if "ssl_check_hostname" in given:
        given["ssl_check_hostname"] = "https" if given["ssl_check_hostname"] else "none"
    if "bootstrap_servers" in given:
        given["bootstrap_servers"] = servers(given).replace(" ", "")
    return {theirs: value for name, value in given.items() if (theirs := _NAMES[name]) is not None}


@contextmanager
def confluent_errors(action: str, settings: Mapping[str, Any]) -> Iterator[None]:
    """Turn librdkafka's errors into ours, as ``kafka_errors`` does for kafka-python's."""
    try:
        yield
    except KafkaException as error:
        raise our_error(action, settings, error.args[0]) from error


def our_error(action: str, settings: Mapping[str, Any], error: Any) -> ConfigurationError | ServiceError:
    """What failed, where, and what to do. Settings are never shown: passwords."""
    where, code = f"Kafka at {servers(settings)}: {action}", error.code()
    if code in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED):  # noqa: SLF001 - so librdkafka's own codes are called
        return ConfigurationError(f"{where}: {NOT_AUTHENTICATED}")
    if code in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED):
        return ConfigurationError(f"{where}: not authorized ({error.str()}); {GRANT}")
    if code in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT):  # noqa: SLF001 - as above
        return ServiceError(f"{where}: no answer ({error.name()}); {reach(settings)}")
    return ServiceError(f"{where}: {error.str()}")


class Sparing(logging.Filter):
    """librdkafka tells of every attempt to connect, dozens a second while a broker is away: one line in ``every_s`` seconds is enough."""

    def __init__(self, every_s: float) -> None:
        super().__init__()
        self._every_s = every_s
        self._told: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        # The same but for "(after 12ms in state CONNECT)".
        text, now = record.getMessage().partition(" (after ")[0], time.monotonic()
        if now < self._told.get(text, -self._every_s) + self._every_s:
            return False
        self._told = {told: at for told, at in self._told.items() if now < at + self._every_s} | {text: now}
        return True


def librdkafka_log() -> logging.Logger:
    """What librdkafka is to log to."""
    log = logging.getLogger("stream.kafka_confluent.librdkafka")
    if not log.filters:
        log.addFilter(Sparing(30.0))
    return log

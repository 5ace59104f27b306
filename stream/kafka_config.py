"""One mapping of Kafka settings, under kafka-python's own names, for consumers, producers and admin clients alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import kafka
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import (
    AuthorizationError,
    IllegalSaslStateError,
    KafkaConfigurationError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
from kafka.net.compat import KafkaNetClient

from stream.errors import ConfigurationError, ServiceError
from stream.records import Record

C = TypeVar("C", KafkaConsumer, KafkaProducer, KafkaAdminClient)

BOOTSTRAP_TIMEOUT_MS = 10_000
_KNOWN = frozenset({*KafkaConsumer.DEFAULT_CONFIG, *KafkaProducer.DEFAULT_CONFIG, *KafkaAdminClient.DEFAULT_CONFIG})

_ALLOWED = {
    "security_protocol": ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
    "sasl_mechanism": ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER"),
    "auto_offset_reset": ("earliest", "latest"),
}

NOT_AUTHENTICATED = "the broker refused to authenticate us; check security_protocol, sasl_mechanism and the credentials"
GRANT = "grant the access or name another topic or group"
_REACH = "check that the broker runs, that bootstrap_servers is right, and that it can be reached from here"


class TopicPartition(NamedTuple):
    """A partition of a topic: ours, so that kafka-python stays within the adapters."""

    topic: str
    partition: int

    def to_kafka(self) -> Any:
        """The same, as kafka-python wants it."""
        return kafka.TopicPartition(self.topic, self.partition)


def to_record(found: Any) -> Record:
    """What kafka-python's consumer gives, as a record of ours."""
    headers: tuple[tuple[str, bytes], ...] = ()
    if found.headers:
        headers = tuple((name, value if value is not None else b"") for name, value in found.headers)
    return Record(found.topic, found.partition, found.offset, found.key, found.value, found.timestamp, headers)


def open_client(client: type[C], settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> tuple[C, KafkaNetClient]:
    """A connected client with what it takes of ``settings`` over ``defaults``, and its network client to wake or close.

    ConfigurationError for a name that no client knows or a value that is refused; ServiceError where no broker answers.
    """
    check_settings(settings)
    given = {name: value for name, value in settings.items() if name in client.DEFAULT_CONFIG}
    opened: list[KafkaNetClient] = []

    def network(**options: Any) -> KafkaNetClient:
        opened.append(KafkaNetClient(**options))
        return opened[-1]

    options = {"bootstrap_timeout_ms": BOOTSTRAP_TIMEOUT_MS, **defaults, **given, "kafka_client": network}
    try:
        with kafka_errors("connect", settings):
            try:
                return client(**options), opened[-1]
            except (AssertionError, TypeError, ValueError, KafkaConfigurationError) as error:
                # kafka-python refuses settings with all of these.
                raise ConfigurationError(f"Kafka settings: {error}") from error
    except BaseException:
        # A constructor that fails leaves the thread of its network client running.
        for left in opened:
            left.close()
        raise


def check_settings(settings: Mapping[str, Any]) -> None:
    """ConfigurationError for a name that no client of kafka-python knows, or a value that none takes."""
    unknown = sorted(set(settings) - _KNOWN)
    if unknown:
        raise ConfigurationError(f"Kafka has no setting {', '.join(unknown)}: use kafka-python's names")
    for name, allowed in _ALLOWED.items():
        # kafka-python takes a protocol that it does not know for PLAINTEXT, and would speak without encryption.
        if settings.get(name) is not None and settings[name] not in allowed:
            raise ConfigurationError(f"Kafka {name} is {settings[name]!r}: use one of {', '.join(allowed)}")


def setting_names() -> frozenset[str]:
    """Every setting that kafka-python's consumer, producer or admin client knows."""
    clients = (KafkaConsumer, KafkaProducer, KafkaAdminClient)
    return frozenset(name for client in clients for name in client.DEFAULT_CONFIG)


def servers(settings: Mapping[str, Any]) -> str:
    """The addresses of the brokers, for messages."""
    given = settings.get("bootstrap_servers", "localhost:9092")
    return given if isinstance(given, str) else ", ".join(map(str, given))


def reach(settings: Mapping[str, Any]) -> str:
    """What to do where no broker answers."""
    # A broker that refuses someone hangs up, and what it said before is easily missed.
    return _REACH + "; if so, check the credentials too" * str(settings.get("security_protocol")).startswith("SASL")


@contextmanager
def kafka_errors(action: str, settings: Mapping[str, Any]) -> Iterator[None]:
    """Turn kafka-python's errors into ours: what failed, where, what to do. Settings are never shown: passwords."""
    where = f"Kafka at {servers(settings)}: {action}"
    try:
        yield
    except (SaslAuthenticationFailedError, UnsupportedSaslMechanismError, IllegalSaslStateError) as error:
        raise ConfigurationError(f"{where}: {NOT_AUTHENTICATED}") from error
    except AuthorizationError as error:
        raise ConfigurationError(f"{where}: not authorized ({error}); {GRANT}") from error
    except (KafkaTimeoutError, KafkaConnectionError) as error:
        raise ServiceError(f"{where}: no answer ({type(error).__name__}); {reach(settings)}") from error
    except (KafkaError, OSError) as error:
        raise ServiceError(f"{where}: {error}") from error

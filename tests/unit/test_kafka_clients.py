from __future__ import annotations

import logging
import sys
import time
from typing import Any

import pytest

from stream.errors import ConfigurationError
from stream.kafka_clients import open_source
from tests.services.kafka import require_confluent

SECURE = {
    "bootstrap_servers": ["k1:9093", "k2:9093"],
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_plain_username": "me",
    "sasl_plain_password": "s3cret",
    "ssl_cafile": "/ca.pem",
    "ssl_certfile": "/cert.pem",
    "ssl_keyfile": "/key.pem",
    "ssl_password": "s3cret too",
    "ssl_check_hostname": False,
    "group_instance_id": None,
    "acks": "all",
}


def librdkafka(kafka: dict[str, Any]) -> dict[str, Any]:
    require_confluent()
    from stream.kafka_confluent_config import librdkafka_settings

    return dict(librdkafka_settings(kafka))


def test_a_client_that_is_not_installed_is_a_configuration_error_that_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    for name in ("stream.kafka_confluent", "stream.kafka_confluent_config"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install 'tidecast\[confluent\]'"):
        open_source("confluent", ["t"], "g", {}, lambda _: {}, lambda *_: None)


def test_what_security_needs_is_told_to_librdkafka_under_its_own_names() -> None:
    # acks is a producer's.
    assert librdkafka(SECURE) == {
        "bootstrap.servers": "k1:9093,k2:9093",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "me",
        "sasl.password": "s3cret",
        "ssl.ca.location": "/ca.pem",
        "ssl.certificate.location": "/cert.pem",
        "ssl.key.location": "/key.pem",
        "ssl.key.password": "s3cret too",
        "ssl.endpoint.identification.algorithm": "none",
    }


def test_librdkafka_knows_every_setting_that_is_translated_for_it() -> None:
    librdkafka({})
    from confluent_kafka import Consumer, KafkaException

    from stream.kafka_confluent_config import _NAMES

    refusals = []
    for name in filter(None, _NAMES.values()):
        # Refused for its value, as few take this one, or taken: but never as unknown.
        try:
            Consumer({"group.id": "g", name: "no such value"}).close()
        except KafkaException as error:
            refusals.append(error.args[0].str())
    assert refusals
    assert not [text for text in refusals if "No such configuration property" in text]


@pytest.mark.parametrize(
    ("kafka", "named"),
    [
        ({"socks5_proxy": "socks5://x:1"}, "confluent-kafka has no socks5_proxy"),
        ({"sasl_mechanism": "OAUTHBEARER"}, "OAUTHBEARER"),
        ({"bootstrap_server": "x:1"}, "Kafka has no setting bootstrap_server"),
        ({"security_protocol": "PLAIN"}, "use one of PLAINTEXT"),
    ],
)
def test_what_confluent_kafka_cannot_be_told_is_refused_by_name(kafka: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        librdkafka(kafka)


def test_what_librdkafka_says_over_and_over_is_logged_once_in_a_while() -> None:
    require_confluent()
    from stream.kafka_confluent_config import Sparing

    sparing = Sparing(0.2)

    def passes(broker: str, after_ms: int) -> bool:
        text = f"{broker}: Connection refused (after {after_ms}ms in state CONNECT)"
        return sparing.filter(logging.makeLogRecord({"msg": "%s [%s] %s", "args": ("FAIL", "c", text)}))

    assert [passes("k1:9092", 1), passes("k1:9092", 2), passes("k2:9092", 1)] == [True, False, True]
    time.sleep(0.21)
    assert passes("k1:9092", 3)

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from kafka import KafkaProducer

from stream.errors import ConfigurationError, ServiceError
from stream.kafka_admin import TopicSpec, create_topics
from stream.kafka_clients import Client, open_source
from stream.records import Record
from tests.services.kafka import embedded_or_given
from tests.services.secure_kafka import PASSWORD, SecureKafka
from tests.services.service import Unavailable

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def secure() -> Iterator[SecureKafka]:
    if embedded_or_given():
        pytest.skip("needs an Apache Kafka of its own")
    try:
        broker = SecureKafka()
    except Unavailable as error:
        pytest.skip(str(error))
    with broker:
        create_topics({"bootstrap_servers": broker.bootstrap_servers}, [TopicSpec("guarded", 1, 1)])
        producer = KafkaProducer(bootstrap_servers=broker.bootstrap_servers)
        producer.send("guarded", b"here")
        producer.flush()
        producer.close()
        yield broker


def source(client: Client, settings: dict[str, Any]) -> Any:
    return closing(open_source(client, ["guarded"], f"g-{client}", settings, lambda _: {}, lambda *_: None))


@pytest.mark.parametrize("more", [{}, {"named": "localhost", "ssl_check_hostname": False}])
def test_records_come_over_tls_to_who_knows_the_password(
    secure: SecureKafka, kafka_client: Client, more: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = secure.settings() | more
    if name := settings.pop("named", None):
        settings["bootstrap_servers"] = f"{name}:{secure.secure_port}"
    with source(kafka_client, settings) as opened:
        records: list[Record] = []
        end = time.monotonic() + 20
        while not records and time.monotonic() < end:
            records = opened.poll(10, 0.2)
        assert [record.value for record in records] == [b"here"]
        assert PASSWORD not in repr(opened)
    assert PASSWORD not in caplog.text


def test_a_wrong_password_is_an_error_that_points_to_the_credentials_and_does_not_show_them(
    secure: SecureKafka, kafka_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with (
        # Where the refusal and the end of the connection come together, kafka-python sees the end alone.
        pytest.raises((ConfigurationError, ServiceError), match="the credentials") as caught,
        source(kafka_client, secure.settings() | {"sasl_plain_password": "not-this-one"}),
    ):
        pass
    assert "not-this-one" not in f"{caught.value!r} {caught.value.__cause__!r} {caplog.text}"


@pytest.mark.parametrize("wrong", ["the certificate is signed by no one we know", "it is for another name"])
def test_a_broker_that_cannot_prove_who_it_is_gets_no_password(
    secure: SecureKafka, kafka_client: Client, wrong: str
) -> None:
    settings = secure.settings()
    if wrong == "it is for another name":
        settings["bootstrap_servers"] = f"localhost:{secure.secure_port}"
    else:
        del settings["ssl_cafile"]
    with pytest.raises(ServiceError, match="no answer"), source(kafka_client, settings):
        pass

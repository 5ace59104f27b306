"""The relay with real services at the other end: Prometheus Alertmanager and Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer

from stream.messages import AlertMessage
from tests.integration.incidents import Raiser, alert
from tests.integration.running import Process, until, write_config
from tests.services import Unavailable
from tests.services.alertmanager import Alertmanager
from tests.unit.hostile import HOSTILE, LONG

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def alertmanager() -> Iterator[Alertmanager]:
    try:
        server = Alertmanager()
    except Unavailable as error:
        pytest.skip(str(error))
    with server:
        yield server


def running(
    folder: Path, redis_url: str, namespace: str, target: dict[str, Any], kafka: str = "127.0.0.1:1"
) -> Process:
    feeds = [{"name": "plant", "topics": ["plant"]}]
    relay = {"targets": [{"name": "ops", "retry_first": "100ms"} | target], "takeover": "1s"}
    return Process(write_config(folder, kafka, redis_url, namespace, feeds, relay=relay), "relay")


def series(found: list[dict[str, Any]]) -> set[str]:
    return {one["labels"]["series"] for one in found}


def test_alertmanager_takes_alerts_firing_and_resolved(
    alertmanager: Alertmanager, redis_url: str, namespace: str, tmp_path: Path
) -> None:
    raised = Raiser(redis_url, namespace)
    with running(
        tmp_path, redis_url, namespace, {"type": "alertmanager", "url": f"{alertmanager.url}/api/v2/alerts"}
    ) as relay:
        raised(alert("pump-3", severity="critical"), alert("pump-4"))
        until(lambda: series(alertmanager.alerts()) == {"pump-3", "pump-4"}, "both fire there")
        one = next(one for one in alertmanager.alerts() if one["labels"]["series"] == "pump-3")
        assert one["labels"] == {
            "alertname": "error-drift",
            "feed": "plant",
            "series": "pump-3",
            "severity": "critical",
            "incident": "print-pump-3",
        }
        assert one["annotations"]["summary"] == "pump-3: forecast errors are 4.0 times what they were"
        assert one["startsAt"] == "2026-01-01T00:00:00.000Z"
        assert one["status"]["state"] == "active"
        raised(alert("pump-3", "resolved"))
        until(
            lambda: series(alertmanager.alerts()) == {"pump-4"}, "one has ended there, where its severity was another"
        )
        raised(alert("pump-4", id="worse", severity="critical"))
        until(lambda: [one["labels"]["severity"] for one in alertmanager.alerts()] == ["critical"], "it is one alert")
        raised(alert("pump-4", "resolved"))
        until(lambda: alertmanager.alerts() == [], "both have")
        assert relay.stop() == 0


def test_alertmanager_is_reminded_before_it_forgets_and_forgets_when_the_relay_is_gone(
    alertmanager: Alertmanager, redis_url: str, namespace: str, tmp_path: Path
) -> None:
    target = {"type": "alertmanager", "url": f"{alertmanager.url}/api/v2/alerts", "resend": "2s"}
    raised = Raiser(redis_url, namespace)
    with running(tmp_path, redis_url, namespace, target) as relay:
        raised(alert("pump-5"))
        until(lambda: series(alertmanager.alerts()) == {"pump-5"}, "it fires there")
        first = alertmanager.alerts()[0]["endsAt"]
        until(lambda: any(one["endsAt"] > first for one in alertmanager.alerts()), "it was reminded")
        relay.kill()
    until(lambda: alertmanager.alerts() == [], "it is forgotten after four resends")


def test_alertmanager_takes_whatever_a_series_may_be_called(
    alertmanager: Alertmanager, redis_url: str, namespace: str, tmp_path: Path
) -> None:
    raised = Raiser(redis_url, namespace)
    names = [*HOSTILE, "plain"]
    with running(
        tmp_path, redis_url, namespace, {"type": "alertmanager", "url": f"{alertmanager.url}/api/v2/alerts"}
    ) as relay:
        raised(*(alert(name, title=name + LONG) for name in names))
        until(lambda: series(alertmanager.alerts()) == set(names), "all fire there, called as they are")
        raised(*(alert(name, "resolved") for name in names))
        until(lambda: alertmanager.alerts() == [], "all have ended")
        assert relay.stop() == 0


@pytest.mark.kafka
def test_a_topic_gets_each_transition_once_in_order_and_unchanged(
    topic: Callable[..., str], bootstrap_servers: str, redis_url: str, namespace: str, tmp_path: Path
) -> None:
    name = topic(3)
    raised = Raiser(redis_url, namespace)
    sent = [alert(one) for one in HOSTILE] + [alert(one, "resolved") for one in HOSTILE]
    target = {"type": "kafka", "topic": name}
    with running(tmp_path, redis_url, namespace, target, bootstrap_servers) as relay:
        raised(*sent[: len(HOSTILE)])
        consumer = KafkaConsumer(
            name, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest", consumer_timeout_ms=1000
        )
        found: list[Any] = []

        def count(wanted: int) -> bool:
            found.extend(consumer)
            return len(found) >= wanted

        until(lambda: count(len(HOSTILE)), "all fire")
        relay.kill()
        raised(*sent[len(HOSTILE) :])
        with running(tmp_path, redis_url, namespace, target, bootstrap_servers) as successor:
            until(lambda: count(len(sent)), "all have ended")
            assert successor.stop() == 0
        found.extend(consumer)
        consumer.close()
    by_id = {AlertMessage.model_validate_json(one.value).id: one for one in found}
    assert set(by_id) == {one.id for one in sent}
    for one in sent:
        assert AlertMessage.model_validate_json(by_id[one.id].value) == one
        assert by_id[one.id].key.decode() == one.series
        assert dict(by_id[one.id].headers)["tidecast-id"].decode() == one.id
    assert len(found) == len(sent)
    for called in HOSTILE:
        places = [(r.partition, r.offset) for r in found if r.key.decode() == called]
        assert places == sorted(places)

"""What each type of target is sent: in its format, and whole, whatever a series may be called."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from stream.messages import AlertMessage
from tests.integration.incidents import alert
from tests.unit.hostile import HOSTILE, LONG
from workers.relay.delivery import header_id
from workers.relay.formats import ENCODERS
from workers.relay.notification import Notification, notification_id
from workers.relay.settings import TargetSettings

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TARGETS = {
    "webhook": TargetSettings.model_validate({"name": "ops", "type": "webhook", "url": "http://x/"}),
    "cloudevents": TargetSettings.model_validate({"name": "ops", "type": "cloudevents", "url": "http://x/"}),
    "pagerduty": TargetSettings.model_validate({"name": "ops", "type": "pagerduty", "routing_key": "R0UT1NG"}),
    "alertmanager": TargetSettings.model_validate({"name": "ops", "type": "alertmanager", "url": "http://x/"}),
}


def of(*alerts: AlertMessage, **more: Any) -> Notification:
    return Notification(id=notification_id(alerts), alerts=alerts, **more)


def sent(kind: str, notification: Notification) -> Any:
    return json.loads(ENCODERS[kind](TARGETS[kind], "prod", notification, NOW).content)


def test_a_webhook_is_alertmanagers_version_4() -> None:
    found = sent(
        "webhook", of(alert("a"), alert("b", "resolved"), group={"kind": "error-drift"}, grouped=True, firing=1)
    )
    assert list(found) == [
        "version",
        "groupKey",
        "truncatedAlerts",
        "status",
        "receiver",
        "groupLabels",
        "commonLabels",
        "commonAnnotations",
        "externalURL",
        "alerts",
    ]
    assert (found["version"], found["status"], found["receiver"]) == ("4", "firing", "ops")
    assert found["groupLabels"] == {"alertname": "error-drift"}
    assert found["commonLabels"] == {"alertname": "error-drift", "feed": "plant", "severity": "warning"}
    firing, ended = found["alerts"]
    assert (firing["status"], firing["endsAt"]) == ("firing", "0001-01-01T00:00:00Z")
    assert (ended["status"], ended["endsAt"]) == ("resolved", "2026-01-01T00:10:00.000000Z")
    assert firing["fingerprint"] == "print-a"
    assert all(
        isinstance(value, str)
        for one in (firing, ended)
        for value in (*one["labels"].values(), *one["annotations"].values())
    )


def test_a_cloudevent_has_what_version_1_0_requires() -> None:
    found = sent("cloudevents", of(alert("a", "resolved")))
    assert found["specversion"] == "1.0"
    assert found["type"] == "tidecast.alert.resolved"
    assert (found["id"], found["source"], found["subject"]) == ("print-a-resolved", "/tidecast/prod/plant", "a")
    assert found["time"] == "2026-01-01T00:10:01.000000Z"
    assert AlertMessage.model_validate(found["data"]) == alert("a", "resolved")
    many = sent("cloudevents", of(alert("a"), alert("b"), group={"feed": "plant"}, grouped=True, firing=2))
    assert (many["type"], many["subject"], many["data"]["firing"]) == ("tidecast.alerts", "feed=plant", 2)
    assert [one["series"] for one in many["data"]["alerts"]] == ["a", "b"]


def test_pagerduty_triggers_and_resolves_under_the_fingerprint() -> None:
    firing, ended = sent("pagerduty", of(alert("a"))), sent("pagerduty", of(alert("a", "resolved")))
    assert (firing["event_action"], ended["event_action"]) == ("trigger", "resolve")
    assert firing["dedup_key"] == ended["dedup_key"] == "print-a"
    assert firing["routing_key"] == ended["routing_key"] == "R0UT1NG"
    payload = firing["payload"]
    assert (payload["source"], payload["severity"], payload["component"]) == ("a", "warning", "plant")
    assert payload["summary"] == "a: forecast errors are 4.0 times what they were"


def test_a_group_is_one_incident_at_pagerduty_until_its_last_alert_has_ended() -> None:
    group = {"group": {"feed": "plant"}, "grouped": True}
    first = sent("pagerduty", of(alert("a"), alert("b", severity="critical"), firing=2, **group))
    some = sent("pagerduty", of(alert("a", "resolved"), firing=1, **group))
    last = sent("pagerduty", of(alert("b", "resolved"), firing=0, **group))
    assert first["dedup_key"] == some["dedup_key"] == last["dedup_key"]
    assert [one["event_action"] for one in (first, some, last)] == ["trigger", "trigger", "resolve"]
    assert first["payload"]["severity"] == "critical"
    assert first["payload"]["summary"].endswith("(and 1 more)")


def test_alertmanager_is_told_the_last_state_and_that_the_old_severity_has_ended() -> None:
    both = sent("alertmanager", of(alert("a"), alert("a", "resolved"), alert("b")))
    assert [(one["labels"]["series"], one["endsAt"]) for one in both] == [
        ("a", "2026-01-01T00:10:00.000000Z"),
        ("b", "2026-01-02T00:04:00.000000Z"),
    ]
    worse = sent("alertmanager", of(alert("a", severity="critical"), held_as={"print-a": "warning"}))
    assert [(one["labels"]["severity"], one["endsAt"] > "2026-01-02T00:00:01") for one in worse] == [
        ("warning", False),
        ("critical", True),
    ]


def test_alertmanager_is_never_given_an_alert_that_ends_before_it_starts() -> None:
    ahead = alert("a", "resolved", started="2027-01-01T00:00:00Z", ended="2027-01-01T00:10:00Z")
    for one in sent("alertmanager", of(ahead, alert("b", started="2027-01-01T00:00:00Z"))):
        assert one["startsAt"] <= one["endsAt"]


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("series", HOSTILE)
@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_foreign_text_arrives_whole_and_stays_a_string(kind: str, series: str, status: str) -> None:
    one = alert(series, status, title=series + LONG, kind="a-later-kind", evidence={"why": series})
    notification = of(one, grouped=False)
    content = ENCODERS[kind](TARGETS[kind], "prod", notification, NOW).content
    assert b"\n" not in content
    assert b"\x1b" not in content
    found = sent(kind, notification)
    if kind == "webhook":
        assert found["alerts"][0]["labels"]["series"] == series
        assert found["alerts"][0]["annotations"]["summary"] == series + LONG
    elif kind == "alertmanager":
        assert found[0]["labels"]["series"] == series
    elif kind == "cloudevents":
        assert AlertMessage.model_validate(found["data"]) == one
        assert not re.search("[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]", found["subject"])
    elif status == "firing":
        assert found["payload"]["source"] == series
        assert len(found["payload"]["summary"]) <= 1024


@pytest.mark.parametrize("text", [*HOSTILE, LONG, "", "ä"])
def test_an_id_of_any_text_is_one_header(text: str) -> None:
    made = header_id(text)
    assert re.fullmatch(r"[\x21-\x7e]{1,200}", made)
    assert header_id(text) == made
    assert made != header_id(text + "x")


def test_the_routing_key_is_in_no_repr_and_no_dump() -> None:
    target = TARGETS["pagerduty"]
    assert "R0UT1NG" not in repr(target) + str(target) + target.model_dump_json()

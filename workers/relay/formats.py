"""Bodies of requests, for each type of target. Series ids and titles are foreign text: they stand in JSON as they are.

webhook       Alertmanager's webhook, version "4" (Prometheus documentation, "Alerting configuration", webhook_config)
cloudevents   CloudEvents 1.0, structured content mode in JSON (HTTP protocol binding 1.0.2, section 3.2)
pagerduty     Events API v2, POST /v2/enqueue
alertmanager  Alertmanager's own API v2, POST /api/v2/alerts
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from stream.messages import AlertMessage
from workers.relay.notification import Notification
from workers.relay.settings import TargetSettings

JSON = "application/json"
CLOUDEVENTS = "application/cloudevents+json; charset=utf-8"
_NEVER = "0001-01-01T00:00:00Z"
_RANK = {"info": 0, "warning": 1, "critical": 2}
_OUTLASTS = 4
"""Alertmanager takes an alert for resolved that it has not heard of for so many times ``resend``; Prometheus takes 4 too."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")


class Body(NamedTuple):
    """What is sent, and as what."""

    content: bytes
    content_type: str = JSON


Encoder = Callable[[TargetSettings, str, Notification, datetime], Body]
"""Target, namespace, notification, now."""


def webhook(target: TargetSettings, namespace: str, notification: Notification, _now: datetime) -> Body:
    """``alerts`` holds what has changed; ``status`` is that of the whole group."""
    alerts = [_webhook_alert(alert) for alert in notification.alerts]
    labels = [one["labels"] for one in alerts]
    notes = [one["annotations"] for one in alerts]
    return Body(
        orjson.dumps(
            {
                "version": "4",
                "groupKey": notification.group_key(target.name),
                "truncatedAlerts": 0,
                "status": notification.status,
                "receiver": target.name,
                "groupLabels": _as_labels(notification.group),
                "commonLabels": _common(labels),
                "commonAnnotations": _common(notes),
                "externalURL": f"urn:tidecast:{namespace}",
                "alerts": alerts,
            }
        )
    )


def cloudevents(_target: TargetSettings, namespace: str, notification: Notification, now: datetime) -> Body:
    """One alert: type ``tidecast.alert.firing`` or ``.resolved``, its message as data. A group: ``tidecast.alerts``."""
    first = notification.alerts[0]
    event: dict[str, Any] = {"specversion": "1.0", "id": notification.id, "datacontenttype": JSON}
    if notification.grouped:
        event |= {
            "type": "tidecast.alerts",
            "source": f"/tidecast/{namespace}",
            "time": _iso(now),
            "data": {
                "status": notification.status,
                "group": notification.group,
                "firing": notification.firing,
                "alerts": [orjson.Fragment(alert.to_json()) for alert in notification.alerts],
            },
        }
        if notification.group:
            event["subject"] = ",".join(f"{name}={_clean(value)}" for name, value in notification.group.items())
    else:
        event |= {
            "type": f"tidecast.alert.{first.status}",
            "source": f"/tidecast/{namespace}/{quote(first.feed, safe='')}",
            "subject": _clean(first.series),
            "time": _iso(first.issued),
            "data": orjson.Fragment(first.to_json()),
        }
    return Body(orjson.dumps(event), CLOUDEVENTS)


def pagerduty(target: TargetSettings, namespace: str, notification: Notification, _now: datetime) -> Body:
    """``trigger`` or ``resolve``; ``dedup_key`` is the alert's fingerprint, of a group the key of the group."""
    alerts = notification.alerts
    worst = max(alerts, key=lambda alert: _RANK[alert.severity])
    key = notification.group_key(f"{namespace}/{target.name}") if notification.grouped else worst.fingerprint
    routing_key = target.routing_key.get_secret_value() if target.routing_key is not None else ""
    event: dict[str, Any] = {"routing_key": routing_key, "dedup_key": key[:255]}
    if notification.status == "resolved":
        return Body(orjson.dumps(event | {"event_action": "resolve"}))
    more = f" (and {len(alerts) - 1} more)" if len(alerts) > 1 else ""
    event |= {
        "event_action": "trigger",
        "client": "Tidecast",
        "payload": {
            "summary": worst.title[: 1024 - len(more)] + more or worst.kind,
            "source": worst.series,
            "severity": worst.severity,
            "timestamp": _iso(worst.at),
            "component": worst.feed,
            "group": namespace,
            "class": worst.kind,
            "custom_details": {
                "evidence": worst.evidence,
                "alerts": [{"series": one.series, "status": one.status, "title": one.title} for one in alerts[:50]],
            },
        },
    }
    return Body(orjson.dumps(event))


def alertmanager(target: TargetSettings, _namespace: str, notification: Notification, now: datetime) -> Body:
    """Its alerts; of several transitions of one alert the last, as Alertmanager keeps states and not transitions.

    Severity is a label, and to Alertmanager other labels are another alert: that under the old severity ends.
    """
    latest = {alert.fingerprint: alert for alert in notification.alerts}
    alerts = []
    for name, alert in latest.items():
        if name in notification.held_as:
            ended = {"status": "resolved", "ended": alert.ended or now, "severity": notification.held_as[name]}
            alerts.append(alert.model_copy(update=ended))
        if name not in notification.held_as or alert.status == "firing":
            alerts.append(alert)
    return alertmanager_alerts(target, alerts, now)


def alertmanager_alerts(target: TargetSettings, alerts: Sequence[AlertMessage], now: datetime) -> Body:
    """Alerts as Alertmanager takes them. One that fires is said to end some resends from now, unless it is heard of again."""
    soon = now + timedelta(microseconds=_OUTLASTS * target.resend)
    entries = []
    for alert in alerts:
        ends = soon if alert.ended is None else min(alert.ended, now)
        entries.append(
            {
                "labels": _labels(alert),
                "annotations": _annotations(alert),
                # Event times may lie ahead of its clock, and of an alert's own end.
                "startsAt": _iso(min(alert.started, ends)),
                "endsAt": _iso(ends),
            }
        )
    return Body(orjson.dumps(entries))


ENCODERS: dict[str, Encoder] = {
    "webhook": webhook,
    "cloudevents": cloudevents,
    "pagerduty": pagerduty,
    "alertmanager": alertmanager,
}


def _webhook_alert(alert: AlertMessage) -> dict[str, Any]:
    return {
        "status": alert.status,
        "labels": _labels(alert),
        "annotations": _annotations(alert),
        "startsAt": _iso(alert.started),
        "endsAt": _NEVER if alert.ended is None else _iso(alert.ended),
        "generatorURL": "",
        "fingerprint": alert.fingerprint,
    }


def _labels(alert: AlertMessage) -> dict[str, str]:
    return {
        "alertname": alert.kind,
        "feed": alert.feed,
        "series": alert.series,
        "severity": alert.severity,
        "incident": alert.fingerprint,
    }


def _annotations(alert: AlertMessage) -> dict[str, str]:
    return {
        "summary": alert.title,
        "id": alert.id,
        "evidence": orjson.dumps(alert.evidence).decode(),
    }


def _as_labels(group: dict[str, str]) -> dict[str, str]:
    return {"alertname" if name == "kind" else name: value for name, value in group.items()}


def _common(mappings: Sequence[dict[str, str]]) -> dict[str, str]:
    return {
        name: value for name, value in mappings[0].items() if all(other.get(name) == value for other in mappings[1:])
    }


def _clean(text: str) -> str:
    """As CloudEvents' strings must be (1.0.2, section 3.1): what they may not hold is percent-encoded."""
    return _CONTROL.sub(lambda found: quote(found[0]), text)


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

"""Trying to deliver: one attempt, and what its end means for the next."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Literal, Protocol

from stream import signature
from stream.errors import ConfigurationError, ServiceError
from stream.http_post import HttpPost
from stream.messages import AlertMessage
from workers.relay.formats import ENCODERS, Body, alertmanager_alerts
from workers.relay.notification import Notification
from workers.relay.settings import TargetSettings

ID_HEADER = "Tidecast-Id"
AGENT = "tidecast"
TOGETHER = 100
"""Most transitions that go to Alertmanager or Kafka in one delivery."""
_PLAIN = re.compile(r"[\x21-\x7e]{1,200}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. ``again``: it may succeed later; ``refused``: it would end the same way."""

    how: Literal["delivered", "again", "refused"]
    reason: str = ""
    wait_s: float | None = None
    """So long the target asked to be left alone; None where it did not."""


DELIVERED = Outcome("delivered")


class Delivery(Protocol):
    """A way to a target."""

    def deliver(self, notification: Notification) -> Outcome:
        """One attempt."""

    def remind(self, firing: Sequence[AlertMessage]) -> Outcome:
        """Say once more what fires, where the target would forget it otherwise."""

    def close(self) -> None:
        """Disconnect."""


class HttpDelivery:
    """POST to the target's URL, in the format of its type, signed where it has a key."""

    def __init__(
        self,
        target: TargetSettings,
        namespace: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._target, self._namespace, self._clock = target, namespace, clock
        self._encode = ENCODERS[target.type]
        self._post = HttpPost(target.address, target.timeout / 1e6)

    def deliver(self, notification: Notification) -> Outcome:
        """One request. Its id stands in ``Tidecast-Id`` and ``Idempotency-Key``, the same whenever it is repeated."""
        body = self._encode(self._target, self._namespace, notification, self._clock())
        return self._send(body, header_id(notification.id))

    def remind(self, firing: Sequence[AlertMessage]) -> Outcome:
        """Alertmanager takes for resolved what it does not hear of."""
        for start in range(0, len(firing), TOGETHER):
            body = alertmanager_alerts(self._target, firing[start : start + TOGETHER], self._clock())
            outcome = self._send(body, None)
            if outcome.how != "delivered":
                return outcome
        return DELIVERED

    def close(self) -> None:
        """Disconnect."""
        self._post.close()

    def _send(self, body: Body, message_id: str | None) -> Outcome:
        headers = {"Content-Type": body.content_type, "User-Agent": AGENT}
        if message_id is not None:
            headers |= {ID_HEADER: message_id, "Idempotency-Key": message_id}
        if self._target.hmac_key is not None:
            key = self._target.hmac_key.get_secret_value()
            headers[signature.HEADER] = signature.sign(key, body.content, int(self._clock().timestamp()))
        if self._target.authorization is not None:
            headers["Authorization"] = self._target.authorization.get_secret_value()
        try:
            answer = self._post.post(body.content, headers)
        except ServiceError as error:
            return Outcome("again", str(error))
        if answer.accepted:
            return DELIVERED
        reason = f"{self._post.where}: status {answer.status}"
        return Outcome("again" if answer.worth_retrying else "refused", reason, answer.retry_after_s)


class TopicSender(Protocol):
    """What ``stream.kafka_alerts.AlertTopic`` does."""

    def send(self, alerts: Sequence[AlertMessage]) -> None:
        """Return once all are there."""

    def close(self) -> None:
        """Disconnect."""


class TopicDelivery:
    """One record an alert."""

    def __init__(self, topic: TopicSender) -> None:
        self._topic = topic

    def deliver(self, notification: Notification) -> Outcome:
        """Send each alert's message as it is."""
        try:
            self._topic.send(notification.alerts)
        except (ServiceError, ConfigurationError) as error:
            # Settings that Kafka refuses today (a topic that is not there, a missing right) may be mended there.
            return Outcome("again", str(error))
        return DELIVERED

    def remind(self, firing: Sequence[AlertMessage]) -> Outcome:  # noqa: ARG002 - a topic forgets nothing
        """Nothing: a topic forgets nothing."""
        return DELIVERED

    def close(self) -> None:
        """Disconnect."""
        self._topic.close()


def header_id(message_id: str) -> str:
    """The id as a header can carry it: itself, or a digest where it holds what a header must not."""
    if _PLAIN.fullmatch(message_id):
        return message_id
    return sha256(message_id.encode("utf-8", "backslashreplace")).hexdigest()

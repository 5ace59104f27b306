"""One target's lane: reads the stream by itself, groups, tries and tries again, and writes down what has become of all.

What is on its way is kept in Redis before the first attempt. A lane that dies goes on with just that, under the same
id; what it had not settled comes again from the stream, and what it had settled does not.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime

import orjson
import structlog
from pydantic import ValidationError

from stream.errors import ServiceError
from stream.messages import AlertMessage
from stream.redis_reader import RedisReader
from stream.redis_relay import Known, Settlement, TargetState, read_state
from stream.redis_silences import SilenceBook
from stream.redis_subscription import AlertGroup
from workers.durations import write_duration
from workers.relay import endings
from workers.relay.delivery import Delivery, Outcome
from workers.relay.grouping import Item, RateLimit
from workers.relay.intake import Intake
from workers.relay.notification import HELD_BACK, Notification, notification_id
from workers.relay.settings import TargetSettings
from workers.relay.sorting import HeldBack, held_back_fingerprint, held_from, resolved, sort_out, summary

log = structlog.get_logger()

_LONGEST_WAIT_S = 1.0


class Lane:
    """Delivers to one target. ``step`` does one piece of work; ``run`` does so until it is told to stop."""

    def __init__(
        self,
        target: TargetSettings,
        namespace: str,
        group: AlertGroup,
        state: TargetState,
        silences: SilenceBook,
        reader: RedisReader,
        delivery: Delivery,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.target, self.namespace = target, namespace
        self.group, self.state = group, state
        self.delivery, self.clock = delivery, clock
        self.intake = Intake(target, group, state, silences, reader, clock)
        self.limit = RateLimit(target.rate_limit, target.rate_period / 1e6)
        self.held = HeldBack()
        self.summary_s = 0.0
        self.sending: Notification | None = None
        self._loaded = False
        # By the monotonic clock, which nobody sets: when to try again, and when to remind.
        self._next_try_s = self._remind_s = 0.0
        self._failing = False

    def run(self, stopping: threading.Event, allowed: Callable[[], bool]) -> None:
        """Work until ``stopping`` is set or it is not ``allowed`` any more. Redis' absence is waited out."""
        pause = 0.2
        while not stopping.is_set() and allowed():
            try:
                self.step()
                pause = 0.2
            except (ServiceError, ValidationError) as error:
                # The second is a message of a later release, kept where there should be none: a relay of its own can read it.
                self._loaded = False
                log.error("a service does not answer, trying again", target=self.target.name, reason=_reason(error))
                stopping.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, hides nothing
                pause = min(2 * pause, 15.0)
        with suppress(ServiceError):
            self.delivery.close()

    def step(self) -> None:
        """Send what is due, or wait a little for something to come. ServiceError when Redis fails."""
        if not self._loaded:
            self._load()
        now = time.monotonic()
        self.limit.refill(self.clock())
        self.intake.review(self.sending)
        if self.target.type == "alertmanager" and now >= self._remind_s:
            self._remind_s = now + self.target.resend / 1e6
            self._remind()
        if self.sending is None:
            self.sending = self._next(now)
        if self.sending is not None and now >= self._next_try_s:
            self._attempt(self.sending)
            return
        self.intake.read(self._wait_s(time.monotonic()), self.sending)

    def _load(self) -> None:
        """From Redis: where this lane, or another before it, left off."""
        fields = self.state.fields()
        self.held = held_from(read_state(fields, "held"))
        self.limit.restore(read_state(fields, "bucket") or ())
        self.summary_s = float(fields.get("summary_s", 0))
        self.sending, self._next_try_s = None, 0.0
        kept = self.state.sending()
        if kept:
            try:
                self.sending = Notification.model_validate_json(kept)
            except ValidationError:
                log.error("what was on its way cannot be read by this release, it starts anew", target=self.target.name)
        self.intake.load(self.sending, caught_up="caught_up" in fields)
        self._loaded = True

    def _remind(self) -> None:
        outcome = self.delivery.remind(self.state.told())
        if outcome.how != "delivered":
            log.warning("reminding failed", target=self.target.name, reason=outcome.reason)

    def _next(self, now: float) -> Notification | None:
        """What is to be sent next, written down; None when nothing is due."""
        letter = self.state.next_replay()
        if letter is not None:
            again = Notification.model_validate_json(letter.notification)
            return self._write_down(again.model_copy(update={"attempts": 0, "entries": (), "letter": letter.id}))
        about = self._summary(self.clock())
        if about is not None:
            return self._write_down(
                Notification(id=about.id, alerts=(about,), entries=("",), firing=int(about.ended is None))
            )
        group, items = self.intake.groups.take(now)
        if not items:
            return None
        known = self.state.lookup(item.alert.fingerprint for item in items)
        kept = sort_out(items, known, self.intake.silences(), self.limit, self.held)
        endings.bury(kept.done, kept.letter, self._now_iso())
        sending = self._notification(group, kept.send, known) if kept.send else None
        if sending is not None:
            kept.done.sending = sending.model_dump_json().encode()
        self._settle(kept.done)
        return sending

    def _notification(self, group: dict[str, str], items: Sequence[Item], known: Known) -> Notification:
        alerts = tuple(item.alert for item in items)
        firing = {alert.fingerprint for alert in alerts if alert.status == "firing"}
        ended = {alert.fingerprint for alert in alerts if alert.status == "resolved"}
        if self.target.group_by:
            told = (alert for alert in self.state.told() if alert.kind != HELD_BACK)
            firing |= {
                alert.fingerprint
                for alert in told
                if all(str(getattr(alert, name)) == value for name, value in group.items())
            }
        return Notification(
            id=notification_id(alerts),
            alerts=alerts,
            group=group,
            grouped=bool(self.target.group_by),
            firing=len(firing - ended),
            held_as={
                alert.fingerprint: known.told[alert.fingerprint].severity
                for alert in alerts
                if alert.fingerprint in known.told and known.told[alert.fingerprint].severity != alert.severity
            },
            entries=tuple(item.entry_id for item in items),
        )

    def _summary(self, now: float) -> AlertMessage | None:
        """The relay's own alert: what was held back, once there is a token for it; its end, once nothing was for a period."""
        if not self.limit.most:
            return None
        moment = self._moment(now)
        name = held_back_fingerprint(self.namespace, self.target.name)
        if self.held.count and self.limit.open:
            self.limit.spend()
            before = self.state.lookup([name]).told.get(name)
            every = f"{self.limit.most} notifications in {write_duration(self.target.rate_period)}"
            about = summary(self.held, self.namespace, self.target.name, every, moment, before)
            self.held, self.summary_s = HeldBack(), now
            return about
        if self.summary_s and not self.held.count and now - self.summary_s >= self.limit.period_s:
            self.summary_s = 0.0
            before = self.state.lookup([name]).told.get(name)
            return None if before is None else resolved(before, moment, "No alerts are held back any more")
        return None

    def _attempt(self, sending: Notification) -> None:
        outcome = self.delivery.deliver(sending)
        if outcome.how == "delivered":
            self._delivered(sending)
        elif outcome.how == "again" and sending.attempts + 1 < self.target.attempts:
            self._try_again(sending, outcome)
        else:
            self._give_up(sending, outcome)

    def _delivered(self, sending: Notification) -> None:
        self._settle(endings.delivered(sending, self._now_iso()))
        if self._failing or sending.attempts:
            log.info("the target takes notifications again", target=self.target.name)
        self._failing, self.sending = False, None

    def _try_again(self, sending: Notification, outcome: Outcome) -> None:
        pause = min(self.target.retry_first * 2 ** min(sending.attempts, 40), self.target.retry_longest) / 1e6
        # No two relays, and no two targets of one, come back in step.
        pause = max(pause * random.uniform(0.5, 1.0), outcome.wait_s or 0.0)  # noqa: S311 - spreads load, hides nothing
        self.sending = sending.model_copy(update={"attempts": sending.attempts + 1})
        self._settle(endings.tried_again(self.sending, outcome.reason))
        self._failing, self._next_try_s = True, time.monotonic() + pause
        log.warning(
            "not delivered, trying again",
            target=self.target.name,
            reason=outcome.reason,
            attempts=self.sending.attempts,
            wait_s=round(pause, 2),
        )

    def _give_up(self, sending: Notification, outcome: Outcome) -> None:
        told = self.state.lookup(alert.fingerprint for alert in sending.alerts).told
        self._settle(endings.given_up(sending, outcome.reason, told, self._now_iso()))
        log.error("given up, kept as a dead letter", target=self.target.name, reason=outcome.reason, id=sending.id[:80])
        self._failing, self.sending = True, None

    def _settle(self, done: Settlement) -> None:
        done.fields |= self._fields()
        self.state.settle(done, self.group)
        self._next_try_s = 0.0

    def _write_down(self, sending: Notification) -> Notification:
        self._settle(Settlement(sending=sending.model_dump_json().encode()))
        return sending

    def _fields(self) -> dict[str, str | bytes]:
        return {
            "held": orjson.dumps(asdict(self.held)),
            "bucket": orjson.dumps(self.limit.to_json()),
            "summary_s": repr(self.summary_s),
        }

    def _wait_s(self, now: float) -> float:
        due = self.intake.groups.next_due() if self.sending is None else self._next_try_s
        return min(_LONGEST_WAIT_S, max(0.0, due - now))

    def _now_iso(self) -> str:
        return self._moment(self.clock()).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    @staticmethod
    def _moment(now_s: float) -> datetime:
        return datetime.fromtimestamp(now_s, UTC)


def _reason(error: ServiceError | ValidationError) -> str:
    # A validation error quotes the message.
    return str(error) if isinstance(error, ServiceError) else "a message in Redis cannot be read by this release"

"""What comes in for one target: from the stream, from what waits behind silences, and from what is open where something was missed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import structlog

from stream.messages import AlertMessage
from stream.redis_reader import RedisReader
from stream.redis_relay import Known, Settlement, TargetState
from stream.redis_silences import SilenceBook
from stream.redis_subscription import AlertGroup, Entry
from stream.silences import Silence
from workers.relay.delivery import TOGETHER
from workers.relay.grouping import Groups, Item
from workers.relay.notification import HELD_BACK, Notification
from workers.relay.settings import TargetSettings
from workers.relay.sorting import resolved

log = structlog.get_logger()

_REVIEW_S = 1.0


class Intake:
    """Fills the groups of a target. ``sending`` is what is on its way, and does not come in again. ServiceError when Redis fails."""

    def __init__(
        self,
        target: TargetSettings,
        group: AlertGroup,
        state: TargetState,
        silences: SilenceBook,
        reader: RedisReader,
        clock: Callable[[], float],
    ) -> None:
        self.target, self.group, self.state = target, group, state
        self.matchers = target.matchers
        self.groups = Groups(
            target.group_by,
            target.group_wait / 1e6,
            target.group_interval / 1e6,
            most=target.backlog,
            together=TOGETHER if target.type in ("alertmanager", "kafka") else 1,
        )
        self._silences, self._reader, self._clock = silences, reader, clock
        self._review_s = 0.0

    def load(self, sending: Notification | None, *, caught_up: bool) -> None:
        """Take up what was read and not settled, by this process or one before it."""
        self.groups.clear()
        if self.group.ensure(from_beginning=False) or not caught_up:
            self._catch_up()
        after = "0-0"
        while entries := self.group.pending(500, after):
            after = entries[-1].id
            self._take(entries, sending)

    def read(self, wait_s: float, sending: Notification | None) -> None:
        """What is new in the stream; waits for it. While there is no room, it stays there."""
        if not self.groups.room:
            time.sleep(min(wait_s, 0.2))
            return
        missed = self.group.missed()
        if missed is not None:
            self._missed(missed.count, str(missed))
        block_ms = round(wait_s * 1e3)
        self._take(self.group.new(min(self.groups.room, 200), block_ms or None), sending)

    def review(self, sending: Notification | None) -> None:
        """Let in what waits and no silence covers any more; looks now and then only."""
        now = time.monotonic()
        if now < self._review_s:
            return
        waiting = self.state.waiting()
        silences = self.silences() if waiting else []
        on_its_way = set() if sending is None else {alert.id for alert in sending.alerts}
        for alert in waiting:
            if alert.id in self.groups or alert.id in on_its_way or not self.groups.room:
                continue
            if alert.status == "resolved" or not any(silence.covers(alert) for silence in silences):
                self.groups.add(Item("", alert), now)
        # Thousands may wait behind a silence: looking at them must not become all that is done.
        self._review_s = now + max(_REVIEW_S, 20 * (time.monotonic() - now))

    def silences(self) -> list[Silence]:
        """Those that hold now."""
        return self._silences.active(datetime.fromtimestamp(self._clock(), UTC))

    def _take(self, entries: Sequence[Entry], sending: Notification | None) -> None:
        """Into the groups; what does not concern the target, or comes again, is acknowledged."""
        if not entries:
            return
        on_its_way = set() if sending is None else {alert.id for alert in sending.alerts}
        placed = set() if sending is None else set(sending.entries)
        seen = self.group.seen([entry.alert.id for entry in entries if entry.alert is not None])
        ended = [one.alert.fingerprint for one in entries if one.alert is not None and one.alert.status == "resolved"]
        known = self.state.lookup(ended)
        skipped: list[Entry] = []
        for entry in entries:
            alert = entry.alert
            if alert is None or alert.id in seen or not self._wanted(alert, known, sending):
                skipped.append(entry)
            elif alert.id not in self.groups and alert.id not in on_its_way:
                self.groups.add(Item(entry.id, alert), time.monotonic())
            elif entry.id not in placed:
                skipped.append(Entry(entry.id, None))
        self.group.acknowledge(skipped)
        if cut := sum(entry.cut for entry in entries):
            self._missed(cut, f"{cut} alerts that were read and not yet delivered")

    def _wanted(self, alert: AlertMessage, known: Known, sending: Notification | None) -> bool:
        """Whether the target asks for it; the end of an alert whose beginning it got also if it is, say, less severe by now."""
        name = alert.fingerprint
        if alert.status == "firing" or self.matchers.match(alert):
            return self.matchers.match(alert)
        if name in known.told or name in known.waiting or name in known.lost or self.groups.concerns(name):
            return True
        return sending is not None and any(one.fingerprint == name for one in sending.alerts)

    def _missed(self, count: int | None, what: str) -> None:
        log.warning("the stream was cut before this target had read it", target=self.target.name, what=what)
        self.state.settle(Settlement(counts={"missed": count or 1}), self.group)
        self._catch_up()

    def _catch_up(self) -> None:
        """Set what the target holds for firing against what fires: it is new, or the stream was cut before it was read."""
        firing = self._reader.open_alerts()
        told = {alert.fingerprint: alert for alert in self.state.told()}
        now = datetime.fromtimestamp(self._clock(), UTC)
        done = Settlement(fields={"caught_up": "1"})
        known = self.state.lookup(firing)
        for name, alert in firing.items():
            if name not in told and name not in known.lost and self.matchers.match(alert):
                done.waiting[name] = alert
        for name, alert in told.items():
            if name not in firing and alert.kind != HELD_BACK:
                title = f"{alert.series}: {alert.kind} has ended; when is not known, as the stream was cut meanwhile"
                done.waiting[name] = resolved(alert, now, title)
        self.state.settle(done, self.group)

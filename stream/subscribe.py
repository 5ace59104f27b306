"""Alerts for programs: durable subscriptions that miss nothing and repeat nothing, and the live channel for screens.

    from stream.subscribe import subscribe

    for alert in subscribe("pager", where=["severity>=warning"]):
        print(alert.status, alert.title)

The subscription ``pager`` goes on after the last alert that was done with, also in another process or on another host:
asking for the next alert acknowledges the one before. ``async for`` does the same. ``live`` keeps nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import secrets
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Literal, Self

from stream.errors import ConfigurationError, ServiceError
from stream.matchers import Matchers
from stream.messages import AlertMessage
from stream.redis_connect import connect
from stream.redis_live_alerts import live_alerts
from stream.redis_reader import RedisReader
from stream.redis_subscription import AlertGroup, Entry, Missed

RELAY = "relay."
"""Names of subscriptions that begin so belong to ``tidecast relay``."""

_log = logging.getLogger(__name__)
_LONGEST_PAUSE_S = 15.0


def pauses(first_s: float = 0.2, longest_s: float = _LONGEST_PAUSE_S) -> Iterator[float]:
    """Seconds to wait before each further attempt: doubled each time up to a limit, and spread over the upper half."""
    pause = first_s
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
        pause = min(2 * pause, longest_s)


class Subscription:
    """A durable subscription; iterate over it, in a ``with`` or without. Not for several threads at once."""

    def __init__(
        self,
        group: AlertGroup,
        reader: RedisReader,
        *,
        where: Iterable[str] | Matchers = (),
        ack: Literal["next", "manual"] = "next",
        start: Literal["beginning", "now"] = "beginning",
        claim_after_s: float = 60.0,
        wait_s: float | None = None,
        on_missed: Callable[[Missed], None] | None = None,
    ) -> None:
        """See ``subscribe``. ConfigurationError for matchers that cannot be."""
        self.where = where if isinstance(where, Matchers) else Matchers.parse(where)
        self.ack_on_next = ack == "next"
        self.missed: Missed | None = None
        """What was last found to be cut from the stream before it was read."""
        self._start, self._claim_after_s, self._wait_s, self._on_missed = start, claim_after_s, wait_s, on_missed
        self._group, self._reader = group, reader
        self._arrived: deque[Entry] = deque()
        # What is handed out and not acknowledged, by message id; with repeats of it that have come meanwhile.
        self._open: dict[str, list[Entry]] = {}
        self._ready = self._known = False
        self._claimed_at = self._looked_at = float("-inf")
        # Up to where what this consumer was given before has been taken up; None: all of it.
        self._given_after: str | None = None
        self._tries = pauses()
        self._closing = Event()
        self._thread: ThreadPoolExecutor | None = None

    def __iter__(self) -> Iterator[AlertMessage]:
        while (alert := self.next()) is not None:
            yield alert

    async def __aiter__(self) -> AsyncIterator[AlertMessage]:
        # The wait happens in a thread. What it has fetched when this is cancelled is there for the next one; and it waits for
        # a second at a time, as a program that ends must not wait for a thread that waits for an alert.
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "tidecast-subscription")
        loop = asyncio.get_running_loop()
        end = self._end()
        while not self._closing.is_set() and self._thread is not None:
            if await loop.run_in_executor(self._thread, self._wait, min(end, time.monotonic() + 1.0)):
                yield self._hand_out()
                end = self._end()
            elif time.monotonic() >= end:
                return

    def next(self) -> AlertMessage | None:
        """The next alert that matches; waits for it, through restarts of Redis. None after ``wait_s``, or when closed."""
        return self._hand_out() if self._wait(self._end()) else None

    def ack(self, alert: AlertMessage) -> None:
        """The alert is done with and does not come again. Waits through a restart of Redis; KeyError if not handed out."""
        entries = self._open[alert.id]
        self._persist(lambda: self._group.acknowledge(entries))
        del self._open[alert.id]

    def firing(self) -> list[AlertMessage]:
        """The matching alerts that fire now: where a screen begins, or a reader that has missed something."""
        return [alert for alert in self._reader.open_alerts().values() if self.where.match(alert)]

    def remove(self) -> None:
        """Forget the subscription in Redis, and close."""
        self._group.remove()
        self._ready = False
        self.close()

    def close(self) -> None:
        """End a wait and strike this reader off. What it has not acknowledged goes to the next. Safe to call twice."""
        self._closing.set()
        if self._thread is not None:
            self._thread.shutdown(wait=True)
            self._thread = None
        if self._ready:
            with contextlib.suppress(ServiceError):
                self._group.leave()
            self._ready = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _hand_out(self) -> AlertMessage:
        entry = self._arrived.popleft()
        assert entry.alert is not None  # noqa: S101 - _take lets no other in; this tells the type checker
        self._open.setdefault(entry.alert.id, []).append(entry)
        return entry.alert

    def _end(self) -> float:
        return float("inf") if self._wait_s is None else time.monotonic() + self._wait_s

    def _wait(self, end: float) -> bool:
        """Acknowledge what was handed out, if that is the way, and wait for the next; whether there is one."""
        if self.ack_on_next:
            for entries in list(self._open.values()):
                self._persist(lambda entries=entries: self._group.acknowledge(entries))  # type: ignore[misc]
            self._open.clear()
        while not self._arrived and not self._closing.is_set():
            try:
                self._fetch(min(1.0, max(0.0, end - time.monotonic())))
                self._tries = pauses()
            except ServiceError as error:
                self._ready = False
                _log.warning("%s; trying again", error)
                self._closing.wait(min(next(self._tries), max(0.0, end - time.monotonic())))
            if time.monotonic() >= end:
                break
        return bool(self._arrived) and not self._closing.is_set()

    def _fetch(self, wait_s: float) -> None:
        if not self._ready:
            if self._group.ensure(from_beginning=self._known or self._start == "beginning") and self._known:
                # Redis has lost the subscription, so it begins with what is there now.
                self._tell(Missed(None, "the last alert read", "the oldest there is"))
            self._ready = self._known = True
            self._given_after = "0-0"
        now = time.monotonic()
        if now - self._looked_at >= 1.0:
            self._looked_at = now
            self._look_for_missed()
        if now - self._claimed_at >= min(self._claim_after_s, 10.0) / 2:
            self._claimed_at = now
            self._take(self._group.claim(self._claim_after_s, 100))
        # First what this consumer was given before: by a process that died, or in an answer that was lost.
        while self._given_after is not None and not self._arrived:
            given = self._group.pending(100, self._given_after)
            self._given_after = given[-1].id if given else None
            self._take(given)
        if not self._arrived:
            self._take(self._group.new(100, max(1, round(wait_s * 1e3))))

    def _take(self, entries: list[Entry]) -> None:
        """Let in what matches and is no repeat; all else is acknowledged unseen."""
        seen = self._group.seen([entry.alert.id for entry in entries if entry.alert is not None])
        waiting = {entry.alert.id: entry for entry in self._arrived if entry.alert is not None}
        skipped: list[Entry] = []
        if cut := [entry.id for entry in entries if entry.cut]:
            self._tell(Missed(len(cut), cut[0], cut[-1]))
        for entry in entries:
            alert = entry.alert
            if alert is None:
                skipped.append(entry)
            elif alert.id in self._open:
                if all(entry.id != one.id for one in self._open[alert.id]):
                    self._open[alert.id].append(entry)
            elif alert.id in seen or not self.where.match(alert):
                skipped.append(entry)
            elif alert.id not in waiting:
                waiting[alert.id] = entry
                self._arrived.append(entry)
            elif entry.id != waiting[alert.id].id:
                skipped.append(Entry(entry.id, None))
        self._group.acknowledge(skipped)

    def _look_for_missed(self) -> None:
        missed = self._group.missed()
        if missed is not None:
            self._tell(missed)

    def _tell(self, missed: Missed) -> None:
        self.missed = missed
        _log.warning("subscription %s: %s", self._group.name, missed)
        if self._on_missed is not None:
            self._on_missed(missed)

    def _persist(self, act: Callable[[], None]) -> None:
        for pause in pauses():
            try:
                act()
            except ServiceError as error:
                if self._closing.is_set():
                    raise
                self._ready = False
                _log.warning("%s; trying again", error)
                self._closing.wait(pause)
            else:
                return


def subscribe(
    name: str,
    url: str = "redis://127.0.0.1:6379/0",
    *,
    namespace: str = "tidecast",
    where: Iterable[str] | Matchers = (),
    ack: Literal["next", "manual"] = "next",
    start: Literal["beginning", "now"] = "beginning",
    consumer: str | None = None,
    claim_after_s: float = 60.0,
    wait_s: float | None = None,
    on_missed: Callable[[Missed], None] | None = None,
) -> Subscription:
    """The durable subscription ``name``: every alert of the namespace, each once, from where it was left.

    Processes that use one name share the alerts out. ``where``: matchers (``stream.matchers``); what they leave out is
    passed over for good. ``ack``: ``next`` acknowledges an alert when the one after it is asked for, ``manual`` when
    ``Subscription.ack`` is called. ``start``: of a name that is new. ``consumer``: a name for this reader that outlives
    it, so that it gets at once what it had not acknowledged when it died; without one, others of its subscription get
    that after ``claim_after_s``, which must be longer than dealing with an alert takes. ``wait_s``: end iterating when
    nothing has come for so long. ``on_missed`` is called, and a warning logged, when the stream was cut before it was read.

    ConfigurationError for what cannot be, ServiceError when there is no Redis; later it waits for Redis to come back.
    """
    if name.startswith(RELAY):
        raise ConfigurationError(f"subscription {name}: names that begin with {RELAY!r} belong to tidecast relay")
    client = connect(url)
    return Subscription(
        AlertGroup(client, namespace, name, consumer or _consumer_name()),
        RedisReader(client, namespace),
        where=where,
        ack=ack,
        start=start,
        claim_after_s=claim_after_s,
        wait_s=wait_s,
        on_missed=on_missed,
    )


def live(
    url: str = "redis://127.0.0.1:6379/0",
    *,
    namespace: str = "tidecast",
    where: Iterable[str] | Matchers = (),
) -> Iterator[AlertMessage]:
    """For screens: first the alerts that fire now, then each as it is published. After a break it begins anew, so that
    nothing that fires is missing; what came and went meanwhile is. Errors as with ``subscribe``."""
    matchers = where if isinstance(where, Matchers) else Matchers.parse(where)
    client = connect(url)
    tries = pauses()
    while True:
        try:
            for alert in live_alerts(client, namespace):
                tries = pauses()
                if matchers.match(alert):
                    yield alert
        except ServiceError as error:
            _log.warning("%s; trying again", error)
            time.sleep(next(tries))


def _consumer_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"

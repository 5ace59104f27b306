"""The scheduler: retrains feeds on cron or interval, one leader over all hosts, each run in a process of its own.

APScheduler says when. A process that holds the lease leads; only then is there an APScheduler at all, made anew with
each lead from what Redis tells of the last runs. So its own memory is enough of a job store: two of them cannot share
one, and nothing is lost with it.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC
from typing import Literal

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from stream.errors import ServiceError
from stream.redis_lease import Lease
from stream.redis_models import ModelRegistry
from stream.redis_schedule import ScheduleTimes
from workers.leading import keep
from workers.runs import Ending, Outcome
from workers.settings import FeedSettings
from workers.triggers import first_run, trigger, utc

log = structlog.get_logger()

GRACE_S = 120.0
"""Beyond its time limit a run may take this long: the limit ends the training, then come scoring and storing."""
KILL_AFTER_S = 5.0
Command = Callable[[FeedSettings, int], Sequence[str]]
"""The command line that retrains a feed under a lease of that number."""


class Scheduler:
    """One scheduler. ``run`` returns after ``stop``, or with ``once`` when what is due is done."""

    def __init__(
        self,
        feeds: Sequence[FeedSettings],
        lease: Lease,
        times: ScheduleTimes,
        registry: ModelRegistry,
        command: Command,
        *,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        grace_s: float = GRACE_S,
    ) -> None:
        self.feeds = [feed for feed in feeds if trigger(feed.retrain) is not None]
        self.lease, self.times, self.registry = lease, times, registry
        self.command, self.clock, self.grace_s = command, clock, grace_s
        self._stopping = threading.Event()
        self._deposed = threading.Event()
        self._left = 0

    def stop(self) -> None:
        """End the running retraining and give the lease back. Safe to call from a signal handler."""
        self._stopping.set()

    def run(self, once: bool = False) -> None:
        """Lead when the lease is free, wait for it otherwise. With ``once``, ServiceError where Redis fails."""
        log.info("scheduler started", feeds=[feed.name for feed in self.feeds])
        while not self._stopping.is_set():
            try:
                if self.lease.acquire() is not None:
                    self._lead(once)
                elif once:
                    log.info("another scheduler leads", leader=self.lease.holder())
            except ServiceError as error:
                if once:
                    raise
                log.error("a service does not answer, trying again", reason=str(error))
            if once:
                break
            self._stopping.wait(self.lease.ttl_s / 3 * random.uniform(0.8, 1.0))  # noqa: S311 - spreads the asking, hides nothing
        log.info("scheduler stopped")

    def _lead(self, once: bool) -> None:
        """Schedule every feed; renew the lease until it is lost, ``stop`` is called, or with ``once`` all is done."""
        log.info("leading", fence=self.lease.fence)
        self._deposed.clear()
        # One retraining at a time: it takes a core from the workers of this machine. Coalesced and without a limit for
        # being late, what was missed is run once when it can be, instead of being dropped after APScheduler's default
        # of one second.
        scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(1)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        try:
            self._schedule(scheduler, once)
            scheduler.start()
            self._renew(once)
        finally:
            self._deposed.set()
            if scheduler.running:
                scheduler.shutdown(wait=True)
            with contextlib.suppress(ServiceError):
                self.lease.release()

    def _schedule(self, scheduler: BackgroundScheduler, once: bool) -> None:
        self._left = 0
        for feed in self.feeds:
            now_us = self.clock()
            due = first_run(feed.retrain, self.times.last(feed.name), self.times.since(feed.name, now_us), now_us)
            if due is None or (once and due > utc(now_us)):
                continue
            rule = None if once else trigger(feed.retrain)
            scheduler.add_job(self._retrain, rule, [feed, once], id=feed.name, next_run_time=due)
            self._left += 1
            log.info("scheduled", feed=feed.name, next=due.isoformat())

    def _renew(self, once: bool) -> None:
        keep(
            self.lease,
            self._stopping,
            min(0.1, self.lease.ttl_s / 10),
            lambda: once and not self._left,
            "the lease is lost, another scheduler may lead",
        )

    # One run, in APScheduler's thread

    def _retrain(self, feed: FeedSettings, once: bool) -> None:
        started_us = self.clock()
        try:
            # A jitter of our own: APScheduler's adds up from run to run.
            if not once:
                self._wait(random.uniform(0, feed.retrain.jitter / 1e6))  # noqa: S311 - spreads load, hides nothing
            fence = self.lease.fence
            if fence is not None and not self._interrupted():
                self._supervise(feed, fence, started_us)
        except (OSError, ServiceError) as error:
            log.error("retraining could not be seen through", feed=feed.name, reason=str(error))
        finally:
            self._left -= 1

    def _wait(self, limit_s: float) -> None:
        end = time.monotonic() + limit_s
        while not self._interrupted() and time.monotonic() < end:
            time.sleep(0.05)

    def _interrupted(self) -> bool:
        return self._stopping.is_set() or self._deposed.is_set()

    def _supervise(self, feed: FeedSettings, fence: int, started_us: int) -> None:
        """Run the command to its end. Interrupted, it leaves no trace: then the next leader finds the run due still."""
        limit_s = feed.retrain.time_limit / 1e6 + self.grace_s
        log.info("retraining started", feed=feed.name, fence=fence)
        ended, code = supervise(self.command(feed, fence), limit_s, self._interrupted)
        if ended == "interrupted":
            log.warning("retraining interrupted, it stays due", feed=feed.name)
            return
        if ended == "timeout" or code < 0:
            # The command logs how it ended itself, unless it was killed.
            why = f"ended after {limit_s:g} s" if ended == "timeout" else f"killed by signal {-code} (out of memory?)"
            lost = Outcome(feed.name, started_us, Ending.FAILED, why, fence=fence)
            lost.seconds = (self.clock() - started_us) / 1e6
            self.registry.add_run(feed.name, lost.to_json())
        log.log(20 if code == 0 else 40, "retraining process ended", feed=feed.name, how=ended, exit_code=code)
        self.times.finished(feed.name, started_us)


def supervise(
    command: Sequence[str], limit_s: float, interrupted: Callable[[], bool]
) -> tuple[Literal["done", "timeout", "interrupted"], int]:
    """Run a command in a process group of its own; how it ended, and its exit code (minus the signal that killed it).

    The whole group is ended, and if need be killed, when the time is up or ``interrupted()``. Raises OSError where it
    cannot start.
    """
    ended: Literal["done", "timeout", "interrupted"] = "done"
    end = time.monotonic() + limit_s
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    ) as child:
        try:
            while child.poll() is None and ended == "done":
                ended = "interrupted" if interrupted() else "timeout" if time.monotonic() >= end else "done"
                time.sleep(0.05)
        finally:
            if child.poll() is None:
                _end_group(child)
    return ended, child.returncode


def _end_group(child: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(KILL_AFTER_S)
            return

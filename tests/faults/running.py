"""One scenario from its seed to its verdict."""

from __future__ import annotations

import heapq
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from kafka.errors import KafkaError

from stream.errors import TidecastError
from tests.faults.acts import LEAVES_WITHIN_S, begin
from tests.faults.crew import children
from tests.faults.scenario import Scenario
from tests.faults.site import Site
from tests.faults.stand import Stand
from tests.faults.verdict import Verdict, judge, told

TICK_S = 0.1
MEASURE_EVERY_S = 1.0
STANDS_STILL_S, COMES_BACK_WITHIN_S = 45.0, 300.0
"""A scenario has failed when nothing more was published for so long; a machine with much else to do may only be slow."""
RETRAINS_WITHIN_S = 60.0
GROWS_KB, FILES = 96_000, 64
"""A worker with state of some hundred kilobytes must not take more than this beyond what it began with."""


@dataclass(slots=True)
class Report:
    """What a scenario came to; plain, so that it can be handed from process to process."""

    seed: int
    held: bool
    seconds: float
    faults: list[str]
    numbers: dict[str, int]
    recoveries: list[tuple[str, float]]
    told: list[str] = field(default_factory=list)
    kept: str = ""


def run(site: Site, scenario: Scenario, keep: Path) -> Report:
    """Run it, and judge it. Of a scenario that fails, logs and timeline are kept in ``keep``."""
    began = time.monotonic()
    with Stand(site, scenario) as stand:
        verdict = Verdict()
        try:
            _live(stand)
            _settle(stand, verdict)
            # Nothing may be missing from what is compared, so this comes after all processes have ended.
            log = site.read(stand.topic, scenario.partitions)
            found = judge(stand.feed, log, stand.poison, stand.models | _retrained(stand), stand.seen())
            found.other = verdict.other + found.other
            verdict = found
        except (TidecastError, KafkaError, redis.RedisError, AssertionError, OSError, LookupError, ValueError):
            verdict.other.append(f"the campaign itself: {traceback.format_exc(limit=-4)}")
        report = _report(stand, verdict, time.monotonic() - began)
        if not verdict.held:
            for line in report.told:
                stand.notes.say(line)
            report.kept = str(stand.keep(keep))
    return report


def _live(stand: Stand) -> None:
    """Send the records over the scenario's time, and let its faults happen."""
    scenario, notes = stand.scenario, stand.notes
    for _ in range(scenario.workers):
        stand.start()
    if scenario.retrains:
        stand.start("scheduler")
    records = scenario.input.records
    sent = max(1, len(records) // 10)
    for one in records[:sent]:
        stand.send(one)
    # What befalls processes that have yet to begin proves little.
    stand.recovers("start")
    _await_recoveries(stand)
    notes.began = time.monotonic()
    notes.say("all are at work")
    events: list[tuple[float, int, Callable[[], Any]]] = []
    for number, fault in enumerate(scenario.faults):
        events.append((fault.at_s, number, lambda fault=fault, number=number: _begin(stand, events, fault, number)))  # type: ignore[misc]
    heapq.heapify(events)
    while sent < len(records) or events:
        now_s = time.monotonic() - notes.began
        goal = min(len(records), int(len(records) * now_s / scenario.active_s))
        for one in records[sent:goal]:
            stand.send(one)
        sent = max(sent, goal)
        while events and events[0][0] <= now_s:
            heapq.heappop(events)[2]()
        stand.look()
        stand.supervise()
        _measure(stand)
        time.sleep(TICK_S)


def _await_recoveries(stand: Stand) -> bool:
    """Until all is published that was asked for; whether it was."""
    began = moved = time.monotonic()
    reached: dict[int, int] = {}
    while any(one.took_s is None for one in stand.notes.recoveries):
        stand.look()
        stand.supervise()
        now = time.monotonic()
        if (offsets := stand.published()) != reached:
            reached, moved = offsets, now
        if now - moved > STANDS_STILL_S or now - began > COMES_BACK_WITHIN_S:
            return False
        time.sleep(TICK_S)
    return True


def _begin(stand: Stand, events: list[tuple[float, int, Callable[[], Any]]], fault: Any, number: int) -> None:
    end = begin(stand, fault)
    if end is not None:
        at_s = time.monotonic() - stand.notes.began + fault.lasts_s
        heapq.heappush(events, (at_s, 1_000 + number, end))


def _settle(stand: Stand, verdict: Verdict) -> None:
    """Everything is well again: wait until all is published, then let all processes end."""
    stand.site.heal()
    if not stand.free():
        stand.start()
    stand.producer.flush(timeout=60)
    stand.recovers("end")
    if not _await_recoveries(stand):
        verdict.other.append(f"not all is published, and nothing moves: {stand.published()} of {stand.sent}")
    if stand.scenario.retrains:
        _await_champion(stand, verdict)
    _measure(stand)
    ending = [member for member in stand.members if member.alive]
    below = children([member.pid for member in ending])
    since = time.monotonic()
    for member in ending:
        member.tell()
    for member in ending:
        stand.note_end(member, since, LEAVES_WITHIN_S, undisturbed=True)
    for end in stand.notes.ended:
        # A second signal, or a service that is away, may end it otherwise; never not at all.
        unready = end.code == -signal.SIGTERM and not stand.log_of(end.name).count("worker started")
        if end.code is None or (end.undisturbed and end.code != 0 and not unready):
            verdict.other.append(f"{end.name} ended with {end.code} after {end.took_s:.1f} s")
    left = [pid for pid in below if Path(f"/proc/{pid}").exists()]
    if left:
        verdict.other.append(f"processes {left} are still there")
    for name, usage in stand.notes.usage.items():
        memory, files = (max(column) for column in zip(*usage, strict=True))
        if memory - usage[0][0] > GROWS_KB or files > FILES:
            verdict.other.append(f"{name} grew from {usage[0][0]} to {memory} kB, {files} open files")


def _await_champion(stand: Stand, verdict: Verdict) -> None:
    """A retraining must come to its end whatever was killed before."""
    if not stand.free("scheduler"):
        stand.start("scheduler")
    until = time.monotonic() + RETRAINS_WITHIN_S
    while time.monotonic() < until:
        with suppress(redis.RedisError):
            if stand.memory.client.xlen(f"faults:retrains:{stand.feed.name}"):
                return
        time.sleep(0.2)
    verdict.other.append(f"no retraining ended within {RETRAINS_WITHIN_S:g} s")


def _retrained(stand: Stand) -> dict[str, Any]:
    """The models that retraining has put into the registry."""
    from stream.redis_models import ModelRegistry
    from tests.faults.stand import NAMESPACE
    from workers.adoption import load_model

    registry = ModelRegistry(stand.memory.client, NAMESPACE)
    return {
        version: load_model(registry, stand.feed, version, None) for version in registry.list_models(stand.feed.name)
    }


def _measure(stand: Stand) -> None:
    now = time.monotonic()
    if now - stand.measured < MEASURE_EVERY_S:
        return
    stand.measured = now
    for member in stand.free():
        # Not before it has loaded what it needs.
        if now - member.started > 1.0:
            usage = member.usage()
            if usage[0]:
                stand.notes.usage.setdefault(member.name, []).append(usage)


def _report(stand: Stand, verdict: Verdict, seconds: float) -> Report:
    numbers = {
        name: getattr(verdict, name)
        for name in ("records", "forecasts", "alerts", "letters", "letters_again", "states")
    }
    numbers |= {name: len(getattr(verdict, name)) for name in ("lost", "duplicated", "differing", "other")}
    return Report(
        seed=stand.scenario.seed,
        held=verdict.held,
        seconds=round(seconds, 1),
        faults=[fault.kind for fault in stand.scenario.faults],
        numbers=numbers,
        recoveries=[(one.kind, one.took_s) for one in stand.notes.recoveries if one.took_s is not None],
        told=told(verdict),
    )

"""What each kind of fault does. Each act returns what ends it, or None where it is over at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import redis

from tests.faults.crew import Member, children
from tests.faults.scenario import BROKER, REDIS, WIRES, Fault
from tests.faults.stand import Stand

End = Callable[[], None]
Act = Callable[[Stand, Fault], End | None]
LEAVES_WITHIN_S = 20.0
DELAY_S, RATE = (0.02, 0.25), (4_000, 60_000)
MOST_WORKERS = 4
FROM_THE_START = {"kill", "leave", "leave-twice", "join", "champion", "scheduler-kill", "retrainer-kill"}
"""Recovery from these is counted from their beginning, from the others from their end."""


def begin(stand: Stand, fault: Fault) -> End | None:
    """Let it happen. What it returns ends it, ``fault.lasts_s`` later."""
    stand.notes.say(f"{fault.kind} begins, for {fault.lasts_s:.2f} s")
    disturbs = fault.kind in WIRES | REDIS | BROKER
    stand.away += disturbs
    stand.disturbances += disturbs
    ending = _ACTS[fault.kind](stand, fault)
    if fault.kind in FROM_THE_START:
        stand.recovers(fault.kind)

    def end() -> None:
        if ending is not None:
            ending()
        stand.away -= disturbs
        stand.notes.say(f"{fault.kind} ends")
        if fault.kind not in FROM_THE_START:
            stand.recovers(fault.kind)

    return end


def _chosen(stand: Stand, fault: Fault, verb: str = "worker") -> Member:
    """Whom it befalls; one is started where nobody is there."""
    free = stand.free(verb) or [stand.start(verb)]
    return free[int(fault.draw * len(free))]


def _kill(stand: Stand, fault: Fault) -> End:
    member = _chosen(stand, fault)
    member.kill()
    stand.notes.say(f"{member.name} is killed")
    return lambda: _replace(stand)


def _replace(stand: Stand) -> None:
    if len(stand.free()) < MOST_WORKERS:
        stand.start()


def _stop(stand: Stand, fault: Fault) -> End:
    member = _chosen(stand, fault)
    member.freeze()
    stand.notes.say(f"{member.name} sleeps")
    return member.thaw


def _leave(stand: Stand, fault: Fault) -> End:
    member, since, undisturbed = _chosen(stand, fault), time.monotonic(), not stand.away
    before = stand.disturbances
    member.tell()
    stand.notes.say(f"{member.name} is told to end")
    if fault.kind == "leave-twice":
        time.sleep(0.05 * fault.draw)
        member.tell()
    _replace(stand)
    return lambda: stand.note_end(
        member,
        since,
        LEAVES_WITHIN_S,
        undisturbed=undisturbed and stand.disturbances == before and fault.kind == "leave",
    )


def _join(stand: Stand, fault: Fault) -> None:
    _replace(stand)


def _wire(stand: Stand, fault: Fault) -> End:
    where, _, what = fault.kind.partition("-")
    wires = stand.site.kafka_wires if where == "kafka" else [stand.site.redis_wire]
    for wire in wires:
        if what == "cut":
            wire.cut()
        elif what == "delay":
            wire.delay(DELAY_S[0] + fault.draw * (DELAY_S[1] - DELAY_S[0]))
        elif what == "throttle":
            wire.throttle(RATE[0] + fault.draw * (RATE[1] - RATE[0]))
        else:
            wire.silence()

    def end() -> None:
        for wire in wires:
            # What was on its way arrives late, or never.
            wire.heal(reset=what == "half-open" and fault.draw < 0.5)

    return end


def _redis_dies(stand: Stand, fault: Fault) -> End:
    server = stand.memory.server
    server.kill9()
    if fault.kind == "redis-lose":
        stand.notes.say(f"Redis forgets {stand.memory.lose()} bytes")
    return lambda: _again(server.start) if server.pid is None else None


def _again(start: Callable[[], object]) -> None:
    """Another process may have had the port meanwhile."""
    for _ in range(20):
        with suppress(Exception):
            start()
            return
        time.sleep(0.5)
    start()


def _redis_full(stand: Stand, fault: Fault) -> End:
    with suppress(redis.RedisError):
        stand.memory.client.config_set("maxmemory", 1)

    def end() -> None:
        with suppress(redis.RedisError):
            stand.memory.client.config_set("maxmemory", 0)

    return end


def _redis_read_only(stand: Stand, fault: Fault) -> End:
    with suppress(redis.RedisError):
        # A primary that is nowhere: it keeps what it has, and takes nothing.
        stand.memory.client.replicaof("127.0.0.1", 1)

    def end() -> None:
        with suppress(redis.RedisError):
            stand.memory.client.replicaof("NO", "ONE")

    return end


def _redis_forgets(stand: Stand, fault: Fault) -> None:
    with suppress(redis.RedisError):
        stand.memory.client.flushall()


def _broker_dies(stand: Stand, fault: Fault) -> End:
    brokers = stand.site.brokers
    broker = brokers[int(fault.draw * len(brokers))]
    broker.kill9()
    return lambda: _again(broker.start) if broker.pid is None else None


def _champion(stand: Stand, fault: Fault) -> None:
    with suppress(redis.RedisError):
        stand.crown(fault.draw)


def _scheduler_dies(stand: Stand, fault: Fault) -> End:
    member = _chosen(stand, fault, "scheduler")
    member.kill()

    def end() -> None:
        stand.start("scheduler")

    return end


def _retrainer_dies(stand: Stand, fault: Fault) -> None:
    schedulers = [member.pid for member in stand.free("scheduler")]
    killed = children(schedulers)
    for pid in killed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    stand.notes.say(f"{len(killed)} retrainers are killed")


_ACTS: dict[str, Act] = {
    "kill": _kill,
    "stop": _stop,
    "leave": _leave,
    "leave-twice": _leave,
    "join": _join,
    **dict.fromkeys(WIRES, _wire),
    "redis-kill": _redis_dies,
    "redis-lose": _redis_dies,
    "redis-full": _redis_full,
    "redis-read-only": _redis_read_only,
    "redis-forget": _redis_forgets,
    "broker-kill": _broker_dies,
    "champion": _champion,
    "scheduler-kill": _scheduler_dies,
    "retrainer-kill": _retrainer_dies,
}

"""A scenario: all that a seed decides before anything is started. What the machine's timing decides, no seed can."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.faults import inputs

SESSION_MS = 5_000
WORKER = {
    "kill": 5,  # -9, another comes
    "stop": 3,  # SIGSTOP for longer than the session: a zombie
    "leave": 2,  # SIGTERM, another comes
    "leave-twice": 1,  # a second SIGTERM at once
    "join": 3,
}
WIRES = {
    f"{where}-{what}": weight
    for where in ("kafka", "redis")
    for what, weight in (("cut", 2), ("delay", 1), ("throttle", 1), ("half-open", 2))
}
REDIS = {
    "redis-kill": 3,
    "redis-lose": 3,  # kill -9, and the last second of the append-only file is gone
    "redis-full": 1,
    "redis-read-only": 1,
    "redis-forget": 1,  # everything
}
BROKER = {"broker-kill": 2}
MODELS = {"champion": 3}
RETRAINING = {"retrainer-kill": 1, "scheduler-kill": 1}
KINDS = WORKER | WIRES | REDIS | BROKER | MODELS
LASTS_S = {"stop": (SESSION_MS / 1e3 + 0.5, SESSION_MS / 1e3 + 2.5), "broker-kill": (0.0, 1.5), "kill": (0.0, 1.0)}
"""How long a fault lasts, at least and at most; ``USUALLY_S`` where it is not here."""
USUALLY_S = (0.2, 2.5)
RETRAINED_EVERY = 20
"""Every so many seeds, a scheduler retrains as well."""
ACTIVE_S = (2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong ``at_s`` after the start, for ``lasts_s``; ``draw`` chooses whom it befalls."""

    kind: str
    at_s: float
    lasts_s: float
    draw: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything but the machine's timing."""

    seed: int
    partitions: int
    workers: int
    active_s: float
    """Records are sent over this time."""
    feed: dict[str, Any]
    worker: dict[str, Any]
    retrains: bool
    faults: tuple[Fault, ...]
    input: inputs.Input = field(repr=False)


def draw(seed: int, *, kinds: dict[str, int] | None = None) -> Scenario:
    """The scenario of a seed; ``kinds`` of faults with their weights, else all."""
    rng = Random(seed)
    partitions, series = rng.randint(1, 4), rng.randint(3, 7)
    made = inputs.make(rng, partitions, series, rng.randint(60, 120), rng.choice([0, 0, 4, 12, 24]))
    active_s = rng.uniform(*ACTIVE_S)
    retrains = kinds is None and seed % RETRAINED_EVERY == RETRAINED_EVERY - 1
    weights = kinds or (WORKER | WIRES | RETRAINING if retrains else KINDS)
    faults = [_fault(rng, kind, active_s) for kind in rng.choices([*weights], [*weights.values()], k=rng.randint(1, 4))]
    if retrains:
        faults += [_fault(rng, kind, active_s) for kind in RETRAINING]
    return Scenario(
        seed=seed,
        partitions=partitions,
        workers=rng.randint(1, 3),
        active_s=active_s,
        feed={
            "name": "plant",
            "step": "1m",
            "context": 16,
            "horizon": rng.randint(2, 5),
            "season": 8,
            "known_series": made.known_series,
            "limits": inputs.LIMITS,
            "model": {"hidden": 8, "patch": 4, "architecture": rng.choice(["gru", "lstm"])},
            # Quicker to cry than the defaults: alerts are what must not be lost or repeated here, and there must be some.
            # Every other one runs the detectors of rarities too, which let through little in so short a time.
            "alerts": {
                "adwin_delta": 0.05,
                "page_hinkley_threshold": 4.0,
                "minimum_rise": 1.05,
                "stale_after": 0,
                "anomalies": seed % 2 == 0,
            },
        },
        worker={
            "batch_records": rng.choice([20, 60, 500]),
            "checkpoint": rng.choice(["200ms", "1s", "4s"]),
            "checkpoint_batch": rng.choice([1, 2, 64]),
            "resident_series": rng.choice([2, 100, 100, 100]),
            "heartbeat": "500ms",
            # How long a backlog was, only the worker knew: what it thinned, no undisturbed run would.
            "thin_most": 1,
        },
        retrains=retrains,
        faults=tuple(sorted(faults, key=lambda fault: fault.at_s)),
        input=made,
    )


def _fault(rng: Random, kind: str, active_s: float) -> Fault:
    return Fault(kind, rng.uniform(0.2, active_s), rng.uniform(*LASTS_S.get(kind, USUALLY_S)), rng.random())

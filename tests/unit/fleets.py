"""Small fleets of any policy, and events for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.adam import BETA1, BETA2, EPSILON
from models.arena import Arena
from models.batch import ahead_of
from models.compiled import Kernel
from models.fleet import Fleet
from models.spec import ModelSpec

F = NDArray[np.float32]
Rows = NDArray[np.int64]


def fleet_of(spec: ModelSpec, rows: int, *, kernel: bool, level: int = -1) -> Fleet:
    """A fleet of new series in the implementation asked for."""
    fleet = Fleet(spec, seed=0, kernel=kernel)
    if kernel:
        fleet.implementation = Kernel(fleet.net, fleet.sizes, spec, (BETA1, BETA2, EPSILON), level)
    Arena([fleet]).resize(rows)
    fleet.reset(np.arange(rows))
    return fleet


def copy_row(here: Fleet, row: int, there: Fleet, to: int) -> None:
    """Put a row of one fleet into a row of another."""
    for field in here.fields():
        there.arrays[field.name][to] = here.arrays[field.name][row]


def shaken(fleet: Fleet) -> Fleet:
    """Random weights everywhere, so that no gradient is zero by luck."""
    fleet.weights[:, 0] += 0.2 * torch.randn(fleet.weights[:, 0].shape, generator=torch.Generator().manual_seed(1))
    return fleet


@dataclass
class Event:
    """What a fleet takes for one event of each of B rows."""

    inputs: F
    centred: F
    targets: F
    known: F
    learn: NDArray[np.bool_]
    fresh: F
    counts: Rows

    def of(self, rows: Rows) -> Event:
        """The event of some rows."""
        return Event(**{name: column[rows] for name, column in vars(self).items()})


def event_of(spec: ModelSpec, rows: int, seed: int, away: float = 0.0) -> Event:
    """Random inputs; targets lie ``away`` from zero, above or below, and one in five is unknown."""
    rng, sizes = np.random.default_rng(seed), Fleet(spec, seed=0, kernel=False).sizes

    def draw(*shape: int) -> F:
        return rng.standard_normal((rows, *shape)).astype(np.float32)

    runs = 2 + spec.replay
    steps = sizes.steps + (ahead_of(spec) if spec.policy == "joint" else 0)
    targets = draw(runs - 1, spec.horizon)
    return Event(
        inputs=draw(runs if spec.policy == "window" else 1, steps, sizes.features),
        centred=draw(runs, sizes.context),
        targets=targets + (away * rng.choice([-1.0, 1.0], targets.shape)).astype(np.float32),
        known=(rng.random(targets.shape) < 0.8).astype(np.float32),
        learn=np.ones(rows, bool),
        fresh=draw(3, sizes.features),
        counts=rng.choice([0, 1, 1, 1, 2, 3], rows),
    )


def take(fleet: Fleet, rows: Rows, event: Event, **changed: Any) -> F:
    """The event, by whatever method the fleet's policy has for it: quantiles [B, H, Q]."""
    columns = vars(event) | changed
    last = [columns[name] for name in ("centred", "targets", "known", "learn")]
    if fleet.ring:
        return fleet.carry(rows, columns["fresh"], columns["counts"], columns["inputs"][:, 0], *last)
    return fleet.step(rows, columns["inputs"], *last)

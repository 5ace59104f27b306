"""A series as it stood at one cutoff: all that its forecast was made from, taken out of a forecaster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.adam import EPSILON, corrections
from models.arena import Arrays
from models.batch import unflatten
from models.fleet import Fleet
from models.forecaster import Forecaster
from models.lags import LONG_EDGES, SEASONS, SURE_EDGE
from models.recurrent import Architecture, Sizes
from models.spec import ModelSpec

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Network:
    """A series' own network in float64. ``weights`` are stacked, [1, ...]; ``state`` [1, 1, layers, W] is carried by policy "carried" and
    lies ``steps`` steps before the cutoff (else zeros and 0)."""

    net: Architecture
    sizes: Sizes
    weights: Mapping[str, Tensor]
    state: Tensor
    steps: int


@dataclass(frozen=True, slots=True)
class Issued:
    """What was said at the cutoff itself, in the series' own units: ``points`` [H, E] of the experts, ``quantiles`` [H, Q] of the mixture."""

    points: Floats
    quantiles: Floats


@dataclass(frozen=True, slots=True)
class Moment:
    """One cutoff of one series, by lag: ``line`` [J, C] and ``seen`` [J] begin at the cutoff (lag 0) and go back to the oldest slot kept.

    ``season`` is in slots, 0 for none; ``count`` is how many observations the series had had. ``scale`` [C] and ``steady`` are the spreads
    that inputs stand on, ``mixture`` [H, E] the experts' weights, ``errors`` [H, E] their recent mean absolute errors in spreads of channel
    0, ``coefficients`` those of each least-squares expert, [H, D].
    ``issued`` is None where the state no longer holds what was said at this cutoff. What was learnt is as the state has it, so ``back`` slots
    later than the cutoff: 0 for the newest one.
    """

    spec: ModelSpec
    line: Floats
    seen: Flags
    capacity: int
    back: int
    time_us: int
    step_us: int
    season: int
    count: int
    scale: Floats
    steady: float
    mixture: Floats
    errors: Floats
    coefficients: Mapping[str, Floats]
    network: Network | None
    issued: Issued | None

    @property
    def newest(self) -> float:
        """The value at the cutoff, from which every expert starts."""
        return float(self.line[0, 0])

    @property
    def level(self) -> Floats:
        """The usual level [C]: the mean of what was seen in the context. Contributions count from there."""
        reach = slice(0, self.spec.context)
        mean: Floats = self.line[reach][self.seen[reach]].mean(0)
        return mean


def oldest_cutoff(forecaster: Forecaster, row: int, step_us: int) -> int:
    """The first slot whose forecast can still be explained: all that the experts look back on must be in the ring, or before the series."""
    windows, spec = forecaster.windows, forecaster.spec
    first, newest = int(windows.first[row]), int(windows.newest[row])
    if newest - first + 1 < windows.capacity:
        return first
    season = spec.season_slots(step_us)
    surely = max(edge for edge in LONG_EDGES if edge <= max(SURE_EDGE, SEASONS * season))
    needed = min(max(spec.context + spec.ahead, surely, 2 * season + 1), windows.capacity)
    return first + needed - 1


def moment(
    forecaster: Forecaster, row: int, step_us: int, phase_us: int, slot: int | None = None, earlier: bool = False
) -> Moment:
    """The moment at ``slot``, by default the newest, with the network as it is or, if ``earlier``, before its newest fine-tuning step.

    Raises ValueError where the state does not hold it.
    """
    windows, spec = forecaster.windows, forecaster.spec
    newest, oldest = int(windows.newest[row]), oldest_cutoff(forecaster, row, step_us)
    slot = newest if slot is None else slot
    if newest < 0 or not oldest <= slot <= newest:
        raise ValueError(f"slot {slot} is not among those that the state can tell of, {oldest} to {newest}")
    at = (slot - np.arange(slot - int(windows.first[row]) + 1)) % windows.capacity
    line, seen = windows.values[row, at].copy(), windows.seen[row, at].copy()
    if not seen[0]:
        raise ValueError(f"no observation was made at slot {slot}, so no forecast either")
    since = (newest - np.arange(newest - slot)) % windows.capacity
    rows, level = np.array([row]), line[None, 0]
    arrays = forecaster.arena.arrays
    return Moment(
        spec=spec,
        line=line,
        seen=seen,
        capacity=windows.capacity,
        back=newest - slot,
        time_us=phase_us + slot * step_us,
        step_us=step_us,
        season=spec.season_slots(step_us),
        count=int(arrays["score.count"][row]) - int(np.count_nonzero(windows.seen[row, since])),
        scale=forecaster.scales.of(rows, level)[0],
        steady=float(forecaster.scales.steady(rows, level[:, 0])[0]),
        mixture=forecaster.scores.weights(rows)[0].copy(),
        errors=arrays["score.errors"][row].copy(),
        coefficients={
            one.name: arrays[f"{one.name}.coefficients"][row].copy() for one in forecaster.surroundings.regressions
        },
        network=_network(forecaster, row, newest - slot, earlier) if "network" in spec.experts else None,
        issued=_issued(arrays, row, slot, spec.horizon),
    )


def _before_the_last_step(fleet: Fleet, row: int) -> Floats:
    """The weights [1, P] that the newest fine-tuning step began from: Adam's step is known from its moments, so it can be taken back."""
    after, first, second = fleet.arrays["fleet.weights"][row].astype(np.float64)
    steps = fleet.steps[row : row + 1]
    size, root, keep = corrections(steps, fleet.rates(steps), fleet.spec.weight_decay)
    before: Floats = (after + size * first / (np.sqrt(second) / root + EPSILON)) / keep
    return before[None]


def _network(forecaster: Forecaster, row: int, back: int, earlier: bool) -> Network:
    fleet = forecaster.fleet
    vectors = fleet.arrays["fleet.weights"][row, :1].astype(np.float64)
    if earlier and fleet.steps[row]:
        vectors = _before_the_last_step(fleet, row)
    weights = unflatten(torch.from_numpy(vectors), fleet.net, fleet.sizes)
    state, steps = torch.zeros(1, 1, fleet.sizes.layers, fleet.net.state_width(fleet.sizes)).double(), 0
    if fleet.ring:
        taken = int(fleet.moment[row])
        steps = max(0, min(taken, fleet.ring - 1) - back)
        if steps:
            stored = fleet.arrays["fleet.states"][row, (taken - back - steps) % fleet.ring].copy()
            state = torch.from_numpy(stored).double()[None, None]
    return Network(fleet.net, fleet.sizes, weights, state, steps)


def _issued(arrays: Arrays, row: int, slot: int, horizon: int) -> Issued | None:
    at = slot % horizon
    if int(arrays["pending.cutoff"][row, at]) != slot:
        return None
    origin, unit = float(arrays["pending.origin"][row, at]), float(arrays["pending.scale"][row, at])
    said = (arrays[f"pending.{name}"][row, at].astype(np.float64) for name in ("points", "quantiles"))
    points, quantiles = (origin + unit * one for one in said)
    return Issued(points, quantiles)

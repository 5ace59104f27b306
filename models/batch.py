"""What one call asks of a fleet's implementation, kernel and reference alike, and where the numbers of all series lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.calendar import WIDTH
from models.recurrent import Architecture, Sizes
from models.spec import ModelSpec

Floats32 = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Store:
    """Weights and Adam moments of N series [N, 3, P], and carried states [N, T, layers, W], T 0 but with policy "carried". Rows are
    contiguous and may lie in larger records."""

    arena: Floats32
    states: Floats32


@dataclass(frozen=True, slots=True)
class Batch:
    """B rows to forecast and to teach; run 0 of R is forecast, the others are learnt.

    ``inputs``: window [B, R, S, F]; joint [B, 1, S+A, F], A the steps that a horizon takes; carried [B, 1, S, F] of the learnt run.
    ``centred`` [B, R, L], ``targets`` and ``known`` [B, R-1, H]. ``learn`` bool [B]; ``size``, ``root`` and ``keep`` [B] as of
    ``models.adam.corrections``. Of carried states: ``moment`` [B] steps taken so far (state m lies at m mod T), ``fresh`` [B, G, F] the next,
    ``counts`` [B] how many of these.
    """

    rows: Rows
    inputs: Floats32
    centred: Floats32
    targets: Floats32
    known: Floats32
    learn: NDArray[np.bool_]
    size: Floats32
    root: Floats32
    keep: Floats32
    moment: Rows
    fresh: Floats32
    counts: Rows


class Implementation(Protocol):
    """The reference or the kernel."""

    def step(self, store: Store, batch: Batch) -> Floats32:
        """Quantiles [B, H, Q] of run 0 from the weights as they are; then updates rows that ``learn`` in the store."""
        ...


def sizes_of(spec: ModelSpec, features: int | None = None) -> Sizes:
    """The network's sizes under a spec: a step of the recurrence takes ``patch`` slots of every channel, their mask, and the calendar, or as
    many ``features`` as are said."""
    return Sizes(
        steps=spec.truncation if spec.policy == "carried" else spec.context // spec.patch,
        features=features or spec.patch * (spec.channels + 1) + WIDTH,
        context=spec.context if spec.skip else 0,
        horizon=spec.horizon,
        levels=len(spec.levels),
        median=spec.median,
        hidden=spec.hidden,
        layers=spec.layers,
    )


def ahead_of(spec: ModelSpec) -> int:
    """A: recurrent steps from the newest cutoff whose targets are all past, to now."""
    return -(-spec.horizon // spec.patch)


def flatten(weights: Mapping[str, Tensor], net: Architecture, sizes: Sizes) -> Tensor:
    """One series' parameters as a vector [P], in the order of ``shapes``. Raises ValueError where a name or shape is off."""
    shapes = net.shapes(sizes)
    if set(weights) != set(shapes):
        raise ValueError(f"parameters {sorted(weights)} where {sorted(shapes)} are needed")
    for name, shape in shapes.items():
        if tuple(weights[name].shape) != shape:
            raise ValueError(f"parameter {name} has shape {tuple(weights[name].shape)}, needed {shape}")
    return torch.cat([weights[name].detach().reshape(-1).float() for name in shapes])


def unflatten(vectors: Tensor, net: Architecture, sizes: Sizes) -> dict[str, Tensor]:
    """Views of stacked vectors [B, P] as named parameters [B, ...]."""
    named, at = {}, 0
    for name, shape in net.shapes(sizes).items():
        count = int(np.prod(shape))
        named[name] = vectors[:, at : at + count].view(-1, *shape)
        at += count
    return named

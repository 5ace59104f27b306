"""What forecasts are judged by: pinball loss, CRPS, PIT, ratios. Pure functions of arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def symmetric_pairs(levels: tuple[float, ...]) -> list[tuple[int, int]]:
    """Indices of each level below 0.5 that has a mirror above it, and of that mirror; the widest interval first."""
    return [
        (low, high)
        for low, level in enumerate(levels)
        for high in range(len(levels) - 1, low, -1)
        if abs(level + levels[high] - 1.0) < 1e-9
    ]


def widest_pair(levels: tuple[float, ...]) -> tuple[int, int]:
    """The first of ``symmetric_pairs``; the median twice where there is none."""
    middle = levels.index(0.5)
    return next(iter(symmetric_pairs(levels)), (middle, middle))


def crps_weights(levels: tuple[float, ...]) -> Floats:
    """The share of (0, 1) that lies nearest to each level, [Q]; they sum to 1."""
    ascending = np.asarray(levels, np.float64)
    edges = np.concatenate([[0.0], (ascending[1:] + ascending[:-1]) / 2, [1.0]])
    return np.diff(edges)


def pinball(target: Floats, quantiles: Floats, levels: Floats) -> Floats:
    """Pinball losses [..., Q] of quantiles [..., Q] for targets [...] (Koenker and Bassett 1978)."""
    error = target[..., None] - quantiles
    return np.maximum(levels * error, (levels - 1.0) * error)


def crps(losses: Floats, weights: Floats) -> Floats:
    """The continuous ranked probability score [...] from pinball losses [..., Q], by the midpoint rule over the levels.

    It is twice the integral of the pinball loss over all levels (Gneiting and Ranjan 2011). For a forecast whose
    quantiles are all the same it is the absolute error, if the levels are symmetric.
    """
    score: Floats = 2.0 * (losses * weights).sum(-1)
    return score


def pit_mass(target: Floats, quantiles: Floats, levels: tuple[float, ...]) -> Floats:
    """Where targets [n] fall among quantiles [n, Q]: [n, Q + 1], each row sums to 1. Column i is the bin between the
    levels i - 1 and i (0 and 1 at the ends).

    A target that equals several quantiles, as in a series that stands still, is spread over the bins between them by
    their size: the nonrandomised PIT of Czado, Gneiting and Held (2009). One that equals a single quantile counts below.
    """
    below = (quantiles < target[:, None]).sum(-1)
    upto = (quantiles <= target[:, None]).sum(-1)
    size = np.diff([0.0, *levels, 1.0])
    bins = np.arange(len(size))
    atom = upto - below >= 2
    first = np.where(atom, below + 1, below)
    last = np.where(atom, upto - 1, below)
    inside = (bins >= first[:, None]) & (bins <= last[:, None])
    mass = np.where(inside, size, 0.0)
    spread: Floats = mass / mass.sum(-1, keepdims=True)
    return spread


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """``ours / theirs``; None where either is unknown or the divisor is 0."""
    return ours / theirs if ours is not None and theirs else None


def typical_ratio(ratios: Iterable[float | None]) -> float | None:
    """The geometric mean: half the error on one series and twice on another cancel out. None when there is none."""
    known = [one for one in ratios if one is not None]
    if not known:
        return None
    return 0.0 if min(known) <= 0 else math.exp(sum(map(math.log, known)) / len(known))

"""The online mixture of experts: one weight for each series, lead and expert, earned by realised error.

A weight has three factors:

- Evidence: exponential weights with fixed share (Herbster and Warmuth 1998; Cesa-Bianchi and Lugosi 2006, chapters 2 and 5). It falls
  exponentially with the expert's squared error, and a small share of all is spread anew each time, so that an expert that was bad for long
  can come back. Far leads move slower: the errors of lead h overlap their neighbours in all but one of h steps, so each tells less that is
  new. The first errors move more, as the rates of adaptive methods do (Gaillard, Stoltz and van Erven 2014).
- Record: the running squared error, by an inverse power (Bates and Granger 1969). Where one expert is nearly exact it takes all.
- Trust: experts that learn are believed in as far as there was something to learn. A series that moved twice has shown two things,
  however many observations lay between.

The seasonal expert sleeps (Freund et al. 1997) until it has seen a season: it keeps its evidence, and the others share the rest. Then it is
judged for a while before it counts, since what it says of a day that was unlike the others costs most at first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]
SEASONAL = "seasonal-naive"
WORST_LOSS = 10.0
"""The worst squared error counts as at most so many typical ones, and those of the others in proportion: one absurd value must not decide."""
OVERLAP = 0.75
"""Rates fall with the lead to this power."""
EARLY = 1.0
"""Added to the rate over the square root of the errors seen."""
PRIOR_LAST, PRIOR_SEASONAL = 0.25, 0.3
"""Evidence before any error: the seasonal expert's share of all, and the last value's of the rest; the others are alike."""
PATIENCE = 0.25
"""The part of a season over which the seasonal expert is judged before it counts."""
PRIOR_ERRORS = 10
"""So many errors like the best expert's the seasonal one has on its record when it wakes."""
TRUSTED_MOVES, TRUSTED_COUNT = 4.0, 256.0
"""Moves after which learners have half their trust, before it is squared; and the observations that count as one, growing as their square."""
SMALLEST = 1e-24


def pace(horizon: int) -> Floats:
    """What rates are multiplied by at each lead [H]: the errors of a far lead overlap, and each tells less that is new."""
    slower: Floats = np.arange(1, horizon + 1, dtype=np.float64) ** -OVERLAP
    return slower


def prior(experts: tuple[str, ...]) -> Floats:
    """Evidence [E] before any error; the first expert is the last value."""
    learners = [name for name in experts[1:] if name != SEASONAL]
    seasonal = PRIOR_SEASONAL if SEASONAL in experts else 0.0
    last = PRIOR_LAST if learners else 1.0
    each = (1.0 - last) / max(len(learners), 1)
    shares = {experts[0]: last, SEASONAL: seasonal / (1.0 - seasonal)}
    return np.array([shares.get(name, each) * (1.0 - seasonal) for name in experts])


def reweigh(
    weights: Floats,
    squares: Floats,
    typical: Floats,
    known: Flags,
    settled: Rows,
    asleep: Flags,
    rate: float,
    share: float,
) -> Floats:
    """New evidence [B, H, E] from the experts' squared errors [B, H, E], and the ``typical`` one of each, a running mean [B, H, E].

    Rows x leads not ``known`` [B, H] stay, as do experts ``asleep`` [B, E]. ``settled`` [B, H] counts the errors so far, this one too;
    ``rate`` and ``share`` are those of lead 1.
    """
    slower = pace(weights.shape[1])[:, None]
    out = asleep[:, None]
    least = np.maximum(np.where(out, np.inf, typical).min(-1, keepdims=True), SMALLEST)
    low = np.where(out, np.inf, squares).min(-1, keepdims=True)
    top = np.where(out, 0.0, squares).max(-1, keepdims=True)
    unit = np.maximum(least, top / WORST_LOSS)
    moved = rate + EARLY / np.sqrt(np.maximum(settled, 1))[..., None]
    scaled = np.where(out, 0.0, weights * np.exp(-moved * slower * (squares - low) / unit))
    total = scaled.sum(-1, keepdims=True)
    # Where all experts were alike there is no news, and nothing is shared anew.
    anew = share * slower * np.minimum(1.0, (top - low) / unit)
    rest = 1.0 - np.where(out, weights, 0.0).sum(-1, keepdims=True)
    awake = (~out).sum(-1, keepdims=True)
    fresh = np.where(out, weights, rest * ((1 - anew) * scaled / total + anew / awake))
    return np.where(known[..., None], fresh, weights)


def trust(moves: Floats, count: Rows) -> Floats:
    """How far learners are believed in [B], from 0 to 1: ``moves`` [B, 2] are the sums of second and fourth powers of the series' moves."""
    second, fourth = moves[:, 0], moves[:, 1]
    seen = np.where(fourth > 0, second * second / np.where(fourth > 0, fourth, 1.0), 0.0) + (count / TRUSTED_COUNT) ** 2
    believed: Floats = (seen / (seen + TRUSTED_MOVES)) ** 2
    return believed


def blend(weights: Floats, typical: Floats, factors: Floats) -> Floats:
    """The weights of a forecast [B, H, E], which sum to 1: evidence by record by ``factors`` [B, E], 0 for an expert that does not count."""
    counts = factors[:, None] > 0
    best = np.maximum(np.where(counts, typical, np.inf).min(-1, keepdims=True), SMALLEST)
    record = best / np.maximum(typical, SMALLEST)
    parts = np.where(counts, weights * record * record, 0.0) * factors[:, None]
    shares: Floats = parts / parts.sum(-1, keepdims=True)
    return shares

"""The online mixture of experts: one weight for each series, lead and expert, earned by realised error.

Exponentially weighted averaging with fixed share (Herbster and Warmuth 1998; Cesa-Bianchi and Lugosi 2006, chapters 2 and 5): an expert's
weight falls exponentially with its squared error, and a small share of all weight is spread anew each time, so that an expert that was bad
for long can come back after a change.

An error counts in units of the running squared error of the best expert, as the likelihood of normal errors of that variance would have
it: where one expert is nearly exact, the others lose their weight at once. Far leads move slower: the errors of lead h overlap their
neighbours in all but one of h steps, so each tells less that is new, and weights that followed at the full rate would chase the newest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
WORST_LOSS = 100.0
"""Losses are clipped to this many typical squared errors: one absurd value must not decide."""
OVERLAP = 0.75
"""Rates fall with the lead to this power."""
SMALLEST = 1e-24


def reweigh(
    weights: Floats, squares: Floats, typical: Floats, known: NDArray[np.bool_], rate: float, share: float
) -> Floats:
    """New weights [B, H, E] from the experts' squared errors [B, H, E], and the ``typical`` one of each, a running mean [B, H, E].

    Rows x leads not ``known`` [B, H] stay. ``rate`` and ``share`` are those of lead 1.
    """
    pace = (np.arange(1, weights.shape[1] + 1) ** -OVERLAP)[:, None]
    least = np.maximum(typical.min(-1, keepdims=True), SMALLEST)
    losses = np.minimum(squares / least, WORST_LOSS)
    scaled = weights * np.exp(-rate * pace * (losses - losses.min(-1, keepdims=True)))
    total = scaled.sum(-1, keepdims=True)
    moved = (1 - share * pace) * scaled / total + share * pace / weights.shape[-1]
    return np.where(known[..., None], moved, weights)

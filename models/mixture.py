"""The online mixture of experts: one weight for each series, lead and expert, earned by realised error.

Exponentially weighted averaging with fixed share (Herbster and Warmuth 1998; Cesa-Bianchi and Lugosi 2006, chapters 2 and 5): an expert's
weight falls exponentially with its loss, and a small share of all weight is spread anew each time, so that an expert that was bad for
long can come back after a change.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
WORST_LOSS = 8.0
"""Losses are clipped to this many typical errors: one outlier must not decide."""


def reweigh(weights: Floats, losses: Floats, known: NDArray[np.bool_], rate: float, share: float) -> Floats:
    """New weights [B, H, E] from weights and losses [B, H, E] (standardised absolute errors); rows x leads not ``known`` [B, H] stay."""
    best = losses.min(-1, keepdims=True)
    scaled = weights * np.exp(-rate * np.minimum(losses - best, WORST_LOSS))
    total = scaled.sum(-1, keepdims=True)
    moved = (1 - share) * scaled / total + share / weights.shape[-1]
    return np.where(known[..., None], moved, weights)

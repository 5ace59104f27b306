"""How likely a forecast is to cross a limit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def crossing(quantiles: Floats, levels: tuple[float, ...], limit: float, *, above: bool) -> Floats:
    """The largest probability at any lead, [B], that a target lies beyond ``limit``, from quantiles [B, H, Q] at ``levels``.

    Between two quantiles the distribution is taken for even; beyond the outer ones nothing is known, and half of what is left counts. It is at
    most the probability that the limit is crossed at all: the leads' joint distribution is not known.
    """
    known = np.asarray(levels)
    low, high = quantiles[..., :-1], quantiles[..., 1:]
    inside = (low <= limit) & (limit < high)
    share = np.where(inside, (limit - low) / np.where(high > low, high - low, 1.0), 0.0)
    below = np.where(inside, known[:-1] + share * np.diff(known), 0.0).sum(-1)
    below = np.where(limit < quantiles[..., 0], 0.5 * known[0], below)
    below = np.where(limit >= quantiles[..., -1], 0.5 * (1.0 + known[-1]), below)
    beyond: Floats = (1.0 - below if above else below).max(-1)
    return beyond

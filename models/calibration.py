"""Online conformal calibration of quantiles: each series, lead and level has an offset that tracks its own realised share.

Quantile tracking, the proportional part of conformal PID control (Angelopoulos, Candes and Tibshirani 2023; adaptive conformal
inference of Gibbs and Candes 2021): after each outcome a level's offset moves up by rate*level, and down by rate if the outcome lay
at or below the quantile. Realised shares converge to the levels whatever the data do. The rate falls with the lead: the errors of far leads
overlap, and offsets that ran after each of them would swing by more than they correct (their quantile loss is then a tenth higher).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def track(
    offsets: Floats, covered: NDArray[np.bool_], levels: Floats, known: NDArray[np.bool_], rate: Floats
) -> Floats:
    """New offsets [B, H, Q], in units of the typical error. ``covered`` [B, H, Q]: outcome <= quantile; ``rate`` [B, H, 1]."""
    moved = offsets + rate * (levels - covered)
    return np.where(known[..., None], moved, offsets)


def widen(quantiles: Floats, offsets: Floats, scale: Floats, median: int) -> Floats:
    """Quantiles [B, H, Q] moved by offsets x scale [B, H, 1], the median left, and kept from crossing outwards from the median."""
    moved = quantiles + offsets * scale
    moved[..., median] = quantiles[..., median]
    for level in range(median + 1, moved.shape[-1]):
        moved[..., level] = np.maximum(moved[..., level], moved[..., level - 1])
    for level in range(median - 1, -1, -1):
        moved[..., level] = np.minimum(moved[..., level], moved[..., level + 1])
    return moved

"""Calendar covariates: where in the day and the week a moment lies, as points on circles (UTC)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PERIODS_US = (86_400_000_000, 604_800_000_000)
WIDTH = 2 * len(PERIODS_US)


def calendar(time_us: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sine and cosine of the phase in the day and in the week: int64 [...] microseconds to float64 [..., 4].

    The remainder is taken in integers, so that no precision is lost to the size of the epoch.
    """
    parts = []
    for period in PERIODS_US:
        angle = (np.ascontiguousarray(time_us) % period) * (2.0 * np.pi / period)
        parts += [np.sin(angle), np.cos(angle)]
    return np.stack(parts, axis=-1)

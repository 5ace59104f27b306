"""The spacing of a file's observations: a file can be looked at before it is run, which a stream cannot."""

from __future__ import annotations

import numpy as np

from stream.grid import snap_step

COMMON = 0.1
"""A spacing counts where at least this share of a series' observations have it, or less than twice it, to the next."""


def common_step(time_us: np.ndarray[tuple[int], np.dtype[np.int64]]) -> int | None:
    """The smallest spacing that is common among event times [n], in microseconds; None for fewer than three distinct ones.

    Not the smallest of all: two observations that came close together once do not make the grid finer.
    """
    gaps = np.diff(np.unique(time_us))
    if len(gaps) < 2:
        return None
    ordered = np.sort(gaps)
    return snap_step(int(ordered[int(COMMON * (len(ordered) - 1))]))

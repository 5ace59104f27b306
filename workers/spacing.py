"""The spacing of a file's observations: a file can be looked at before it is run, which a stream cannot."""

from __future__ import annotations

import numpy as np

from stream.decode import Decoder
from stream.fields import FieldMapping, Limits
from stream.grid import snap_step
from stream.sources.base import Source

LOOK_AT = 5_000
"""Records that are looked at."""
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


def file_step(source: Source, fields: FieldMapping) -> int | None:
    """The step that all series of a file share, from its first records; None where they differ or are too short to tell."""
    records = source.poll(LOOK_AT, 0.0)
    seen = Decoder(fields, Limits()).decode(records).observations
    names = np.array(seen.series)
    steps = {common_step(seen.time_us[names == name]) for name in set(seen.series)}
    steps.discard(None)
    return steps.pop() if len(steps) == 1 else None

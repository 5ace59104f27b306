"""How rare is a value that a series has not had before? Tails of running statistics, by peaks over a threshold, each series its own.

The largest of every ``BLOCK`` values is taken, so that a burst counts once, and the ``MOST`` largest of these are kept. Beyond the smallest
of the kept ones a tail is taken for exponential, its mean that of the excesses (Pickands 1975; Davison and Smith 1990; for streams: Siffer
et al. 2017). That gives how often per observation a value such as the newest is to be expected while nothing changes. For a tail lighter
than exponential, such as a normal one, it is expected too often, for a heavier one too seldom: by less than a factor of two either way on
the streams of ``benchmarks/alerts.py``.

What is kept is of one to two spans of ``SPAN`` values: from the middle of a span on a second list is kept beside the first, which it
replaces at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.int64]

BLOCK = 12
"""Values of which the largest counts."""
MOST = 12
"""Largest values that are kept of a span."""
FEWEST = 4
SHARE = 0.3
"""The tail is at most this share of the blocks, and at least ``FEWEST`` of them: before these are there nothing is rare."""
SPAN = 8_192 // BLOCK
"""Blocks of a span."""
SHORTEST = 0.05
"""A tail's mean excess is at least this many of the units that the caller gives: a series that repeats itself exactly has none."""
EDGE, EXCESS, PEAK, LEFT = range(4)
KEPT = ("top", "blocks", "live", "number")
LARGEST = 10.0
"""A value counts for at most this many mean excesses in what is kept: an absurd one must not hide all that comes after it."""


class Tails:
    """Upper tails of S statistics of N series.

    ``top`` float64 [N, S, 2, MOST], ascending, -inf where there is none yet, of this span and of the next; ``blocks`` [N, S, 2] how many
    blocks they are of. ``live`` [N, 4, S] is what every observation needs: where the tail begins and its mean excess, which follow from
    ``top``; the largest value of the block that runs, and how many values it still lacks. ``number`` [N, S] of values in the tail.
    """

    def __init__(self, statistics: int) -> None:
        self.statistics = statistics
        self.top = np.zeros((0, statistics, 2, MOST))
        self.blocks = np.zeros((0, statistics, 2), np.int64)
        self.live = np.zeros((0, 4, statistics))
        self.number = np.zeros((0, statistics))

    def resize(self, rows: int) -> None:
        """Make room for ``rows`` series."""
        have = len(self.live)
        for name, column in vars(self).items():
            if isinstance(column, np.ndarray):
                setattr(self, name, np.concatenate([column, np.zeros((rows - have, *column.shape[1:]), column.dtype)]))
        self.reset(np.arange(have, rows))

    def reset(self, rows: Rows) -> None:
        """Begin anew in these rows."""
        self.top[rows] = -np.inf
        self.blocks[rows] = 0
        self.number[rows] = 0.0
        self.live[rows] = np.array([np.inf, 0.0, -np.inf, BLOCK])[:, None]

    def update(self, rows: Rows, values: Floats, there: Flags, unit: Floats) -> Floats:
        """Take values [B, S], where ``there`` [B, S], of ``rows`` [B], unique; ``unit`` [B, S] is the smallest difference that means anything.

        Returns [B, S] log10 of how many observations there are between one such value and the next; 0 for what is not in the tail.
        The value itself is judged by those before it.
        """
        live = self.live[rows]
        edge, peak, left = live[:, EDGE], live[:, PEAK], live[:, LEFT]
        excess = np.maximum(live[:, EXCESS], SHORTEST * unit)
        rare = np.zeros(values.shape)
        which = there & (values > edge)
        if which.any():
            at = np.nonzero(which)
            row = rows[at[0]], at[1]
            period = BLOCK * self.blocks[(*row, 0)] / self.number[row]
            rare[at] = np.log10(period) + (values[at] - edge[at]) / excess[at] * np.log10(np.e)
        np.maximum(peak, np.minimum(values, edge + LARGEST * excess), out=peak, where=there)
        left -= there
        ended = left <= 0.0
        self.live[rows] = live
        if ended.any():
            at = np.nonzero(ended)
            self._end_blocks(rows[at[0]], at[1])
        return rare

    def _end_blocks(self, rows: Rows, which: Rows) -> None:
        """Put the peaks of blocks that ended, of statistics ``which`` [n] of ``rows`` [n], into the lists."""
        peaks = self.live[rows, PEAK, which]
        self.live[rows, PEAK, which] = -np.inf
        self.live[rows, LEFT, which] = BLOCK
        self._insert(rows, which, 0, peaks)
        late = self.blocks[rows, which, 0] > SPAN // 2
        self._insert(rows[late], which[late], 1, peaks[late])
        full = self.blocks[rows, which, 0] >= SPAN
        if full.any():
            row, one = rows[full], which[full]
            self.top[row, one, 0], self.top[row, one, 1] = self.top[row, one, 1], -np.inf
            self.blocks[row, one, 0], self.blocks[row, one, 1] = self.blocks[row, one, 1], 0
        self._fit(rows, which)

    def _insert(self, rows: Rows, which: Rows, span: int, peaks: Floats) -> None:
        kept = self.top[rows, which, span]
        kept[:, 0] = np.maximum(kept[:, 0], peaks)
        kept.sort(axis=1)
        self.top[rows, which, span] = kept
        self.blocks[rows, which, span] += 1

    def _fit(self, rows: Rows, which: Rows) -> None:
        number = np.minimum((SHARE * self.blocks[rows, which, 0]).astype(np.int64), MOST)
        enough = number >= FEWEST
        rows, which, number = rows[enough], which[enough], number[enough]
        kept = self.top[rows, which, 0]
        edge = kept[np.arange(len(rows)), MOST - number]
        inside = np.arange(MOST) >= (MOST - number)[:, None]
        total = np.where(inside, kept - edge[:, None], 0.0).sum(1)
        self.live[rows, EDGE, which] = edge
        self.live[rows, EXCESS, which] = total / (number - 1)
        self.number[rows, which] = number

    def snapshot(self, row: int) -> dict[str, NDArray[Any]]:
        """One series as plain arrays; ``restore`` is the exact inverse."""
        return {f"tails.{name}": np.array(getattr(self, name)[row]) for name in KEPT}

    def restore(self, row: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Put a snapshot into a row. Raises KeyError or ValueError where it is of other statistics."""
        for name in KEPT:
            column, kept = getattr(self, name), arrays[f"tails.{name}"]
            if kept.shape != column.shape[1:]:
                raise ValueError(f"tails of shape {kept.shape} are of other statistics")
        for name in KEPT:
            getattr(self, name)[row] = arrays[f"tails.{name}"]

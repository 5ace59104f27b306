"""The lives of alerts, in columns: quiet -> pending -> firing -> recovering -> quiet, for each series and each matter.

What decides is a margin: at 0 and above something is wrong, below ``-HYSTERESIS`` it is calm, and between the two nothing changes. An alert
fires once its matter has been wrong at ``pending`` observations, and is resolved when ``keep_firing`` calm ones have come in a row; what
goes wrong before that belongs to it. One that has lasted for ``LONGEST`` observations is resolved as well, since what it tells of is then
how the series is; it fires again only after a calm, or after as long a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]

SIGNAL, QUALITY, THRESHOLD = range(3)
MATTERS = ("signal", "quality", "threshold")
"""What happens to a series' values is one matter, whichever detectors see it: a burst and the drift that it begins are one alert."""
QUIET, PENDING, FIRING, RECOVERING, ADAPTED = range(5)
HYSTERESIS = 1.0
LONGEST = 512


class Lives:
    """``phase`` [N, M] of M matters, ``streak`` [N, M] of observations that count towards the next phase, and ``age`` [N, M] since it fired."""

    def __init__(self, pending: int, keep_firing: int) -> None:
        """Both in observations, at least 1."""
        self.pending, self.keep_firing = pending, keep_firing
        self.phase = np.zeros((0, len(MATTERS)), np.int64)
        self.streak = np.zeros((0, len(MATTERS)), np.int64)
        self.age = np.zeros((0, len(MATTERS)), np.int64)

    def resize(self, rows: int) -> None:
        """Make room for ``rows`` series."""
        for name in ("phase", "streak", "age"):
            column = getattr(self, name)
            more = np.zeros((rows - len(column), len(MATTERS)), np.int64)
            setattr(self, name, np.concatenate([column, more]))

    def reset(self, row: int) -> None:
        """Begin anew in a row."""
        self.phase[row] = self.streak[row] = self.age[row] = QUIET

    def step(self, rows: Rows, margins: NDArray[np.float64]) -> tuple[Flags, Flags]:
        """One observation of each of ``rows`` [B], unique, with its margins [B, M]: which matters begin to fire and which end, [B, M] each."""
        begins, ends = np.zeros(margins.shape, np.bool_), np.zeros(margins.shape, np.bool_)
        lively = np.flatnonzero(((margins >= 0.0) | (self.phase[rows] > QUIET)).any(1))
        if len(lively):
            begins[lively], ends[lively] = self._advance(rows[lively], margins[lively])
        return begins, ends

    def _advance(self, rows: Rows, margins: NDArray[np.float64]) -> tuple[Flags, Flags]:
        phase, streak, age = self.phase[rows], self.streak[rows], self.age[rows] + 1
        wrong, calm = margins >= 0.0, margins < -HYSTERESIS
        was = phase.copy()
        rising = (was <= PENDING) & wrong
        streak = np.where(rising, streak + 1, streak)
        begins = rising & (streak >= self.pending)
        phase[rising] = PENDING
        phase[(was == PENDING) & calm] = QUIET
        falling = was >= FIRING
        streak = np.where(falling, np.where(calm, streak + 1, np.where(wrong, 0, streak)), streak)
        on = (was == FIRING) | (was == RECOVERING)
        phase[on & calm], phase[on & wrong] = RECOVERING, FIRING
        over = falling & (streak >= self.keep_firing)
        worn = on & ~over & (age >= LONGEST)
        ends = (on & over) | worn
        phase[over | ((was == ADAPTED) & (age >= 2 * LONGEST))] = QUIET
        phase[worn] = ADAPTED
        phase[begins] = FIRING
        streak[begins | ends | (phase == QUIET)] = 0
        age[begins] = 0
        self.phase[rows], self.streak[rows], self.age[rows] = phase, streak, age
        return begins, ends

    def snapshot(self, row: int) -> list[list[int]]:
        """One series as JSON holds it; ``restore`` is the exact inverse."""
        found: list[list[int]] = [self.phase[row].tolist(), self.streak[row].tolist(), self.age[row].tolist()]
        return found

    def restore(self, row: int, kept: Sequence[Sequence[int]]) -> None:
        """Put a snapshot into a row."""
        self.phase[row], self.streak[row], self.age[row] = kept

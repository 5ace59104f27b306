"""Event time to slots: every series has a regular grid, and each observation lies on one of its slots.

A slot is the number of whole steps since 1970, counted from the series' phase:

    slot = floor((t - phase) / step + 1/2),   phase = (first event time) mod step

Thus a regular series with any offset lies on its grid exactly, and jitter below half a step is absorbed. Slots are
spaced in UTC: a clock change in a local time zone is no gap. All is int64: from 1970 to 2200 nothing overflows.

``newest`` is the watermark: the latest slot that was seen. It never moves back.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]

_SECOND = 1_000_000
_MINUTE, _HOUR = 60 * _SECOND, 3600 * _SECOND
_DAY = 24 * _HOUR
_NICE_STEPS_US = np.array(
    [ms * 1000 for ms in (1, 2, 5, 10, 20, 50, 100, 200, 250, 500)]
    + [n * _SECOND for n in (1, 2, 5, 10, 15, 20, 30)]
    + [n * _MINUTE for n in (1, 2, 5, 10, 15, 20, 30)]
    + [n * _HOUR for n in (1, 2, 3, 4, 6, 8, 12)]
    + [_DAY, 7 * _DAY],
    dtype=np.int64,
)
_SNAP = 50
"""A spacing within a 50th (2 %) of a nice step is taken for it."""
_SMALLEST_STEP_US = 1000
"""Two observations of one burst must not make microseconds the step of a series."""
_SIGHTINGS = 3
"""Distinct event times from which a step is inferred."""


class Verdict(IntEnum):
    """What an observation is to its series."""

    NEXT = 0
    """The slot after the newest, or the first of all."""
    GAP = 1
    """Ahead of the newest by 2 to ``max_gap`` slots: the slots between are missing."""
    RESTART = 2
    """Ahead of the newest by more: too far to bridge, the series' windows start anew at this slot."""
    FILL = 3
    """Older than the newest but within the lateness. The caller knows whether the slot is already filled."""
    DUPLICATE = 4
    """In the newest slot, or (with a step yet unknown) at an event time already seen."""
    LATE = 5
    """Older than the lateness allows."""
    PENDING = 6
    """The step is not known yet: hold the observation until SETTLED."""
    SETTLED = 7
    """The step has just become known: admit what is held and this one, as ``backlog`` says."""


def snap_step(spacing_us: int) -> int:
    """The nice step (1 s, 5 min, 1 day, ...) within 2 % of ``spacing_us``, else ``spacing_us``; at least 1 ms."""
    spacing_us = max(spacing_us, _SMALLEST_STEP_US)
    nearest = int(_NICE_STEPS_US[np.argmin(np.abs(_NICE_STEPS_US - spacing_us))])
    return nearest if abs(nearest - spacing_us) * _SNAP <= nearest else spacing_us


class Grid:
    """The grids of many series, one a row.

    Where a row's step is 0 it is inferred from the first three distinct event times. Until then ``admit`` says PENDING
    and the caller holds the observation; with the third it says SETTLED, and the caller passes each of the observations
    it holds for that row, the third included, to ``admit`` again in the order of ``backlog(row)``. All get slots then.
    """

    def __init__(self, *, max_gap: int, lateness: int) -> None:
        """``max_gap``: slots that a series may jump ahead; ``lateness``: slots behind the newest that may be filled."""
        if max_gap < 0 or lateness < 0:
            raise ValueError(f"max_gap ({max_gap}) and lateness ({lateness}) count slots: they cannot be negative")
        self._max_gap = max_gap
        self._lateness = lateness
        self._rows = 0
        self._free: list[int] = []
        self._used: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self.step_us: Int64 = np.zeros(0, dtype=np.int64)
        self.phase_us: Int64 = np.zeros(0, dtype=np.int64)
        self.newest: Int64 = np.zeros(0, dtype=np.int64)
        """Latest slot seen, -1 for none."""
        self._seen: Int64 = np.zeros((0, _SIGHTINGS), dtype=np.int64)
        """Distinct event times of a row whose step is unknown, in the order of arrival, -1 for none."""

    def __len__(self) -> int:
        return self._rows - len(self._free)

    def add(self, n: int, step_us: int = 0) -> Int64:
        """Rows for ``n`` new series, int64 [n]; rows that were dropped come first. Step 0: to be inferred."""
        if step_us < 0:
            raise ValueError(f"step_us is {step_us}: give a positive step, or 0 to have it inferred")
        reused = [self._free.pop() for _ in range(min(n, len(self._free)))]
        rows = np.array([*reused, *range(self._rows, self._rows + n - len(reused))], dtype=np.int64)
        self._rows += n - len(reused)
        self._reserve(self._rows)
        self._reset(rows)
        self._used[rows] = True
        self.step_us[rows] = step_us
        return rows

    def drop(self, rows: Iterable[int]) -> None:
        """Free these rows for other series. Raises ValueError for a row that is not in use."""
        gone = np.unique(np.fromiter(rows, dtype=np.int64))
        if not self._used[gone].all():
            # Freed twice, a row would be given to two series.
            raise ValueError(f"rows {gone[~self._used[gone]].tolist()} are not in use")
        self._reset(gone)
        self._used[gone] = False
        self._free.extend(reversed(gone.tolist()))

    def admit(self, rows: Int64, time_us: Int64) -> tuple[Int64, NDArray[np.uint8]]:
        """Slots int64 [B] (-1 where there is none yet) and verdicts uint8 [B]; ``rows`` are unique within the call.

        ``newest`` moves on for NEXT, GAP and RESTART, and for nothing else.
        """
        known = self.step_us[rows] > 0
        if known.all():
            return self._place(rows, time_us)
        slots = np.full(len(rows), -1, dtype=np.int64)
        verdicts = np.full(len(rows), Verdict.PENDING, dtype=np.uint8)
        for index in np.flatnonzero(~known).tolist():
            verdicts[index] = self._sight(int(rows[index]), int(time_us[index]))
        slots[known], verdicts[known] = self._place(rows[known], time_us[known])
        return slots, verdicts

    def _place(self, rows: Int64, time_us: Int64) -> tuple[Int64, NDArray[np.uint8]]:
        """The same for rows whose step is known."""
        step, newest = self.step_us[rows], self.newest[rows]
        first = newest < 0
        if first.any():
            # From its first event time on, a row's phase stands: moving it would move slots that are already in use.
            self.phase_us[rows[first]] = time_us[first] % step[first]
        # floor((2 (t - phase) + step) / (2 step)): the half is exact for odd steps as well.
        slots = (2 * (time_us - self.phase_us[rows]) + step) // (2 * step)
        ahead = slots - newest
        on = first | (ahead == 1)
        if on.all():
            # Nearly always.
            self.newest[rows] = slots
            return slots, np.zeros(len(rows), np.uint8)
        verdicts = np.select(
            [on, ahead > self._max_gap, ahead > 1, ahead == 0, ahead >= -self._lateness],
            [Verdict.NEXT, Verdict.RESTART, Verdict.GAP, Verdict.DUPLICATE, Verdict.FILL],
            Verdict.LATE,
        ).astype(np.uint8)
        self.newest[rows] = np.maximum(newest, slots)
        return slots, verdicts

    def backlog(self, row: int) -> list[int]:
        """The event times of a row's held observations, oldest first; empty once the first of them has got its slot."""
        if self.newest[row] >= 0:
            return []
        return sorted(int(moment) for moment in self._seen[row] if moment >= 0)

    def slot_time_us(self, rows: Int64, slots: Int64) -> Int64:
        """The event time at the middle of each slot, microseconds since 1970."""
        return self.phase_us[rows] + slots * self.step_us[rows]

    def snapshot(self, row: int) -> dict[str, int]:
        """All that is known of a row, for ``restore``. Observations that the caller holds are the caller's to keep."""
        seen = {f"seen_{number}": int(moment) for number, moment in enumerate(self._seen[row])}
        return {
            "step_us": int(self.step_us[row]),
            "phase_us": int(self.phase_us[row]),
            "newest": int(self.newest[row]),
            **seen,
        }

    def restore(self, row: int, snapshot: dict[str, int]) -> None:
        """Put a row in the state of ``snapshot``."""
        self.step_us[row] = snapshot["step_us"]
        self.phase_us[row] = snapshot["phase_us"]
        self.newest[row] = snapshot["newest"]
        self._seen[row] = [snapshot[f"seen_{number}"] for number in range(_SIGHTINGS)]

    def _sight(self, row: int, moment: int) -> Verdict:
        """Note an event time of a row without a step; infer the step when there are enough."""
        seen = self._seen[row]
        count = int(np.count_nonzero(seen >= 0))
        if moment in seen[:count]:
            return Verdict.DUPLICATE
        seen[count] = moment
        if count + 1 < _SIGHTINGS:
            return Verdict.PENDING
        self.step_us[row] = snap_step(int(np.diff(np.sort(seen)).min()))
        return Verdict.SETTLED

    def _reset(self, rows: Int64) -> None:
        self.step_us[rows] = 0
        self.phase_us[rows] = 0
        self.newest[rows] = -1
        self._seen[rows] = -1

    def _reserve(self, rows: int) -> None:
        have = len(self.newest)
        if rows <= have:
            return
        more = max(rows, 2 * have, 64) - have
        self.step_us = np.concatenate((self.step_us, np.zeros(more, dtype=np.int64)))
        self.phase_us = np.concatenate((self.phase_us, np.zeros(more, dtype=np.int64)))
        self._used = np.concatenate((self._used, np.zeros(more, dtype=np.bool_)))
        self.newest = np.concatenate((self.newest, np.full(more, -1, dtype=np.int64)))
        self._seen = np.concatenate((self._seen, np.full((more, _SIGHTINGS), -1, dtype=np.int64)))

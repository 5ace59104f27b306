"""Sliding windows of N series on their slots, stacked in rings.

A slot that had no observation holds the last value before it and is marked unseen, so that a network gets a number and a mask, and
a loss can leave it out. Nothing here looks forward: the value of an unseen slot is known at that slot.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.arena import Arrays, Field

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]


class Windows:
    """The windows of N series with C channels in rings of T = ``capacity`` slots."""

    def __init__(self, capacity: int, channels: int) -> None:
        self.capacity, self.channels = capacity, channels
        self.arrays: Arrays = {}

    def fields(self) -> list[Field]:
        """See ``models.arena.Part``."""
        return [
            Field("window.first", np.int64),
            Field("window.newest", np.int64),
            Field("window.seen", np.bool_, (self.capacity,)),
            Field("window.values", np.float64, (self.capacity, self.channels)),
        ]

    @property
    def values(self) -> Floats:
        """The rings, [N, T, C]; slot s stands at s modulo T."""
        return self.arrays["window.values"]

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Whether a slot had an observation, [N, T]."""
        return self.arrays["window.seen"]

    @property
    def first(self) -> Rows:
        """Oldest slot that the ring holds, [N]."""
        return self.arrays["window.first"]

    @property
    def newest(self) -> Rows:
        """Newest slot, [N]; -1 when empty."""
        return self.arrays["window.newest"]

    def clear(self, rows: Rows) -> None:
        """Forget everything of these rows."""
        self.values[rows] = 0.0
        self.seen[rows] = False
        self.first[rows] = 0
        self.newest[rows] = -1

    def push(self, rows: Rows, slots: Rows, values: Floats) -> None:
        """Append one observation to each row: ``values`` [B, C] at ``slots`` [B] > newest. NaN further channels keep their last value.

        Slots between are filled with the last value and marked unseen. Rows must be unique.
        """
        if (slots <= self.newest[rows]).any():
            raise ValueError("push needs slots after the newest; use fill for older ones")
        started = self.newest[rows] >= 0
        fresh = rows[~started]
        self.first[fresh] = slots[~started]
        before = self.values[rows, self.newest[rows] % self.capacity]
        before[~started] = 0.0
        values = np.where(np.isnan(values), before, values)
        skipped = np.where(started, slots - self.newest[rows] - 1, 0)
        for index in np.flatnonzero(skipped):
            row, slot, count = rows[index], slots[index], min(int(skipped[index]), self.capacity)
            gap = np.arange(slot - count, slot) % self.capacity
            self.values[row, gap] = before[index]
            self.seen[row, gap] = False
        at = slots % self.capacity
        self.values[rows, at] = values
        self.seen[rows, at] = True
        self.newest[rows] = slots
        self.first[rows] = np.maximum(self.first[rows], slots - self.capacity + 1)

    def fill(self, rows: Rows, slots: Rows, values: Floats) -> NDArray[np.bool_]:
        """Put late observations into their empty slots; False where the slot was seen already (a duplicate) or has left the ring."""
        at = slots % self.capacity
        inside = (slots >= self.first[rows]) & (slots <= self.newest[rows])
        free = inside & ~self.seen[rows, at]
        rows, at, values = rows[free], at[free], values[free]
        self.values[rows, at] = np.where(np.isnan(values), self.values[rows, at], values)
        self.seen[rows, at] = True
        return free

    def span(self, rows: Rows, last: Rows, length: int) -> tuple[Floats, NDArray[np.bool_]]:
        """The ``length`` slots up to and including each of ``last`` [B, R]: values [B, R, length, C] and seen [B, R, length].

        Slots before a series' first hold its first value and count as unseen.
        """
        slots = last[..., None] + np.arange(1 - length, 1)
        first, row = self.first[rows][:, None, None], rows[:, None, None]
        at = np.maximum(slots, first) % self.capacity
        return self.values[row, at], self.seen[row, at] & (slots >= first)

    def at(self, rows: Rows, slots: Rows) -> tuple[Floats, NDArray[np.bool_]]:
        """Channel 0 at ``slots`` [B, K] and whether the ring holds an observation there, both [B, K]."""
        row, at = rows[:, None], slots % self.capacity
        inside = (slots >= self.first[row]) & (slots <= self.newest[row])
        return self.values[row, at, 0], inside & self.seen[row, at]

    def line(self, rows: Rows, slots: Rows) -> Floats:
        """Channel 0 at ``slots`` [B, K], none after the newest; before a series' first its first value."""
        row = rows[:, None]
        held: Floats = self.values[row, np.maximum(slots, self.first[row]) % self.capacity, 0]
        return held

"""When a backlog grows, forecasts come before learning: how far learning is thinned, and where it was.

A worker that cannot keep up lets each series learn at every second, fourth, ... observation only, until it is current again. Which
thinning was in force at which offset is published with the offset itself, so that records that are run again after a crash are learnt
from as they were the first time: how long the backlog was then, nobody could tell any more.
"""

from __future__ import annotations

import numpy as np

from stream.redis_store import Thinning
from workers.series import Rows

LOOK_EVERY_US = 1_000_000
CURRENT_WITHIN_S = 600.0
"""A backlog that will be gone within this time, as it shrinks now, is left to itself: history, most often, which is worth learning."""
CALM_SHARE = 0.25
"""Learning is restored where the backlog is below this share of the limit ..."""
CALM_LOOKS = 5
"""... at so many looks in a row."""


def thin_at(thinning: Thinning, offsets: Rows) -> Rows:
    """The thinning that was in force at each of these offsets [n]."""
    starts = np.array([start for start, _ in thinning], np.int64)
    factors = np.array([1, *(factor for _, factor in thinning)], np.int64)
    found: Rows = factors[np.searchsorted(starts, offsets, side="right")]
    return found


def thinned(thinning: Thinning, first: int, factor: int, complete: int | None) -> Thinning:
    """``thinning``, with ``factor`` in force from the offset ``first`` on. What lies wholly at or before ``complete`` is left out, as
    nothing there is run again; None: nothing is complete."""
    if factor != (thinning[-1][1] if thinning else 1):
        thinning = (*thinning, (first, factor))
    if complete is not None:
        while len(thinning) > 1 and thinning[1][0] <= complete + 1:
            thinning = thinning[1:]
    return thinning[1:] if thinning and thinning[0][1] == 1 else thinning


class Backlog:
    """Watches how far behind the worker is, and says how far learning is to be thinned."""

    def __init__(self, limit_us: int, most: int) -> None:
        """Thin from ``limit_us`` of work left on, by at most ``most``; 1: never."""
        self._limit_s, self._most = limit_us / 1e6, most
        self.thin = 1
        self.waiting = 0
        """Records that waited at the last look."""
        self.done = 0
        """Records taken since the start; the worker counts them."""
        self._done_before = 0
        self._looked_us: int | None = None
        self._calm = 0

    def due(self, now_us: int) -> bool:
        """Whether it is time to look."""
        return self._looked_us is None or now_us - self._looked_us >= LOOK_EVERY_US

    def look(self, waiting: int, now_us: int) -> bool:
        """Now ``waiting`` records wait; returns whether the thinning has changed.

        It is doubled while the backlog is more work than the limit and is not about to vanish, and halved once that is long past.
        """
        before, self.waiting = self.waiting, waiting
        since_us, self._looked_us = self._looked_us, now_us
        taken, self._done_before = self.done - self._done_before, self.done
        if since_us is None:
            return False
        seconds = max(now_us - since_us, 1) / 1e6
        work_s = waiting * seconds / max(taken, 1)
        shrinks = max(before - waiting, 0) / seconds
        was = self.thin
        if work_s > self._limit_s and waiting > CURRENT_WITHIN_S * shrinks:
            self._calm = 0
            self.thin = min(2 * self.thin, self._most)
        elif work_s > CALM_SHARE * self._limit_s:
            self._calm = 0
        else:
            self._calm += 1
            if self._calm >= CALM_LOOKS and self.thin > 1:
                self._calm = 0
                self.thin = max(self.thin // 2, 1)
        return self.thin != was

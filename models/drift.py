"""Drift tests on standardised errors: has a series become harder to forecast than it was?

Two detectors watch the size of each series' standardised lead-1 errors: ADWIN (Bifet and Gavalda 2007), which finds a change of the mean
in a window that adapts itself, and Page-Hinkley (Page 1954), quicker on abrupt rises. ADWIN is river's; of Page-Hinkley only river's
recursion is taken, on columns, as an object costs more than a forecast does.

A test that runs for ever forgets how to find anything, and its state must have a bound. So both run over segments: at most ``SEGMENT``
errors are kept, and from the middle of a segment on a second pair of detectors is fed beside the first. When the segment is full,
the second pair takes over with the newest half. Thus no observation costs much more than another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]

SEGMENT = 1_024
HALF = SEGMENT // 2
BIGGEST = 10.0
"""Errors count for at most this many typical errors: one spike is an anomaly, not drift."""
NEWEST = 16
"""Errors whose mean is "now", for evidence and for the end of an alert."""
MIN_ERRORS = 32
"""Errors that a detector wants to have seen before it says anything."""
FORGETTING = 1 - 0.0001
"""Page-Hinkley's factor on its sum, river's default."""
_COUNT, _MEAN, _SUM, _LOWEST = range(4)
_FRESH = (0.0, 0.0, 0.0, np.inf)


@dataclass(frozen=True, slots=True)
class DriftSettings:
    """Confidence of ADWIN and threshold of Page-Hinkley, in typical errors summed. Defaults: chosen for few false alarms."""

    adwin_delta: float = 1e-5
    page_hinkley_threshold: float = 40.0
    page_hinkley_delta: float = 0.3
    minimum_rise: float = 1.5


@dataclass(frozen=True, slots=True)
class Detection:
    """A detector's finding: mean error size before and now (in typical errors), and how many errors each mean rests on."""

    detector: str
    before: float
    after: float
    before_count: int
    after_count: int


def change_point(errors: Floats) -> int:
    """Where [n >= 2] values most likely change their mean: the split that maximises the difference of the means over its deviation.

    The least-squares estimate of a single change (Hinkley 1970). ADWIN's own cut drops its window in halves and lags behind it.
    """
    count = len(errors)
    before = np.arange(1, count)
    total = errors.cumsum()
    difference = (total[-1] - total[:-1]) / (count - before) - total[:-1] / before
    return int(np.argmax(np.abs(difference) * np.sqrt(before * (count - before) / count))) + 1


def page_hinkley(state: Floats, values: Floats, delta: float, threshold: float) -> NDArray[np.bool_]:
    """One step of Page-Hinkley for rises: ``state`` [B, 4] is moved on by ``values`` [B]; returns which rise [B].

    The recursion is that of river.drift.PageHinkley(mode="up"), operation by operation. What rises begins anew.
    """
    count, mean, total, lowest = state.T
    count += 1.0
    mean += (1.0 / count) * (values - mean)
    total *= FORGETTING
    total += values - mean
    total -= delta
    np.minimum(lowest, total, out=lowest)
    rises: NDArray[np.bool_] = (total - lowest > threshold) & (count >= MIN_ERRORS)
    if rises.any():
        state[rises] = _FRESH
    return rises


class DriftTests:
    """The tests of N series: the errors of each segment float32 [N, SEGMENT], Page-Hinkley's sums [N, 2, 4], and ADWIN objects."""

    def __init__(self, settings: DriftSettings) -> None:
        self.settings = settings
        self.errors = np.zeros((0, SEGMENT), np.float32)
        self.counts = np.zeros(0, np.int64)
        self._sums = np.zeros((0, 2, 4))
        # The detectors, and those that are to follow them: None in the first half of a segment.
        self._adwin: list[ADWIN] = []
        self._next: list[ADWIN | None] = []

    def resize(self, rows: int) -> None:
        """Make room for ``rows`` series."""
        more = rows - len(self.counts)
        if more <= 0:
            return
        self.errors = np.concatenate([self.errors, np.zeros((more, SEGMENT), np.float32)])
        self.counts = np.concatenate([self.counts, np.zeros(more, np.int64)])
        self._sums = np.concatenate([self._sums, np.full((more, 2, 4), _FRESH)])
        self._adwin += [self._fresh() for _ in range(more)]
        self._next += [None] * more

    def _fresh(self) -> ADWIN:
        return ADWIN(delta=self.settings.adwin_delta, clock=4, grace_period=MIN_ERRORS)

    def reset(self, row: int) -> None:
        """Begin anew in a row."""
        self.counts[row] = 0
        self._sums[row] = _FRESH
        self._adwin[row], self._next[row] = self._fresh(), None

    def update(self, rows: Rows, standardised_errors: Floats) -> list[tuple[int, Detection]]:
        """Take one error (any sign, in typical errors) of each of ``rows`` [B], unique.

        Returns detections, with their place among the rows, in order. A change that is found, told or not, ends the segment: the tests
        begin anew after it.
        """
        sizes = np.minimum(np.abs(standardised_errors), BIGGEST).astype(np.float32)
        at = self.counts[rows]
        if (at >= SEGMENT).any():
            self._renew(rows[at >= SEGMENT])
            at = self.counts[rows]
        self.errors[rows, at] = sizes
        self.counts[rows] = at + 1
        values = sizes.astype(np.float64)
        rose = self._page_hinkley(rows, 0, values)
        detectors = [self._adwin[row] for row in rows.tolist()]
        for detector, value in zip(detectors, values.tolist(), strict=True):
            detector.update(value)
        changed = [detector.drift_detected for detector in detectors]
        late = at >= HALF
        if late.any():
            self._feed_next(rows[late], values[late])
        if True not in changed and not rose.any():
            return []
        where = np.flatnonzero(rose | np.array(changed)).tolist()
        found = [(index, self._found(int(rows[index]), changed[index])) for index in where]
        return [(index, detection) for index, detection in found if detection is not None]

    def _page_hinkley(self, rows: Rows, which: int, values: Floats) -> NDArray[np.bool_]:
        state = self._sums[rows, which]
        rises = page_hinkley(state, values, self.settings.page_hinkley_delta, self.settings.page_hinkley_threshold)
        self._sums[rows, which] = state
        return rises

    def _feed_next(self, rows: Rows, values: Floats) -> None:
        # What these find is not told: the detectors that are in force have seen the same errors.
        self._page_hinkley(rows, 1, values)
        for row, value in zip(rows.tolist(), values.tolist(), strict=True):
            detector = self._next[row]
            if detector is None:
                detector = self._next[row] = self._fresh()
            detector.update(value)

    def _renew(self, rows: Rows) -> None:
        """End full segments: their newest half begins the next."""
        self.errors[rows, :HALF] = self.errors[rows, HALF:]
        self.counts[rows] = HALF
        self._sums[rows, 0] = self._sums[rows, 1]
        self._sums[rows, 1] = _FRESH
        for row in rows.tolist():
            self._adwin[row], self._next[row] = self._next[row] or self._fresh(), None

    def _found(self, row: int, by_adwin: bool) -> Detection | None:
        errors = self.errors[row, : self.counts[row]].astype(np.float64)
        self.reset(row)
        split = change_point(errors)
        found = Detection(
            detector="adwin" if by_adwin else "page-hinkley",
            before=float(errors[:split].mean()),
            after=float(errors[split:].mean()),
            before_count=split,
            after_count=len(errors) - split,
        )
        return found if found.after > self.settings.minimum_rise * found.before else None

    def now(self, row: int) -> float:
        """Mean size of a row's newest errors, in typical errors; 0 before there is one."""
        count = int(self.counts[row])
        newest = self.errors[row, max(0, count - NEWEST) : count]
        return float(newest.astype(np.float64).mean()) if count else 0.0

    def snapshot(self, row: int) -> dict[str, NDArray[Any]]:
        """The errors since the segment began, and Page-Hinkley's sums. ADWIN's state follows from the errors."""
        return {
            "drift.errors": self.errors[row, : self.counts[row]].copy(),
            "drift.sums": self._sums[row].copy(),
        }

    def restore(self, row: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """The exact inverse: ADWIN is fed the same errors. Raises KeyError or ValueError where the state is another's."""
        errors, sums = arrays["drift.errors"], arrays["drift.sums"]
        if errors.ndim != 1 or len(errors) > SEGMENT or sums.shape != (2, 4):
            raise ValueError(f"drift errors {errors.shape} and sums {sums.shape} are of other tests")
        self.reset(row)
        self.errors[row, : len(errors)] = errors
        self.counts[row] = len(errors)
        self._sums[row] = sums
        sizes = self.errors[row, : len(errors)].astype(np.float64).tolist()
        for size in sizes:
            self._adwin[row].update(size)
        if len(sizes) > HALF:
            self._next[row] = following = self._fresh()
            for size in sizes[HALF:]:
                following.update(size)

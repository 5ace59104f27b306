"""Drift tests on standardised errors: has this series become harder to forecast than it was?

Two of river's detectors watch the size of each series' standardised lead-1 errors: ADWIN (Bifet and Gavalda 2007), which finds a change
of the mean in a window that adapts itself, and Page-Hinkley (Page 1954), quicker on abrupt rises. A detector's state is the errors it
has seen since its segment began, at most ``SEGMENT`` of them: a full segment ends with a fresh detector that is fed the newest half
again. So the state is plain numbers, bounded, and restored exactly by feeding them again, without pickling anybody's objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN, PageHinkley

SEGMENT = 1_024
BIGGEST = 10.0
"""Errors count for at most this many typical errors: one spike is an anomaly, not drift."""
NEWEST = 16
"""Errors whose mean is "now", for evidence and for the end of an alert."""


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


def change_point(errors: NDArray[np.float64]) -> int:
    """Where [n >= 2] values most likely change their mean: the split that maximises the difference of the means over its deviation.

    The least-squares estimate of a single change (Hinkley 1970). ADWIN's own cut drops its window in halves and lags behind it.
    """
    count = len(errors)
    before = np.arange(1, count)
    total = errors.cumsum()
    difference = (total[-1] - total[:-1]) / (count - before) - total[:-1] / before
    return int(np.argmax(np.abs(difference) * np.sqrt(before * (count - before) / count))) + 1


class SeriesDrift:
    """The detectors of one series."""

    __slots__ = ("_adwin", "_page_hinkley", "errors", "settings")

    def __init__(self, settings: DriftSettings) -> None:
        self.settings = settings
        self.errors: list[float] = []
        self._fresh()

    def _fresh(self) -> None:
        self._adwin = ADWIN(delta=self.settings.adwin_delta, clock=4, grace_period=32)
        self._page_hinkley = PageHinkley(
            min_instances=32,
            delta=self.settings.page_hinkley_delta,
            threshold=self.settings.page_hinkley_threshold,
            mode="up",
        )

    def update(self, standardised_error: float) -> Detection | None:
        """Take one error (any sign, in typical errors). A detection ends the segment: the tests begin anew after the change."""
        size = float(np.float32(min(abs(standardised_error), BIGGEST)))
        if len(self.errors) >= SEGMENT:
            # Feeding the newest half again must not raise an alert a second time: the outcome of each update is dropped.
            kept = self.errors[-SEGMENT // 2 :]
            self.errors = []
            self._fresh()
            for old in kept:
                self._feed(old)
        return self._feed(size)

    def _feed(self, size: float) -> Detection | None:
        self.errors.append(size)
        self._adwin.update(size)
        self._page_hinkley.update(size)
        changed = self._adwin.drift_detected
        rose = self._page_hinkley.drift_detected
        if not (changed or rose):
            return None
        errors = np.array(self.errors)
        split = change_point(errors)
        found = Detection(
            detector="adwin" if changed else "page-hinkley",
            before=float(errors[:split].mean()),
            after=float(errors[split:].mean()),
            before_count=split,
            after_count=len(errors) - split,
        )
        self.errors = []
        self._fresh()
        return found if found.after > self.settings.minimum_rise * found.before else None

    @property
    def now(self) -> float:
        """Mean size of the newest errors, in typical errors; 0 before there is one."""
        return float(np.mean(self.errors[-NEWEST:])) if self.errors else 0.0

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The errors since the segment began."""
        return {"drift.errors": np.array(self.errors, np.float32)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """The exact inverse: the detectors are fed the same errors."""
        self.errors = []
        self._fresh()
        for size in arrays["drift.errors"].tolist():
            self._feed(size)

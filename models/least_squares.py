"""Recursive least squares with exact delayed updates, stacked over series.

The gain of a window depends on its inputs alone, so it is computed at the cutoff; lead h is corrected with it h steps later, when its
target is known. That is the ordinary recursion (Ljung, System Identification, 1999, section 11.2), each lead on its own clock: what a
lead has learnt is exactly what an undelayed recursion would have learnt from the targets known so far.

Inputs and targets are over a scale that hardly moves. Over the spread of the recent windows, which the network wants, the loud days
would weigh as little as the quiet ones, and squared errors are made on the loud ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.arena import Arrays, Field

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
START_VARIANCE = 0.01
"""Prior variance of a coefficient on scaled inputs, 1 / ridge: a hundred windows must agree before much is believed."""
TRACE_LIMIT = 0.1
"""Forgetting stops while the mean of the covariance's diagonal is above this: without excitation (a sensor that is stuck) it would grow
without bound, and the first movement after it would be believed too much."""
TARGET_LIMIT = 20.0
"""Scaled targets are clipped here."""
ERROR_LIMIT = 3.0
"""And the errors that correct the coefficients here (as Huber's loss does, 1964): a spike must not turn them."""


class LeastSquares:
    """N series: covariance [N, D, D], coefficients [N, H, D], rings of the last H inputs and gains [N, H, D] and scales [N, H]."""

    def __init__(self, name: str, width: int, horizon: int, forgetting: float) -> None:
        """``name`` begins the names of the fields, ``width`` is D."""
        self.name, self.width, self.horizon, self.forgetting = name, width, horizon, forgetting
        self.arrays: Arrays = {}

    def fields(self) -> list[Field]:
        """See ``models.arena.Part``."""
        rings = (self.horizon, self.width)
        return [
            Field(f"{self.name}.covariance", np.float64, (self.width, self.width)),
            Field(f"{self.name}.coefficients", np.float64, rings),
            Field(f"{self.name}.inputs", np.float64, rings),
            Field(f"{self.name}.gains", np.float64, rings),
            Field(f"{self.name}.units", np.float64, (self.horizon,)),
        ]

    def _array(self, name: str) -> Floats:
        return self.arrays[f"{self.name}.{name}"]

    def reset(self, rows: Rows) -> None:
        """Start these rows anew: they forecast the last value."""
        for name in ("coefficients", "inputs", "gains", "units"):
            self._array(name)[rows] = 0.0
        self._array("covariance")[rows] = START_VARIANCE * np.eye(self.width)

    def loosen(self, rows: Rows) -> None:
        """Believe new windows as at the start: what the coefficients are stays, how sure they are does not."""
        diagonal = np.arange(self.width)
        covariance = self._array("covariance")
        covariance[rows[:, None], diagonal, diagonal] += START_VARIANCE

    def forecast(self, rows: Rows, slots: Rows, inputs: Floats, alive: NDArray[np.bool_], unit: Floats) -> Floats:
        """Forecast [B, H] of what is added to the newest value, in the series' own units.

        ``inputs`` [B, D] are over ``unit`` [B]. Those not ``alive`` [B, D] are 0 for this series, and stay as at the start. Also takes
        the window's gain, for ``learn`` to use when its targets are known.
        """
        covariance = self._array("covariance")[rows]
        product = np.matmul(covariance, inputs[:, :, None])  # [B, D, 1]
        spread = np.matmul(inputs[:, None, :], product)  # [B, 1, 1]
        gain = product / (self.forgetting + spread)
        covariance = covariance - gain * product.transpose(0, 2, 1)
        size = np.ascontiguousarray(np.diagonal(covariance, axis1=1, axis2=2)).mean(-1)
        divisor = np.where(size < TRACE_LIMIT, self.forgetting, 1.0)[:, None, None]
        covariance = covariance / divisor
        # Rounding breaks the symmetry that the recursion needs to stay positive.
        covariance = 0.5 * (covariance + covariance.transpose(0, 2, 1))
        diagonal = np.arange(self.width)
        covariance[:, diagonal, diagonal] = np.where(alive, covariance[:, diagonal, diagonal], START_VARIANCE)
        self._array("covariance")[rows] = covariance
        at = slots % self.horizon
        self._array("inputs")[rows, at] = inputs
        self._array("gains")[rows, at] = gain[:, :, 0]
        self._array("units")[rows, at] = unit
        made: Floats = np.matmul(self._array("coefficients")[rows], inputs[:, :, None])[:, :, 0]
        return made * unit[:, None]

    def learn(self, rows: Rows, cutoffs: Rows, moved: Floats, known: NDArray[np.bool_]) -> None:
        """Correct lead h with the window of ``cutoffs`` [B, H] (one per lead) and its target.

        ``moved`` [B, H] is the target minus the value at that cutoff, in the series' own units, where ``known`` [B, H].
        """
        at = cutoffs % self.horizon
        inputs = self._array("inputs")[rows[:, None], at]  # [B, H, D]
        gains = self._array("gains")[rows[:, None], at]
        unit = self._array("units")[rows[:, None], at]
        known = known & (unit > 0)
        with np.errstate(over="ignore"):  # an absurd value over a tiny scale is clipped like any other
            targets = np.clip(moved / np.where(known, unit, 1.0), -TARGET_LIMIT, TARGET_LIMIT)
        coefficients = self._array("coefficients")[rows]
        said = (inputs * coefficients).sum(-1)
        error = np.where(known, np.clip(targets - said, -ERROR_LIMIT, ERROR_LIMIT), 0.0)
        self._array("coefficients")[rows] = coefficients + gains * error[:, :, None]

"""Recursive least squares with exact delayed updates, stacked over series.

The gain of a window depends on its inputs alone, so it is computed at the cutoff; lead h is corrected with it h steps later, when its
target is known. That is the ordinary recursion (Ljung, System Identification, 1999, section 11.2), each lead on its own clock: what a
lead has learnt is exactly what an undelayed recursion would have learnt from the targets known so far.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.arena import Arrays, Field
from models.calendar import WIDTH

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
START_VARIANCE = 1.0
"""Prior variance of a coefficient on scaled inputs: 1 / ridge."""
TRACE_LIMIT = 100.0
"""Forgetting stops while the mean of the covariance's diagonal is above this: without excitation it would grow without bound."""


class LeastSquares:
    """N series: covariance [N, D, D], coefficients [N, H, D], and rings of the last H inputs and gains [N, H, D]; D = lags + calendar + 1."""

    def __init__(self, lags: int, horizon: int, forgetting: float) -> None:
        self.lags, self.horizon, self.forgetting = lags, horizon, forgetting
        self.width = lags + WIDTH + 1
        self.arrays: Arrays = {}

    def fields(self) -> list[Field]:
        """See ``models.arena.Part``."""
        rings = (self.horizon, self.width)
        return [
            Field("rls.covariance", np.float64, (self.width, self.width)),
            Field("rls.coefficients", np.float64, rings),
            Field("rls.inputs", np.float64, rings),
            Field("rls.gains", np.float64, rings),
        ]

    def reset(self, rows: Rows) -> None:
        """Start these rows anew: they forecast the last value."""
        for name in ("rls.coefficients", "rls.inputs", "rls.gains"):
            self.arrays[name][rows] = 0.0
        self.arrays["rls.covariance"][rows] = START_VARIANCE * np.eye(self.width)

    def forecast(self, rows: Rows, slots: Rows, centred: Floats, season: Floats) -> Floats:
        """Forecast [B, H], centred and scaled as the inputs: ``centred`` [B, >=lags] window minus its last value, ``season`` [B, 4].

        Also takes the window's gain, for ``learn`` to use when its targets are known.
        """
        inputs = np.concatenate([centred[:, -self.lags :], season, np.ones((len(rows), 1))], axis=1)
        covariance = self.arrays["rls.covariance"][rows]
        product = np.matmul(covariance, inputs[:, :, None])  # [B, D, 1]
        spread = np.matmul(inputs[:, None, :], product)  # [B, 1, 1]
        gain = product / (self.forgetting + spread)
        covariance = covariance - gain * product.transpose(0, 2, 1)
        size = np.ascontiguousarray(np.diagonal(covariance, axis1=1, axis2=2)).mean(-1)
        divisor = np.where(size < TRACE_LIMIT, self.forgetting, 1.0)[:, None, None]
        covariance = covariance / divisor
        # Rounding breaks the symmetry that the recursion needs to stay positive.
        self.arrays["rls.covariance"][rows] = 0.5 * (covariance + covariance.transpose(0, 2, 1))
        at = slots % self.horizon
        self.arrays["rls.inputs"][rows, at] = inputs
        self.arrays["rls.gains"][rows, at] = gain[:, :, 0]
        made: Floats = np.matmul(self.arrays["rls.coefficients"][rows], inputs[:, :, None])[:, :, 0]
        return made

    def learn(self, rows: Rows, cutoffs: Rows, targets: Floats, known: NDArray[np.bool_]) -> None:
        """Correct lead h with the window of ``cutoffs`` [B, H] (one per lead) and its target [B, H], centred and scaled as at that cutoff."""
        at = cutoffs % self.horizon
        inputs = self.arrays["rls.inputs"][rows[:, None], at]  # [B, H, D]
        gains = self.arrays["rls.gains"][rows[:, None], at]
        coefficients = self.arrays["rls.coefficients"][rows]
        said = (inputs * coefficients).sum(-1)
        error = np.where(known, np.clip(targets - said, -20.0, 20.0), 0.0)
        self.arrays["rls.coefficients"][rows] = coefficients + gains * error[:, :, None]

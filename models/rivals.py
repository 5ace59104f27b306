"""Well-known online forecasters of another library, to compare with: river's SNARIMAX and Holt-Winters.

They are run as a user of river would run them: every value is learnt as it comes, and a forecast is made from what has
been learnt by then. Their constants are few and the same for every series; they were chosen on the first rows of ETTm1
and ETTh2, which are training rows in the published protocols. With river's own learning rate SNARIMAX diverges there.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from river import linear_model, optim, preprocessing, time_series

Floats = NDArray[np.float64]

RIVALS = ("snarimax", "holt-winters")
LAGS = 12
LEARNING_RATE = 0.003
LEVEL, TREND, SEASON = 0.3, 0.01, 0.1
"""Smoothing constants of Holt-Winters."""
ABSURD = 1e100
"""A forecast beyond it has diverged; it is no forecast."""


class Rivals:
    """Both rivals for one series with a season of ``season`` slots, 0 for none."""

    def __init__(self, season: int) -> None:
        regressor = preprocessing.StandardScaler() | linear_model.LinearRegression(optimizer=optim.SGD(LEARNING_RATE))
        self._models = (
            time_series.SNARIMAX(
                p=LAGS,
                d=1,
                q=0,
                m=max(season, 1),
                sp=1 if season else 0,
                regressor=preprocessing.TargetStandardScaler(regressor),  # type: ignore[arg-type]  # a pipeline is one
            ),
            time_series.HoltWinters(alpha=LEVEL, beta=TREND, gamma=SEASON if season else None, seasonality=season),
        )
        # Differencing needs one value before the first it learns; Holt-Winters begins after a season, or two values.
        self._needed = (2, max(2, season))
        self._learnt = 0

    def learn(self, value: float) -> None:
        """Take the value of the next slot."""
        for model in self._models:
            model.learn_one(value)  # type: ignore[no-untyped-call]
        self._learnt += 1

    def forecast(self, horizon: int) -> Floats:
        """Both forecasts [R, H] from what has been learnt; NaN where a rival cannot say anything yet, or has diverged."""
        points = np.full((len(self._models), horizon), math.nan)
        for row, (model, needed) in enumerate(zip(self._models, self._needed, strict=True)):
            if self._learnt >= needed:
                points[row] = model.forecast(horizon)
        points[~(np.abs(points) < ABSURD)] = math.nan
        return points

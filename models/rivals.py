"""Well-known online forecasters of another library, to compare with: river's SNARIMAX and Holt-Winters.

They are run as a user of river would run them: every value is learnt as it comes, and a forecast is made from what has
been learnt by then. Their constants are few and the same for every series; they were chosen on the first rows of ETTm1
and ETTh2, which are training rows in the published protocols. With river's own learning rate SNARIMAX diverges there.
"""

from __future__ import annotations

import math
from statistics import fmean, pstdev

import numpy as np
from numpy.typing import NDArray
from river import linear_model, optim, preprocessing, time_series

Floats = NDArray[np.float64]

RIVALS = ("snarimax", "holt-winters")
LAGS = 12
LEARNING_RATE = 0.003
CLIP = 1.0
"""Largest gradient of a step, in deviations: without it a spike can make SNARIMAX diverge for good."""
LEVEL, TREND, SEASON = 0.3, 0.01, 0.1
"""Smoothing constants of Holt-Winters."""


class _HoltWinters:
    """Begins additive seasons flat. River begins them with values over their mean, which explodes where that is near
    zero; so it gets values in spreads of the first season, far from zero.
    """

    FAR = 1_000.0

    def __init__(self, season: int) -> None:
        gamma = SEASON if season else None
        self._model = time_series.HoltWinters(alpha=LEVEL, beta=TREND, gamma=gamma, seasonality=season)
        self._needed = max(2, season)
        self._first: list[float] = []
        self._origin, self._spread = 0.0, 1.0

    @property
    def ready(self) -> bool:
        """Whether it has seen a season, or two values."""
        return len(self._first) == self._needed

    def learn_one(self, value: float) -> None:
        """Take the next value."""
        if self.ready:
            self._model.learn_one(self._inward(value))
            return
        self._first.append(value)
        if len(self._first) == self._needed:
            self._origin, self._spread = fmean(self._first), pstdev(self._first) or 1.0
            for one in self._first:
                self._model.learn_one(self._inward(one))

    def forecast(self, horizon: int) -> list[float]:
        """The next ``horizon`` values."""
        ahead = self._model.forecast(horizon)
        return [(one - self.FAR) * self._spread + self._origin for one in ahead]

    def _inward(self, value: float) -> float:
        return (value - self._origin) / self._spread + self.FAR


class Rivals:
    """Both rivals for one series with a season of ``season`` slots, 0 for none."""

    def __init__(self, season: int) -> None:
        regressor = preprocessing.StandardScaler() | linear_model.LinearRegression(
            optimizer=optim.SGD(LEARNING_RATE), clip_gradient=CLIP
        )
        self._snarimax = time_series.SNARIMAX(
            p=LAGS,
            d=1,
            q=0,
            m=max(season, 1),
            sp=1 if season else 0,
            regressor=preprocessing.TargetStandardScaler(regressor),  # type: ignore[arg-type]  # a pipeline is one
        )
        self._holt_winters = _HoltWinters(season)
        self._learnt = 0
        self._low, self._high = math.inf, -math.inf

    def learn(self, value: float) -> None:
        """Take the value of the next slot."""
        self._snarimax.learn_one(value)
        self._holt_winters.learn_one(value)
        self._learnt += 1
        self._low, self._high = min(self._low, value), max(self._high, value)

    def forecast(self, horizon: int) -> Floats:
        """Both forecasts [R, H] from what has been learnt; NaN where a rival cannot say anything.

        They are held within twice the range of the values so far: a recursion that has become unstable would else
        decide every mean.
        """
        points = np.full((len(RIVALS), horizon), math.nan)
        # Differencing needs one value before the first that is learnt.
        if self._learnt >= 2:
            points[0] = self._snarimax.forecast(horizon)
        if self._holt_winters.ready:
            points[1] = self._holt_winters.forecast(horizon)
        room = (self._high - self._low) / 2
        held: Floats = np.clip(points, self._low - room, self._high + room)
        return held

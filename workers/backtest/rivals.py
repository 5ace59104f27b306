"""River's forecasters beside ours, on the same rows, within a bounded share of the run time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.rivals import RIVALS, Rivals
from workers.engine import Forecasts

SHARE = 0.3
"""Share of the run time that the rivals may take: beyond it they forecast at half as many origins."""
FIRST_EVERY, MOST_EVERY = 4, 1_024
LONGEST_GAP = 1_000
"""Missing slots that are filled with the last value at most, as in the engine's windows."""


class _Runner:
    def __init__(self, season: int, slot: int) -> None:
        self.models, self.slot, self.value, self.count = Rivals(season), slot - 1, 0.0, 0


class RivalField:
    """Both rivals for every series. They learn every value; they forecast at every ``every``-th origin.

    ``every`` given: always so. None: as often as ``SHARE`` of the time by ``clock`` (seconds) allows. The origins are
    then chosen by how fast this machine is, so rivals are always compared on the targets that they forecast.
    """

    def __init__(self, horizon: int, every: int | None, clock: Callable[[], float]) -> None:
        self.names = RIVALS
        self.every = every or FIRST_EVERY
        self.largest_every = self.every
        self._fixed = every is not None
        self._horizon, self._clock = horizon, clock
        self._runners: dict[str, _Runner] = {}
        self._since = clock()

    def take(self, made: Forecasts, season_slots: Callable[[int], int]) -> list[NDArray[np.float64] | None]:
        """Learn the values of these forecasts' cutoffs; the rivals' forecasts [R, H] from there, None where not asked."""
        begun = self._clock()
        points = [
            self._one(series, cutoff // step, value, season_slots(step))
            for series, cutoff, step, value in zip(
                made.series, made.cutoff_us.tolist(), made.step_us.tolist(), made.value.tolist(), strict=True
            )
        ]
        if not self._fixed:
            self._pace(begun)
        return points

    def _one(self, name: str, slot: int, value: float, season: int) -> NDArray[np.float64] | None:
        runner = self._runners.get(name)
        if runner is None:
            runner = self._runners[name] = _Runner(season, slot)
        for _ in range(min(slot - runner.slot - 1, LONGEST_GAP)):
            runner.models.learn(runner.value)
        runner.models.learn(value)
        runner.slot, runner.value = slot, value
        runner.count += 1
        return runner.models.forecast(self._horizon) if runner.count % self.every == 0 else None

    def _pace(self, begun: float) -> None:
        now = self._clock()
        share = (now - begun) / max(now - self._since, 1e-9)
        if share > SHARE:
            self.every = min(2 * self.every, MOST_EVERY)
            self.largest_every = max(self.largest_every, self.every)
        elif share < SHARE / 3:
            self.every = max(1, self.every // 2)
        self._since = now

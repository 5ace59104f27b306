"""How reliable the chances to cross thresholds were: each against whether its series crossed within the horizon."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.crossing import SIDES
from workers.effects import Forecasts

Floats = NDArray[np.float64]
BINS = 10


class CrossingScores:
    """Takes all forecasts of a feed with thresholds; those whose horizon was seen without a gap are scored."""

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self._rows: dict[str, list[tuple[int, int, float, float, float]]] = defaultdict(list)
        self._limits: dict[str, Floats] = {}

    def take(self, made: Forecasts, limits: Floats) -> None:
        """Forecasts, and the thresholds [n, 2] of their series."""
        if made.crossings is None:
            return
        rows = zip(
            made.series, made.cutoff_us.tolist(), made.step_us.tolist(), made.value.tolist(), made.crossings.tolist(),
            limits, strict=True,
        )  # fmt: skip
        for series, cutoff_us, step_us, value, chances, limit in rows:
            if not np.isnan(limit).all():
                self._rows[series].append((cutoff_us, step_us, value, *chances))
                self._limits[series] = limit

    def summary(self, from_us: int) -> dict[str, Any] | None:
        """Of forecasts from ``from_us`` on, by side: Brier score (1950), that of the mean frequency, frequencies by chance; None for none."""
        pairs = [self._pairs(series, from_us) for series in self._rows]
        told = {}
        for number, side in enumerate(SIDES):
            chance = np.concatenate([chances[:, number] for chances, _ in pairs] or [np.zeros(0)])
            crossed = np.concatenate([happened[:, number] for _, happened in pairs] or [np.zeros(0, bool)])
            chance, crossed = chance[~np.isnan(chance)], crossed[~np.isnan(chance)]
            if len(chance):
                told[side] = _reliability(chance, crossed)
        return told or None

    def _pairs(self, series: str, from_us: int) -> tuple[Floats, NDArray[np.bool_]]:
        """Chances and what happened, both [n, 2]."""
        rows = np.array(self._rows[series])
        horizon, limit = self.horizon, self._limits[series]
        if len(rows) <= horizon:
            return np.zeros((0, 2)), np.zeros((0, 2), bool)
        times, steps, values = (rows[:, column] for column in range(3))
        whole = (times[horizon:] - times[:-horizon] == horizon * steps[:-horizon]) & (times[:-horizon] >= from_us)
        ahead = np.lib.stride_tricks.sliding_window_view(values[1:], horizon)
        happened = np.stack([ahead.max(1) > limit[0], ahead.min(1) < limit[1]], axis=1)
        return rows[:-horizon, 3:][whole], happened[whole]


def _reliability(chance: Floats, crossed: NDArray[np.bool_]) -> dict[str, Any]:
    share = float(crossed.mean())
    place = np.minimum((chance * BINS).astype(int), BINS - 1)
    return {
        "forecasts": len(chance),
        "frequency": share,
        "brier": float(np.mean((chance - crossed) ** 2)),
        "brier_of_frequency": share * (1 - share),
        "reliability": [
            {
                "forecasts": int(inside.sum()),
                "chance": float(chance[inside].mean()),
                "frequency": float(crossed[inside].mean()),
            }
            for inside in (place == number for number in range(BINS))
            if inside.any()
        ],
    }

"""Reliability of chances to cross: the scores equal brute force, and a gap in a horizon leaves its forecast out."""

from __future__ import annotations

import numpy as np
import pytest

from workers.backtest.crossing import CrossingScores
from workers.effects import Forecasts

HORIZON, STEP_US = 3, 60_000_000


def taken(slots: list[int], values: list[float], chances: list[float]) -> CrossingScores:
    """A series "a" with a threshold above 1.0, and "b" with none."""
    scores, count = CrossingScores(HORIZON), len(slots)
    for name, limits in (("a", [1.0, np.nan]), ("b", [np.nan, np.nan])):
        made = Forecasts(
            series=[name] * count,
            index=np.arange(count),
            row=np.zeros(count, np.int64),
            record=np.zeros(count, np.int32),
            item=np.zeros(count, np.int32),
            cutoff_us=np.array(slots) * STEP_US,
            step_us=np.full(count, STEP_US),
            value=np.array(values),
            quantiles=np.zeros((count, HORIZON, 1)),
            weights=np.zeros((count, 1)),
            ready=np.ones(count, bool),
            model=np.zeros(count, np.int32),
            crossings=np.stack([np.array(chances), np.full(count, np.nan)], axis=1),
        )
        scores.take(made, np.tile(limits, (count, 1)))
    return scores


def test_chances_are_scored_by_what_happened_within_the_horizon() -> None:
    told = taken(list(range(8)), [0, 0, 0, 2, 0, 0, 0, 0], [0.9, 0.8, 0.7, 0.2, 0.1, 0.5, 0.5, 0.5]).summary(0)
    assert told is not None
    assert list(told) == ["above"]
    above = told["above"]
    # The last three have not seen their horizon; of the first five, three came before the value of 2.
    assert above["forecasts"] == 5
    assert above["frequency"] == pytest.approx(3 / 5)
    assert above["brier"] == pytest.approx(np.mean(np.square([0.1, 0.2, 0.3, 0.2, 0.1])))
    assert sum(one["forecasts"] for one in above["reliability"]) == 5


def test_a_forecast_whose_horizon_has_a_gap_is_not_scored_nor_one_before_the_scored_rows() -> None:
    slots = [0, 1, 2, 4, 5, 6, 7]
    told = taken(slots, [0.0] * 7, [0.5] * 7).summary(0)
    assert told is not None
    assert told["above"]["forecasts"] == 1
    assert taken(slots, [0.0] * 7, [0.5] * 7).summary(5 * STEP_US) is None

from __future__ import annotations

import numpy as np
import pytest

from models.rivals import RIVALS, Rivals
from workers.backtest.rivals import MOST_EVERY, RivalField
from workers.engine import Forecasts


def learnt(values: list[float], season: int = 0) -> Rivals:
    rivals = Rivals(season)
    for value in values:
        rivals.learn(value)
    return rivals


def test_a_rival_says_nothing_before_it_can() -> None:
    assert np.isnan(learnt([1.0]).forecast(3)).all()
    first, second = learnt([1.0, 2.0, 1.5], season=4).forecast(3)
    assert np.isfinite(first).all()
    assert np.isnan(second).all()


def test_both_rivals_learn_a_season() -> None:
    wave = [float(10 + 5 * np.sin(2 * np.pi * at / 12)) for at in range(1200)]
    ahead = np.array([10 + 5 * np.sin(2 * np.pi * at / 12) for at in range(1200, 1212)])
    for points in learnt(wave, season=12).forecast(12):
        assert np.abs(points - ahead).mean() < 1.5 < np.abs(ahead - wave[-1]).mean()


def test_holt_winters_is_sane_after_its_first_season_wherever_the_series_lies() -> None:
    for level in (0.0, 1e-3, 1e6):
        wave = [level + float(np.sin(2 * np.pi * at / 12)) for at in range(14)]
        points = learnt(wave, season=12).forecast(12)[1]
        assert np.abs(points - level).max() < 3.0


def test_a_rival_that_diverges_is_held_within_twice_the_range_seen() -> None:
    random = np.random.default_rng(1)
    jump = np.concatenate([0.01 * random.normal(size=150), 1_000 + 50 * random.normal(size=300)])
    rivals = Rivals(12)
    for at, value in enumerate(jump.tolist()):
        rivals.learn(value)
        if at > 50 and at % 10 == 0:
            low, high = jump[: at + 1].min(), jump[: at + 1].max()
            points, room = rivals.forecast(24), (high - low) / 2
            assert low - room <= points.min() <= points.max() <= high + room


class Clock:
    """Stands still but where it is told to go on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.costs = 0.0

    def __call__(self) -> float:
        self.now += self.costs
        return self.now


def column(slots: list[int]) -> Forecasts:
    n = len(slots)
    return Forecasts(
        series=["a"] * n,
        index=np.arange(n),
        row=np.zeros(n, np.int64),
        record=np.zeros(n, np.int32),
        item=np.zeros(n, np.int32),
        cutoff_us=np.array(slots) * 10,
        step_us=np.full(n, 10),
        value=np.array(slots, np.float64),
        quantiles=np.zeros((n, 2, 1)),
        weights=np.zeros((n, 1)),
        ready=np.zeros(n, bool),
        model=np.zeros(n, np.int32),
    )


@pytest.mark.parametrize(("engine_s", "rarer"), [(0.1, True), (1_000.0, False)])
def test_rivals_forecast_more_rarely_while_they_take_too_much_of_the_time(engine_s: float, rarer: bool) -> None:
    clock = Clock()
    field = RivalField(2, None, clock)
    before = field.every
    for batch in range(12):
        clock.now += engine_s
        clock.costs = 1.0
        field.take(column([batch]), lambda _: 0)
        clock.costs = 0.0
    assert (field.every == MOST_EVERY) if rarer else (field.every == 1 < before)


def test_missing_slots_count_as_the_last_value() -> None:
    field = RivalField(2, 1, Clock())
    with_gap = field.take(column([0, 1, 2, 6]), lambda _: 0)[-1]
    plain = RivalField(2, 1, Clock())
    filled = column([0, 1, 2, 3, 4, 5, 6])
    filled.value[3:6] = 2.0
    assert with_gap is not None
    assert with_gap.tolist() == np.asarray(plain.take(filled, lambda _: 0)[-1]).tolist()
    assert len(with_gap) == len(RIVALS)

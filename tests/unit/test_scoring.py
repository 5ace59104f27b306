"""Prequential scores: an exact forecaster scores zero, and all sums equal brute force."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from workers.measures import crps_weights
from workers.scoring import LAST, MOST_FANS, SEASONAL, Origins, Scorer

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
H = 5
STEP_US = 60_000_000
START_US = 1_767_225_600_000_000
Values = list[float | None]


def quantiles(median: np.ndarray, half_width: float = 1.0) -> np.ndarray:
    return median[:, None] + half_width * np.array([-1.0, -0.5, 0.0, 0.5, 1.0])


def score(
    values: Values, medians: np.ndarray, season: int = 0, rivals: np.ndarray | None = None, **options: Any
) -> Scorer:
    """Take ``values`` on consecutive slots, None for a missing one, with ``medians`` [n, H]; the rival says ``rivals`` [n, H]."""
    scorer = Scorer(H, LEVELS, rivals=() if rivals is None else ("rival",), **options)
    for slot, (value, median) in enumerate(zip(values, medians, strict=True)):
        if value is not None:
            others = None if rivals is None else rivals[slot : slot + 1]
            scorer.take("a", START_US + slot * STEP_US, STEP_US, season, value, quantiles(median), rivals=others)
    scorer.finish()
    return scorer


def pairs(values: Values, lead: int) -> list[tuple[int, float]]:
    """Cutoff slot and target of every pair that were both observed, ``lead`` apart."""
    found = []
    for slot, target in enumerate(values):
        if slot >= lead and target is not None and values[slot - lead] is not None:
            found.append((slot - lead, target))
    return found


def brute_force(values: Values, medians: np.ndarray, power: int = 1) -> list[float]:
    """Mean error at each lead."""
    return [
        float(np.mean([abs(target - medians[cutoff][lead - 1]) ** power for cutoff, target in pairs(values, lead)]))
        for lead in range(1, H + 1)
    ]


def by_lead(scorer: Scorer, sums: str, forecaster: str) -> list[float]:
    number, series = scorer.forecasters.index(forecaster), scorer.series["a"]
    means: list[float] = (getattr(series, sums)[number] / series.count[number]).tolist()
    return means


def walk(length: int, missing: float, seed: int = 1) -> tuple[Values, np.ndarray]:
    random = np.random.default_rng(seed)
    values = [None if random.random() < missing else float(value) for value in random.normal(0, 2, length).cumsum()]
    medians = np.array([0.0 if value is None else value for value in values])[:, None] + random.normal(
        0, 1, (length, H)
    )
    return values, medians


@pytest.mark.parametrize("block", [1, 7, 32])
def test_an_exact_forecaster_on_a_ramp_scores_zero_at_every_lead(block: int) -> None:
    ramp: Values = [3.0 * slot for slot in range(40)]
    exact = np.array([[3.0 * (slot + lead) for lead in range(1, H + 1)] for slot in range(40)])
    scorer = score(ramp, exact, block=block)
    scored = scorer.series["a"]
    for sums in ("absolute", "squared"):
        assert by_lead(scorer, sums, "mixture") == [0.0] * H
    assert by_lead(scorer, "absolute", LAST) == [3.0 * lead for lead in range(1, H + 1)]
    assert scored.count[0].tolist() == [40 - lead for lead in range(1, H + 1)]
    assert scored.inside.sum(0).tolist() == [scored.targets] * 2
    assert scored.mean_move == 3.0


def test_a_forecaster_that_is_one_lead_off_does_not_score_zero() -> None:
    ramp: Values = [3.0 * slot for slot in range(40)]
    shifted = np.array([[3.0 * (slot + lead - 1) for lead in range(1, H + 1)] for slot in range(40)])
    assert by_lead(score(ramp, shifted), "absolute", "mixture") == [3.0] * H


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("block", [1, 32])
def test_errors_equal_brute_force_with_and_without_gaps(missing: float, block: int) -> None:
    values, medians = walk(300, missing)
    scorer = score(values, medians, block=block)
    held = np.array([[0.0 if value is None else value] * H for value in values])
    for name, points in (("mixture", medians), (LAST, held)):
        assert by_lead(scorer, "absolute", name) == pytest.approx(brute_force(values, points))
        assert by_lead(scorer, "squared", name) == pytest.approx(brute_force(values, points, 2))


def test_quantile_scores_equal_brute_force() -> None:
    values, medians = walk(120, 0.2)
    scored = score(values, medians).series["a"]
    weights = crps_weights(LEVELS)
    for lead in range(1, H + 1):
        losses, below, inside = np.zeros(5), np.zeros(5), np.zeros(2)
        for cutoff, target in pairs(values, lead):
            said = quantiles(medians[cutoff])[lead - 1]
            for at, level in enumerate(LEVELS):
                error = target - said[at]
                losses[at] += level * error if error > 0 else (level - 1) * error
                below[at] += target <= said[at]
            inside += [said[0] <= target <= said[4], said[1] <= target <= said[3]]
        assert scored.pinball[lead - 1] == pytest.approx(losses)
        assert scored.below[lead - 1].tolist() == below.tolist()
        assert scored.inside[lead - 1].tolist() == inside.tolist()
        assert scored.crps[lead - 1] == pytest.approx(2 * (weights * losses).sum())
        assert scored.width[lead - 1] == pytest.approx(np.array([2.0, 1.0]) * len(pairs(values, lead)))
    assert scored.pit.sum() == pytest.approx(scored.targets)


def test_seasonal_naive_repeats_the_last_season_and_before_that_the_last_value() -> None:
    season = 3
    values = [float(value) for value in np.random.default_rng(2).normal(0, 1, 60)]
    naive = np.empty((60, H))
    for slot in range(60):
        for lead in range(1, H + 1):
            past = slot + lead - season * math.ceil(lead / season)
            naive[slot, lead - 1] = values[past] if past >= 0 else values[slot]
    scorer = score(list(values), np.zeros((60, H)), season)
    assert by_lead(scorer, "absolute", SEASONAL) == pytest.approx(brute_force(list(values), naive))


def test_a_series_is_scored_from_its_second_observation_on() -> None:
    scorer = score([1.0, 4.0], np.full((2, H), 2.0))
    assert scorer.series["a"].targets == 1
    assert scorer.series["a"].mean("absolute", 0) == 2.0
    assert scorer.series["a"].mean("absolute_last", 0) == 3.0


def test_a_target_that_never_comes_is_never_scored() -> None:
    scored = score([1.0, *[None] * H, 2.0], np.zeros((H + 2, H))).series["a"]
    assert scored.targets == 0
    assert scored.mean("absolute", 0) is None
    assert scored.mean_move is None


def test_series_do_not_see_each_other() -> None:
    scorer = Scorer(H, LEVELS)
    for slot in range(20):
        scorer.take("a", slot * STEP_US, STEP_US, 0, 1.0, quantiles(np.ones(H)))
        scorer.take("b", slot * STEP_US + 7, STEP_US, 0, float(slot), quantiles(np.zeros(H)))
    scorer.finish()
    a, b = scorer.series["a"], scorer.series["b"]
    assert a.mean("absolute", 0) == 0.0
    assert (b.absolute[1] / b.count[1]).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_rival_is_compared_on_the_targets_that_it_forecast() -> None:
    values, medians = walk(100, 0.0)
    rivals = np.full((100, H), np.nan)
    rivals[::7] = medians[::7]
    scorer = score(values, medians, rivals=rivals)
    scored, rival = scorer.series["a"], scorer.forecasters.index("rival")
    assert scored.count[rival].tolist() == [len(range(0, 100 - lead, 7)) for lead in range(1, H + 1)]
    # It says what the mixture says, so on its own targets it is exactly as good, whatever the mixture does elsewhere.
    assert scored.absolute[rival] == pytest.approx(scored.absolute_mixture[rival])
    chosen = [abs(target - float(values[cutoff] or 0)) for cutoff, target in pairs(values, 1) if cutoff % 7 == 0]
    assert scored.absolute_last[rival][0] == pytest.approx(sum(chosen))


def test_the_engines_own_naive_experts_are_not_shown_twice() -> None:
    scorer = Scorer(H, LEVELS, experts=("last-value", "other", "seasonal-naive"))
    assert scorer.forecasters == ["mixture", "other", LAST, SEASONAL]
    for slot in range(4):
        points = np.stack([np.full(H, -1.0), np.full(H, 10.0), np.full(H, -2.0)], axis=1)
        scorer.take("a", slot * STEP_US, STEP_US, 0, 3.0, quantiles(np.zeros(H)), points)
    scorer.finish()
    assert scorer.series["a"].mean("absolute", 1) == 7.0
    assert scorer.series["a"].mean("absolute", 2) == 0.0


def test_only_forecasts_whose_first_target_is_in_the_scored_rows_count_and_only_whole_ones() -> None:
    values, medians = walk(50, 0.0)
    scorer = score(values, medians, from_us=START_US + 20 * STEP_US, whole=True)
    cutoffs = range(19, 50 - H)
    assert scorer.series["a"].count[0].tolist() == [len(cutoffs)] * H
    wanted = [abs(float(values[cutoff + 1] or 0) - medians[cutoff][0]) for cutoff in cutoffs]
    assert scorer.series["a"].absolute[0][0] == pytest.approx(sum(wanted))


def test_units_divide_errors_and_leave_shares_alone() -> None:
    values, medians = walk(80, 0.0)
    plain, scaled = score(values, medians).series["a"], score(values, medians, units={"a": 4.0}).series["a"]
    assert scaled.absolute == pytest.approx(plain.absolute / 4)
    assert scaled.squared == pytest.approx(plain.squared / 16)
    assert scaled.crps == pytest.approx(plain.crps / 4)
    assert scaled.inside.tolist() == plain.inside.tolist()


def test_deviation_and_mean_move_are_those_of_the_values() -> None:
    values, medians = walk(200, 0.25)
    scored = score([None if value is None else value + 1e9 for value in values], medians).series["a"]
    known = np.array([value for value in values if value is not None])
    moves = [abs(b - a) for a, b in pairwise(values) if a is not None and b is not None]
    assert scored.deviation == pytest.approx(known.std(), rel=1e-6)
    assert scored.mean_move == pytest.approx(np.mean(moves), rel=1e-6)


def test_origins_hold_each_forecasts_mean_error_in_order() -> None:
    values, medians = walk(90, 0.2)
    scorer = score(values, medians, block=9)
    origins = Origins.joined(scorer.series["a"].blocks)
    wanted = {}
    for slot, value in enumerate(values):
        errors = [
            abs(float(target) - medians[slot][lead - 1])
            for lead in range(1, H + 1)
            if value is not None and slot + lead < 90 and (target := values[slot + lead]) is not None
        ]
        if errors:
            wanted[START_US + slot * STEP_US] = np.mean(errors)
    assert origins.cutoff_us.tolist() == list(wanted)
    assert origins.absolute[:, 0] == pytest.approx(list(wanted.values()))


def test_few_forecasts_are_kept_to_be_drawn_at_even_distances() -> None:
    values, medians = walk(1000, 0.0)
    fans = score(values, medians).series["a"].fans
    assert MOST_FANS // 2 <= len(fans) <= MOST_FANS
    assert len(set(np.diff([fan.cutoff_us for fan in fans]).tolist())) == 1
    assert fans[0].cutoff_us == START_US

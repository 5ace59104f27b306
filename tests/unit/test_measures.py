"""Measures against their definitions, by brute force or by hand."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from workers.measures import (
    crps,
    crps_weights,
    pinball,
    pit_mass,
    ratio,
    symmetric_pairs,
    typical_ratio,
    widest_pair,
)

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def test_pinball_loss_is_its_definition() -> None:
    random = np.random.default_rng(0)
    target, quantiles = random.normal(size=20), np.sort(random.normal(size=(20, 5)), axis=-1)
    found = pinball(target, quantiles, np.array(LEVELS))
    for row in range(20):
        for column, level in enumerate(LEVELS):
            error = target[row] - quantiles[row, column]
            assert found[row, column] == pytest.approx(level * error if error >= 0 else (level - 1) * error)


def test_the_level_with_the_least_expected_pinball_loss_is_the_quantile() -> None:
    sample = np.random.default_rng(1).normal(size=20_001)
    candidates = np.linspace(-3, 3, 601)
    for level in LEVELS:
        losses = pinball(sample[:, None], np.broadcast_to(candidates[:, None], (1, 601, 1)), np.array([level]))
        best = candidates[losses[..., 0].mean(0).argmin()]
        assert best == pytest.approx(np.quantile(sample, level), abs=0.02)


def test_crps_of_a_point_forecast_is_its_absolute_error() -> None:
    weights = crps_weights(LEVELS)
    assert weights.sum() == pytest.approx(1.0)
    for error in (-2.5, 0.0, 0.7):
        losses = pinball(np.array([error]), np.zeros((1, 5)), np.array(LEVELS))
        assert crps(losses, weights)[0] == pytest.approx(abs(error))


def test_crps_of_many_levels_is_that_of_the_distribution() -> None:
    """Of a standard normal, by its closed form (Gneiting and Raftery 2007)."""
    normal = NormalDist()
    levels = tuple((number + 0.5) / 400 for number in range(400))
    quantiles = np.array([[normal.inv_cdf(level) for level in levels]])
    for value in (-1.3, 0.0, 2.0):
        closed = value * (2 * normal.cdf(value) - 1) + 2 * normal.pdf(value) - 1 / np.sqrt(np.pi)
        found = crps(pinball(np.array([value]), quantiles, np.array(levels)), crps_weights(levels))[0]
        assert found == pytest.approx(closed, rel=0.01)


def test_pit_of_a_calibrated_forecast_fills_each_bin_by_its_size() -> None:
    target = np.random.default_rng(2).normal(size=40_000)
    quantiles = np.broadcast_to([NormalDist().inv_cdf(level) for level in LEVELS], (40_000, 5))
    assert pit_mass(target, quantiles, LEVELS).mean(0) == pytest.approx([0.05, 0.2, 0.25, 0.25, 0.2, 0.05], abs=0.01)


def test_a_target_counts_in_the_bin_that_it_falls_into_and_on_a_quantile_below_it() -> None:
    quantiles = np.broadcast_to([1.0, 2.0, 3.0, 4.0, 5.0], (4, 5))
    mass = pit_mass(np.array([0.0, 2.5, 3.0, 9.0]), quantiles, LEVELS)
    assert mass.argmax(1).tolist() == [0, 2, 2, 5]
    assert mass.max(1).tolist() == [1.0] * 4


def test_a_series_that_stands_still_and_is_forecast_so_is_spread_over_the_bins() -> None:
    still = pit_mass(np.array([7.0]), np.full((1, 5), 7.0), LEVELS)[0]
    assert still == pytest.approx(np.array([0, 0.2, 0.25, 0.25, 0.2, 0]) / 0.9)


def test_the_intervals_are_the_symmetric_pairs_widest_first() -> None:
    assert symmetric_pairs(LEVELS) == [(0, 4), (1, 3)]
    assert widest_pair((0.01, 0.05, 0.5, 0.95)) == (1, 3)
    assert widest_pair((0.3, 0.5)) == (1, 1)


def test_a_ratio_needs_both_errors_and_a_divisor() -> None:
    assert ratio(1.0, 2.0) == 0.5
    assert ratio(1.0, 0.0) is None
    assert ratio(None, 2.0) is None
    assert typical_ratio([0.5, 2.0, None]) == pytest.approx(1.0)
    assert typical_ratio([None]) is None
    assert typical_ratio([0.0, 2.0]) == 0.0

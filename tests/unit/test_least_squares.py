from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.arena import Arena
from models.least_squares import ERROR_LIMIT, START_VARIANCE, TRACE_LIMIT, LeastSquares

ROW = np.array([0])
UNIT = np.ones(1)


def _expert(width: int, horizon: int, forgetting: float) -> LeastSquares:
    expert = LeastSquares("rls", width, horizon, forgetting)
    Arena([expert]).resize(1)
    expert.reset(ROW)
    return expert


def _all(width: int) -> NDArray[np.bool_]:
    return np.ones((1, width), bool)


def test_each_lead_has_learnt_exactly_the_ridge_regression_on_its_known_targets() -> None:
    rng = np.random.default_rng(0)
    width, horizon, n = 7, 3, 60
    seen = 0.1 * rng.standard_normal((n, width))
    series = 0.1 * rng.standard_normal(n).cumsum()
    expert = _expert(width, horizon, 1.0)
    for cutoff in range(n):
        due = cutoff - 1 - np.arange(horizon)
        moved = series[cutoff] - series[np.maximum(due, 0)]
        expert.learn(ROW, due[None], moved[None], due[None] >= 0)
        expert.forecast(ROW, np.array([cutoff]), seen[cutoff : cutoff + 1], _all(width), UNIT)
    learnt = expert.arrays["rls.coefficients"][0]
    for lead in range(1, horizon + 1):
        x, y = seen[: n - lead], series[lead:] - series[:-lead]
        ridge = np.linalg.solve(x.T @ x + np.eye(width) / START_VARIANCE, x.T @ y)
        np.testing.assert_allclose(learnt[lead - 1], ridge, atol=1e-8)


def test_forecasts_are_in_the_series_own_units() -> None:
    small, large = _expert(3, 1, 0.999), _expert(3, 1, 0.999)
    rng = np.random.default_rng(1)
    said = []
    for slot in range(50):
        inputs, moved = rng.standard_normal((1, 3)), rng.standard_normal((1, 1))
        pair = []
        for expert, unit in ((small, 1.0), (large, 1e6)):
            expert.learn(ROW, np.array([[slot - 1]]), moved * unit, np.array([[slot > 0]]))
            pair.append(expert.forecast(ROW, np.array([slot]), inputs, _all(3), np.array([unit]))[0, 0] / unit)
        said.append(pair)
    np.testing.assert_allclose(np.array(said)[:, 0], np.array(said)[:, 1], rtol=1e-9)
    assert np.abs(said).max() > 0


def test_an_unknown_target_teaches_nothing() -> None:
    expert = _expert(4, 2, 0.999)
    expert.forecast(ROW, np.array([10]), np.ones((1, 4)), _all(4), UNIT)
    expert.learn(ROW, np.array([[10, 9]]), np.array([[5.0, 5.0]]), np.array([[False, False]]))
    assert not expert.arrays["rls.coefficients"].any()


def test_a_spike_turns_the_coefficients_no_more_than_an_error_at_the_limit() -> None:
    learnt = []
    for target in (ERROR_LIMIT, 1e9):
        expert = _expert(4, 1, 0.999)
        expert.forecast(ROW, np.array([0]), np.ones((1, 4)), _all(4), UNIT)
        expert.learn(ROW, np.array([[0]]), np.array([[target]]), np.array([[True]]))
        learnt.append(expert.arrays["rls.coefficients"].copy())
    assert learnt[0].any()
    np.testing.assert_array_equal(learnt[0], learnt[1])


def test_without_excitation_the_covariance_stays_bounded() -> None:
    expert = _expert(6, 2, 0.9)
    for slot in range(2_000):
        expert.forecast(ROW, np.array([slot]), np.zeros((1, 6)), _all(6), UNIT)
    assert np.diagonal(expert.arrays["rls.covariance"][0]).mean() <= TRACE_LIMIT / 0.9


def test_an_input_that_is_not_alive_keeps_its_prior_and_stops_no_forgetting() -> None:
    rng = np.random.default_rng(2)
    alive = np.array([[True, True, False]])
    expert, narrow = _expert(3, 1, 0.99), _expert(2, 1, 0.99)
    for slot in range(500):
        inputs = np.append(rng.standard_normal((1, 2)), [[0.0]], axis=1)
        expert.forecast(ROW, np.array([slot]), inputs, alive, UNIT)
        narrow.forecast(ROW, np.array([slot]), inputs[:, :2], _all(2), UNIT)
    covariance = expert.arrays["rls.covariance"][0]
    np.testing.assert_allclose(covariance[:2, :2], narrow.arrays["rls.covariance"][0], rtol=1e-9)
    np.testing.assert_array_equal(covariance[2], [0.0, 0.0, START_VARIANCE])

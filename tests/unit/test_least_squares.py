from __future__ import annotations

import numpy as np

from models.arena import Arena
from models.calendar import WIDTH
from models.least_squares import START_VARIANCE, LeastSquares


def test_each_lead_has_learnt_exactly_the_ridge_regression_on_its_known_targets() -> None:
    rng = np.random.default_rng(0)
    lags, horizon, n = 4, 3, 60
    series = rng.standard_normal(n + lags).cumsum()
    expert = LeastSquares(lags, horizon, forgetting=1.0)
    Arena([expert]).resize(1)
    row = np.array([0])
    expert.reset(row)
    inputs = []
    for cutoff in range(lags, n):
        due = cutoff - 1 - np.arange(horizon)
        known = due >= lags
        target = np.where(known, series[cutoff] - series[np.maximum(due, 0)], 0.0)
        expert.learn(row, due[None], target[None], known[None])
        window = series[cutoff - lags + 1 : cutoff + 1] - series[cutoff]
        season = rng.standard_normal(WIDTH)
        expert.forecast(row, np.array([cutoff]), window[None], season[None])
        inputs.append(np.r_[window, season, 1.0])
    learnt = expert.arrays["rls.coefficients"][0]
    for lead in range(1, horizon + 1):
        cutoffs = np.arange(lags, n - lead)
        x = np.array(inputs)[cutoffs - lags]
        y = series[cutoffs + lead] - series[cutoffs]
        ridge = np.linalg.solve(x.T @ x + np.eye(x.shape[1]) / START_VARIANCE, x.T @ y)
        np.testing.assert_allclose(learnt[lead - 1], ridge, atol=1e-8)


def test_an_unknown_target_teaches_nothing() -> None:
    expert = LeastSquares(4, 2, forgetting=0.999)
    Arena([expert]).resize(1)
    row = np.array([0])
    expert.reset(row)
    expert.forecast(row, np.array([10]), np.ones((1, 4)), np.zeros((1, WIDTH)))
    expert.learn(row, np.array([[10, 9]]), np.array([[5.0, 5.0]]), np.array([[False, False]]))
    assert not expert.arrays["rls.coefficients"].any()


def test_without_excitation_the_covariance_stays_bounded() -> None:
    expert = LeastSquares(4, 2, forgetting=0.9)
    Arena([expert]).resize(1)
    row = np.array([0])
    expert.reset(row)
    for slot in range(2_000):
        expert.forecast(row, np.array([slot]), np.zeros((1, 4)), np.zeros((1, WIDTH)))
    assert np.isfinite(expert.arrays["rls.covariance"]).all()
    assert np.diagonal(expert.arrays["rls.covariance"][0]).mean() < 1_000

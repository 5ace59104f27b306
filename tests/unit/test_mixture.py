from __future__ import annotations

import numpy as np
import pytest

from models.mixture import OVERLAP, reweigh

RATE, SHARE = 0.1, 0.01


def test_the_better_expert_gains_and_weights_still_sum_to_one() -> None:
    weights = np.full((1, 2, 3), 1 / 3)
    squares = np.broadcast_to(np.array([1.0, 2.0, 3.0]), (1, 2, 3))
    moved = reweigh(weights, squares, np.ones((1, 2, 3)), np.ones((1, 2), bool), RATE, SHARE)
    np.testing.assert_allclose(moved.sum(-1), 1.0)
    assert (np.diff(moved, axis=-1) < 0).all()


def test_a_far_lead_moves_as_much_slower_as_its_errors_overlap() -> None:
    weights = np.full((1, 8, 2), 0.5)
    squares = np.broadcast_to(np.array([0.0, 1.0]), (1, 8, 2))
    moved = reweigh(weights, squares, np.ones((1, 8, 2)), np.ones((1, 8), bool), RATE, 0.0)
    odds = np.log(moved[0, :, 0] / moved[0, :, 1])
    np.testing.assert_allclose(odds, RATE / np.arange(1, 9) ** OVERLAP)


def test_an_expert_that_was_bad_for_long_comes_back() -> None:
    weights = np.full((1, 1, 2), 0.5)
    known, typical = np.ones((1, 1), bool), np.ones((1, 1, 2))
    for _ in range(10_000):
        weights = reweigh(weights, np.array([[[0.0, 4.0]]]), typical, known, RATE, SHARE)
    assert weights[0, 0, 0] > 0.98
    for _ in range(40):
        weights = reweigh(weights, np.array([[[4.0, 0.0]]]), typical, known, RATE, SHARE)
    assert weights[0, 0, 1] > 0.9


def test_what_is_not_known_changes_no_weight_and_one_outlier_decides_nothing() -> None:
    weights = np.array([[[0.3, 0.7]]])
    typical = np.ones((1, 1, 2))
    unknown = reweigh(weights, np.array([[[0.0, 9.0]]]), typical, np.zeros((1, 1), bool), RATE, SHARE)
    np.testing.assert_array_equal(unknown, weights)
    outlier = reweigh(weights, np.array([[[1e300, 1e301]]]), typical, np.ones((1, 1), bool), RATE, 0.0)
    assert outlier == pytest.approx(weights)


def test_beside_a_nearly_exact_expert_the_others_lose_their_weight_at_once() -> None:
    weights = np.full((1, 1, 2), 0.5)
    squares, typical = np.array([[[1e-6, 1.0]]]), np.array([[[1e-6, 1.0]]])
    moved = reweigh(weights, squares, typical, np.ones((1, 1), bool), RATE, SHARE)
    assert moved[0, 0, 0] > 0.99

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.mixture import EARLY, OVERLAP, blend, prior, reweigh, trust
from models.spec import EXPERTS

RATE, SHARE = 0.1, 0.01
Floats = NDArray[np.float64]


def move(
    weights: Floats,
    squares: Floats,
    typical: Floats | None = None,
    *,
    known: bool = True,
    asleep: int | None = None,
    share: float = SHARE,
    settled: int = 10_000,
) -> Floats:
    """The evidence [1, H, E] after one error of each."""
    shape = weights.shape
    out = np.zeros((1, shape[2]), bool)
    if asleep is not None:
        out[0, asleep] = True
    typical = np.ones(shape) if typical is None else typical
    count = np.full(shape[:2], settled)
    squares = np.broadcast_to(squares, shape)
    return reweigh(weights, squares, typical, np.full(shape[:2], known), count, out, RATE, share)


def test_the_better_expert_gains_and_evidence_still_sums_to_one() -> None:
    moved = move(np.full((1, 2, 3), 1 / 3), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(moved.sum(-1), 1.0)
    assert (np.diff(moved, axis=-1) < 0).all()


def test_a_far_lead_moves_as_much_slower_as_its_errors_overlap_and_first_errors_move_more() -> None:
    squares = np.array([0.0, 1.0])
    for settled in (4, 10_000):
        moved = move(np.full((1, 8, 2), 0.5), squares, share=0.0, settled=settled)
        odds = np.log(moved[0, :, 0] / moved[0, :, 1])
        np.testing.assert_allclose(odds, (RATE + EARLY / np.sqrt(settled)) / np.arange(1, 9) ** OVERLAP)


def test_an_expert_that_was_bad_for_long_comes_back() -> None:
    weights = np.full((1, 1, 2), 0.5)
    for _ in range(10_000):
        weights = move(weights, np.array([0.0, 4.0]))
    assert weights[0, 0, 0] > 0.98
    for _ in range(40):
        weights = move(weights, np.array([4.0, 0.0]))
    assert weights[0, 0, 1] > 0.9


def test_experts_that_say_the_same_for_long_keep_what_they_had_earned() -> None:
    weights = np.array([[[0.9, 0.1]]])
    for _ in range(10_000):
        weights = move(weights, np.array([2.0, 2.0]))
    np.testing.assert_allclose(weights, [[[0.9, 0.1]]])


def test_a_sleeping_expert_keeps_its_evidence_and_the_others_share_the_rest() -> None:
    weights = np.array([[[0.3, 0.4, 0.3]]])
    for _ in range(100):
        weights = move(weights, np.array([0.0, 50.0, 3.0]), asleep=1)
    assert weights[0, 0, 1] == 0.4
    assert weights[0, 0, 0] > 0.5
    assert weights.sum() == pytest.approx(1.0)


def test_what_is_not_known_changes_nothing_and_one_outlier_decides_nothing() -> None:
    weights = np.array([[[0.3, 0.7]]])
    np.testing.assert_array_equal(move(weights, np.array([0.0, 9.0]), known=False), weights)
    outlier = move(weights, np.array([1e300, 1.1e300]), share=0.0)
    assert outlier == pytest.approx(weights, rel=0.1)


def test_beside_a_nearly_exact_expert_the_others_lose_their_weight_at_once() -> None:
    squares = np.array([[[1e-6, 1.0]]])
    blended = blend(move(np.full((1, 1, 2), 0.5), squares, squares), squares, np.ones((1, 2)))
    assert blended[0, 0, 0] > 0.999


def test_an_expert_that_does_not_count_has_no_weight_and_its_record_none_either() -> None:
    blended = blend(np.array([[[0.2, 0.2, 0.6]]]), np.array([[[4.0, 4.0, 1e-9]]]), np.array([[1.0, 0.5, 0.0]]))
    np.testing.assert_allclose(blended, [[[2 / 3, 1 / 3, 0.0]]])


def test_learners_are_trusted_after_moves_and_not_after_waiting() -> None:
    one_jump = np.array([[400.0, 400.0**2]])
    many = np.array([[200.0, 200.0 * 3]])
    few, later = trust(np.concatenate([one_jump, many]), np.array([100, 100])), trust(one_jump, np.array([5_000]))
    assert few[0] < 0.1
    assert few[1] > 0.8
    assert later[0] > 0.95
    assert trust(np.zeros((1, 2)), np.array([1]))[0] < 1e-6


@pytest.mark.parametrize("experts", [EXPERTS, EXPERTS[:1], EXPERTS[:2], (EXPERTS[0], EXPERTS[4])])
def test_evidence_before_any_error_sums_to_one(experts: tuple[str, ...]) -> None:
    assert prior(experts).sum() == pytest.approx(1.0)
    assert (prior(experts) > 0).all()

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.tails import BLOCK, FEWEST, SHARE, SPAN, Tails

Floats = NDArray[np.float64]
WARM = int(BLOCK * FEWEST / SHARE) + BLOCK


def _feed(tails: Tails, values: Floats, row: int = 0, unit: float = 0.0) -> Floats:
    """Rarities [T] of values [T] of one statistic."""
    rows, there = np.array([row]), np.ones((1, 1), bool)
    return np.array([tails.update(rows, np.array([[one]]), there, np.full((1, 1), unit))[0, 0] for one in values])


def _tails(rows: int = 1) -> Tails:
    tails = Tails(1)
    tails.resize(rows)
    return tails


def test_nothing_is_rare_before_the_tail_is_known() -> None:
    assert not _feed(_tails(), np.arange(BLOCK * FEWEST, dtype=float) ** 3).any()


@pytest.mark.parametrize("seed", range(3))
def test_exponential_values_are_as_rare_as_they_are_said_to_be(seed: int) -> None:
    rng, series = np.random.default_rng(seed), 400
    tails = Tails(1)
    tails.resize(series)
    rows, there, unit = np.arange(series), np.ones((series, 1), bool), np.zeros((series, 1))
    rare = np.concatenate([tails.update(rows, rng.exponential(size=(series, 1)), there, unit) for _ in range(2_000)])
    judged = rare.reshape(2_000, series)[WARM:]
    for level in (2.5, 3.0):
        share = (judged >= level).mean() / 10.0**-level
        assert 0.5 < share < 2.0, f"{share} times as often as once in 10^{level:g}"


def test_a_value_far_beyond_the_tail_is_rarer_the_further_it_lies() -> None:
    values = np.random.default_rng(0).standard_normal(600)
    near, far = (_feed(_tails(), np.r_[values, one])[-1] for one in (5.0, 8.0))
    assert 4.0 < near < far


def test_one_absurd_value_does_not_hide_the_next_alarm() -> None:
    rng = np.random.default_rng(1)
    rare = _feed(_tails(), np.r_[rng.standard_normal(600), 1e12, rng.standard_normal(200), 15.0])
    assert rare[600] > 6
    assert rare[-1] > 4


def test_a_series_that_repeats_itself_has_a_tail_of_the_smallest_difference() -> None:
    values = np.tile(np.arange(6.0), 60)
    assert not _feed(_tails(), np.r_[values, 5.0], unit=2.0).any()
    assert _feed(_tails(), np.r_[values, 5.05], unit=2.0)[-1] < 3.0
    assert _feed(_tails(), np.r_[values, 7.0], unit=2.0)[-1] > 6.0


def test_what_was_usual_two_spans_ago_is_forgotten() -> None:
    rng = np.random.default_rng(2)
    loud, quiet = 10 * rng.standard_normal(400), rng.standard_normal(2 * SPAN * BLOCK)
    assert _feed(_tails(), np.r_[loud, quiet[:1_000], 12.0])[-1] < 3.0
    assert _feed(_tails(), np.r_[loud, quiet, 12.0])[-1] > 6.0


@pytest.mark.parametrize("cut", [5, BLOCK * 20, SPAN * BLOCK // 2 + 40, SPAN * BLOCK + 3])
def test_restored_tails_go_on_identically(cut: int) -> None:
    values = np.random.default_rng(3).standard_normal(SPAN * BLOCK + 500)
    one, other = _tails(), _tails(3)
    _feed(one, values[:cut])
    other.restore(2, one.snapshot(0))
    np.testing.assert_array_equal(_feed(one, values[cut:]), _feed(other, values[cut:], row=2))


def test_state_of_other_statistics_is_refused() -> None:
    other = Tails(2)
    other.resize(1)
    with pytest.raises(ValueError, match="of other statistics"):
        _tails().restore(0, other.snapshot(0))

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.thinning import CALM_LOOKS, Backlog, thin_at, thinned

SECOND = 1_000_000


def _look(backlog: Backlog, waiting: list[int], taken: int = 1_000) -> list[int]:
    """The thinning after each of these looks, a second apart, ``taken`` records being taken in each."""
    found = []
    for number, now in enumerate(waiting):
        backlog.done += taken
        backlog.look(now, number * SECOND)
        found.append(backlog.thin)
    return found


def test_a_backlog_that_grows_thins_learning_further_and_further_up_to_the_limit() -> None:
    assert _look(Backlog(10 * SECOND, 8), [0, 5_000, 10_001, 11_000, 12_000, 13_000, 14_000]) == [1, 1, 2, 4, 8, 8, 8]


def test_learning_is_restored_step_by_step_once_the_backlog_is_gone() -> None:
    backlog = Backlog(10 * SECOND, 4)
    _look(backlog, [20_000, 21_000, 22_000])
    assert backlog.thin == 4
    assert _look(backlog, [0] * (2 * CALM_LOOKS + 1))[::CALM_LOOKS] == [4, 2, 1]


def test_a_backlog_that_is_about_to_vanish_is_left_to_itself() -> None:
    assert set(_look(Backlog(10 * SECOND, 8), list(range(100_000, 0, -5_000)))) == {1}


def test_a_backlog_between_calm_and_the_limit_changes_nothing() -> None:
    backlog = Backlog(10 * SECOND, 8)
    _look(backlog, [20_000, 21_000])
    assert set(_look(backlog, [5_000] * 20)) == {2}


def test_where_thinning_is_turned_off_no_backlog_thins() -> None:
    assert set(_look(Backlog(10 * SECOND, 1), list(range(0, 10**6, 10**5)))) == {1}


@given(st.lists(st.tuples(st.integers(1, 20), st.sampled_from([1, 2, 4, 8]), st.integers(-1, 30)), max_size=30))
def test_what_was_in_force_is_known_for_every_offset_that_may_be_run_again(
    batches: list[tuple[int, int, int]],
) -> None:
    truth: list[int] = []
    thinning: tuple[tuple[int, int], ...] = ()
    complete: int | None = None
    for size, factor, back in batches:
        thinning = thinned(thinning, len(truth), factor, complete)
        truth += [factor] * size
        complete = max(complete or 0, len(truth) - back) if back >= 0 else complete
        first = 0 if complete is None else complete + 1
        offsets = np.arange(first, len(truth))
        assert thin_at(thinning, offsets).tolist() == truth[first:]


@pytest.mark.parametrize("factor", [1, 2])
def test_what_nobody_will_ask_for_again_is_forgotten(factor: int) -> None:
    thinning: tuple[tuple[int, int], ...] = ()
    for first in range(0, 1_000, 10):
        thinning = thinned(thinning, first, 4 if first % 20 else factor, first - 15)
    assert len(thinning) <= 3
    whole = thinned(thinning, 1_000, 1, 999)
    assert thinned(whole, 1_010, 1, 1_005) == ()

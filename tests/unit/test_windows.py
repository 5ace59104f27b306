from __future__ import annotations

import numpy as np
import pytest

from models.arena import Arena
from models.windows import Windows


def _one(capacity: int = 8, channels: int = 1) -> tuple[Windows, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    windows = Windows(capacity, channels)
    Arena([windows]).resize(1)
    windows.clear(np.array([0]))
    return windows, np.array([0])


def _push(windows: Windows, slot: int, *values: float) -> None:
    windows.push(np.array([0]), np.array([slot]), np.array([values]))


def test_a_gap_holds_the_value_before_it_and_counts_as_unseen() -> None:
    windows, row = _one()
    for slot, value in ((10, 1.0), (11, 2.0), (14, 5.0)):
        _push(windows, slot, value)
    values, seen = windows.span(row, np.array([[14]]), 5)
    assert values[0, 0, :, 0].tolist() == [1.0, 2.0, 2.0, 2.0, 5.0]
    assert seen[0, 0].tolist() == [True, True, False, False, True]


def test_slots_before_the_first_hold_its_value_and_count_as_unseen() -> None:
    windows, row = _one()
    _push(windows, 3, 7.0)
    values, seen = windows.span(row, np.array([[3]]), 4)
    assert values[0, 0, :, 0].tolist() == [7.0] * 4
    assert seen[0, 0].tolist() == [False, False, False, True]


def test_a_late_observation_takes_its_place_once() -> None:
    windows, row = _one()
    _push(windows, 1, 1.0)
    _push(windows, 3, 3.0)
    assert windows.fill(row, np.array([2]), np.array([[2.0]])).tolist() == [True]
    assert windows.fill(row, np.array([2]), np.array([[9.0]])).tolist() == [False]
    values, there = windows.at(row, np.array([[1, 2, 3]]))
    assert values.tolist() == [[1.0, 2.0, 3.0]]
    assert there.all()


def test_an_observation_older_than_the_ring_is_not_taken() -> None:
    windows, row = _one(capacity=4)
    for slot in range(10):
        _push(windows, slot, float(slot))
    assert windows.fill(row, np.array([5]), np.array([[0.0]])).tolist() == [False]


def test_a_missing_further_channel_keeps_its_last_value() -> None:
    windows, row = _one(channels=2)
    _push(windows, 0, 1.0, 10.0)
    _push(windows, 1, 2.0, float("nan"))
    values, _ = windows.span(row, np.array([[1]]), 2)
    assert values[0, 0, :, 1].tolist() == [10.0, 10.0]


def test_pushing_backwards_is_refused() -> None:
    windows, _ = _one()
    _push(windows, 5, 1.0)
    with pytest.raises(ValueError, match="after the newest"):
        _push(windows, 5, 1.0)


def test_a_gap_longer_than_the_ring_leaves_only_the_new_value_seen() -> None:
    windows, row = _one(capacity=4)
    for slot in range(4):
        _push(windows, slot, float(slot))
    _push(windows, 100, 9.0)
    values, seen = windows.span(row, np.array([[100]]), 4)
    assert seen[0, 0].tolist() == [False, False, False, True]
    assert values[0, 0, :, 0].tolist() == [3.0, 3.0, 3.0, 9.0]

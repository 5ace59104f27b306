from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.arena import Arena
from models.lags import LIMIT, LONG_EDGES, LONG_WIDTH, QUICK_EDGES, QUICK_WIDTH, inputs
from models.windows import Windows

HOUR_US = 3_600_000_000


def _filled(values: NDArray[np.float64], capacity: int = 700) -> Windows:
    windows = Windows(capacity, 1)
    Arena([windows]).resize(len(values))
    windows.clear(np.arange(len(values)))
    for slot in range(values.shape[1]):
        windows.push(np.arange(len(values)), np.full(len(values), slot), values[:, slot, None])
    return windows


def _seen(windows: Windows, slot: int, season: int, unit: float = 1.0) -> dict[str, NDArray[Any]]:
    rows = np.arange(len(windows.newest))
    many = np.ones(len(rows), np.int64)
    time, step = slot * HOUR_US * many, HOUR_US * many
    made = inputs(windows, rows, slot * many, (slot + 1) * many, season * many, time, step, np.full(len(rows), unit))
    return {name: part[0] for name, part in made.items()} | {f"{name} alive": part[1] for name, part in made.items()}


@pytest.mark.parametrize(("season", "last_block"), [(24, 96), (96, 336), (0, 96)])
def test_block_means_are_differences_to_the_newest_value_as_far_back_as_the_season_reaches(
    season: int, last_block: int
) -> None:
    series = np.random.default_rng(0).standard_normal(900)
    seen = _seen(_filled(series[None]), 899, season)
    for name, edges in (("least-squares", LONG_EDGES), ("quick-least-squares", QUICK_EDGES)):
        for place, (low, high) in enumerate(itertools.pairwise(edges)):
            expected = series[899 - np.arange(low, high)].mean() - series[899]
            if name == "least-squares" and high > last_block:
                assert not seen[f"{name} alive"][0, place]
                expected = 0.0
            assert seen[name][0, place] == pytest.approx(expected, abs=1e-12)


def test_the_last_seasons_hours_begin_at_the_newest_values_phase() -> None:
    series = np.random.default_rng(0).standard_normal(900)
    season, part, first = 96, 4, len(LONG_EDGES) - 1
    seen = _seen(_filled(series[None]), 899, season)["least-squares"][0, first:]
    for block in range(8):
        lags = season - part * block - np.arange(part)
        assert seen[block] == pytest.approx(series[899 - lags].mean() - series[899])
    for place, lag in enumerate((95, 96, 191, 192)):
        assert seen[8 + place] == pytest.approx(series[899 - lag] - series[899])


def test_what_a_season_leaves_no_room_for_is_zero_and_not_alive() -> None:
    made = _seen(_filled(np.random.default_rng(0).standard_normal((1, 600))), 599, 2)
    place = slice(len(LONG_EDGES) - 1, len(LONG_EDGES) + 7)
    assert made["least-squares alive"][0, place].tolist() == [True] * 2 + [False] * 6
    assert not made["least-squares"][0, place][2:].any()


def test_before_a_whole_season_nothing_is_said_about_the_season() -> None:
    windows = _filled(np.random.default_rng(0).standard_normal((1, 30)))
    for slot, whole in ((22, False), (23, True)):
        made = _seen(windows, slot, 24)
        for name, width in (("least-squares", 24), ("quick-least-squares", 8)):
            about = made[f"{name} alive"][0, -1 - width : -1]
            assert about.any() == whole
            assert made[name][0, -1 - width : -1].any() == whole


def test_a_row_has_the_same_bits_alone_and_among_others() -> None:
    series = np.random.default_rng(3).standard_normal((5, 400)).cumsum(1)
    together = _seen(_filled(series), 399, 24)
    for row in range(5):
        alone = _seen(_filled(series[row : row + 1]), 399, 24)
        for name in together:
            assert alone[name][0].tobytes() == np.ascontiguousarray(together[name][row]).tobytes()


def test_widths_are_as_said_and_absurd_values_are_clipped() -> None:
    series = np.zeros((1, 100))
    series[0, 50] = 1e300
    made = _seen(_filled(series), 99, 24, unit=1e-9)
    assert made["least-squares"].shape == (1, LONG_WIDTH)
    assert made["quick-least-squares"].shape == (1, QUICK_WIDTH)
    # Lags 48 to 63 make a block, and the spike is one of its sixteen values.
    block = LONG_EDGES.index(48)
    assert made["least-squares"][0, block] == pytest.approx(LIMIT / 16)
    assert np.abs(made["least-squares"][0, block + 1 : len(LONG_EDGES) - 1]).max() == 0

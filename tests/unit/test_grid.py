from __future__ import annotations

import numpy as np
import pytest

from stream.grid import Grid, Verdict, snap_step

MINUTE = 60_000_000
NOON = 1_772_366_400_000_000


def admit_one(grid: Grid, time_us: int, row: int = 0) -> tuple[int, Verdict]:
    slots, verdicts = grid.admit(np.array([row]), np.array([time_us]))
    return int(slots[0]), Verdict(int(verdicts[0]))


def regular(max_gap: int = 5, lateness: int = 2) -> Grid:
    grid = Grid(max_gap=max_gap, lateness=lateness)
    grid.add(1, MINUTE)
    return grid


def verdicts(grid: Grid, minutes: list[float]) -> list[Verdict]:
    return [admit_one(grid, NOON + round(minute * MINUTE))[1] for minute in minutes]


def test_a_regular_series_lies_on_consecutive_slots_at_any_offset() -> None:
    grid = regular()
    slots = [admit_one(grid, NOON + 17_123_457 + n * MINUTE)[0] for n in range(4)]
    assert np.diff(slots).tolist() == [1, 1, 1]
    times = grid.slot_time_us(np.zeros(4, dtype=np.int64), np.array(slots))
    assert times.tolist() == [NOON + 17_123_457 + n * MINUTE for n in range(4)]


def test_jitter_below_half_a_step_is_absorbed() -> None:
    assert verdicts(regular(), [0, 1.4, 1.6, 3.49, 3.51]) == [Verdict.NEXT] * 5


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        ([0, 1], Verdict.NEXT),
        ([0, 2], Verdict.GAP),
        ([0, 5], Verdict.GAP),
        ([0, 6], Verdict.RESTART),
        ([0, 0], Verdict.DUPLICATE),
        ([0, 0.3], Verdict.DUPLICATE),
        ([0, 1, 0], Verdict.FILL),
        ([0, 1, 2, 0], Verdict.FILL),
        ([0, 1, 2, 3, 0], Verdict.LATE),
        ([0, 6, 5], Verdict.FILL),
    ],
)
def test_each_way_to_arrive_has_its_verdict(minutes: list[float], expected: Verdict) -> None:
    assert verdicts(regular(), minutes)[-1] is expected


def test_old_and_repeated_observations_do_not_move_the_watermark() -> None:
    grid = regular()
    verdicts(grid, [0, 1, 2])
    before = int(grid.newest[0])
    verdicts(grid, [2, 1, 0, -1])
    assert int(grid.newest[0]) == before


def test_rows_are_admitted_together_as_if_alone() -> None:
    grid = Grid(max_gap=5, lateness=2)
    rows = grid.add(3, MINUTE)
    slots, found = grid.admit(rows[::-1], np.array([NOON, NOON + 7, NOON + MINUTE]))
    assert found.tolist() == [Verdict.NEXT] * 3
    assert slots.dtype == np.int64
    assert found.dtype == np.uint8
    slots, found = grid.admit(rows[:2], np.array([NOON + 2 * MINUTE, NOON + 5 * MINUTE]))
    assert found.tolist() == [Verdict.NEXT, Verdict.GAP]


def test_the_step_is_inferred_from_three_observations_and_none_is_lost() -> None:
    grid = Grid(max_gap=5, lateness=2)
    grid.add(1)
    assert admit_one(grid, NOON + MINUTE + 200_000) == (-1, Verdict.PENDING)
    assert admit_one(grid, NOON) == (-1, Verdict.PENDING)
    assert admit_one(grid, NOON) == (-1, Verdict.DUPLICATE)
    assert admit_one(grid, NOON + 3 * MINUTE) == (-1, Verdict.SETTLED)
    assert grid.step_us[0] == MINUTE
    held = grid.backlog(0)
    assert held == [NOON, NOON + MINUTE + 200_000, NOON + 3 * MINUTE]
    assert [admit_one(grid, moment)[1] for moment in held] == [Verdict.NEXT, Verdict.NEXT, Verdict.GAP]
    assert grid.backlog(0) == []


@pytest.mark.parametrize(
    ("spacing_us", "step_us"),
    [
        (60_900_000, MINUTE),
        (59_000_000, MINUTE),
        (61_900_000, 61_900_000),
        (499_000, 500_000),
        (3_600_000_000, 3_600_000_000),
        (86_000_000_000, 86_400_000_000),
        (604_800_000_000, 604_800_000_000),
        (7_000_000, 7_000_000),
        (3, 1000),
    ],
)
def test_a_step_near_a_usual_one_is_taken_for_it(spacing_us: int, step_us: int) -> None:
    assert snap_step(spacing_us) == step_us


def test_dropped_rows_are_used_again_and_know_nothing() -> None:
    grid = Grid(max_gap=5, lateness=2)
    rows = grid.add(100, MINUTE)
    grid.admit(rows, np.full(100, NOON))
    grid.drop([7, 3])
    assert len(grid) == 98
    assert sorted(grid.add(3).tolist()) == [3, 7, 100]
    assert grid.snapshot(3) == {"step_us": 0, "phase_us": 0, "newest": -1, "seen_0": -1, "seen_1": -1, "seen_2": -1}


def test_a_row_cannot_be_dropped_twice() -> None:
    grid = regular()
    grid.drop([0])
    with pytest.raises(ValueError, match="not in use"):
        grid.drop([0])


def test_a_restored_row_goes_on_as_if_never_interrupted() -> None:
    for cut in range(6):
        straight, first = Grid(max_gap=5, lateness=2), Grid(max_gap=5, lateness=2)
        straight.add(1)
        first.add(1)
        times = [NOON, NOON + MINUTE, NOON + MINUTE, NOON + 3 * MINUTE, NOON, NOON + 4 * MINUTE]
        expected = [admit_one(straight, moment) for moment in times]
        got = [admit_one(first, moment) for moment in times[:cut]]
        second = Grid(max_gap=5, lateness=2)
        row = int(second.add(3)[2])
        second.restore(row, first.snapshot(0))
        got += [admit_one(second, moment, row) for moment in times[cut:]]
        assert got == expected
        assert second.backlog(row) == straight.backlog(0)


@pytest.mark.parametrize("given", [{"max_gap": -1, "lateness": 0}, {"max_gap": 0, "lateness": -1}])
def test_negative_bounds_are_refused(given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="slots"):
        Grid(**given)


def test_a_negative_step_is_refused() -> None:
    with pytest.raises(ValueError, match="positive step"):
        Grid(max_gap=1, lateness=1).add(1, -5)

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.grid import Grid, Verdict
from stream.times import END_US, parse_time

steps = st.sampled_from([1000, 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000, 7 * 86_400_000_000, 999_983])
moments = st.integers(0, END_US - 1)
MAX_GAP, LATENESS = 8, 4


def grid_with(step_us: int) -> Grid:
    grid = Grid(max_gap=MAX_GAP, lateness=LATENESS)
    grid.add(1, step_us)
    return grid


def admit(grid: Grid, row: int, time_us: int) -> tuple[int, Verdict]:
    slots, verdicts = grid.admit(np.array([row]), np.array([time_us]))
    return int(slots[0]), Verdict(int(verdicts[0]))


@given(steps, st.lists(moments, min_size=1, max_size=30))
def test_watermark_never_moves_back(step_us: int, times: list[int]) -> None:
    grid = grid_with(step_us)
    newest = -1
    for moment in times:
        slot, verdict = admit(grid, 0, moment)
        moved = verdict in {Verdict.NEXT, Verdict.GAP, Verdict.RESTART}
        assert int(grid.newest[0]) == (slot if moved else newest)
        assert int(grid.newest[0]) >= newest
        newest = int(grid.newest[0])


@given(steps, moments, moments)
def test_a_slot_is_never_more_than_half_a_step_from_its_event(step_us: int, first: int, moment: int) -> None:
    grid = grid_with(step_us)
    admit(grid, 0, first)
    slot, _ = admit(grid, 0, moment)
    middle = int(grid.slot_time_us(np.array([0]), np.array([slot]))[0])
    assert -step_us <= 2 * (moment - middle) < step_us or 2 * (middle - moment) == step_us


@given(steps, moments, st.integers(-10, 40))
def test_whole_steps_from_the_first_event_are_whole_slots_from_it(step_us: int, first: int, away: int) -> None:
    grid = grid_with(step_us)
    start, _ = admit(grid, 0, first)
    moment = first + away * step_us
    if 0 <= moment < END_US:
        assert admit(grid, 0, moment)[0] - start == away


@given(steps, st.integers(10**12, 10**15), st.integers(1, 40), st.randoms(use_true_random=False))
def test_disorder_within_the_lateness_fills_the_same_slots(step_us: int, first: int, n: int, random: object) -> None:
    order = sorted(range(n), key=lambda k: k + random.uniform(0, LATENESS))  # type: ignore[attr-defined]
    straight, shuffled = grid_with(step_us), grid_with(step_us)
    expected = {admit(straight, 0, first + k * step_us)[0] for k in range(n)}
    filled = []
    for k in order:
        slot, verdict = admit(shuffled, 0, first + k * step_us)
        assert verdict in {Verdict.NEXT, Verdict.GAP, Verdict.FILL}
        filled.append(slot)
    assert sorted(filled) == sorted(expected)


events = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), max_size=40)


@given(events, st.lists(st.integers(1, 10), max_size=40), st.sampled_from([0, 60_000_000]))
def test_results_do_not_depend_on_how_observations_are_cut_into_batches(
    found: list[tuple[int, int]], cuts: list[int], step_us: int
) -> None:
    alone, batched = Grid(max_gap=MAX_GAP, lateness=LATENESS), Grid(max_gap=MAX_GAP, lateness=LATENESS)
    alone.add(4, step_us)
    batched.add(4, step_us)
    times = [10**15 + minute * 60_000_000 for _, minute in found]
    expected = [admit(alone, row, moment) for (row, _), moment in zip(found, times, strict=True)]
    got: list[tuple[int, Verdict]] = []
    sizes = iter(cuts)
    at = 0
    while at < len(found):
        size = next(sizes, 1)
        rows: list[int] = []
        # As the engine does: a batch ends where a row would come twice.
        while at + len(rows) < len(found) and len(rows) < size and found[at + len(rows)][0] not in rows:
            rows.append(found[at + len(rows)][0])
        slots, verdicts = batched.admit(np.array(rows), np.array(times[at : at + len(rows)]))
        got += zip(slots.tolist(), map(Verdict, verdicts.tolist()), strict=True)
        at += len(rows)
    assert got == expected
    assert all(alone.snapshot(row) == batched.snapshot(row) for row in range(4))


@given(
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    st.integers(0, 365),
    st.sampled_from([300, 900, 3600]),
)
def test_clock_changes_are_no_gaps_for_a_feed_in_local_time(zone: str, day: int, step_s: int) -> None:
    grid = grid_with(step_s * 1_000_000)
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
    for n in range(2 * 86_400 // step_s):
        local = (start + timedelta(seconds=n * step_s)).astimezone(ZoneInfo(zone))
        assert admit(grid, 0, parse_time(local.isoformat(), "auto", UTC))[1] is Verdict.NEXT


@given(st.lists(moments, min_size=3, max_size=12))
def test_an_inferred_grid_gives_every_held_observation_a_slot(times: list[int]) -> None:
    grid = grid_with(0)
    held = []
    for moment in times:
        verdict = admit(grid, 0, moment)[1]
        if verdict is Verdict.DUPLICATE:
            continue
        held.append(moment)
        if verdict is Verdict.SETTLED:
            assert grid.backlog(0) == sorted(held)
            slots = [admit(grid, 0, moment) for moment in grid.backlog(0)]
            assert [slot for slot, _ in slots] == sorted(slot for slot, _ in slots)
            assert slots[0][1] is Verdict.NEXT
            return
        assert verdict is Verdict.PENDING

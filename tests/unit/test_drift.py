from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from river.drift import PageHinkley

from models.drift import HALF, MIN_ERRORS, SEGMENT, Detection, DriftSettings, DriftTests, change_point, page_hinkley

Floats = NDArray[np.float64]


def _tests(rows: int = 1) -> DriftTests:
    tests = DriftTests(DriftSettings())
    tests.resize(rows)
    return tests


def _feed(tests: DriftTests, errors: Floats, row: int = 0) -> list[tuple[int, Detection]]:
    rows = np.array([row])
    return [(at, found) for at in range(len(errors)) for _, found in tests.update(rows, errors[at : at + 1])]


def test_a_doubling_of_the_errors_is_found_soon_with_its_evidence() -> None:
    rng = np.random.default_rng(1)
    tests = _tests()
    assert not _feed(tests, rng.standard_normal(600))
    found = _feed(tests, 3 * rng.standard_normal(300))
    at, first = found[0]
    assert at < 60
    assert first.before < 1.2
    assert first.after > 1.5 * first.before


def test_quiet_series_raise_few_alarms() -> None:
    tests, rng = _tests(50), np.random.default_rng(0)
    alarms = sum(len(tests.update(np.arange(50), rng.standard_normal(50))) for _ in range(2_000))
    assert alarms <= 2, f"{alarms} false alarms in 100,000 observations"


def test_errors_that_shrink_are_no_alarm() -> None:
    rng = np.random.default_rng(2)
    assert not _feed(_tests(), np.r_[5 * rng.standard_normal(500), rng.standard_normal(500)])


def test_one_spike_is_no_drift() -> None:
    rng = np.random.default_rng(3)
    errors = rng.standard_normal(1_000)
    errors[500] = 1e12
    assert not _feed(_tests(), errors)


@pytest.mark.parametrize("cut", [100, HALF + 50, SEGMENT - 1, SEGMENT, SEGMENT + 300])
def test_restored_tests_go_on_identically_across_a_full_segment(cut: int) -> None:
    rng = np.random.default_rng(4)
    one = _tests()
    _feed(one, rng.standard_normal(cut))
    other = _tests(4)
    other.restore(2, one.snapshot(0))
    rest = np.r_[rng.standard_normal(SEGMENT + 400), 4 * rng.standard_normal(200)]
    found = _feed(one, rest)
    assert found
    assert found == _feed(other, rest, row=2)
    np.testing.assert_array_equal(one.snapshot(0)["drift.errors"], other.snapshot(2)["drift.errors"])
    np.testing.assert_array_equal(one.snapshot(0)["drift.sums"], other.snapshot(2)["drift.sums"])
    assert len(one.snapshot(0)["drift.errors"]) <= SEGMENT


def test_a_series_tests_do_not_depend_on_its_batch() -> None:
    rng = np.random.default_rng(6)
    errors = np.r_[rng.standard_normal((1_400, 5)), 3 * rng.standard_normal((100, 5))]
    together, alone = _tests(5), _tests(5)
    at_once = [
        (index, at, found) for at, row in enumerate(errors) for index, found in together.update(np.arange(5), row)
    ]
    assert at_once
    one_by_one = [(row, at, found) for row in range(5) for at, found in _feed(alone, errors[:, row].copy(), row)]
    assert sorted(at_once, key=lambda entry: entry[:2]) == one_by_one


def test_state_of_other_tests_is_refused() -> None:
    state = _tests().snapshot(0)
    with pytest.raises(ValueError, match="of other tests"):
        _tests().restore(0, state | {"drift.sums": np.zeros(3)})


@pytest.mark.parametrize("seed", range(5))
def test_page_hinkley_is_rivers_to_the_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    series = 7
    values = np.abs(rng.standard_normal((3_000, series))) * np.repeat(rng.uniform(0.5, 3.0, (30, series)), 100, axis=0)
    theirs = [PageHinkley(min_instances=MIN_ERRORS, delta=0.3, threshold=10.0, mode="up") for _ in range(series)]
    ours = np.tile([0.0, 0.0, 0.0, np.inf], (series, 1))
    rises = 0
    for row in values:
        for test, value in zip(theirs, row.tolist(), strict=True):
            test.update(value)
        rose = page_hinkley(ours, row, 0.3, 10.0)
        assert rose.tolist() == [test.drift_detected for test in theirs]
        rises += int(rose.sum())
        kept = [index for index in range(series) if not rose[index]]
        assert [ours[index, 2] for index in kept] == [theirs[index]._sum_increase for index in kept]
    assert rises > 10


def test_the_change_point_is_where_the_mean_changes() -> None:
    rng = np.random.default_rng(5)
    errors = np.abs(np.r_[rng.standard_normal(300), 4 * rng.standard_normal(40)])
    assert abs(change_point(errors) - 300) <= 5

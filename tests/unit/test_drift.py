from __future__ import annotations

import numpy as np

from models.drift import SEGMENT, Detection, DriftSettings, SeriesDrift, change_point


def _feed(tests: SeriesDrift, errors: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[tuple[int, Detection]]:
    return [(at, found) for at, error in enumerate(errors.tolist()) if (found := tests.update(error))]


def test_a_doubling_of_the_errors_is_found_soon_with_its_evidence() -> None:
    rng = np.random.default_rng(1)
    tests = SeriesDrift(DriftSettings())
    assert not _feed(tests, rng.standard_normal(600))
    found = _feed(tests, 3 * rng.standard_normal(300))
    at, first = found[0]
    assert at < 60
    assert first.before < 1.2
    assert first.after > 1.5 * first.before


def test_quiet_series_raise_few_alarms() -> None:
    alarms = 0
    for seed in range(50):
        tests = SeriesDrift(DriftSettings())
        alarms += len(_feed(tests, np.random.default_rng(seed).standard_normal(2_000)))
    assert alarms <= 2, f"{alarms} false alarms in 100,000 observations"


def test_errors_that_shrink_are_no_alarm() -> None:
    rng = np.random.default_rng(2)
    tests = SeriesDrift(DriftSettings())
    assert not _feed(tests, np.r_[5 * rng.standard_normal(500), rng.standard_normal(500)])


def test_one_spike_is_no_drift() -> None:
    rng = np.random.default_rng(3)
    errors = rng.standard_normal(1_000)
    errors[500] = 1e12
    assert not _feed(SeriesDrift(DriftSettings()), errors)


def test_restored_tests_go_on_identically_across_a_full_segment() -> None:
    rng = np.random.default_rng(4)
    one = SeriesDrift(DriftSettings())
    _feed(one, rng.standard_normal(SEGMENT - 100))
    other = SeriesDrift(DriftSettings())
    other.restore(one.snapshot())
    rest = np.r_[rng.standard_normal(400), 4 * rng.standard_normal(200)]
    assert _feed(one, rest) == _feed(other, rest)
    assert one.errors == other.errors
    assert len(one.errors) <= SEGMENT


def test_the_change_point_is_where_the_mean_changes() -> None:
    rng = np.random.default_rng(5)
    errors = np.abs(np.r_[rng.standard_normal(300), 4 * rng.standard_normal(40)])
    assert abs(change_point(errors) - 300) <= 5

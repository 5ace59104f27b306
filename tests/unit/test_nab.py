"""The scoring of benchmarks/nab.py, against numbers that follow from its published description."""

from __future__ import annotations

import pytest

from benchmarks.nab import PROFILES, File, normalised, score, sigmoid

FILE = File("one", list(range(1_000)), [0.0] * 1_000, [(300, 399), (600, 699)])
STANDARD = PROFILES["standard"]


def _scaled(detections: list[int], profile: str = "standard") -> float:
    chosen = PROFILES[profile]
    return normalised(score(FILE, detections, chosen).raw, len(FILE.windows), chosen)


def test_a_detector_that_says_nothing_scores_0_and_one_that_is_at_once_right_100() -> None:
    for name in PROFILES:
        assert _scaled([], name) == pytest.approx(0.0)
        assert _scaled([300, 600], name) == pytest.approx(100.0)


def test_of_the_detections_in_a_window_the_first_counts() -> None:
    assert _scaled([350, 600]) == _scaled([350, 360, 399, 600])
    assert _scaled([350, 600]) < _scaled([310, 600])


def test_detections_in_probation_count_for_nothing() -> None:
    assert FILE.probation == 150
    assert _scaled([10, 149]) == pytest.approx(0.0)
    assert score(FILE, [150], STANDARD).false == 1


def test_a_false_detection_costs_more_the_further_behind_a_window_it_is() -> None:
    near, far, before = (score(FILE, [at], STANDARD).raw + 2.0 for at in (410, 590, 200))
    assert 0 > near > far
    assert before == pytest.approx(-0.11)
    assert far == pytest.approx(0.11 * sigmoid(191 / 99))


def test_the_profiles_weigh_false_and_missed_detections() -> None:
    assert score(FILE, [200], PROFILES["low_fp"]).raw == pytest.approx(-2.22)
    assert score(FILE, [200], PROFILES["low_fn"]).raw == pytest.approx(-4.11)

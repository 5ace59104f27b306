from __future__ import annotations

import numpy as np
import pytest

from models.drift import Detection
from workers.alerts import DAY_US, AlertEvent, SeriesAlerts, drift_finding, rare_finding
from workers.lives import ADAPTED, FIRING, LONGEST, MATTERS, QUIET, RECOVERING, SIGNAL, Lives

WORSE = drift_finding("pump", Detection("adwin", before=1.0, after=3.0, before_count=300, after_count=20), 2.5)
SPIKE = rare_finding("pump", "value high", "anomaly", 99.0, 9.0, 4.0, 2016.0)
ROW = np.array([0])


def _lives(pending: int = 1, keep_firing: int = 3) -> Lives:
    lives = Lives(pending, keep_firing)
    lives.resize(2)
    return lives


def _feed(lives: Lives, margins: list[float]) -> list[str]:
    """What the margins of the signal bring, one letter an observation: b begins, e ends, or nothing."""
    told = []
    for margin in margins:
        each = np.full((1, len(MATTERS)), -np.inf)
        each[0, SIGNAL] = margin
        begins, ends = lives.step(ROW, each)
        told.append("b" if begins[0, SIGNAL] else "e" if ends[0, SIGNAL] else ".")
    return told


def test_an_alert_fires_once_and_is_resolved_once_after_a_calm() -> None:
    lives = _lives()
    assert "".join(_feed(lives, [-9, 1, 2, -9, 1, -9, -9, -9, -9])) == ".b.....e."
    assert lives.phase[0, SIGNAL] == QUIET


def test_what_hovers_between_wrong_and_calm_neither_fires_nor_ends() -> None:
    lives = _lives()
    assert "".join(_feed(lives, [-0.5] * 5 + [0.0] + [-0.5] * 9)) == ".....b" + "." * 9
    assert lives.phase[0, SIGNAL] == FIRING


def test_a_pending_alert_that_calms_is_never_told() -> None:
    lives = _lives(pending=3)
    assert "".join(_feed(lives, [1, 1, -9, 1, 1, 1])) == ".....b"


def test_recovering_is_interrupted_by_what_goes_wrong_again() -> None:
    lives = _lives()
    _feed(lives, [1, -9, -9])
    assert lives.phase[0, SIGNAL] == RECOVERING
    _feed(lives, [0.5])
    assert lives.phase[0, SIGNAL] == FIRING


def test_what_lasts_becomes_normal_and_does_not_fire_again_at_once() -> None:
    lives = _lives()
    told = _feed(lives, [1.0] * (LONGEST + 50))
    assert told.count("b") == 1
    assert told.index("e") == LONGEST
    assert lives.phase[0, SIGNAL] == ADAPTED
    assert "b" in _feed(lives, [-9, -9, -9, 1])


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 8])
def test_lives_go_on_from_a_snapshot_without_a_second_firing(cut: int) -> None:
    margins = [-9.0, 1, 1, -9, 1, -9, -9, -9, -9, 2, -9]
    whole, first, second = _lives(pending=2), _lives(pending=2), _lives(pending=2)
    told = _feed(first, margins[:cut])
    second.restore(0, first.snapshot(0))
    assert told + _feed(second, margins[cut:]) == _feed(whole, margins)


def _fired() -> tuple[SeriesAlerts, AlertEvent]:
    alerts = SeriesAlerts("plant", "pump")
    event = alerts.begin("signal", WORSE, 1_000_000)
    assert event is not None
    return alerts, event


def test_an_incident_keeps_its_fingerprint_to_the_end() -> None:
    alerts, fired = _fired()
    assert (fired.status, fired.severity, fired.kind) == ("firing", "warning", "error-drift")
    assert "3.0 times" in fired.title
    ended = alerts.end("signal", 3_000_000, worn=False, now=1.0)
    assert ended is not None
    assert (ended.status, ended.fingerprint, ended.started_us) == ("resolved", fired.fingerprint, fired.started_us)
    assert alerts.end("signal", 9_000_000, worn=False, now=1.0) is None


def test_what_else_is_found_joins_the_incident_and_raises_its_severity() -> None:
    alerts, _ = _fired()
    alerts.join("signal", SPIKE)
    ended = alerts.end("signal", 3_000_000, worn=False, now=1.0)
    assert ended is not None
    assert (ended.kind, ended.severity, ended.evidence["also"]) == ("error-drift", "critical", "anomaly")


def test_what_lasted_is_told_to_be_the_normal_state() -> None:
    alerts, _ = _fired()
    ended = alerts.end("signal", 3_000_000, worn=True, now=3.0)
    assert ended is not None
    assert "now the normal state" in ended.title


def test_a_new_incident_has_a_new_fingerprint() -> None:
    alerts, first = _fired()
    alerts.end("signal", 2_000_000, worn=False, now=1.0)
    second = alerts.begin("signal", WORSE, 5_000_000)
    assert second is not None
    assert second.fingerprint != first.fingerprint


def test_more_incidents_than_a_day_may_have_are_not_told_and_neither_is_their_end() -> None:
    alerts = SeriesAlerts("plant", "pump", most_a_day=2)
    told = []
    for number in range(4):
        begun = alerts.begin("signal", SPIKE, number * 1_000_000)
        ended = alerts.end("signal", number * 1_000_000 + 1, worn=False, now=0.0)
        assert (begun is None) == (ended is None)
        told.append(begun is not None)
    assert told == [True, True, False, False]
    assert alerts.begin("signal", SPIKE, DAY_US + 1_000_000) is not None


def test_silence_is_told_once_and_ends_with_the_next_observation() -> None:
    alerts = SeriesAlerts("plant", "pump")
    fired = alerts.silent(1_000_000, 600.0)
    assert fired is not None
    assert alerts.silent(1_000_000, 601.0) is None
    ended = alerts.heard(9_000_000)
    assert ended is not None
    assert ended.fingerprint == fired.fingerprint
    assert alerts.heard(9_000_001) is None


def test_incidents_survive_a_restart() -> None:
    alerts, fired = _fired()
    again = SeriesAlerts("plant", "pump")
    again.restore(alerts.to_json())
    ended = again.end("signal", 2_000_000, worn=False, now=1.0)
    assert ended is not None
    assert ended.fingerprint == fired.fingerprint
    assert again.recent == [1_000_000]

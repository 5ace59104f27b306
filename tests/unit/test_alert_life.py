from __future__ import annotations

from models.drift import NEWEST, Detection
from workers.alerts import ADAPTED_AFTER, AlertEvent, SeriesAlerts

WORSE = Detection("adwin", before=1.0, after=3.0, before_count=300, after_count=20)


def _fired() -> tuple[SeriesAlerts, AlertEvent]:
    alerts = SeriesAlerts("plant", "pump")
    event = alerts.drifted(WORSE, 1_000_000, 2.5)
    assert event is not None
    return alerts, event


def test_an_incident_fires_once_and_keeps_its_fingerprint_to_the_end() -> None:
    alerts, fired = _fired()
    assert (fired.status, fired.severity) == ("firing", "warning")
    assert "3.0 times" in fired.title
    assert alerts.drifted(WORSE, 2_000_000, 2.5) is None
    ended = [event for number in range(NEWEST) if (event := alerts.observed_error(1.0, 3_000_000 + number))]
    assert [event.status for event in ended] == ["resolved"]
    assert ended[0].fingerprint == fired.fingerprint
    assert ended[0].started_us == fired.started_us
    assert alerts.observed_error(1.0, 9_000_000) is None


def test_a_single_calm_error_does_not_end_an_incident() -> None:
    alerts, _ = _fired()
    assert all(alerts.observed_error(0.1, number) is None for number in range(NEWEST - 1))
    assert "error-drift" in alerts.firing


def test_a_level_that_lasts_becomes_the_normal_one() -> None:
    alerts, _ = _fired()
    ended = [event for number in range(ADAPTED_AFTER) if (event := alerts.observed_error(3.0, number))]
    assert len(ended) == 1
    assert "now the normal one" in ended[0].title


def test_a_new_incident_has_a_new_fingerprint() -> None:
    alerts, first = _fired()
    for number in range(NEWEST):
        alerts.observed_error(1.0, number)
    second = alerts.drifted(WORSE, 5_000_000, 2.5)
    assert second is not None
    assert second.fingerprint != first.fingerprint


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
    assert again.drifted(WORSE, 2_000_000, 2.5) is None
    assert again.firing["error-drift"].fingerprint == fired.fingerprint

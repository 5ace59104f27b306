"""When feeds are due."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from apscheduler.triggers.base import BaseTrigger

from workers.settings import RetrainSettings
from workers.triggers import crontab, first_run, trigger, utc

NOW = datetime(2026, 11, 10, 12, 0, tzinfo=UTC)  # a Tuesday


def us(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def due(retrain: dict[str, Any], *, last: datetime | None = None, since: datetime = NOW) -> datetime | None:
    settings = RetrainSettings.model_validate(retrain)
    return first_run(settings, None if last is None else us(last), us(since), us(NOW))


def fires(rule: BaseTrigger, count: int, after: datetime = NOW) -> list[datetime]:
    """A trigger's times as APScheduler asks for them, the clock being where it ought to be."""
    found: list[datetime] = []
    previous = None
    for _ in range(count):
        previous = rule.get_next_fire_time(previous, previous or after)
        found.append(previous)
    return found


def test_a_feed_without_schedule_is_never_due() -> None:
    assert due({}) is None
    assert trigger(RetrainSettings()) is None


def test_an_interval_is_due_at_once_when_there_was_no_run() -> None:
    assert due({"every": "1h"}) == NOW


def test_an_interval_counts_from_the_last_run() -> None:
    assert due({"every": "1h"}, last=NOW - timedelta(minutes=20)) == NOW + timedelta(minutes=40)


@pytest.mark.parametrize("retrain", [{"every": "1h"}, {"cron": "0 * * * *"}])
def test_of_many_missed_runs_one_is_made_up_for_now(retrain: dict[str, Any]) -> None:
    assert due(retrain, last=NOW - timedelta(days=3)) == NOW


def test_cron_waits_for_its_first_time() -> None:
    assert due({"cron": "30 3 * * *"}) == datetime(2026, 11, 11, 3, 30, tzinfo=UTC)


def test_cron_that_was_missed_before_the_first_run_is_made_up_for() -> None:
    assert due({"cron": "30 3 * * *"}, since=NOW - timedelta(days=1)) == NOW


def test_a_cron_run_is_not_repeated_by_a_restart() -> None:
    at = datetime(2026, 11, 10, 3, 30, tzinfo=UTC)
    for late in (timedelta(0), timedelta(milliseconds=3), timedelta(hours=2)):
        assert due({"cron": "30 3 * * *"}, last=at + late) == at + timedelta(days=1)


def test_cron_is_in_utc_whatever_the_machine_thinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        march = datetime(2026, 3, 7, 0, 0, tzinfo=UTC)  # clocks go forward there on the 8th
        days = fires(crontab("30 7 * * *"), 4, march)
        assert [day.hour for day in days] == [7, 7, 7, 7]
        assert {later - earlier for earlier, later in pairwise(days)} == {timedelta(days=1)}
        assert all(day.utcoffset() == timedelta(0) for day in days)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("weekday", "expected"),
    [
        ("0", {"Sun"}),
        ("7", {"Sun"}),
        ("1-5", {"Mon", "Tue", "Wed", "Thu", "Fri"}),
        ("5-7", {"Fri", "Sat", "Sun"}),
        ("*/2", {"Sun", "Tue", "Thu", "Sat"}),
        ("1,3", {"Mon", "Wed"}),
        ("1/2", {"Mon", "Wed", "Fri"}),
        ("mon-wed", {"Mon", "Tue", "Wed"}),
        ("*", {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}),
    ],
)
def test_days_of_the_week_count_as_in_crontab(weekday: str, expected: set[str]) -> None:
    assert {day.strftime("%a") for day in fires(crontab(f"0 0 * * {weekday}"), 14)} == expected


def test_an_interval_fires_evenly() -> None:
    rule = trigger(RetrainSettings.model_validate({"every": "90m", "jitter": "10m"}))
    assert rule is not None
    found = fires(rule, 5)
    assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(minutes=90)}


def test_microseconds_become_utc() -> None:
    assert utc(us(NOW)) == NOW

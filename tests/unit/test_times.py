from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.records import Reason
from stream.refusals import Unusable
from stream.times import END_US, TimeUnit, floats_to_us, integers_to_us, parse_time

NOON_US = 1_772_366_400_000_000  # 2026-03-01T12:00:00Z
BERLIN = ZoneInfo("Europe/Berlin")


def reason(value: object, unit: TimeUnit = "auto", zone: str = "UTC") -> Reason:
    with pytest.raises(Unusable) as caught:
        parse_time(value, unit, UTC if zone == "UTC" else ZoneInfo(zone))
    return caught.value.reason


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T12:00:00Z",
        "2026-03-01 12:00:00",
        "2026-03-01T13:00:00+01:00",
        "2026-03-01T12:00:00.000000000Z",
        "2026/03/01 12:00",
        "2026/3/1 12:00:00",
        " 2026-03-01T12:00Z ",
        "1772366400",
        "1772366400000",
        "1772366400000.0",
        "1.7723664e9",
    ],
)
def test_one_moment_may_be_written_in_many_ways(text: str) -> None:
    assert parse_time(text, "auto", UTC) == NOON_US


@pytest.mark.parametrize(("unit", "per_us"), [("us", 1), ("ns", 1000)])
def test_integers_are_exact_in_small_units(unit: TimeUnit, per_us: int) -> None:
    assert parse_time((NOON_US + 1) * per_us, unit, UTC) == NOON_US + 1
    assert parse_time((NOON_US + 1) * per_us, "auto", UTC) == NOON_US + 1
    assert parse_time(str((NOON_US + 1) * per_us), unit, UTC) == NOON_US + 1


def test_a_date_alone_is_its_midnight() -> None:
    assert parse_time("2026-03-01", "auto", UTC) == NOON_US - 12 * 3_600_000_000


def test_fractional_seconds_are_rounded_to_the_nearest_microsecond() -> None:
    assert parse_time(1772366400.123457, "auto", UTC) == NOON_US + 123_457
    assert parse_time("1772366400.1234567", "auto", UTC) == NOON_US + 123_457


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, Reason.WRONG_TYPE),
        ([], Reason.WRONG_TYPE),
        (None, Reason.MISSING_FIELD),
        (float("nan"), Reason.NOT_FINITE),
        ("yesterday", Reason.TIME_FORMAT),
        ("01/02/2026", Reason.TIME_FORMAT),
        ("2026-02-30", Reason.TIME_FORMAT),
        ("9" * 70, Reason.TIME_FORMAT),
        ("", Reason.TIME_FORMAT),
        (-1, Reason.TIME_RANGE),
        ("9999-01-01T00:00:00Z", Reason.TIME_RANGE),
        ("1969-12-31T23:59:59Z", Reason.TIME_RANGE),
        ("2200-01-01", Reason.TIME_RANGE),
        (10**40, Reason.TIME_RANGE),
        ("1e99", Reason.TIME_RANGE),
        (1e300, Reason.TIME_RANGE),
    ],
)
def test_what_is_no_time_is_refused_with_its_reason(value: object, expected: Reason) -> None:
    assert reason(value) is expected


def test_eight_digits_that_look_like_a_date_are_not_taken_for_seconds() -> None:
    assert reason("20260301") is Reason.TIME_FORMAT
    assert parse_time("20260301", "s", UTC) == 20_260_301_000_000


def test_local_times_take_the_zone_that_is_given() -> None:
    assert parse_time("2026-03-01 13:00:00", "auto", BERLIN) == NOON_US
    assert parse_time("2026-07-01 14:00:00", "auto", BERLIN) == parse_time("2026-07-01T12:00:00Z", "auto", UTC)


@pytest.mark.parametrize("local", ["2026-03-29 02:30:00", "2026-10-25 02:30:00"])
def test_local_times_that_a_clock_change_makes_ambiguous_are_refused(local: str) -> None:
    with pytest.raises(Unusable, match="offset") as caught:
        parse_time(local, "auto", BERLIN)
    assert caught.value.reason is Reason.TIME_FORMAT


def test_an_offset_wins_over_the_zone_even_within_a_clock_change() -> None:
    assert parse_time("2026-10-25 02:30:00+01:00", "auto", BERLIN) == parse_time("2026-10-25T01:30:00Z", "auto", UTC)


UNITS = st.sampled_from(["auto", "s", "ms", "us", "ns"])


def one_by_one(values: list[int] | list[float], unit: TimeUnit) -> list[int]:
    times = []
    for value in values:
        try:
            times.append(parse_time(value, unit, UTC))
        except Unusable:
            times.append(-1)
    return times


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 10**19 // 2), min_size=1), UNITS)
def test_integers_in_columns_are_read_as_one_by_one(values: list[int], unit: TimeUnit) -> None:
    assert integers_to_us(np.array(values, dtype=np.int64), unit).tolist() == one_by_one(values, unit)


@given(st.lists(st.floats() | st.floats(0, 1e19), min_size=1), UNITS)
def test_floats_in_columns_are_read_as_one_by_one(values: list[float], unit: TimeUnit) -> None:
    assert floats_to_us(np.array(values), unit).tolist() == one_by_one(values, unit)


@given(st.datetimes(datetime(1970, 1, 1), datetime(2199, 12, 31)))  # noqa: DTZ001 - local on purpose
def test_every_microsecond_survives_iso_text(moment: datetime) -> None:
    parsed = parse_time(moment.isoformat(), "auto", UTC)
    assert 0 <= parsed < END_US
    assert (
        datetime.fromtimestamp(parsed // 1_000_000, UTC).replace(microsecond=parsed % 1_000_000, tzinfo=None) == moment
    )

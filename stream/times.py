"""Event times: whatever stands in a record, to int64 microseconds since 1970 UTC.

Numbers are times since 1970 UTC. With unit "auto" their size tells the unit, as no plausible time is ambiguous:

    below 1e11 seconds (until 5138), below 1e14 milliseconds (from 1973), below 1e17 microseconds, else nanoseconds

Integers are exact in every unit; what is finer than a microsecond is cut off. Fractional numbers are rounded to the
nearest microsecond. Text is ISO 8601 (``2026-03-01T12:00:00Z``; also a space for the T, slashes for dashes, the date
alone) or a number.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stream.records import Reason
from stream.refusals import Unusable, shown

TimeUnit = Literal["auto", "s", "ms", "us", "ns"]

END_US = 7_258_118_400_000_000
"""2200-01-01 UTC: event times are at or after 1970 and before this."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AUTO: tuple[tuple[int, Literal["s", "ms", "us"]], ...] = ((10**11, "s"), (10**14, "ms"), (10**17, "us"))
_MULTIPLIER = {"s": 1_000_000, "ms": 1000, "us": 1}
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_COMPACT_DATE = re.compile(r"(?:19|20|21)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")
_SLASHED = re.compile(r"([0-9]{4})/([0-9]{1,2})/([0-9]{1,2})(?![0-9])")
_LONGEST = 64
_LARGEST_EXPONENT = 20
_LAST_YEAR = 2200


def parse_time(value: object, unit: TimeUnit, zone: tzinfo) -> int:
    """Microseconds since 1970 UTC. ``zone`` is that of text without an offset.

    Raises Unusable with MISSING_FIELD (null), WRONG_TYPE, NOT_FINITE, TIME_FORMAT or TIME_RANGE.
    """
    if type(value) is int:
        moment = _from_int(value, unit)
    elif type(value) is float:
        moment = _from_float(value, unit)
    elif isinstance(value, str):
        moment = _from_text(value.strip(), unit, zone)
    elif value is None:
        raise Unusable(Reason.MISSING_FIELD, "is missing or null")
    else:
        raise Unusable(Reason.WRONG_TYPE, f"must be a number or text, not {shown(value)}")
    if not 0 <= moment < END_US:
        raise Unusable(Reason.TIME_RANGE, f"{shown(value)} is not between 1970 and 2200; check time_unit ({unit})")
    return moment


def integers_to_us(times: NDArray[np.int64], unit: TimeUnit) -> NDArray[np.int64]:
    """``parse_time`` for many integers at once; -1 for each time that is out of range."""
    if unit == "auto":
        # np.abs would leave the lowest int64 negative; negative times are out of range in any unit.
        scaled = np.full_like(times, -1)
        low = 0
        for bound, name in _AUTO:
            here = (times >= low) & (times < bound)
            scaled[here] = times[here] * _MULTIPLIER[name]
            low = bound
        rest = times >= low
        scaled[rest] = times[rest] // 1000
    elif unit == "ns":
        scaled = times // 1000
    else:
        factor = _MULTIPLIER[unit]
        # Outside these bounds the product could pass int64 and come back as a plausible time.
        scaled = np.where((times >= 0) & (times < END_US // factor), times, -1) * factor
    return np.where((scaled >= 0) & (scaled < END_US), scaled, -1)


def floats_to_us(times: NDArray[np.float64], unit: TimeUnit) -> NDArray[np.int64]:
    """``parse_time`` for many floats at once; -1 for each time that is out of range or not finite."""
    with np.errstate(over="ignore"):
        if unit == "auto":
            size = np.abs(times)
            scaled = times / 1000.0
            for bound, name in reversed(_AUTO):
                scaled = np.where(size < bound, times * float(_MULTIPLIER[name]), scaled)
        else:
            scaled = times / 1000.0 if unit == "ns" else times * float(_MULTIPLIER[unit])
    scaled = np.rint(scaled)
    # A comparison with NaN is false, so NaN is out of range as well.
    return np.where((scaled >= 0) & (scaled < END_US), scaled, -1.0).astype(np.int64)


def _unit_of(size: float | Decimal) -> Literal["s", "ms", "us", "ns"]:
    return next((name for bound, name in _AUTO if size < bound), "ns")


def _from_int(value: int, unit: TimeUnit) -> int:
    known = _unit_of(abs(value)) if unit == "auto" else unit
    return value // 1000 if known == "ns" else value * _MULTIPLIER[known]


def _from_float(value: float, unit: TimeUnit) -> int:
    if not math.isfinite(value):
        raise Unusable(Reason.NOT_FINITE, f"{value} is no time")
    known = _unit_of(abs(value)) if unit == "auto" else unit
    scaled = value / 1000.0 if known == "ns" else value * float(_MULTIPLIER[known])
    return round(scaled) if math.isfinite(scaled) else -1


def _from_text(text: str, unit: TimeUnit, zone: tzinfo) -> int:
    if len(text) > _LONGEST:
        raise Unusable(Reason.TIME_FORMAT, f"{shown(text)} is too long for a time")
    # Almost every text is ISO with dashes, which is neither of the next two.
    dashed = text[4:5] == "-"
    if not dashed and _NUMBER.fullmatch(text):
        if unit == "auto" and _COMPACT_DATE.fullmatch(text):
            raise Unusable(
                Reason.TIME_FORMAT,
                f"{shown(text)} may be a date or seconds; send {text[:4]}-{text[4:6]}-{text[6:]} or set time_unit",
            )
        return _from_decimal(Decimal(text), unit)
    if not dashed and (slashed := _SLASHED.match(text)):
        year, month, day = slashed.groups()
        text = f"{year}-{month:0>2}-{day:0>2}{text[slashed.end() :]}"
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError:
        raise Unusable(
            Reason.TIME_FORMAT, f"{shown(text)} is neither ISO 8601 (2026-03-01T12:00:00Z) nor a number"
        ) from None
    if stamp.tzinfo is None:
        return _from_local(stamp, zone)
    return _microseconds(stamp)


def _from_decimal(number: Decimal, unit: TimeUnit) -> int:
    if number.adjusted() > _LARGEST_EXPONENT:
        return -1
    known = _unit_of(abs(number)) if unit == "auto" else unit
    if number == number.to_integral_value():
        return _from_int(int(number), known)
    return round(number / 1000 if known == "ns" else number * _MULTIPLIER[known])


def _from_local(stamp: datetime, zone: tzinfo) -> int:
    if zone is UTC:
        return _microseconds(stamp.replace(tzinfo=UTC))
    if not _EPOCH.year - 1 <= stamp.year <= _LAST_YEAR:
        return -1
    first, second = stamp.replace(tzinfo=zone), stamp.replace(tzinfo=zone, fold=1)
    if first.utcoffset() != second.utcoffset():
        # Both clock changes show like this: an hour that is skipped and an hour that comes twice.
        raise Unusable(
            Reason.TIME_FORMAT,
            f"{stamp} is ambiguous or does not exist in {zone} (clock change); send an offset or UTC",
        )
    return _microseconds(first)


def _microseconds(stamp: datetime) -> int:
    since = stamp - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds

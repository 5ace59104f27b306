"""The edge: records that the fast path of ``stream.decode`` refuses, one by one, with the exact reason.

Pydantic models find the fields (dotted names too), the validators here judge the values. What passes is accepted as if
the fast path had taken it: numbers given as text, for example.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AliasChoices, AliasPath, BaseModel, BeforeValidator, Field, create_model

from stream.fields import FieldMapping, Limits
from stream.records import Reason
from stream.refusals import Unusable, shown
from stream.times import parse_time

T = TypeVar("T")

_FORBIDDEN_IN_ID = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*", re.ASCII)
LARGEST = 1e300
"""No measurement is larger, and differences of two such values still are finite."""
_NOT_FINITE = re.compile(r"\s*[+-]?(?:nan|inf|infinity)\s*", re.ASCII | re.IGNORECASE)
_LONGEST_NUMBER = 400
"""Digits: a longer integer is beyond float64 anyway, and turning it into an int takes quadratic time."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One observation: the value, then the channels, in ``values``."""

    series: str
    time_us: int
    values: tuple[float, ...]


def parse_number(value: object) -> float:
    """A finite float. Raises Unusable with MISSING_FIELD (null), WRONG_TYPE or NOT_FINITE."""
    if value is None:
        raise Unusable(Reason.MISSING_FIELD, "is missing or null")
    if isinstance(value, str):
        if len(value) > _LONGEST_NUMBER or not _NUMBER.fullmatch(value):
            reason = Reason.NOT_FINITE if _NOT_FINITE.fullmatch(value) else Reason.WRONG_TYPE
            raise Unusable(reason, f"must be a number, not the text {shown(value)}")
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unusable(Reason.WRONG_TYPE, f"must be a number, not {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not abs(number) <= LARGEST:
        raise Unusable(Reason.NOT_FINITE, f"{shown(value)} is not a finite number of at most {LARGEST:g}")
    return number


def parse_series_id(value: object, longest: int) -> str:
    """A series id: 1 to ``longest`` characters, none a control character, no white space at its ends; or an integer.

    Raises Unusable with MISSING_FIELD (null), WRONG_TYPE or SERIES_ID.
    """
    if value is None:
        raise Unusable(Reason.MISSING_FIELD, "is missing or null")
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise Unusable(Reason.WRONG_TYPE, f"must be text or an integer, not {shown(value)}")
    name = str(value)
    if not 1 <= len(name) <= longest:
        raise Unusable(Reason.SERIES_ID, f"{shown(name)} has {len(name)} characters; 1 to {longest} are allowed")
    if _FORBIDDEN_IN_ID.search(name):
        raise Unusable(Reason.SERIES_ID, f"{shown(name)} holds control characters or invalid Unicode")
    if name != name.strip():
        raise Unusable(Reason.SERIES_ID, f"{shown(name)} begins or ends with white space")
    return name


class Edge:
    """Reads records one by one, for one mapping of fields."""

    def __init__(self, fields: FieldMapping, limits: Limits) -> None:
        self._fields = fields
        self._limits = limits
        self._zone = fields.zone
        named = fields.sensors if isinstance(fields.sensors, list) else []
        self._sensors = [(f"sensor_{number}", name) for number, name in enumerate(named)]
        self._channels = [f"channel_{number}" for number in range(len(fields.channels))]
        self._not_sensors = {fields.time, fields.series, *fields.channels}
        self._model = self._build_model()
        # 5000 digits in one number are no reason to call the record malformed: it is a number, only not a finite one.
        self._json = json.JSONDecoder(
            strict=False, parse_int=lambda digits: int(digits) if len(digits) < _LONGEST_NUMBER else math.inf
        )

    def items(self, value: bytes | None) -> tuple[list[object], bool]:
        """The items in a record's value, NaN and infinities let through, and whether they stand in an array.

        Raises Unusable with EMPTY, TOO_LARGE, NOT_JSON or TOO_MANY_ITEMS.
        """
        if value is None or not value.strip():
            raise Unusable(Reason.EMPTY, "the record has no value")
        if len(value) > self._limits.record_bytes:
            most = self._limits.record_bytes
            raise Unusable(Reason.TOO_LARGE, f"{len(value)} bytes in one record; at most {most} are allowed")
        # Bytes that are no UTF-8 matter only if they stand in a field that is used; there they are found again.
        text = value.decode("utf-8-sig", "surrogateescape")
        try:
            parsed: object = self._json.decode(text)
        except RecursionError:
            raise Unusable(Reason.NOT_JSON, "nested too deeply") from None
        except ValueError as error:
            raise Unusable(Reason.NOT_JSON, f"{shown(value)}: {error}") from None
        if not isinstance(parsed, list):
            return [parsed], False
        if len(parsed) > self._limits.items_per_record:
            most = self._limits.items_per_record
            raise Unusable(Reason.TOO_MANY_ITEMS, f"{len(parsed)} items in one record; at most {most} are allowed")
        return parsed, True

    def ids(self, raw: object) -> tuple[str, ...]:
        """The series ids of one object with the series id ``raw`` (a field's value or a key): one, or one a sensor."""
        prefix = self._prefix(raw)
        if self._fields.value is not None:
            return (prefix,)
        return tuple(self._sensor_id(prefix, name) for _, name in self._sensors)

    def read(self, item: object, key: bytes | None, latest_us: int) -> tuple[list[Reading], list[Unusable]]:
        """What one object holds: observations, and what of it cannot be used. No event time may pass ``latest_us``."""
        if not isinstance(item, dict):
            return [], [Unusable(Reason.WRONG_TYPE, f"must be an object, not {shown(item)}")]
        refused: list[Unusable] = []
        try:
            found: Any = self._model.model_validate(item)
            time_us = self._not_ahead(found.time, latest_us)
            prefix: str = found.series if self._fields.series is not None else self._prefix(key)
        except Unusable as error:
            return [], [error]
        channels = tuple(getattr(found, name) for name in self._channels)
        if self._fields.value is not None:
            return [Reading(prefix, time_us, (found.value, *channels))], []
        readings = []
        for name, value in self._sensor_values(item, found):
            try:
                series = self._sensor_id(prefix, name)
                readings.append(Reading(series, time_us, (_named(name, parse_number)(value), *channels)))
            except Unusable as error:
                refused.append(error)
        if not readings and not refused and not any(name in item for _, name in self._sensors):
            refused.append(Unusable(Reason.MISSING_FIELD, "the object holds none of the sensors"))
        return readings, refused

    def _sensor_values(self, item: dict[str, object], found: Any) -> Iterator[tuple[str, object]]:
        if self._fields.sensors == "*":
            for name, value in item.items():
                if type(value) in (int, float) and name not in self._not_sensors:
                    yield name, value
            return
        for attribute, name in self._sensors:
            value = getattr(found, attribute)
            if value is not None:
                yield name, value

    def _not_ahead(self, time_us: int, latest_us: int) -> int:
        if time_us > latest_us:
            most_s = self._limits.future_s
            ahead_s = (time_us - latest_us) // 1_000_000 + most_s
            detail = f"field {shown(self._fields.time)}: {ahead_s} s after the record itself; at most {most_s} s"
            raise Unusable(Reason.TIME_FUTURE, detail)
        return time_us

    def _prefix(self, raw: object) -> str:
        """The series id that ``raw`` (a field's value or a key) gives; empty where sensors need none."""
        if self._fields.series is not None:
            return _named(self._fields.series, self._series_id)(raw)
        if not isinstance(raw, bytes):
            if self._fields.sensors is not None:
                return ""
            raise Unusable(Reason.MISSING_FIELD, "the record has no key to be the series id; name a series field")
        try:
            return self._series_id(raw.decode())
        except UnicodeDecodeError:
            raise Unusable(Reason.SERIES_ID, f"key: {shown(raw)} is no UTF-8") from None
        except Unusable as error:
            raise Unusable(error.reason, f"key: {error.detail}") from None

    def _series_id(self, value: object) -> str:
        return parse_series_id(value, self._limits.series_id_length)

    def _sensor_id(self, prefix: str, sensor: str) -> str:
        whole = f"{prefix}/{sensor}" if prefix else sensor
        return _named(sensor, self._series_id)(whole)

    def _build_model(self) -> type[BaseModel]:
        fields = self._fields
        unit, zone = fields.time_unit, self._zone
        parts: dict[str, Any] = {"time": _part(fields.time, lambda value: parse_time(value, unit, zone))}
        if fields.series is not None:
            parts["series"] = _part(fields.series, self._series_id)
        if fields.value is not None:
            parts["value"] = _part(fields.value, parse_number)
        for attribute, name in self._sensors:
            # Judged apart from the model: one bad sensor must not take the others with it.
            parts[attribute] = _part(name, lambda value: value)
        for attribute, name in zip(self._channels, fields.channels, strict=True):
            parts[attribute] = _part(name, lambda value: math.nan if value is None else parse_number(value))
        return create_model("Item", **parts)


def _part(name: str, parse: Callable[[object], object]) -> Any:
    """A model field that lies under ``name``, or under its dotted path; the parser sees None where there is none."""
    path = name.split(".")
    # A key that holds dots itself comes first: that is how many exporters flatten objects.
    alias = AliasChoices(name, AliasPath(path[0], *path[1:])) if len(path) > 1 else AliasChoices(name)
    kind = Annotated[Any, BeforeValidator(_named(name, parse))]
    return kind, Field(None, validation_alias=alias, validate_default=True)


def _named(name: str, parse: Callable[[object], T]) -> Callable[[object], T]:
    def named(value: object) -> T:
        try:
            return parse(value)
        except Unusable as error:
            raise Unusable(error.reason, f"field {shown(name)}: {error.detail}") from None

    return named

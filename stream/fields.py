"""What the user says about the fields of a record, and the limits that protect the stream from odd records."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from stream.times import TimeUnit

FieldName = Annotated[str, Field(min_length=1)]


class FieldMapping(BaseModel):
    """Where a record's JSON object holds what. A dotted name (``payload.temp``) reaches into nested objects.

    One value a record (``value``), or one series per numeric field (``sensors``): then the series are called
    ``<series>/<sensor>``. With ``sensors``, ``series`` is None unless given: the prefix is the record's key, and a
    record without a key gives series called ``<sensor>``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    time: FieldName = "time"
    """Event time: a number since 1970 UTC, or ISO 8601."""
    series: FieldName | None = "series"
    """The series id; None: the record's key."""
    value: FieldName | None = "value"
    """The value that is forecast; None with ``sensors``."""
    sensors: list[FieldName] | Literal["*"] | None = None
    """Fields that are a series each; "*": every numeric field but time, series and channels."""
    channels: list[FieldName] = []
    """Further inputs; a record without one counts as missing (NaN)."""
    time_unit: TimeUnit = "auto"
    """Unit of numeric times; "auto": by size, see ``stream.times``."""
    timezone: str = "UTC"
    """IANA zone of ISO times without an offset."""

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, name: str) -> str:
        if name == "UTC":
            # Known even where the machine has no time zone database.
            return name
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            zones = sorted(available_timezones())
            near = [zone for zone in zones if name and name.lower() in zone.lower()][:3]
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            if not zones:
                hint = "; this machine has no time zone database: pip install tzdata"
            raise ValueError(f"no time zone {name!r}: use an IANA name such as UTC or Europe/Berlin{hint}") from error
        return name

    @model_validator(mode="before")
    @classmethod
    def _sensors_change_the_defaults(cls, given: object) -> object:
        # Whoever names sensors should not have to write "value: null" as well; and most such records have no id field.
        if isinstance(given, dict) and given.get("sensors") is not None:
            return {"value": None, "series": None, **given}
        return given

    @model_validator(mode="after")
    def _names_fit_together(self) -> Self:
        if self.sensors is not None and self.value is not None:
            raise ValueError("set either value or sensors, not both: with sensors, each of them is a series of its own")
        if self.sensors is None and self.value is None:
            raise ValueError("set value (one number a record) or sensors (several)")
        if self.sensors == []:
            raise ValueError('sensors is empty: name the numeric fields, or "*" for all of them')
        listed = self.sensors if isinstance(self.sensors, list) else []
        names = [name for name in (self.time, self.series, self.value, *listed, *self.channels) if name is not None]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"field {', '.join(twice)} is named more than once: give each field one role")
        broken = [name for name in names if "" in name.split(".")]
        if broken:
            raise ValueError(f"field {', '.join(map(repr, broken))}: a dotted name has no empty parts")
        return self

    @property
    def zone(self) -> tzinfo:
        """The zone of ISO times without an offset."""
        return UTC if self.timezone == "UTC" else ZoneInfo(self.timezone)


class Limits(BaseModel):
    """What a record may be at most; what is beyond is rejected, record by record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    record_bytes: int = Field(default=1_048_576, gt=0)
    """Largest value of a record, in bytes."""
    series_id_length: int = Field(default=256, gt=0, le=256)
    """Longest series id, in characters."""
    items_per_record: int = Field(default=10_000, gt=0)
    """Most items in a record's array."""
    future_s: int = Field(default=3_600, ge=0, le=10 * 366 * 86_400)
    """How far an event time may lie after the time at which the log took the record, in seconds."""

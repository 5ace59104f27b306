"""What Tidecast says to the world: the JSON that stands in Redis, version 1.

``python -m stream.messages`` prints the JSON Schemas. Forecasts, the only message made in bulk, are written by
``stream.encode`` without passing through these models; tests hold the two together.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

from stream.keys import SERIES_ID_MAX

VERSION = 1

SeriesState = Literal["warming", "ready", "stale"]
STATES: tuple[SeriesState, ...] = ("warming", "ready", "stale")
"""``ForecastColumns.state`` holds indices into this: 0 warming, 1 ready, 2 stale."""

Time = Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]
"""A time with a zone; in JSON always UTC and ISO 8601 with 'Z', microseconds only where there are any."""

SeriesId = Annotated[str, Field(min_length=1, max_length=SERIES_ID_MAX)]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Offset = Annotated[int, Field(ge=0)]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Message(BaseModel):
    """What all messages share: immutable, no unknown fields, a version."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_serialization_defaults_required=True)

    v: Literal[1] = 1

    def to_json(self) -> bytes:
        """Compact UTF-8 JSON."""
        return self.model_dump_json().encode()


class Crossing(BaseModel):
    """How likely a series is to go beyond a threshold within the horizon."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: FiniteFloat
    probability: Share


class ForecastMessage(Message):
    """One forecast of one series: H leads of ``step_s`` seconds from ``cutoff`` on."""

    id: str
    """Same forecast, same id, also when it is published again."""
    feed: str
    series: SeriesId
    state: SeriesState
    cutoff: Time
    """Time of the last observation used; lead h (from 1) is for ``cutoff + h * step_s``."""
    issued: Time
    step_s: Annotated[FiniteFloat, Field(gt=0)]
    horizon: Annotated[int, Field(ge=1)]
    value: FiniteFloat
    """The observation at ``cutoff``."""
    median: list[FiniteFloat]
    """H values, lead 1 first: the forecast."""
    quantiles: dict[str, list[FiniteFloat]]
    """Level but 0.5 ("0.05", ...) -> H values. They never cross."""
    model: str
    weights: dict[str, FiniteFloat]
    """Expert -> its share of the mixture, mean over the leads."""
    crossing: dict[Literal["above", "below"], Crossing] = {}
    """Of the thresholds that are set for the series: whether any value of the horizon will lie beyond."""

    @model_validator(mode="after")
    def _every_lead_is_there(self) -> ForecastMessage:
        for level, values in (("0.5", self.median), *self.quantiles.items()):
            if len(values) != self.horizon:
                raise ValueError(f"level {level} has {len(values)} values, horizon is {self.horizon}")
        return self


class AlertKind(StrEnum):
    """Kinds that Tidecast raises. Readers must take others: new kinds do not make a new version."""

    ANOMALY = "anomaly"
    INPUT_DRIFT = "input-drift"
    ERROR_DRIFT = "error-drift"
    COVERAGE = "coverage"
    THRESHOLD = "threshold"
    FLATLINE = "flatline"
    STALE = "stale"
    QUALITY = "quality"


class AlertMessage(Message):
    """An alert starts to fire, changes, or is resolved."""

    id: str
    """Of this message: same event, same id, so a reader may drop what it has seen."""
    fingerprint: str
    """Of the alert: the same from firing to resolved."""
    feed: str
    series: SeriesId
    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
    """One of ``AlertKind``, or a kind that a later release adds."""
    status: Literal["firing", "resolved"]
    severity: Literal["info", "warning", "critical"]
    started: Time
    """Event time at which it began."""
    at: Time
    """Event time of this change."""
    issued: Time
    ended: Time | None = None
    """Event time at which it was resolved; null while it fires."""
    title: str
    """One sentence for people."""
    evidence: dict[str, StrictInt | FiniteFloat | StrictStr] = Field(default_factory=dict)
    """What the detector saw: its name, means before and after, window widths, ..."""

    @model_validator(mode="after")
    def _ended_when_resolved(self) -> AlertMessage:
        if (self.status == "resolved") != (self.ended is not None):
            raise ValueError("'ended' stands in a resolved alert and only there")
        return self

    def stream_fields(self, text: bytes) -> dict[str, str | bytes | int]:
        """The entry of the alert stream: fields to filter on, and ``text``, the whole message, in ``alert``."""
        return {
            "v": self.v,
            "id": self.id,
            "fingerprint": self.fingerprint,
            "kind": self.kind,
            "status": self.status,
            "severity": self.severity,
            "feed": self.feed,
            "series": self.series,
            "at": self.at.isoformat().replace("+00:00", "Z"),
            "title": self.title,
            "alert": text,
        }


class SeriesCard(Message):
    """How one series does: a line of the overview."""

    feed: str
    series: SeriesId
    state: SeriesState
    model: str
    step_s: Annotated[FiniteFloat, Field(gt=0)]
    observations: Count
    """Observations taken, since the series is known."""
    gaps: Count
    """How often one or more slots in a row were skipped."""
    late: Count
    """Observations refused as too late."""
    duplicates: Count
    cutoff: Time
    value: FiniteFloat
    error: FiniteFloat | None = None
    """Recent mean absolute error at lead 1, in units of the value; null before the first target is known."""
    error_last_value: FiniteFloat | None = None
    """The same of the forecast "as now"."""
    error_ratio: FiniteFloat | None = None
    """``error / error_last_value``: below 1 is better than "as now"; null where that is 0 or unknown."""
    coverage: dict[str, Share] = Field(default_factory=dict)
    """Nominal share of a central interval ("0.9") -> share of recent targets that were inside."""
    nominal: Share
    """Nominal share of the widest interval, a key of ``coverage`` once targets are known."""
    weights: dict[str, FiniteFloat] = Field(default_factory=dict)
    """As in ForecastMessage."""
    recent: list[FiniteFloat | None] = Field(default_factory=list)
    """Values at the newest slots, oldest first, the last one at ``cutoff``; null where a slot had no observation."""
    partition: Annotated[int, Field(ge=0)]
    offset: Offset
    """Offset of the series' last record used."""
    updated: Time


class ForecastBatch(Message):
    """One entry of the forecast stream: the forecasts of one engine batch from one partition.

    The entry's fields are text: ``forecasts`` a JSON array, the others as here. ``n`` is the length of the array.
    """

    feed: str
    topic: str
    partition: Annotated[int, Field(ge=0)]
    first_offset: Offset
    last_offset: Offset
    n: Annotated[int, Field(ge=1)]
    forecasts: list[ForecastMessage]


class LiveNotice(Message):
    """Published on the live channel for each entry of the forecast stream: whose latest forecast has changed.

    It names the series instead of carrying forecasts, as Redis cuts off subscribers that cannot keep up; a screen
    gets the ones that it shows.
    """

    feed: str
    topic: str
    partition: Annotated[int, Field(ge=0)]
    last_offset: Offset
    series: list[SeriesId]


MESSAGES: tuple[type[Message], ...] = (ForecastMessage, ForecastBatch, AlertMessage, SeriesCard, LiveNotice)


def iso(time_us: int) -> str:
    """``time_us`` (UTC, since 1970) as ISO 8601 with 'Z', the same text that the messages hold."""
    seconds, micros = divmod(time_us, 1_000_000)
    time = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
    return time.replace(tzinfo=None).isoformat() + "Z"


def iso_column(times_us: NDArray[np.int64]) -> list[str]:
    """``iso`` of each time [n]."""
    times = times_us.astype("datetime64[us]")
    if not (times_us % 1_000_000).any():
        return [f"{text}Z" for text in np.datetime_as_string(times, unit="s").tolist()]
    return [text.removesuffix(".000000") + "Z" for text in np.datetime_as_string(times, unit="us").tolist()]


def time_us(time: datetime) -> int:
    """Microseconds since 1970, exact."""
    since = time - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def schemas() -> Mapping[str, Any]:
    """Name -> JSON Schema (draft 2020-12) of each message, as readers get it."""
    return {message.__name__: message.model_json_schema(mode="serialization") for message in MESSAGES}


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(schemas(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))

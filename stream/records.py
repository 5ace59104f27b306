"""What travels between the steps of the input side: records, observations, rejections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a log, as it came.

    ``timestamp_ms`` is the time at which the log took the record (Kafka: the record's timestamp), -1 where the source has none.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int = -1
    headers: tuple[tuple[str, bytes], ...] = ()


class Reason(StrEnum):
    """Why an observation could not be used. The values are public: they stand in dead-letter headers and metrics."""

    EMPTY = "empty"
    TOO_LARGE = "too-large"
    NOT_JSON = "not-json"
    MISSING_FIELD = "missing-field"
    WRONG_TYPE = "wrong-type"
    NOT_FINITE = "not-finite"
    SERIES_ID = "series-id"
    SERIES_LIMIT = "series-limit"
    TIME_FORMAT = "time-format"
    TIME_RANGE = "time-range"
    TIME_FUTURE = "time-future"
    TOO_MANY_ITEMS = "too-many-items"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record, or one item of its array, that could not be used."""

    record: Record
    reason: Reason
    detail: str
    item: int | None = None
    """Index in the record's array, None when the whole record is unusable."""


@dataclass(slots=True)
class Observations:
    """n observations in columns, in the order of arrival.

    ``values`` is float64 [n, C]: channel 0 is the value that is forecast, the others are further inputs (NaN where a record lacks one).
    ``record`` int32 [n] is the index of the record in the decoded sequence, ``item`` int32 [n] the position within that record.
    """

    series: list[str]
    time_us: NDArray[np.int64]
    values: NDArray[np.float64]
    record: NDArray[np.int32]
    item: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.series)


@dataclass(slots=True)
class Decoded:
    """What a decoder made of some records."""

    records: Sequence[Record]
    observations: Observations
    rejected: list[Rejected]

"""What travels between the steps of the input side: records, observations, rejections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Record(NamedTuple):
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


class Run(NamedTuple):
    """Records of one partition that follow each other: those from ``start`` to before ``stop`` of a sequence."""

    topic: str
    partition: int
    start: int
    stop: int


def runs(records: Sequence[Record]) -> list[Run]:
    """The runs of a sequence of records; a partition may have several."""
    found: list[Run] = []
    start, topic, partition = 0, "", -1
    for index, record in enumerate(records):
        # By place, not by name: this is passed through for every record.
        if record[1] != partition or record[0] != topic:
            if index:
                found.append(Run(topic, partition, start, index))
            start, topic, partition = index, record[0], record[1]
    if records:
        found.append(Run(topic, partition, start, len(records)))
    return found


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
    """What a decoder made of some records. ``offsets`` int64 [len(records)] are theirs, and ``runs`` their partitions, in order."""

    records: Sequence[Record]
    offsets: NDArray[np.int64]
    runs: list[Run]
    observations: Observations
    rejected: list[Rejected]

    def parts(self) -> Iterator[tuple[Run, slice]]:
        """Each run with the slice of its observations."""
        # Observations are in the order of their records.
        stops = np.searchsorted(self.observations.record, [run.stop for run in self.runs]).tolist()
        start = 0
        for run, stop in zip(self.runs, stops, strict=True):
            yield run, slice(start, stop)
            start = stop

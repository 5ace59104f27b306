"""Files as feeds: what columns and spacing they have, and the order in which their records have to be taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.decode import Decoder
from stream.errors import InputError
from stream.fields import FieldMapping, Limits
from stream.records import Record
from stream.sources.base import Source
from stream.sources.csv_file import CsvSource, detect_csv
from stream.sources.json_lines import JsonLinesSource
from workers.spacing import common_step

Rows = NDArray[np.int64]

JSON_LINES = (".jsonl", ".ndjson", ".json")
CHUNK = 4_096


def is_json_lines(path: str) -> bool:
    """Whether the name says JSON lines, packed or not; ``-`` is standard input."""
    return path == "-" or path.removesuffix(".gz").endswith(JSON_LINES)


def fields_of(path: str) -> FieldMapping:
    """The mapping of a file without a configuration. Raises InputError where there is no file or no usable column."""
    if path == "-":
        return FieldMapping()
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file")
    return FieldMapping() if is_json_lines(path) else detect_csv(Path(path))


def open_source(path: str, fields: FieldMapping) -> CsvSource | JsonLinesSource:
    """The file as a source of records."""
    if path == "-":
        return JsonLinesSource(None)
    return JsonLinesSource(Path(path)) if is_json_lines(path) else CsvSource(Path(path), fields)


def read(source: Source, limit: int | None) -> Iterator[list[Record]]:
    """The records of a source, at most ``limit``, in chunks."""
    left = limit
    while not source.exhausted and left != 0:
        if records := source.poll(CHUNK if left is None else min(CHUNK, left), 0.2):
            left = None if left is None else left - len(records)
            yield records


@dataclass(frozen=True, slots=True)
class Survey:
    """What a look through a whole file has found; a stream cannot be looked at so.

    ``steps_us``: the step of each series, where its observations tell one. ``moments``: the distinct event times,
    ascending. ``order`` [records]: the numbers of the records in the order in which they have to be taken, and ``until``
    the newest event time of its series at each, ascending. ``backwards``: the file begins with the newest.
    """

    steps_us: dict[str, int]
    moments: Rows
    order: Rows
    until: Rows
    observations: int
    backwards: bool

    @property
    def in_order(self) -> bool:
        """Whether the records can be taken as they stand."""
        return bool((self.order == np.arange(len(self.order))).all())

    @property
    def step_us(self) -> int | None:
        """The step that all series share; None where they differ or none is known."""
        steps = set(self.steps_us.values())
        return steps.pop() if len(steps) == 1 else None

    def arranged(self, records: Sequence[Record]) -> list[Record]:
        """All records of the file in their order. Where it runs backwards they are numbered anew: a series' offsets rise."""
        if not self.backwards:
            return [records[at] for at in self.order.tolist()]
        return [records[at]._replace(offset=number) for number, at in enumerate(self.order.tolist())]

    def records_before(self, time_us: int) -> int:
        """How many records come before ``time_us`` has been reached."""
        return int(np.searchsorted(self.until, time_us))


def survey(
    chunks: Iterator[list[Record]], fields: FieldMapping, limits: Limits, progress: Callable[[], None] = lambda: None
) -> Survey:
    """Look at the event times of all records.

    Records are to be taken in the order of time, so that series which stand one below the other in the file run side by
    side. Within a series its own order stays, since what comes late is part of the truth, unless most of it runs
    backwards, as in tables that begin with the newest.
    """
    decoder = Decoder(fields, limits)
    names: dict[str, int] = {}
    parts: list[tuple[Rows, Rows, Rows]] = []
    count = 0
    for records in chunks:
        seen = decoder.decode(records).observations
        numbers = np.array([names.setdefault(name, len(names)) for name in seen.series], np.int64)
        parts.append((numbers, seen.time_us, seen.record.astype(np.int64) + count))
        count += len(records)
        progress()
    numbers, times, record = (
        (np.concatenate([np.zeros(0, np.int64), *column]) for column in zip(*parts, strict=True))
        if parts
        else np.zeros((3, 0), np.int64)
    )
    mine = _by_series(numbers)
    backwards = _runs_backwards(times, mine)
    if backwards:
        numbers, times, record = numbers[::-1], times[::-1], count - 1 - record[::-1]
        mine = _by_series(numbers)
    order, until = _time_order(times, record, mine, count)
    return Survey(
        steps_us={
            name: step
            for name, at in zip(names, _named(mine, numbers, len(names)), strict=True)
            if (step := common_step(times[at]))
        },
        moments=np.unique(times),
        order=count - 1 - order if backwards else order,
        until=until,
        observations=len(times),
        backwards=backwards,
    )


def _by_series(numbers: Rows) -> list[Rows]:
    """Indices of each series' observations, in their order."""
    if not len(numbers):
        return []
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)


def _named(mine: list[Rows], numbers: Rows, count: int) -> list[Rows]:
    by_number = {int(numbers[at[0]]): at for at in mine}
    return [by_number[number] for number in range(count)]


def _runs_backwards(times: Rows, mine: list[Rows]) -> bool:
    moves = np.concatenate([np.zeros(0, np.int64), *(np.diff(times[at]) for at in mine)])
    return bool((moves < 0).sum() > (moves > 0).sum())


def _time_order(times: Rows, record: Rows, mine: list[Rows], count: int) -> tuple[Rows, Rows]:
    until = np.zeros(count, np.int64)
    for at in mine:
        np.maximum.at(until, record[at], np.maximum.accumulate(times[at]))
    # A record without an observation stays behind the one before it.
    there = np.zeros(count, bool)
    there[record] = True
    until = until[np.maximum.accumulate(np.where(there, np.arange(count), 0))]
    order = np.argsort(until, kind="stable")
    return order, until[order]


class Arranged:
    """A source of records that lie in memory."""

    def __init__(self, records: list[Record]) -> None:
        self._records, self._at = records, 0

    @property
    def exhausted(self) -> bool:
        """True at the end."""
        return self._at >= len(self._records)

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:  # noqa: ARG002 - nothing is waited for
        """The next records."""
        found = self._records[self._at : self._at + max_records]
        self._at += len(found)
        return found

    def close(self) -> None:
        """Let go of the records."""
        self._records = []

"""Records from a CSV file: each row becomes a JSON object, as if it had come from Kafka."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from itertools import chain, pairwise
from pathlib import Path
from typing import BinaryIO

import msgspec

from stream.edge import parse_number
from stream.errors import InputError
from stream.fields import FieldMapping
from stream.records import Record
from stream.refusals import Unusable, shown
from stream.times import parse_time

_SAMPLE_ROWS = 500
_SAMPLE_BYTES = 1 << 16
_DELIMITERS = ",;\t|"
_ABSENT = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "?"})
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_NOT_A_NAME = re.compile(r"[+-]?[0-9]*\.?[0-9]*(?:[eE][+-]?[0-9]+)?")
_EPOCH = re.compile(r"[0-9]{9,19}(?:\.[0-9]+)?")
_TIME_NAMES = ("time", "timestamp", "datetime", "date", "ts", "ds", "event_time", "created_at", "_time")
_ID_NAMES = ("series", "series_id", "unique_id", "sensor", "sensor_id", "id", "device", "device_id", "tag", "name")
_RUNNING = re.compile(r"column_0|unnamed: [0-9]+|index|idx|id|row|nr|no|#", re.IGNORECASE)
_SHARE = 0.9
"""A column is one of times, or of numbers, if at least so many of its filled cells are: a few may be broken."""


class CsvSource:
    """One record a row, its offset the row's number from 0. Empty cells are left out; numbers stand as JSON numbers.

    The first line names the columns; where it holds a time there are no names, and they are column_0, column_1, ...
    UTF-8, with or without a byte order mark, else Windows-1252.
    """

    def __init__(self, path: Path, fields: FieldMapping) -> None:
        """InputError when the file cannot be opened, holds no names and no times, or lacks a column that ``fields`` names."""
        self._topic = path.name
        self._file = _opened(path)
        self.bytes_total = path.stat().st_size
        """Size of the file."""
        self.bytes_read = 0
        """How much of it has been read so far."""
        try:
            self._encoding, self._delimiter = _format_of(self._file)
            self._rows: Iterator[list[str]] = csv.reader(
                self._lines(), delimiter=self._delimiter, skipinitialspace=True
            )
            first = next(self._rows, [])
            self._header, named = _header_of(first, self._topic)
            if not named:
                self._rows = chain([first], self._rows)
            _check_columns(self._header, fields, self._topic)
        except BaseException:
            self._file.close()
            raise
        # An id such as 007 must stay text; every other column may hold numbers.
        self._text_columns = {fields.series}
        self._row = 0
        self._ended = False

    @property
    def exhausted(self) -> bool:
        """True at the end of the file."""
        return self._ended

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:  # noqa: ARG002 - a file is never waited for
        """The next rows."""
        records: list[Record] = []
        while len(records) < max_records and not self._ended:
            try:
                cells = next(self._rows, None)
            except csv.Error as error:
                raise InputError(f"{self._topic}: row {self._row}: {error}") from error
            if cells is None:
                self.close()
            elif cells:
                records.append(Record(self._topic, 0, self._row, None, msgspec.json.encode(self._object(cells))))
                self._row += 1
        return records

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._ended = True

    def _lines(self) -> Iterator[str]:
        for raw in self._file:
            # The text layer of Python could not tell how far it has read.
            self.bytes_read += len(raw)
            yield raw.decode(self._encoding, "replace")

    def _object(self, cells: Sequence[str]) -> dict[str, str | int | float]:
        found: dict[str, str | int | float] = {}
        for name, cell in zip(self._header, cells, strict=False):
            text = cell.strip()
            if text.lower() not in _ABSENT:
                found[name] = text if name in self._text_columns else _number_or_text(text, self._delimiter)
        return found


def detect_csv(path: Path) -> FieldMapping:
    """The mapping of an ordinary CSV file, from its first 500 rows.

    The time column is the first whose cells are times, by preference one that is called so; epoch numbers under
    another name must ascend. With a column of ids
    (text that repeats, or one that is called so) and one numeric column the file is long: a series per id. Otherwise
    every numeric column is a sensor. InputError where there is no time or no numeric column.
    """
    with _opened(path) as file:
        encoding, delimiter = _format_of(file)
        lines = (raw.decode(encoding, "replace") for raw in file)
        rows: Iterator[list[str]] = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        try:
            header, named = _header_of(first := next(rows, []), path.name)
            rows = rows if named else chain([first], rows)
            sample = [row for row, _ in zip(rows, range(_SAMPLE_ROWS), strict=False) if row]
        except csv.Error as error:
            raise InputError(f"{path.name}: {error}") from error
    if not sample:
        raise InputError(f"{path.name}: there is no row below the header")
    columns = {
        name: [row[i].strip() for row in sample if i < len(row) and row[i].strip().lower() not in _ABSENT]
        for i, name in enumerate(header)
    }
    filled = {name: cells for name, cells in columns.items() if cells}
    time = _time_column(filled)
    if time is None:
        raise InputError(f"{path.name}: none of the columns {', '.join(header)} holds times: ISO 8601 or epoch numbers")
    rest = {name: cells for name, cells in filled.items() if name != time}
    numeric = [name for name, cells in rest.items() if _is_numeric(cells, delimiter)]
    series = _id_column(rest, numeric, columns[time])
    numeric = [name for name in numeric if name != series and not _counts_rows(name, rest[name])]
    if not numeric:
        raise InputError(f"{path.name}: no numeric column beside {time!r}")
    if series is not None and len(numeric) == 1:
        return FieldMapping(time=time, series=series, value=numeric[0])
    return FieldMapping(time=time, series=series, value=None, sensors=numeric)


def _time_column(columns: dict[str, list[str]]) -> str | None:
    by_name = sorted(columns, key=lambda name: name.lower() not in _TIME_NAMES)
    texts = [
        name for name in by_name if _mostly(lambda cell: not _WHOLE.fullmatch(cell) and _is_time(cell), columns[name])
    ]
    numbers = [
        name
        for name in by_name
        if name.lower() in _TIME_NAMES
        and _mostly(lambda cell: bool(_EPOCH.fullmatch(cell)) and _is_time(cell), columns[name])
    ]
    unnamed = [name for name in by_name if _counts_time(columns[name])]
    return next(iter([*texts, *numbers, *unnamed]), None)


def _counts_time(cells: list[str]) -> bool:
    """Whether whole numbers of the size of epoch times ascend, as no reading does."""
    if not all(_EPOCH.fullmatch(cell) and _is_time(cell) for cell in cells):
        return False
    numbers = [float(cell) for cell in cells]
    return numbers[0] < numbers[-1] and all(earlier <= later for earlier, later in pairwise(numbers))


def _id_column(columns: dict[str, list[str]], numeric: list[str], times: list[str]) -> str | None:
    named = [name for name in columns if name.lower() in _ID_NAMES]
    texts = [name for name in columns if name not in numeric]
    # Where event times repeat, something tells the rows of one moment apart; where they do not, a lone id is enough.
    repeats = max(Counter(times).values()) > 1
    for name in [*named, *texts]:
        distinct = len(set(columns[name]))
        if name in numeric and not repeats:
            continue
        if distinct < len(columns[name]) or len(columns[name]) == 1:
            return name
    return None


def _counts_rows(name: str, cells: list[str]) -> bool:
    """Whether the column is a running number, as tables are exported with: nothing to forecast."""
    if not _RUNNING.fullmatch(name) or not all(map(_WHOLE.fullmatch, cells)):
        return False
    numbers = [int(cell) for cell in cells]
    return numbers[0] in {0, 1} and all(later - earlier == 1 for earlier, later in pairwise(numbers))


def _is_time(cell: str) -> bool:
    try:
        parse_time(cell, "auto", UTC)
    except Unusable:
        return False
    # A reading such as 21.5 parses as seconds since 1970, but no one means it.
    return not re.fullmatch(r"[0-9.+-]{1,8}", cell)


def _is_numeric(cells: list[str], delimiter: str) -> bool:
    return _mostly(lambda cell: not isinstance(_number_or_text(cell, delimiter), str), cells)


def _mostly(good: Callable[[str], bool], cells: list[str]) -> bool:
    return sum(map(good, cells)) >= _SHARE * len(cells)


def _number_or_text(cell: str, delimiter: str) -> str | int | float:
    if _WHOLE.fullmatch(cell):
        return int(cell)
    if delimiter != "," and _DECIMAL_COMMA.fullmatch(cell):
        cell = cell.replace(",", ".")
    try:
        return parse_number(cell)
    except Unusable:
        return cell


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}") from error


def _format_of(file: BinaryIO) -> tuple[str, str]:
    """Encoding and delimiter, from the beginning of the file."""
    sample = file.read(_SAMPLE_BYTES)
    file.seek(0)
    if sample[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise InputError("the file is UTF-16; save it as UTF-8")
    # Whole lines only: the sample may end within a character.
    sample = sample[: sample.rfind(b"\n") + 1] or sample
    try:
        text = sample.decode("utf-8-sig")
        encoding = "utf-8-sig" if sample.startswith(b"\xef\xbb\xbf") else "utf-8"
    except UnicodeDecodeError:
        text, encoding = sample.decode("cp1252", "replace"), "cp1252"
    header = re.sub(r'"[^"]*"', "", text.split("\n", 1)[0])
    if ";" in header:
        # Without a header the first line may hold decimal commas.
        header = re.sub(r"(?<=[0-9]),(?=[0-9])", "", header)
    return encoding, max(_DELIMITERS, key=lambda delimiter: (header.count(delimiter), delimiter == ","))


def _header_of(cells: Sequence[str], name: str) -> tuple[list[str], bool]:
    """Names of the columns, and whether the first line holds them: a line with a time in it is no header."""
    header = [cell.strip().removeprefix("\ufeff") for cell in cells]
    if not any(header):
        raise InputError(f"{name}: the file is empty")
    if any(_is_time(cell) for cell in header):
        return [f"column_{number}" for number in range(len(header))], False
    if all(_WHOLE.fullmatch(cell) or _NOT_A_NAME.fullmatch(cell) for cell in header):
        raise InputError(f"{name}: the first line ({shown(','.join(header))}) holds no names; add a header line")
    # Columns without a name get one, as an index column of pandas has none.
    return [cell or f"column_{number}" for number, cell in enumerate(header)], True


def _check_columns(header: list[str], fields: FieldMapping, name: str) -> None:
    listed = fields.sensors if isinstance(fields.sensors, list) else []
    wanted = [field for field in (fields.time, fields.series, fields.value, *listed, *fields.channels) if field]
    absent = [field for field in wanted if field not in header]
    if absent:
        raise InputError(f"{name}: there is no column {', '.join(absent)}; the columns are {', '.join(header)}")

"""Records to observations: fast where a record is plain, careful where it is not, and never an exception.

The fast path reads a whole record with a msgspec decoder built for the mapping and checks all items in columns. A
record that it refuses, or that holds an item which fails a check, goes to ``stream.edge``, which accepts it or says
exactly why not. What the fast path accepts, the edge would accept with the same result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.edge import LARGEST, Edge
from stream.fields import FieldMapping, Limits
from stream.records import Decoded, Observations, Record, Rejected, runs
from stream.refusals import Unusable
from stream.times import END_US, floats_to_us, integers_to_us, parse_time

_MOST_IDS = 200_000
"""Series ids that are remembered as valid; past it the memory starts anew, so that made-up ids cannot fill it."""


class _Columns:
    """Observations under construction."""

    def __init__(self, channels: int) -> None:
        self.series: list[str] = []
        self.time_us: list[int] = []
        self.values: list[tuple[float, ...]] = []
        self.record: list[int] = []
        self.item: list[int] = []
        self._channels = channels

    def observations(self) -> Observations:
        return Observations(
            series=self.series,
            time_us=np.array(self.time_us, dtype=np.int64),
            values=np.array(self.values, dtype=np.float64).reshape(len(self.series), self._channels),
            record=np.array(self.record, dtype=np.int32),
            item=np.array(self.item, dtype=np.int32),
        )


class Decoder:
    """Decodes records by one mapping of fields. It remembers valid series ids, and nothing else."""

    def __init__(self, fields: FieldMapping, limits: Limits) -> None:
        self._fields = fields
        self._limits = limits
        self._zone = fields.zone
        self._edge = Edge(fields, limits)
        self._fast = _fast_decoder(fields)
        self._channels = 1 + len(fields.channels)
        self._ids: dict[object, tuple[str, ...]] = {}
        self._names: dict[object, str] = {}
        """The same for mappings of a single sensor: the id itself."""

    def decode(self, records: Sequence[Record]) -> Decoded:
        """Observations in the order of arrival, and what could not be used. Raises nothing, whatever the bytes."""
        if not records:
            return Decoded(records, np.zeros(0, np.int64), [], _Columns(self._channels).observations(), [])
        _, _, offsets, keys, values, taken_ms, _ = zip(*records, strict=True)
        latest_us = self._latest_us(taken_ms)
        observations, refused = self._read_fast(keys, values, latest_us)
        rejected: list[Rejected] = []
        if refused:
            found = _Columns(self._channels)
            for index in refused:
                self._read_carefully(index, records[index], int(latest_us[index]), found, rejected)
            observations = _merged(observations, found.observations())
        return Decoded(records, np.array(offsets, np.int64), runs(records), observations, rejected)

    def _latest_us(self, taken_ms: Sequence[int]) -> NDArray[np.int64]:
        """The latest event time that each record may hold, [len(taken_ms)]."""
        taken = np.array(taken_ms, np.int64)
        # Cut first: a broker's timestamp may be any int64.
        latest = np.minimum(taken, END_US // 1000) * 1000 + self._limits.future_s * 1_000_000
        return np.where(taken >= 0, latest, END_US)

    def _read_fast(
        self, keys: Sequence[bytes | None], values: Sequence[bytes | None], latest_us: NDArray[np.int64]
    ) -> tuple[Observations, list[int]]:
        """The observations of all plain records, and the indices of the others."""
        got, refused = self._parsed(values)
        if list not in set(map(type, got)):
            owner, item = np.arange(len(got), dtype=np.int32), np.zeros(len(got), np.int32)
            observations, failed = self._checked(keys, latest_us, got, owner, item)
            return observations, sorted([*refused, *failed])
        sizes = [len(one) if type(one) is list else 1 for one in got]
        if max(sizes) > self._limits.items_per_record:
            for index, size in enumerate(sizes):
                if type(got[index]) is list and size > self._limits.items_per_record:
                    got[index] = []
                    sizes[index] = 0
                    refused.append(index)
        count = sum(sizes)
        if not count:
            return _Columns(self._channels).observations(), sorted(refused)
        items = [item for one in got for item in (one if type(one) is list else (one,))]
        lengths = np.array(sizes)
        owner = np.repeat(np.arange(len(got), dtype=np.int32), lengths)
        item = np.arange(count, dtype=np.int32) - np.repeat(lengths.cumsum() - lengths, lengths).astype(np.int32)
        observations, failed = self._checked(keys, latest_us, items, owner, item)
        return observations, sorted([*refused, *failed])

    def _parsed(self, values: Sequence[bytes | None]) -> tuple[list[Any], list[int]]:
        """Each value as an item or a list of items, and the indices of those that are neither: these are empty lists."""
        most = self._limits.record_bytes
        if self._fast is None:
            return [[] for _ in values], list(range(len(values)))
        decode = self._fast.decode
        try:
            if max(map(len, values)) <= most:  # type: ignore[arg-type]  # where one is None, they are taken one by one
                return list(map(decode, values)), []  # type: ignore[arg-type]
        except (msgspec.MsgspecError, ValueError, RecursionError, TypeError):
            pass
        got: list[Any] = []
        refused: list[int] = []
        for index, value in enumerate(values):
            try:
                if value is not None and len(value) <= most:
                    got.append(decode(value))
                    continue
            except (msgspec.MsgspecError, ValueError, RecursionError):
                pass
            got.append([])
            refused.append(index)
        return got, refused

    def _checked(
        self,
        keys: Sequence[bytes | None],
        latest_us: NDArray[np.int64],
        items: list[Any],
        owner: NDArray[np.int32],
        item: NDArray[np.int32],
    ) -> tuple[Observations, list[int]]:
        """Observations of the items, and the records that have an item which fails a check: these are left out whole.

        ``keys`` and ``latest_us`` are of the records, ``owner`` [n] is the index of each item's record, ``item`` [n] its position there.
        """
        columns = list(zip(*map(msgspec.structs.astuple, items), strict=True))
        time_us = self._times(columns[0])
        wrong = (time_us < 0) | (time_us > latest_us[owner])
        if self._fields.series is not None:
            raw_ids: Sequence[object] = columns[1]
            columns = columns[2:]
        else:
            raw_ids = [keys[index] for index in owner.tolist()]
            columns = columns[1:]
        matrix = np.ascontiguousarray(np.array(columns, dtype=np.float64).T)
        sensors = matrix.shape[1] - self._channels + 1
        # Values are finite here, as msgspec takes nothing else: NaN says that a sensor is absent or null.
        present = ~np.isnan(matrix[:, :sensors])
        wrong |= ~present.any(axis=1) | (np.abs(matrix) > LARGEST).any(axis=1)
        if sensors == 1 and (series := self._known_names(raw_ids)) is not None and not wrong.any():
            return Observations(series, time_us, matrix, owner, item), []
        ids = self._known_ids(raw_ids, wrong)
        failed = np.unique(owner[wrong])
        if len(failed):
            present &= ~np.isin(owner, failed)[:, None]
        row, sensor = np.nonzero(present)
        observations = Observations(
            series=[ids[i][j] for i, j in zip(row.tolist(), sensor.tolist(), strict=True)],
            time_us=time_us[row],
            values=np.column_stack((matrix[row, sensor], matrix[row, sensors:])),
            record=owner[row],
            item=item[row],
        )
        return observations, failed.tolist()

    def _known_names(self, raw_ids: Sequence[object]) -> list[str] | None:
        """The series id of each item under a mapping of one sensor; None where one has not been seen yet."""
        names = self._names
        try:
            return [names[raw] for raw in raw_ids]
        except KeyError:
            return None

    def _times(self, given: Sequence[Any]) -> NDArray[np.int64]:
        """Microseconds, [len(given)]; -1 for what the edge has to judge."""
        unit = self._fields.time_unit
        kinds = set(map(type, given))
        if kinds == {int}:
            try:
                return integers_to_us(np.array(given, dtype=np.int64), unit)
            except OverflowError:
                pass  # An integer beyond int64: its neighbours are read one by one, it goes to the edge.
        elif kinds == {float}:
            return floats_to_us(np.array(given, dtype=np.float64), unit)
        times = np.empty(len(given), dtype=np.int64)
        # Observations of one moment often come together: a text is parsed once for its whole run.
        last: object = None
        moment = -1
        for index, value in enumerate(given):
            if value != last:
                last = value
                try:
                    moment = parse_time(value, unit, self._zone)
                except Unusable:
                    moment = -1
            times[index] = moment
        return times

    def _known_ids(self, raw_ids: Sequence[object], wrong: NDArray[np.bool_]) -> list[tuple[str, ...]]:
        """The series ids of each item; items with an invalid one are marked in ``wrong``."""
        known = self._ids
        try:
            return [known[raw] for raw in raw_ids]
        except KeyError:
            pass
        if len(known) > _MOST_IDS:
            known.clear()
            self._names.clear()
        ids: list[tuple[str, ...]] = []
        for index, raw in enumerate(raw_ids):
            found = known.get(raw)
            if found is None:
                try:
                    found = known[raw] = self._edge.ids(raw)
                    if len(found) == 1:
                        self._names[raw] = found[0]
                except Unusable:
                    found = ()
                    wrong[index] = True
            ids.append(found)
        return ids

    def _read_carefully(
        self, index: int, record: Record, latest_us: int, found: _Columns, rejected: list[Rejected]
    ) -> None:
        try:
            items, in_array = self._edge.items(record.value)
        except Unusable as error:
            rejected.append(Rejected(record, error.reason, error.detail))
            return
        for position, item in enumerate(items):
            readings, refused = self._edge.read(item, record.key, latest_us)
            for reading in readings:
                found.series.append(reading.series)
                found.time_us.append(reading.time_us)
                found.values.append(reading.values)
                found.record.append(index)
                found.item.append(position)
            # One bad sensor among good ones of a lone object: the record is not unusable as a whole.
            whole = not in_array and not readings
            rejected += [Rejected(record, e.reason, e.detail, None if whole else position) for e in refused]


def _fast_decoder(fields: FieldMapping) -> msgspec.json.Decoder[Any] | None:
    """A decoder for one object of the mapping or an array of them; None where only the edge can find the fields."""
    sensors = fields.sensors
    if sensors == "*":
        return None
    several = sensors is not None
    values = [fields.value] if fields.value is not None else list(sensors or [])
    # Fields in the order that Decoder._checked takes them apart: time, series, values, channels.
    layout: list[tuple[str, Any, Any]] = [(fields.time, int | float | str, msgspec.NODEFAULT)]
    if fields.series is not None:
        layout.append((fields.series, str | int, msgspec.NODEFAULT))
    layout += [(name, float | None, None) if several else (name, float, msgspec.NODEFAULT) for name in values]
    layout += [(name, float | None, None) for name in fields.channels]
    if any("." in name for name, _, _ in layout):
        return None
    item = msgspec.defstruct(
        "Item",
        [(f"f{number}", kind, msgspec.field(default=default)) for number, (_, kind, default) in enumerate(layout)],
        rename={f"f{number}": name for number, (name, _, _) in enumerate(layout)},
        kw_only=True,
        gc=False,
    )
    return msgspec.json.Decoder(item | list[item])  # type: ignore[valid-type]


def _merged(one: Observations, other: Observations) -> Observations:
    """Both, in the order of arrival. No record is in both."""
    record = np.concatenate((one.record, other.record))
    order = np.argsort(record, kind="stable")
    series = one.series + other.series
    return Observations(
        series=[series[index] for index in order.tolist()],
        time_us=np.concatenate((one.time_us, other.time_us))[order],
        values=np.concatenate((one.values, other.values))[order],
        record=record[order],
        item=np.concatenate((one.item, other.item))[order],
    )

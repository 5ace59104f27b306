"""From a feed's records of the past to series on their grids, in bounded memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from models.history import SeriesHistory
from stream.decode import Decoder
from stream.grid import Grid
from stream.records import Record
from workers.settings import FeedSettings

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]
ReadHistory = Callable[[int, int], Iterable[Record]]
"""Records that the log took in [since_ms, until_ms)."""

CHUNK = 4_096
SPARSEST = 0.1
"""Share of seen slots below which a stretch is left out: it would be mostly filled in, and take room for it."""


@dataclass(slots=True)
class Gathered:
    """Stretches of series, and what they were made of. ``observations`` are those kept, ``from_us`` to ``until_us``
    their event times.
    """

    stretches: list[SeriesHistory] = field(default_factory=list)
    records: int = 0
    rejected: int = 0
    observations: int = 0
    series: int = 0
    from_us: int = 0
    until_us: int = 0


@dataclass(slots=True)
class _Columns:
    """Observations: series by number int32 [n], event time [n], values [n, C], in the order of arrival."""

    series: NDArray[np.int32]
    time_us: Rows
    values: Floats

    def newest(self, count: int) -> _Columns:
        """The ``count`` latest by event time, the order kept."""
        if len(self.series) <= count:
            return self
        kept = np.sort(np.argpartition(self.time_us, -count)[-count:])
        return _Columns(self.series[kept], self.time_us[kept], self.values[kept])


def everything(read: Callable[[int, int, int], Iterable[Record]]) -> ReadHistory:
    """A reader without its limit of records: it keeps the oldest, and training wants the newest."""
    return lambda since_ms, until_ms: read(since_ms, until_ms, sys.maxsize)


def gather(feed: FeedSettings, records: Iterable[Record], progress: Callable[[int], None]) -> Gathered:
    """Decode records and lay them on the grids; of more than ``feed.retrain.max_records`` observations the newest are
    kept.

    At most twice as many are in memory at a time. What the decoder rejects is counted; it has been reported when it was
    live. Errors come from ``records`` alone.
    """
    out = Gathered()
    names: dict[str, int] = {}
    columns = _read(feed, iter(records), names, out, progress)
    out.observations = len(columns.series)
    if not out.observations:
        return out
    out.from_us, out.until_us = int(columns.time_us.min()), int(columns.time_us.max())
    by_number = list(names)
    order = np.argsort(columns.series, kind="stable")
    begins = np.flatnonzero(np.r_[True, np.diff(columns.series[order]) != 0])
    out.series = len(begins)
    for mine in np.split(order, begins[1:]):
        name = by_number[int(columns.series[mine[0]])]
        out.stretches += lay(name, columns.time_us[mine], columns.values[mine], feed)
    return out


def _read(
    feed: FeedSettings, records: Iterator[Record], names: dict[str, int], out: Gathered, progress: Callable[[int], None]
) -> _Columns:
    decoder = Decoder(feed.fields, feed.limits)
    most, channels = feed.retrain.max_records, 1 + len(feed.fields.channels)
    parts = [_Columns(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros((0, channels)))]
    held = 0
    while chunk := list(islice(records, CHUNK)):
        decoded = decoder.decode(chunk)
        seen = decoded.observations
        numbers = np.array([names.setdefault(name, len(names)) for name in seen.series], np.int32)
        parts.append(_Columns(numbers, seen.time_us, seen.values))
        out.records += len(chunk)
        out.rejected += len(decoded.rejected)
        held += len(numbers)
        if held > 2 * most:
            parts = [_joined(parts).newest(most)]
            held = most
        progress(out.records)
    return _joined(parts).newest(most)


def _joined(parts: list[_Columns]) -> _Columns:
    return _Columns(
        np.concatenate([part.series for part in parts]),
        np.concatenate([part.time_us for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


def lay(name: str, time_us: Rows, values: Floats, feed: FeedSettings) -> list[SeriesHistory]:
    """The stretches of one series, from its event times [n] and values [n, C] in the order of arrival.

    As in the engine: the grid's step, the first observation of a slot counts, NaN in a further channel keeps that
    channel's last value, and a gap of more than ``max_gap`` slots begins anew. Unlike there, nothing is too late: the
    past is known.
    """
    step_us = _step(time_us, feed)
    if not step_us:
        return []
    phase_us = int(time_us.min()) % step_us
    slots, first = np.unique((2 * (time_us - phase_us) + step_us) // (2 * step_us), return_index=True)
    values = values[first]
    stretches = []
    for mine in np.split(np.arange(len(slots)), np.flatnonzero(np.diff(slots) > feed.max_gap) + 1):
        at = slots[mine] - slots[mine[0]]
        length = int(at[-1]) + 1
        if len(mine) < max(2, SPARSEST * length):
            continue
        seen = np.zeros(length, bool)
        seen[at] = True
        laid = np.full((length, values.shape[1]), np.nan)
        laid[at] = values[mine]
        stretches.append(SeriesHistory(name, step_us, phase_us + int(slots[mine[0]]) * step_us, _carried(laid), seen))
    return stretches


def _step(time_us: Rows, feed: FeedSettings) -> int:
    """The step that the engine's grid has or infers; 0 where there are too few observations to tell."""
    grid = Grid(max_gap=feed.max_gap, lateness=0)
    row = grid.add(1, feed.step_us)
    for at in range(len(time_us)):
        if grid.step_us[row[0]]:
            break
        grid.admit(row, time_us[at : at + 1])
    return int(grid.step_us[row[0]])


def _carried(values: Floats) -> Floats:
    """NaN replaced by the last value before it in its channel, zero before the first."""
    there = ~np.isnan(values)
    last = np.maximum.accumulate(np.where(there, np.arange(len(values))[:, None], -1), axis=0)
    return np.where(last >= 0, np.take_along_axis(values, np.maximum(last, 0), axis=0), 0.0)

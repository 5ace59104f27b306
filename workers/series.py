"""What the engine keeps of each series beside the models' arrays: numbers in columns, and an object for what is seldom needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workers.alerts import SeriesAlerts

COUNTERS = ("gaps", "late", "duplicates", "fills")
NOTHING = {"applied": -1, "unsaved_from": -1}
"""What columns of offsets hold where there is none; the others hold 0."""
Rows = NDArray[np.int64]


class Place(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class SeriesTable:
    """Numbers of N series in columns [N], by row.

    ``applied`` is the last offset whose observations are in a series' state, -1 before the first; ``arrival_us`` when it was last heard
    of and ``carded_us`` when its card was last written, by the worker's clock; ``stale`` and ``drifting`` whether the clock found it silent,
    and whether an alert fires that only ends when the forecast errors are calm; ``adapting`` for how many observations its models still adapt.
    ``place`` and ``model`` number the partition and the network. ``unsaved_from`` is the first offset that the saved state lacks, -1
    where it lacks none, and ``unsaved_us`` since when: the ledger's, kept here as rows come and go here.
    """

    def __init__(self) -> None:
        self.place = np.zeros(0, np.int32)
        self.model = np.zeros(0, np.int32)
        self.applied = np.zeros(0, np.int64)
        self.arrival_us = np.zeros(0, np.int64)
        self.carded_us = np.zeros(0, np.int64)
        self.unsaved_from = np.zeros(0, np.int64)
        self.unsaved_us = np.zeros(0, np.int64)
        self.ready = np.zeros(0, np.bool_)
        self.stale = np.zeros(0, np.bool_)
        self.drifting = np.zeros(0, np.bool_)
        self.adapting = np.zeros(0, np.int64)
        self.gaps, self.late, self.duplicates, self.fills = (np.zeros(0, np.int64) for _ in COUNTERS)

    def resize(self, rows: int) -> None:
        """Make room for ``rows`` series."""
        for name, column in vars(self).items():
            more = rows - len(column)
            if more > 0:
                setattr(self, name, np.concatenate([column, np.full(more, NOTHING.get(name, 0), column.dtype)]))

    def begin(self, row: int, place: int, model: int) -> None:
        """A series is put into a row."""
        self.clear(row)
        self.place[row], self.model[row] = place, model

    def clear(self, row: int) -> None:
        """A row is free."""
        for name, column in vars(self).items():
            column[row] = NOTHING.get(name, 0)


class Series:
    """One series in memory: its name, its row, its incidents, and ``held``: observations (microseconds, values) that wait for its step."""

    __slots__ = ("alerts", "held", "name", "place", "row", "table")

    def __init__(self, place: Place, row: int, alerts: SeriesAlerts, table: SeriesTable) -> None:
        self.place, self.name, self.row, self.table = place, alerts.series, row, table
        self.alerts = alerts
        self.held: list[tuple[int, list[float]]] = []

    @property
    def feed(self) -> str:
        """The name of its feed."""
        return self.alerts.feed

    @property
    def applied(self) -> int:
        """The last offset whose observations are in its state."""
        return int(self.table.applied[self.row])

    @property
    def ready(self) -> bool:
        """Whether its newest forecast came from a full window."""
        return bool(self.table.ready[self.row])

    @property
    def stale(self) -> bool:
        """Whether the clock has found it silent."""
        return bool(self.table.stale[self.row])

    @property
    def state(self) -> int:
        """Index into ``stream.messages.STATES``: warming, ready, stale."""
        return 2 if self.stale else 1 if self.ready else 0

    def count(self, counter: str) -> int:
        """One of ``COUNTERS``."""
        return int(getattr(self.table, counter)[self.row])

    def watch(self) -> None:
        """Enter in the columns which incidents fire."""
        self.table.stale[self.row] = "stale" in self.alerts.firing
        signal = self.alerts.firing.get("signal")
        self.table.drifting[self.row] = signal is not None and signal.before > 0

    def snapshot(self) -> dict[str, Any]:
        """What JSON can hold of it, but the name of its model, which its engine numbers."""
        header: dict[str, Any] = {name: self.count(name) for name in COUNTERS}
        header |= {"applied": self.applied, "ready": self.ready}
        header |= {name: int(getattr(self.table, name)[self.row]) for name in ("arrival_us", "adapting")}
        return header | {"alerts": self.alerts.to_json(), "held": self.held}

    def restore(self, header: Mapping[str, Any]) -> None:
        """The inverse of ``snapshot``."""
        self.alerts.restore(header["alerts"])
        self.watch()
        for name in (*COUNTERS, "applied", "ready", "arrival_us", "adapting"):
            getattr(self.table, name)[self.row] = header[name]
        self.held = [(int(time_us), list(values)) for time_us, values in header["held"]]

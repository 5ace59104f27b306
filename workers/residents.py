"""Which series of a feed are in memory, and how they come and go."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.crossing import Crossings
from models.detection import Detectors
from models.drift import DriftSettings, DriftTests
from models.fleet import Start
from models.forecaster import Forecaster
from stream.grid import Grid
from stream.records import Decoded
from workers.alerts import SeriesAlerts
from workers.lives import Lives
from workers.series import Place, Rows, Series, SeriesTable
from workers.settings import FeedSettings


def series_key(name: str) -> int:
    """A stable 64-bit number of a series, from which its replay draws come."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


class Residents:
    """All series of one feed that are in memory, by partition and by row; their models, grids, drift tests and numbers."""

    def __init__(
        self, feed: FeedSettings, seed: int, *, tells_experts: bool = False, steps_us: Mapping[str, int] | None = None
    ) -> None:
        """``steps_us``: the steps of series that are known beforehand, in microseconds; the feed's own step goes before them."""
        self.feed = feed
        self.steps_us = steps_us or {}
        self.spec = feed.spec()
        self.forecaster = Forecaster(self.spec, seed, feed.step_us)
        self.forecaster.tells_experts = tells_experts
        self.grid = Grid(max_gap=feed.max_gap, lateness=feed.lateness)
        self.drift = DriftTests(
            DriftSettings(
                feed.alerts.adwin_delta, feed.alerts.page_hinkley_threshold, minimum_rise=feed.alerts.minimum_rise
            )
        )
        self.crossings = Crossings(self.spec.horizon, self.spec.levels)
        """Of the feed's thresholds; without any it has no rows."""
        self.detectors = Detectors(self.spec.horizon, self.spec.levels)
        self.lives = Lives(feed.alerts.pending, feed.alerts.keep_firing)
        self.table = SeriesTable()
        self.models: list[str] = [f"{feed.model.architecture}:untrained"]
        """Names of the networks that series go on from, by number; the last is the present one."""
        self.places: list[Place] = []
        """Partitions by number: all that were ever opened."""
        self.known: dict[Place, set[str]] = {}
        """Series that have state somewhere, by open partition."""
        self.lagging: set[Series] = set()
        self.held_back: dict[Place, tuple[str, Start]] = {}
        """Partitions whose records are run again that were published under another network: its name, and what series begin with there."""
        self._untrained = self.forecaster.fleet.begun()
        self._rows: dict[Place, dict[str, int]] = {}
        self._by_row: dict[int, Series] = {}
        self._last = np.zeros(0, np.int64)
        """Scratch, by row: where a row stood last in what is being looked at."""

    @property
    def model(self) -> str:
        """The network that new series start from."""
        return self.models[-1]

    @property
    def count(self) -> int:
        """Series in memory."""
        return len(self.grid)

    @property
    def resident(self) -> dict[Place, dict[str, Series]]:
        """The series in memory, by open partition and name."""
        return {
            place: {name: self._by_row[row] for name, row in by_name.items()} for place, by_name in self._rows.items()
        }

    @property
    def series(self) -> list[Series]:
        """The series in memory."""
        return list(self._by_row.values())

    def open(self, place: Place, known: Iterable[str]) -> None:
        """Take a partition; ``known`` are the series that have state somewhere."""
        self.close(place)  # an assignment that failed half-way is asked for again
        self._rows[place] = {}
        self.known[place] = set(known)
        if place not in self.places:
            self.places.append(place)

    def close(self, place: Place) -> None:
        """Give a partition up and forget its series."""
        self.drop([self._by_row[row] for row in self._rows.get(place, {}).values()])
        self._rows.pop(place, None)
        self.known.pop(place, None)
        self.held_back.pop(place, None)

    def hold_back(self, place: Place, version: str, weights: Mapping[str, NDArray[Any]] | None) -> None:
        """Until ``adopt`` or ``catch_up``, new series of a partition begin with this network, None for the untrained one: its records
        were published under it, and must not be run again under another. Raises ValueError where the weights do not fit."""
        fleet, start = self.forecaster.fleet, self._untrained
        if weights is not None:
            present = fleet.begun()
            try:
                fleet.set_start_arrays(weights)
                start = fleet.begun()
            finally:
                fleet.begin_from(present)
        self.held_back[place] = f"{self.feed.model.architecture}:{version}", start

    def model_of(self, place: Place) -> str:
        """The network that new series of a partition start from."""
        return self.held_back[place][0] if place in self.held_back else self.model

    def absent(self, decoded: Decoded) -> dict[Place, set[str]]:
        """Known series that these records need and that are not in memory."""
        wanted: dict[Place, set[str]] = {}
        for run, part in decoded.parts():
            place = Place(run.topic, run.partition)
            here, known = self._rows[place], self.known[place]
            if len(here) == len(known):
                continue
            if away := set(decoded.observations.series[part]).difference(here) & known:
                wanted.setdefault(place, set()).update(away)
        return wanted

    def begin(self, place: Place, name: str) -> Series:
        """Give a series a row."""
        row = int(self.grid.add(1, self.feed.step_us or self.steps_us.get(name, 0))[0])
        if row >= self.forecaster.capacity:
            room = max(64, 2 * self.forecaster.capacity)
            for part in (self.forecaster, self.table, self.drift, self.detectors, self.lives):
                part.resize(room)
            if self.feed.thresholds:
                self.crossings.resize(room)
            self._last = np.zeros(room, np.int64)
        self.table.begin(row, self.places.index(place), self._number(self.model_of(place)))
        self.drift.reset(row)
        if self.feed.thresholds:
            limit = self.feed.threshold(name)
            above, below = (limit.above, limit.below) if limit else (None, None)
            self.crossings.begin(row, above, below)
        self.detectors.reset(np.array([row]))
        self.lives.reset(row)
        series = Series(place, row, SeriesAlerts(self.feed.name, name, self.feed.alerts.most_a_day), self.table)
        self._rows[place][name] = row
        self.known[place].add(name)
        self._by_row[row] = series
        return series

    def restore(self, place: Place, name: str, arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> Series:
        """Bring a series back as ``snapshot`` gave it. Raises ValueError where the state is of another configuration."""
        series = self.begin(place, name)
        try:
            self.forecaster.restore(series.row, arrays)
            self.grid.restore(series.row, header["grid"])
            self.drift.restore(series.row, arrays)
            if self.feed.thresholds:
                self.crossings.restore(series.row, arrays)
            self.detectors.restore(series.row, arrays)
            self.lives.restore(series.row, header["lives"])
            series.restore(header)
            model = str(header["model"])
            step_us = int(self.grid.step_us[series.row])
            if self.feed.step_us and step_us not in (0, self.feed.step_us):
                raise ValueError(f"its step is {step_us} us, the feed's now is {self.feed.step_us} us")  # noqa: TRY301
        except (KeyError, TypeError, ValueError) as error:
            self.drop([series])
            raise ValueError(f"state of series {name!r} does not fit this configuration: {error}") from error
        self.table.model[series.row] = self._number(model)
        if self.forecaster.fleet.trained and model != self.model:
            # The champion changed while the series was out of memory; records of before must not be run again under it.
            self.lagging.add(series)
        return series

    def _number(self, model: str) -> int:
        """Where a network stands in ``models``; an older one that is not there yet goes before the others."""
        if model not in self.models:
            self.models.insert(0, model)
            self.table.model += 1
        return self.models.index(model)

    def start(self, begun: Sequence[Series]) -> None:
        """Let series that ``begin`` has given a row start from the network of their partition."""
        by_start: dict[Place | None, list[Series]] = {}
        for series in begun:
            by_start.setdefault(series.place if series.place in self.held_back else None, []).append(series)
        fleet = self.forecaster.fleet
        for place, chosen in by_start.items():
            present = fleet.begun()
            if place is not None:
                fleet.begin_from(self.held_back[place][1])
                self.lagging.update(chosen)
            rows = np.array([series.row for series in chosen], np.int64)
            self.forecaster.start(rows, np.array([series_key(one.name) for one in chosen], np.uint64))
            fleet.begin_from(present)

    def snapshot(self, series: Series) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Everything of a series: arrays, and a header that JSON can hold."""
        row = series.row
        header = {"model": self.models[self.table.model[row]], "grid": self.grid.snapshot(row)}
        arrays = self.drift.snapshot(row) | self.detectors.snapshot(row) | self.forecaster.snapshot(row)
        if self.feed.thresholds:
            arrays |= self.crossings.snapshot(row)
        return arrays, series.snapshot() | header | {"lives": self.lives.snapshot(row)}

    def drop(self, gone: Sequence[Series]) -> None:
        """Take series out of memory. Their state is the caller's to keep."""
        if not gone:
            return
        self.grid.drop(series.row for series in gone)
        for series in gone:
            self.lagging.discard(series)
            here = self._rows.get(series.place, {})
            if here.get(series.name) == series.row:
                del here[series.name]
            self.table.clear(series.row)
            del self._by_row[series.row]

    def least_recent(self, keep: int) -> list[Series]:
        """The series beyond ``keep``, those that were seen longest ago first."""
        if self.count <= keep:
            return []
        rows = np.sort(np.fromiter(self._by_row, np.int64, self.count))
        oldest = rows[np.argsort(self.table.arrival_us[rows], kind="stable")]
        return self.at(oldest[: self.count - keep])

    def at(self, rows: Rows) -> list[Series]:
        """The series in these rows."""
        return [self._by_row[row] for row in rows.tolist()]

    def adopt(self, version: str, weights: Mapping[str, NDArray[Any]]) -> list[Series]:
        """Every new series goes on from these trained weights, and every one that does not already; returns those that changed.

        Raises ValueError where they do not fit.
        """
        self.forecaster.fleet.set_start_arrays(weights)
        model = f"{self.feed.model.architecture}:{version}"
        changed = [series for series in self.series if self.models[self.table.model[series.row]] != model]
        self.models = [model]
        self.table.model[:] = 0
        self.held_back.clear()
        self._go_on_from_start(changed)
        return changed

    def catch_up(self) -> list[Series]:
        """Let the series that came back under another model go on from the present one; returns them."""
        changed = list(self.lagging)
        self.held_back.clear()
        self._go_on_from_start(changed)
        return changed

    def _go_on_from_start(self, chosen: Sequence[Series]) -> None:
        self.lagging.difference_update(chosen)
        if not chosen:
            return
        rows = np.array([series.row for series in chosen], np.int64)
        self.forecaster.fleet.reset(rows)
        self.table.model[rows] = len(self.models) - 1

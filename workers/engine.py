"""The engine of one feed: observations in, effects out. It does no I/O and reads no clock.

Same observations, same effects, however they are cut into batches: series do not see each other, the observations of one series are
taken in the order of their offsets, and one that a series has already applied (a replay after a restart) changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.drift import DriftSettings
from models.forecaster import EXPERTS, Beat, Forecaster
from stream.grid import Grid, Verdict
from stream.records import Decoded, Reason, Rejected
from workers.alerts import AlertEvent
from workers.series import Series
from workers.settings import FeedSettings

Rows = NDArray[np.int64]


class Place(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


@dataclass(slots=True)
class Forecasts:
    """Forecasts in columns, in the order of their observations: everything [n, ...].

    ``record`` and ``item`` say which observation of the decoded records each belongs to; quantiles [n, H, Q] are in the series' units,
    and so are the points of the experts [n, H, E], where the engine ``tells_experts``.
    """

    series: list[Series]
    record: NDArray[np.int32]
    item: NDArray[np.int32]
    cutoff_us: Rows
    step_us: Rows
    value: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    weights: NDArray[np.float64]
    ready: NDArray[np.bool_]
    model: list[str]
    experts: NDArray[np.float64] | None = None


@dataclass(slots=True)
class Effects:
    """What a batch brought about. ``touched`` series have changed and need saving, with the first offset that changed each."""

    forecasts: Forecasts | None = None
    alerts: list[tuple[Place, AlertEvent]] = field(default_factory=list)
    touched: dict[Series, int] = field(default_factory=dict)
    started: list[Series] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


def series_key(name: str) -> int:
    """A stable 64-bit number of a series, from which its replay draws come."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


class Engine:
    """All series of one feed that this worker holds."""

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
        self.drift = DriftSettings(
            feed.alerts.adwin_delta, feed.alerts.page_hinkley_threshold, minimum_rise=feed.alerts.minimum_rise
        )
        self.model = f"{feed.model.architecture}:untrained"
        self.resident: dict[Place, dict[str, Series]] = {}
        self.known: dict[Place, set[str]] = {}
        self._by_row: dict[int, Series] = {}
        self.lagging: set[Series] = set()

    # Which series are here

    @property
    def count(self) -> int:
        """Series in memory."""
        return len(self.grid)

    def open(self, place: Place, known: Iterable[str]) -> None:
        """Take a partition; ``known`` are the series that have state somewhere."""
        self.close(place)  # an assignment that failed half-way is asked for again
        self.resident[place] = {}
        self.known[place] = set(known)

    def close(self, place: Place) -> None:
        """Give a partition up and forget its series."""
        self.drop(list(self.resident.pop(place, {}).values()))
        self.known.pop(place, None)

    def absent(self, decoded: Decoded) -> dict[Place, set[str]]:
        """Known series that these records need and that are not in memory."""
        wanted: dict[Place, set[str]] = {}
        places = [Place(record.topic, record.partition) for record in decoded.records]
        for name, record in zip(decoded.observations.series, decoded.observations.record.tolist(), strict=True):
            place = places[record]
            if name not in self.resident[place] and name in self.known[place]:
                wanted.setdefault(place, set()).add(name)
        return wanted

    def restore(self, place: Place, name: str, arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> Series:
        """Bring a series back as ``snapshot`` gave it. Raises ValueError where the state is of another configuration."""
        series = self._place(place, name)
        try:
            self.forecaster.restore(series.row, arrays)
            self.grid.restore(series.row, header["grid"])
            series.restore(arrays, header)
            step_us = int(self.grid.step_us[series.row])
            if self.feed.step_us and step_us not in (0, self.feed.step_us):
                raise ValueError(f"its step is {step_us} us, the feed's now is {self.feed.step_us} us")  # noqa: TRY301
        except (KeyError, TypeError, ValueError) as error:
            self.drop([series])
            raise ValueError(f"state of series {name!r} does not fit this configuration: {error}") from error
        if self.forecaster.fleet.trained and series.model != self.model:
            # The champion changed while the series was out of memory; records of before must not be run again under it.
            self.lagging.add(series)
        return series

    def snapshot(self, series: Series) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Everything of a series: arrays, and a header that JSON can hold."""
        arrays, header = series.snapshot()
        return arrays | self.forecaster.snapshot(series.row), header | {"grid": self.grid.snapshot(series.row)}

    def drop(self, gone: Sequence[Series]) -> None:
        """Take series out of memory. Their state is the caller's to keep."""
        if not gone:
            return
        rows = np.array([series.row for series in gone], np.int64)
        self.grid.drop(rows)
        for series in gone:
            self.lagging.discard(series)
            here = self.resident.get(series.place, {})
            if here.get(series.name) is series:
                del here[series.name]
            del self._by_row[series.row]

    def least_recent(self, keep: int) -> list[Series]:
        """The series beyond ``keep``, those that were seen longest ago first."""
        if self.count <= keep:
            return []
        return sorted(self._by_row.values(), key=lambda series: (series.arrival_us, series.row))[: self.count - keep]

    def _place(self, place: Place, name: str) -> Series:
        row = int(self.grid.add(1, self.feed.step_us or self.steps_us.get(name, 0))[0])
        if row >= self.forecaster.capacity:
            self.forecaster.resize(max(64, 2 * self.forecaster.capacity))
        series = Series(place, name, row, self.feed.name, self.drift)
        self.resident[place][name] = series
        self.known[place].add(name)
        self._by_row[row] = series
        return series

    def adopt(self, version: str, weights: Mapping[str, NDArray[Any]]) -> None:
        """Every series, and every new one, goes on from these trained weights. Raises ValueError where they do not fit."""

        self.forecaster.fleet.set_start_arrays(weights)
        self.model = f"{self.feed.model.architecture}:{version}"
        self._go_on_from_start(list(self._by_row.values()))

    def catch_up(self) -> list[Series]:
        """Let the series that came back under an older model go on from the present one; returns them."""
        changed = list(self.lagging)
        self._go_on_from_start(changed)
        return changed

    def _go_on_from_start(self, chosen: Sequence[Series]) -> None:
        self.lagging.difference_update(chosen)
        if not chosen:
            return
        self.forecaster.fleet.reset(np.array([series.row for series in chosen], np.int64))
        for series in chosen:
            series.model = self.model

    # What observations do

    def step(self, decoded: Decoded, now_us: int) -> Effects:
        """Take decoded records, all of opened partitions and with no known series absent; ``now_us`` is the time of arrival."""
        effects = Effects()
        rows, picked = self._admit(decoded, now_us, effects)
        made: list[tuple[Rows, Forecasts]] = []
        for turn in _turns(rows):
            self._round(decoded, rows[turn], picked[turn], now_us, effects, made)
        if made:
            effects.forecasts = _in_order(made)
        return effects

    def _admit(self, decoded: Decoded, now_us: int, effects: Effects) -> tuple[Rows, Rows]:
        """Rows of the observations to take, and their index among the decoded; what a series has applied already is left out."""
        seen = decoded.observations
        rows, picked = [], []
        fresh: list[Series] = []
        for index, (name, record_index) in enumerate(zip(seen.series, seen.record.tolist(), strict=True)):
            record = decoded.records[record_index]
            place = Place(record.topic, record.partition)
            series = self.resident[place].get(name)
            if series is None:
                if len(self.known[place]) >= self.feed.known_series:
                    detail = f"series {name!r} is new, and known_series = {self.feed.known_series} are known in this partition"
                    effects.rejected.append(Rejected(record, Reason.SERIES_LIMIT, detail, int(seen.item[index])))
                    continue
                series = self._place(place, name)
                series.model, series.arrival_us = self.model, now_us
                fresh.append(series)
            elif record.offset <= series.applied:
                continue
            if series not in effects.touched:
                effects.touched[series] = record.offset
            series.reached = record.offset
            rows.append(series.row)
            picked.append(index)
        if fresh:
            keys = np.array([series_key(series.name) for series in fresh], np.uint64)
            self.forecaster.start(np.array([series.row for series in fresh], np.int64), keys)
            effects.started = fresh
        for series in effects.touched:
            series.applied = series.reached
        return np.array(rows, np.int64), np.array(picked, np.int64)

    def _round(
        self,
        decoded: Decoded,
        rows: Rows,
        picked: Rows,
        now_us: int,
        effects: Effects,
        made: list[tuple[Rows, Forecasts]],
    ) -> None:
        """One observation of each row."""
        seen = decoded.observations
        slots, verdicts = self.grid.admit(rows, seen.time_us[picked])
        values = seen.values[picked]
        for index in np.flatnonzero(verdicts >= Verdict.PENDING).tolist():
            series = self._by_row[int(rows[index])]
            series.held.append((int(seen.time_us[picked[index]]), values[index].tolist()))
            if verdicts[index] == Verdict.SETTLED:
                slots[index], verdicts[index], values[index] = self._settle_step(series)
        self._count(rows, verdicts, now_us)
        anew = verdicts == Verdict.RESTART
        if anew.any():
            self.forecaster.restart(rows[anew])
        late = verdicts == Verdict.FILL
        if late.any():
            free = self.forecaster.fill(rows[late], slots[late], values[late])
            for row, was_free in zip(rows[late].tolist(), free.tolist(), strict=True):
                series = self._by_row[row]
                series.fills += was_free
                series.duplicates += not was_free
        on = (verdicts == Verdict.NEXT) | (verdicts == Verdict.GAP) | anew
        if not on.any():
            return
        rows, picked, slots, values = rows[on], picked[on], slots[on], np.ascontiguousarray(values[on])
        beat = Beat(self.grid.step_us[rows], self.grid.phase_us[rows])
        settled, issued = self.forecaster.observe(rows, slots, values, beat)
        cutoffs = beat.time(slots)
        series_of = [self._by_row[row] for row in rows.tolist()]
        for series, ready in zip(series_of, issued.ready.tolist(), strict=True):
            series.ready = ready
        if self.feed.alerts.drift:
            self._test_drift(series_of, cutoffs, settled.error, settled.known & issued.ready, effects)
        for series, cutoff in zip(series_of, cutoffs.tolist(), strict=True):
            if event := series.alerts.heard(cutoff):
                effects.alerts.append((series.place, event))
        columns = Forecasts(
            series=series_of,
            record=seen.record[picked],
            item=seen.item[picked],
            cutoff_us=cutoffs,
            step_us=beat.step_us,
            value=values[:, 0],
            quantiles=issued.quantiles,
            weights=issued.weights,
            ready=issued.ready,
            model=[series.model for series in series_of],
            experts=issued.experts,
        )
        made.append((picked, columns))

    def _settle_step(self, series: Series) -> tuple[int, int, list[float]]:
        """The step of a series has become known: take what was held, oldest first, without forecasts; the newest is the caller's to take."""
        held, row = dict(series.held), np.array([series.row])
        series.held = []
        times = self.grid.backlog(series.row)
        for time_us in times[:-1]:
            slots, verdicts = self.grid.admit(row, np.array([time_us]))
            if verdicts[0] == Verdict.RESTART:
                self.forecaster.restart(row)
            if verdicts[0] <= Verdict.RESTART:
                beat = Beat(self.grid.step_us[row], self.grid.phase_us[row])
                self.forecaster.observe(row, slots, np.array([held[time_us]]), beat)
        slots, verdicts = self.grid.admit(row, np.array(times[-1:]))
        return int(slots[0]), int(verdicts[0]), held[times[-1]]

    def _count(self, rows: Rows, verdicts: NDArray[np.uint8], now_us: int) -> None:
        for row, verdict in zip(rows.tolist(), verdicts.tolist(), strict=True):
            series = self._by_row[row]
            if verdict not in (Verdict.DUPLICATE, Verdict.LATE):
                # What is not taken is no sign of life: a series whose clock ran ahead must be told of as stale.
                series.arrival_us = now_us
            if verdict != Verdict.NEXT:
                series.gaps += verdict in (Verdict.GAP, Verdict.RESTART)
                series.duplicates += verdict == Verdict.DUPLICATE
                series.late += verdict == Verdict.LATE

    def _test_drift(
        self,
        series_of: list[Series],
        at: Rows,
        errors: NDArray[np.float64],
        judged: NDArray[np.bool_],
        effects: Effects,
    ) -> None:
        for index in np.flatnonzero(judged).tolist():
            series, error, at_us = series_of[index], float(errors[index]), int(at[index])
            found = series.drift.update(error)
            event = series.alerts.drifted(found, at_us, error) if found else None
            event = event or series.alerts.observed_error(series.drift.now, at_us)
            if event:
                effects.alerts.append((series.place, event))

    def sweep(self, now_us: int) -> Effects:
        """What the clock alone brings about: series that have been silent for ``stale_after`` become stale."""
        effects = Effects()
        limit = self.feed.alerts.stale_after
        for series in self._by_row.values():
            if not limit or series.stale or now_us - series.arrival_us < limit:
                continue
            newest = int(self.grid.slot_time_us(np.array([series.row]), self.grid.newest[[series.row]])[0])
            if event := series.alerts.silent(newest, (now_us - series.arrival_us) / 1e6):
                effects.alerts.append((series.place, event))
                effects.touched[series] = series.applied + 1
        return effects


def _turns(rows: Rows) -> list[Rows]:
    """Indices of ``rows`` in rounds, in each of which every row stands at most once, and every row's in order."""
    if not len(rows):
        return []
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    begins = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sizes = np.diff(np.r_[begins, len(ordered)])
    number = np.arange(len(ordered)) - np.repeat(begins, sizes)
    return [np.sort(order[number == turn]) for turn in range(int(sizes.max()))]


def _in_order(made: list[tuple[Rows, Forecasts]]) -> Forecasts:
    """The rounds' forecasts as one, in the order of the observations."""
    order = np.argsort(np.concatenate([picked for picked, _ in made]), kind="stable")
    parts = [columns for _, columns in made]

    def column(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])[order]

    series = [one for part in parts for one in part.series]
    model = [one for part in parts for one in part.model]
    names = ["record", "item", "cutoff_us", "step_us", "value", "quantiles", "weights", "ready"]
    if parts[0].experts is not None:
        names.append("experts")
    return Forecasts(
        series=[series[index] for index in order],
        model=[model[index] for index in order],
        **{name: column(name) for name in names},
    )


__all__ = ["EXPERTS", "Effects", "Engine", "Forecasts", "Place"]

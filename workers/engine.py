"""The engine of one feed: observations in, effects out. It does no I/O and reads no clock.

Same observations, same effects, however they are cut into batches: series do not see each other, the observations of one series are
taken in the order of their offsets, and one that a series has already applied (a replay after a restart) changes nothing.

What happens to every observation is done in columns; a series' object is touched only where something out of the ordinary happens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.observation import Beat
from stream.grid import Verdict
from stream.records import Decoded, Observations, Reason, Rejected, Run
from workers.effects import Effects, Forecasts, Touched, in_order, turns
from workers.residents import Residents
from workers.series import Place, Rows, Series
from workers.watch import adapt, watch

REFUSED = -1
"""In place of a row: the series is new, and there is no room for it."""


class Engine(Residents):
    """All series of one feed that this worker holds, and what observations and the clock do to them."""

    def step(self, decoded: Decoded, now_us: int, thin: Rows | None = None) -> Effects:
        """Take decoded records, all of opened partitions and with no known series absent; ``now_us`` is the time of arrival.

        ``thin`` [len(decoded.records)] thins learning: a series learns at every ``thin``-th of its observations at which it would. Which
        ones these are follows from how many it has had, so a replay under the same ``thin`` gives the same state.
        """
        effects = Effects()
        rows, picked = self._admit(decoded, now_us, effects)
        made: list[Forecasts] = []
        # Most often every series is there once.
        once = len(effects.touched.rows) == len(rows)
        rounds: Sequence[Rows | slice] = [slice(None)] if once and len(rows) else turns(rows)
        for turn in rounds:
            its_thin = 1 if thin is None else thin[decoded.observations.record[picked[turn]]]
            self._round(decoded.observations, rows[turn], picked[turn], now_us, its_thin, effects, made)
        effects.forecasts = in_order(made)
        return effects

    # Which observations are taken

    def _admit(self, decoded: Decoded, now_us: int, effects: Effects) -> tuple[Rows, Rows]:
        """Rows of the observations to take, and their index among the decoded; what a series has applied already is left out."""
        seen = decoded.observations
        found: list[int] = []
        for run, part in decoded.parts():
            here, names = self._rows[Place(run.topic, run.partition)], seen.series[part]
            try:
                found += [here[name] for name in names]
            except KeyError:
                found += self._begin_new(decoded, run, part, now_us, effects)
        rows = np.array(found, np.int64)
        if effects.started:
            self.start(effects.started)
        picked = np.flatnonzero(rows != REFUSED) if effects.rejected else np.arange(len(rows))
        rows, offsets = rows[picked], decoded.offsets[seen.record[picked]]
        wanted = offsets > self.table.applied[rows]
        if not wanted.all():
            rows, offsets, picked = rows[wanted], offsets[wanted], picked[wanted]
        # Of a row that stands here several times, the last assignment counts: backwards, that is its first observation.
        self._last[rows[::-1]] = np.arange(len(rows))[::-1]
        first = np.flatnonzero(self._last[rows] == np.arange(len(rows)))
        effects.touched = Touched(rows[first], offsets[first])
        self.table.applied[rows] = offsets
        return rows, picked

    def _begin_new(self, decoded: Decoded, run: Run, part: slice, now_us: int, effects: Effects) -> list[int]:
        """The rows of a run that names series not seen before, which begin here as far as there is room."""
        place, seen = Place(run.topic, run.partition), decoded.observations
        here, known, rows = self._rows[place], self.known[place], []
        for index in range(part.start, part.stop):
            name = seen.series[index]
            row = here.get(name)
            if row is None and len(known) >= self.feed.known_series:
                record, item = decoded.records[int(seen.record[index])], int(seen.item[index])
                detail = (
                    f"series {name!r} is new, and known_series = {self.feed.known_series} are known in this partition"
                )
                effects.rejected.append(Rejected(record, Reason.SERIES_LIMIT, detail, item))
                row = REFUSED
            elif row is None:
                series = self.begin(place, name)
                self.table.arrival_us[series.row] = now_us
                effects.started.append(series)
                row = series.row
            rows.append(row)
        return rows

    # What they do

    def _round(
        self,
        seen: Observations,
        rows: Rows,
        picked: Rows,
        now_us: int,
        thin: Rows | int,
        effects: Effects,
        made: list[Forecasts],
    ) -> None:
        """One observation of each row."""
        slots, verdicts = self.grid.admit(rows, seen.time_us[picked])
        values = seen.values[picked]
        if verdicts.any():
            on = self._extraordinary(rows, seen.time_us[picked], slots, values, verdicts, now_us)
            if not on.any():
                return
            rows, picked, slots, values = rows[on], picked[on], slots[on], values[on]
            thin = thin if isinstance(thin, int) else thin[on]
        else:
            self.table.arrival_us[rows] = now_us
        beat = Beat(self.grid.step_us[rows], self.grid.phase_us[rows])
        adapt(self, rows)
        settled, issued = self.forecaster.observe(rows, slots, np.ascontiguousarray(values), beat, thin)
        cutoffs = beat.time(slots)
        self.table.ready[rows] = issued.ready
        effects.alerts += watch(self, rows, slots, values[:, 0], beat, settled, issued)
        for index in np.flatnonzero(self.table.stale[rows]).tolist():
            series = self._by_row[int(rows[index])]
            if event := series.alerts.heard(int(cutoffs[index])):
                effects.alerts.append((series.place, event))
            series.watch()
        made.append(
            Forecasts(
                series=seen.series if len(rows) == len(seen) else [seen.series[index] for index in picked.tolist()],
                index=picked,
                row=rows,
                record=seen.record[picked],
                item=seen.item[picked],
                cutoff_us=cutoffs,
                step_us=beat.step_us,
                value=values[:, 0],
                quantiles=issued.quantiles,
                weights=issued.weights,
                ready=issued.ready,
                model=self.table.model[rows],
                experts=issued.experts,
                crossings=self.crossings.observe(rows, slots, values[:, 0], issued.quantiles)
                if self.feed.thresholds
                else None,
            )
        )

    def _extraordinary(
        self,
        rows: Rows,
        time_us: Rows,
        slots: Rows,
        values: NDArray[np.float64],
        verdicts: NDArray[np.uint8],
        now_us: int,
    ) -> NDArray[np.bool_]:
        """Where not every observation is the next one: do what is to be done, in place; returns which go on to a forecast."""
        table = self.table
        for index in np.flatnonzero(verdicts >= Verdict.PENDING).tolist():
            series = self._by_row[int(rows[index])]
            series.held.append((int(time_us[index]), values[index].tolist()))
            if verdicts[index] == Verdict.SETTLED:
                slots[index], verdicts[index], values[index] = self._settle_step(series)
        again, late = verdicts == Verdict.DUPLICATE, verdicts == Verdict.LATE
        anew, filled = verdicts == Verdict.RESTART, verdicts == Verdict.FILL
        # What is not taken is no sign of life: a series whose clock ran ahead must be told of as stale.
        table.arrival_us[rows[~(again | late)]] = now_us
        table.gaps[rows[anew | (verdicts == Verdict.GAP)]] += 1
        table.duplicates[rows[again]] += 1
        table.late[rows[late]] += 1
        if anew.any():
            self.forecaster.restart(rows[anew])
        if filled.any():
            free = self.forecaster.fill(rows[filled], slots[filled], values[filled])
            table.fills[rows[filled][free]] += 1
            table.duplicates[rows[filled][~free]] += 1
        return verdicts <= Verdict.RESTART

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

    def sweep(self, now_us: int) -> Effects:
        """What the clock alone brings about: series that have been silent for ``stale_after`` become stale."""
        effects = Effects()
        limit, table = self.feed.alerts.stale_after, self.table
        if not limit or not self.count:
            return effects
        rows = np.sort(np.fromiter(self._by_row, np.int64, self.count))
        silent = rows[~table.stale[rows] & (now_us - table.arrival_us[rows] >= limit)]
        newest_us = self.grid.slot_time_us(silent, self.grid.newest[silent]).tolist()
        for series, newest in zip(self.at(silent), newest_us, strict=True):
            silence_s = (now_us - int(table.arrival_us[series.row])) / 1e6
            if event := series.alerts.silent(newest, silence_s):
                effects.alerts.append((series.place, event))
            series.watch()
        effects.touched = Touched(silent, table.applied[silent] + 1)
        return effects


__all__ = ["Effects", "Engine", "Forecasts", "Place"]

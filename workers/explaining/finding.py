"""A series' saved state, read and not written: what a worker left in Redis, loaded into an engine of one series."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import unpack
from models.explanation.attribution import as_issued
from models.explanation.moment import Moment, moment, oldest_cutoff
from stream.errors import InputError
from stream.messages import AlertMessage, iso, time_us
from stream.redis_reader import RedisReader
from workers.durations import write_duration
from workers.engine import Engine
from workers.series import Place, Series
from workers.settings import FeedSettings, Settings


@dataclass(frozen=True, slots=True)
class Found:
    """One series in an engine of its own; ``newest_us`` is the cutoff of its latest forecast in Redis, None where there is none."""

    engine: Engine
    series: Series
    newest_us: int | None

    @property
    def beat(self) -> tuple[int, int]:
        """Step and phase of its grid, in microseconds."""
        grid = self.engine.grid
        return int(grid.step_us[self.series.row]), int(grid.phase_us[self.series.row])

    def slot_us(self, slot: int) -> int:
        """The time of a slot."""
        step_us, phase_us = self.beat
        return phase_us + slot * step_us

    def span(self) -> tuple[int, int]:
        """The oldest and newest slots whose forecasts the state can tell of."""
        row = self.series.row
        return oldest_cutoff(self.engine.forecaster, row, self.beat[0]), int(self.engine.forecaster.windows.newest[row])

    def newest(self) -> Moment:
        """The moment of the newest forecast in the state, as it was made."""
        return as_issued(self.engine.forecaster, self.series.row, *self.beat)

    def at(self, slot: int) -> Moment:
        """The moment of a slot within ``span`` that had an observation."""
        _, newest = self.span()
        return self.newest() if slot == newest else moment(self.engine.forecaster, self.series.row, *self.beat, slot)

    def slot_at(self, at_us: int) -> int:
        """The slot of the newest observation at or before a time. Raises InputError where the state cannot tell of it."""
        step_us, phase_us = self.beat
        slot, (oldest, newest) = (at_us - phase_us) // step_us, self.span()
        windows = self.engine.forecaster.windows
        while oldest < slot <= newest and not windows.seen[self.series.row, slot % windows.capacity]:
            slot -= 1
        if not oldest <= slot <= newest:
            raise InputError(
                f"--at {iso(at_us)}: the saved state of series {self.series.name!r} can tell of cutoffs from"
                f" {iso(self.slot_us(oldest))} to {iso(self.slot_us(newest))}; give one of these, or leave --at out for the newest"
            )
        return int(slot)

    def error_slots(self) -> NDArray[np.int64]:
        """The slots [n] of the newest errors that the drift tests keep, as far as the window reaches: those that had a forecast of one step."""
        row, windows = self.series.row, self.engine.forecaster.windows
        first, newest = int(windows.first[row]), int(windows.newest[row])
        slots = np.arange(first + 1, newest + 1)
        seen = windows.seen[row]
        had: NDArray[np.int64] = slots[seen[slots % windows.capacity] & seen[(slots - 1) % windows.capacity]]
        return had


def find(reader: RedisReader, settings: Settings, feed: FeedSettings, name: str) -> Found:
    """The series of that name as its worker saved it last. Raises InputError saying what is not there, or does not fit."""
    place = reader.place(feed.name, name)
    if place is None:
        near = [known for known in reader.series(feed.name) if name.lower() in known.lower()][:5]
        hint = f"; there are: {', '.join(near)}" if near else "; has a worker run, and has the series sent anything?"
        raise InputError(f"feed {feed.name} has no series {name!r}{hint}")
    blob = reader.state(*place, feed.name, name)
    if blob is None:
        raise InputError(
            f"series {name!r} of feed {feed.name} has no saved state in {place[0]}/{place[1]}: a worker saves it"
            f" {write_duration(settings.worker.checkpoint)} after its first observation; try again then"
        )
    engine, home = Engine(feed, settings.worker.seed), Place(*place)
    engine.open(home, [name])
    try:
        series = engine.restore(home, name, *unpack(blob))
    except ValueError as error:
        raise InputError(f"{error}; explain it with the configuration and the release that its worker runs") from error
    if not engine.grid.step_us[series.row] or engine.forecaster.windows.newest[series.row] < 0:
        raise InputError(
            f"series {name!r} of feed {feed.name} has had no forecast yet: its step is found out from its first observations;"
            " try again when it has sent more, or set step in the feed"
        )
    latest = reader.latest(feed.name, name)
    return Found(engine, series, None if latest is None else time_us(latest.cutoff))


def find_alert(reader: RedisReader, fingerprint: str) -> AlertMessage:
    """The firing of that alert, else its newest message. Raises InputError where the stream no longer holds it."""
    firing = reader.open_alerts().get(fingerprint) or reader.alert(fingerprint)
    if firing is None:
        raise InputError(
            f"there is no alert {fingerprint!r}: the stream keeps the newest redis.alert_maxlen alerts, and 'tidecast alerts --json'"
            " lists them with their fingerprints"
        )
    return firing


def parsed_time(text: str) -> int:
    """Microseconds of an ISO 8601 time, UTC where it names no zone. Raises InputError."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"--at {text!r} is no time: write it as 2026-11-23T14:00:00Z") from error
    return time_us(time if time.tzinfo else time.replace(tzinfo=UTC))

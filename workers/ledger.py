"""What a worker holds: its partitions, how far each is published and run, and which series' saved state lags behind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from stream.redis_store import Claim, Thinning
from workers.effects import Touched
from workers.residents import Residents
from workers.series import Place, Series

NOTHING_UNSAVED = np.iinfo(np.int64).max


@dataclass(slots=True)
class Holding:
    """A partition that is ours.

    ``published`` is the highest offset whose effects are in Redis, ``reached`` the highest that the engine has run; -1 for none.
    ``complete`` is how far the states in Redis hold every record, and ``thinning`` what was in force at the offsets since: those are run
    again after a crash.
    """

    claim: Claim
    published: int
    reached: int
    complete: int | None = None
    thinning: Thinning = ()

    @property
    def behind(self) -> bool:
        """Whether records are still being run again that were published before."""
        return self.reached < self.published


class Ledger:
    """The holdings by partition, and the unsaved series of all feeds: the columns ``unsaved_from`` and ``unsaved_us`` of their tables."""

    def __init__(self, feeds: Mapping[str, Residents]) -> None:
        self.holdings: dict[Place, Holding] = {}
        self._feeds = feeds

    def take(self, place: Place, claim: Claim) -> None:
        """A partition has been claimed; it is to be run on after ``claim.complete``."""
        published = -1 if claim.offset is None else claim.offset
        reached = -1 if claim.complete is None else claim.complete
        self.holdings[place] = Holding(claim, published, reached, claim.complete, claim.thin)

    def note(self, feed: str, touched: Touched, now_us: int) -> None:
        """Series of a feed have changed; what is unsaved already keeps its first offset."""
        table = self._feeds[feed].table
        fresh = table.unsaved_from[touched.rows] < 0
        rows = touched.rows[fresh]
        table.unsaved_from[rows] = touched.offsets[fresh]
        table.unsaved_us[rows] = now_us

    def due(self, now_us: int, after_us: int, most: int) -> list[Series]:
        """Series that have been unsaved for ``after_us``, oldest first, at most ``most``, so that saving never stalls the stream."""
        found: list[tuple[int, Series]] = []
        for feed in self._feeds.values():
            table = feed.table
            rows = np.flatnonzero((table.unsaved_from >= 0) & (table.unsaved_us <= now_us - after_us))
            if len(rows) > most:
                rows = rows[np.argpartition(table.unsaved_us[rows], most)[:most]]
            found += zip(table.unsaved_us[rows].tolist(), feed.at(rows), strict=True)
        found.sort(key=lambda entry: entry[0])
        return [series for _, series in found[:most]]

    def complete(self, saved: Iterable[Series] = ()) -> dict[Place, int | None]:
        """The offset up to which each partition's saved states hold every record, once ``saved`` are saved; None before the first."""
        first: dict[Place, int] = {}
        gone = list(saved)
        for name, feed in self._feeds.items():
            table = feed.table
            offsets = np.where(table.unsaved_from < 0, NOTHING_UNSAVED, table.unsaved_from)
            offsets[[series.row for series in gone if series.feed == name]] = NOTHING_UNSAVED
            lowest = np.full(len(feed.places), NOTHING_UNSAVED)
            np.minimum.at(lowest, table.place, offsets)
            for place, offset in zip(feed.places, lowest.tolist(), strict=True):
                first[place] = min(offset, first.get(place, NOTHING_UNSAVED))
        done: dict[Place, int | None] = {}
        for place, holding in self.holdings.items():
            before = min(first.get(place, NOTHING_UNSAVED), holding.reached + 1)
            done[place] = before - 1 if before > 0 else None
        return done

    def settle(self, saved: Iterable[Series]) -> None:
        """These series' states are in Redis."""
        for series in saved:
            series.table.unsaved_from[series.row] = -1

    def all_unsaved(self, places: Iterable[Place] | None = None) -> list[Series]:
        """Every series whose saved state lags, of these partitions or of all."""
        chosen = None if places is None else set(places)
        return [
            series
            for feed in self._feeds.values()
            for series in feed.at(np.flatnonzero(feed.table.unsaved_from >= 0))
            if chosen is None or series.place in chosen
        ]

    def unsaved(self) -> int:
        """How many series' saved state lags."""
        return sum(int(np.count_nonzero(feed.table.unsaved_from >= 0)) for feed in self._feeds.values())

    def is_unsaved(self, series: Series) -> bool:
        """Whether its saved state lags."""
        return bool(series.table.unsaved_from[series.row] >= 0)

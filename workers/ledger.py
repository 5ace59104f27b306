"""What a worker holds: its partitions, how far each is published and run, and which series' saved state lags behind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice, takewhile

from stream.redis_store import Claim
from workers.engine import Place
from workers.series import Series


@dataclass(slots=True)
class Unsaved:
    """A series whose saved state lacks the records from ``offset`` on, since ``since_us``."""

    offset: int
    since_us: int


@dataclass(slots=True)
class Holding:
    """A partition that is ours.

    ``published`` is the highest offset whose effects are in Redis, ``reached`` the highest that the engine has run; -1 for none.
    ``unsaved`` is in the order in which the series were first changed.
    """

    claim: Claim
    published: int
    reached: int
    unsaved: dict[Series, Unsaved] = field(default_factory=dict)

    @property
    def behind(self) -> bool:
        """Whether records are still being run again that were published before."""
        return self.reached < self.published

    def complete(self, saved: Iterable[Series]) -> int | None:
        """The offset up to which the saved states hold every record, once ``saved`` are saved; None before the first."""
        gone = set(saved)
        left = (unsaved.offset for series, unsaved in self.unsaved.items() if series not in gone)
        first = min(left, default=self.reached + 1)
        return first - 1 if first > 0 else None


class Ledger:
    """The holdings by partition."""

    def __init__(self) -> None:
        self.holdings: dict[Place, Holding] = {}

    def take(self, place: Place, claim: Claim) -> None:
        """A partition has been claimed; it is to be run on after ``claim.complete``."""
        published = -1 if claim.offset is None else claim.offset
        self.holdings[place] = Holding(claim, published, -1 if claim.complete is None else claim.complete)

    def note(self, touched: Mapping[Series, int], now_us: int) -> None:
        """Series have changed, each first with the record at the offset given."""
        for series, offset in touched.items():
            self.holdings[series.place].unsaved.setdefault(series, Unsaved(offset, now_us))

    def due(self, now_us: int, after_us: int, most: int) -> list[Series]:
        """Series that have been unsaved for ``after_us``, at most ``most``, so that saving never stalls the stream."""
        oldest_first = merge(
            *(holding.unsaved.items() for holding in self.holdings.values()), key=lambda entry: entry[1].since_us
        )
        overdue = takewhile(lambda entry: now_us - entry[1].since_us >= after_us, oldest_first)
        return [series for series, _ in islice(overdue, most)]

    def settle(self, saved: Iterable[Series]) -> None:
        """These series' states are in Redis."""
        for series in saved:
            if (holding := self.holdings.get(series.place)) is not None:
                holding.unsaved.pop(series, None)

    def all_unsaved(self, places: Iterable[Place] | None = None) -> list[Series]:
        """Every series whose saved state lags, of these partitions or of all."""
        chosen = self.holdings if places is None else [place for place in places if place in self.holdings]
        return [series for place in chosen for series in self.holdings[place].unsaved]

    def is_unsaved(self, series: Series) -> bool:
        """Whether its saved state lags."""
        holding = self.holdings.get(series.place)
        return holding is not None and series in holding.unsaved

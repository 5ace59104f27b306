"""All series of a feed as a list to search, sort and page through. Cards are read again at most every few seconds, whoever asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from stream.redis_reader import RedisReader

FRESH_S = 2.0
AT_ONCE = 2_000
Sort = Literal["alerts", "series", "error_ratio", "coverage", "value", "cutoff"]
Row = dict[str, Any]
TOLD = ("series", "state", "value", "error", "error_ratio", "nominal", "cutoff", "step_s", "recent", "model")


@dataclass(slots=True)
class Listing:
    """Rows of a feed as of ``read_s`` (a monotonic clock)."""

    read_s: float = float("-inf")
    rows: list[Row] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


class Overview:
    """Listings by feed. Safe to call from many threads: one reads, the others wait for what it finds."""

    def __init__(self, reader: RedisReader, feeds: Iterable[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._reader, self._clock = reader, clock
        self._listings = {feed: Listing() for feed in feeds}
        self._locks = {feed: threading.Lock() for feed in self._listings}

    @property
    def feeds(self) -> Iterable[str]:
        """The feeds there are."""
        return self._listings

    def listing(self, feed: str) -> Listing:
        """The newest listing. Raises KeyError for a feed that is not configured, ServiceError where Redis is away."""
        with self._locks[feed]:
            found = self._listings[feed]
            if self._clock() - found.read_s > FRESH_S:
                found = self._listings[feed] = self._read(feed)
            return found

    def page(
        self, feed: str, search: str, state: str, sort: Sort, *, descending: bool, offset: int, limit: int
    ) -> tuple[int, list[Row]]:
        """How many series match, and ``limit`` of them from ``offset`` on. ``search`` words must all stand in the id, in any case."""
        words = search.lower().split()
        rows = [
            row
            for row in self.listing(feed).rows
            if (not state or row["state"] == state or (state == "firing" and row["alerts"]))
            and all(word in row["folded"] for word in words)
        ]
        if sort == "series":
            rows.sort(key=lambda row: row["folded"], reverse=descending)
        else:
            known = [row for row in rows if row[sort] is not None]
            known.sort(key=lambda row: row[sort], reverse=descending)
            # What says nothing stands last, whichever way the list is turned.
            rows = known + [row for row in rows if row[sort] is None]
        shown = rows[offset : offset + limit]
        return len(rows), [{name: value for name, value in row.items() if name != "folded"} for row in shown]

    def _read(self, feed: str) -> Listing:
        names = sorted(self._reader.series(feed))
        firing: dict[str, int] = {}
        for alert in self._reader.open_alerts().values():
            if alert.feed == feed:
                firing[alert.series] = firing.get(alert.series, 0) + 1
        rows = []
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            rows += [_row(name, text, firing.get(name, 0)) for name, text in self._reader.card_texts(feed, some)]
        counts = {"all": len(rows), "firing": sum(1 for row in rows if row["alerts"])}
        for row in rows:
            counts[row["state"]] = counts.get(row["state"], 0) + 1
        return Listing(self._clock(), rows, counts)


def _row(name: str, text: bytes | None, alerts: int) -> Row:
    card = {} if text is None else orjson.loads(text)
    row: Row = {key: card.get(key) for key in TOLD}
    nominal = card.get("nominal") or 0.0
    row |= {
        "series": name,
        "state": card.get("state", "warming"),
        "recent": card.get("recent", []),
        "coverage": card.get("coverage", {}).get(f"{nominal:.6g}"),
        "alerts": alerts,
        "folded": name.lower(),
    }
    return row

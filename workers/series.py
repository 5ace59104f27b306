"""What the engine keeps of one series beside its rows in the arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from models.drift import DriftSettings, SeriesDrift
from workers.alerts import SeriesAlerts

if TYPE_CHECKING:
    from workers.engine import Place

COUNTERS = ("gaps", "late", "duplicates", "fills")


class Series:
    """One series in memory. ``applied`` is the last offset whose observations are in its state, -1 before the first.

    ``held`` are observations (microseconds, values) that wait for the series' step to be inferred.
    """

    __slots__ = (
        "place", "name", "row", "model", "drift", "alerts", "applied", "reached", "arrival_us", "carded_us", "ready", "held", *COUNTERS,
    )  # fmt: skip

    gaps: int
    late: int
    duplicates: int
    fills: int

    def __init__(self, place: Place, name: str, row: int, feed: str, drift: DriftSettings) -> None:
        self.place, self.name, self.row = place, name, row
        self.model = ""
        self.drift = SeriesDrift(drift)
        self.alerts = SeriesAlerts(feed, name)
        self.applied = self.reached = -1
        self.arrival_us = self.carded_us = 0
        self.ready = False
        self.held: list[tuple[int, list[float]]] = []
        for counter in COUNTERS:
            setattr(self, counter, 0)

    @property
    def feed(self) -> str:
        """The name of its feed."""
        return self.alerts.feed

    @property
    def stale(self) -> bool:
        """Whether the clock has found it silent."""
        return "stale" in self.alerts.firing

    @property
    def state(self) -> int:
        """Index into ``stream.messages.STATES``: warming, ready, stale."""
        return 2 if self.stale else 1 if self.ready else 0

    def snapshot(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Arrays, and a header that JSON can hold."""
        header = {name: getattr(self, name) for name in COUNTERS}
        header |= {"applied": self.applied, "ready": self.ready, "model": self.model, "arrival_us": self.arrival_us}
        return self.drift.snapshot(), header | {"alerts": self.alerts.to_json(), "held": self.held}

    def restore(self, arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> None:
        """The inverse of ``snapshot``."""
        self.drift.restore(arrays)
        self.alerts.restore(header["alerts"])
        for name in (*COUNTERS, "applied", "ready", "model", "arrival_us"):
            setattr(self, name, header[name])
        self.held = [(int(time_us), list(values)) for time_us, values in header["held"]]

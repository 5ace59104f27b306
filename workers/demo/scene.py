"""What the view shows, as plain values: filled by the watcher, drawn by the view."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from stream.messages import AlertMessage, SeriesState

KEPT = 720
"""Observations that are kept for the chart of a sensor: enough for the widest terminal."""

Band = tuple[float, float]


@dataclass(slots=True)
class Sensor:
    """One sensor. ``bands`` are the forecast intervals, ``past_bands`` those once forecast for what is kept."""

    name: str
    unit: str = ""
    state: SeriesState = "warming"
    truth: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    past_bands: deque[Band | None] = field(default_factory=lambda: deque(maxlen=KEPT))
    median: list[float] = field(default_factory=list)
    bands: list[Band] = field(default_factory=list)
    cutoff: str = ""
    """Event time of the newest observation, for people."""
    coverage: float | None = None
    """Share of recent targets inside their widest interval."""
    error_ratio: float | None = None
    """Error over that of "as now", on all leads of all forecasts so far; below 1 is better."""
    firing: bool = False

    @property
    def value(self) -> float | None:
        return self.truth[-1] if self.truth else None


@dataclass(slots=True)
class Scene:
    """Everything of one moment."""

    sensors: list[Sensor] = field(default_factory=list)
    alerts: deque[AlertMessage] = field(default_factory=lambda: deque(maxlen=50))
    """Newest last."""
    elapsed_s: float = 0.0
    observations: int = 0
    forecasts: int = 0
    fired: int = 0
    resolved: int = 0
    rate: float = 0.0
    """Forecasts a second, lately."""
    latency_ms: float | None = None
    """Median time from producing an observation to its forecast standing in Redis, lately."""
    horizon_text: str = ""
    where: str = ""
    page: str = ""
    """How to look into Redis meanwhile."""

"""Small engines and streams for tests of the engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from stream.decode import Decoder
from stream.records import Record
from workers.alerts import AlertEvent
from workers.engine import Engine, Place
from workers.settings import FeedSettings

HOME = Place("t", 0)
SMALL: dict[str, Any] = {
    "name": "small",
    "topics": ["t"],
    "step": "1m",
    "context": 16,
    "horizon": 4,
    "season": 8,
    "model": {"hidden": 8, "patch": 4},
}
Forecast = tuple[str, int, bytes]


def feed(**changes: Any) -> FeedSettings:
    """A feed of small models."""
    return FeedSettings.model_validate(SMALL | changes)


def record(offset: int, items: Any, place: Place = HOME) -> Record:
    """A record with JSON made of ``items``."""
    return Record(place.topic, place.partition, offset, None, json.dumps(items).encode())


def observation(series: str, minute: float, value: float) -> dict[str, Any]:
    """One observation, ``minute`` minutes after a Tuesday in November 2026."""
    return {"series": series, "time": int(1_794_268_800 + 60 * minute), "value": value}


def stream(series: int, length: int, seed: int = 0) -> list[Record]:
    """Interleaved series of a seeded feed, one observation a record, some of them missing so that turns differ."""
    rng = np.random.default_rng(seed)
    records: list[Record] = []
    for minute in range(length):
        for number in range(series):
            if rng.random() < 0.9:
                value = 10 * number + np.sin(minute / (3 + number)) + 0.1 * rng.standard_normal()
                records.append(record(len(records), observation(f"s{number}", minute, float(value))))
    return records


class Run:
    """An engine fed with records; keeps everything that came out."""

    def __init__(self, settings: FeedSettings, engine: Engine | None = None) -> None:
        self.engine = engine or Engine(settings, seed=0)
        if engine is None:
            self.engine.open(HOME, [])
        self.decoder = Decoder(settings.fields, settings.limits)
        self.forecasts: list[Forecast] = []
        self.alerts: list[AlertEvent] = []

    def feed(self, records: Sequence[Record], now_us: int = 0, thin: int | None = None) -> Run:
        """One batch."""
        decoded = self.decoder.decode(records)
        effects = self.engine.step(decoded, now_us, None if thin is None else np.full(len(records), thin))
        self.alerts += [event for _, event in effects.alerts]
        if (made := effects.forecasts) is not None:
            rows = zip(made.series, made.cutoff_us.tolist(), made.quantiles, strict=True)
            self.forecasts += [(name, cutoff, quantiles.tobytes()) for name, cutoff, quantiles in rows]
        return self

    def by_series(self) -> dict[str, list[tuple[int, bytes]]]:
        """Forecasts of each series in order: what must not depend on batches."""
        found: dict[str, list[tuple[int, bytes]]] = {}
        for name, cutoff, quantiles in self.forecasts:
            found.setdefault(name, []).append((cutoff, quantiles))
        return found

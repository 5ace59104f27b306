"""Series through the real engine, one observation of each in turn, and what it said about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models.detection import IRREGULAR
from stream.decode import Decoder
from stream.records import Record
from workers.alerts import AlertEvent
from workers.engine import Engine, Place
from workers.settings import FeedSettings

HOME = Place("bench", 0)
Floats = NDArray[np.float64]


@dataclass(slots=True)
class Told:
    """What was said of a series: transitions with the row of the observation that brought each, and the rarity at each row."""

    events: list[tuple[int, AlertEvent]] = field(default_factory=list)
    rarity: list[float] = field(default_factory=list)

    @property
    def fired(self) -> list[int]:
        """Rows at which an alert began to fire."""
        return [row for row, event in self.events if event.status == "firing"]


class Watched(Engine):
    """An engine that keeps the largest rarity of each row's newest observation."""

    rarity: dict[int, float]

    def keep_rarity(self) -> None:
        """Let the detectors tell."""
        self.rarity = {}
        update = self.detectors.update

        def told(rows: NDArray[np.int64], *arguments: Any) -> Floats:
            rare = update(rows, *arguments)
            self.rarity |= dict(zip(rows.tolist(), rare[:, :IRREGULAR].max(1).tolist(), strict=True))
            return rare

        self.detectors.update = told  # type: ignore[method-assign,assignment]


def engine_of(**settings: Any) -> Watched:
    """An engine out of the box, but for these settings."""
    feed = FeedSettings.model_validate({"name": "bench", "topics": [HOME.topic], "known_series": 1_000_000} | settings)
    engine = Watched(feed, seed=0)
    engine.open(HOME, ())
    engine.keep_rarity()
    return engine


def run(engine: Watched, series: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> dict[str, Told]:
    """Feed series of seconds and values."""
    decoder = Decoder(engine.feed.fields, engine.feed.limits)
    told = {name: Told() for name in series}
    here: dict[str, int] = {}
    longest = max(len(seconds) for seconds, _ in series.values())
    for row in range(longest):
        items = [
            {"series": name, "time": seconds[row], "value": values[row]}
            for name, (seconds, values) in series.items()
            if row < len(seconds)
        ]
        engine.rarity = {}
        effects = engine.step(decoder.decode([Record(*HOME, row, None, orjson.dumps(items))]), 0)
        for _, event in effects.alerts:
            told[event.series].events.append((row, event))
        here |= {one.name: one.row for one in effects.started}
        for item in items:
            name = str(item["series"])
            told[name].rarity.append(engine.rarity.get(here[name], 0.0))
    return told

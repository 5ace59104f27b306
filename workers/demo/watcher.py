"""Follows what the worker writes to Redis, through the public reader alone, and keeps the scene up to date."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from statistics import median

import numpy as np

from stream.messages import AlertMessage, ForecastMessage, time_us
from stream.redis_reader import RedisReader
from workers.demo.scene import Scene
from workers.measures import ratio
from workers.scoring import Scorer

SHOWN_LEAD = 6
"""The past is shaded with the intervals that were forecast so many steps before."""
LATELY_S = 5.0
CARDS_EVERY_S = 0.5


class Watcher:
    """Reads forecasts, cards and alerts of one feed. ``sent_ms``: when the observations of an event time (ms) went out.

    Every forecast is scored on all its leads once their targets have come; ``season`` is in slots.
    """

    def __init__(
        self, reader: RedisReader, feed: str, scene: Scene, sent_ms: Mapping[int, float], scorer: Scorer, season: int
    ) -> None:
        self._reader, self._feed, self._sent_ms = reader, feed, sent_ms
        self._scorer, self._season = scorer, season
        self.scene = scene
        self._sensors = {sensor.name: sensor for sensor in scene.sensors}
        self._earlier: dict[str, deque[tuple[float, float]]] = {
            name: deque(maxlen=SHOWN_LEAD) for name in self._sensors
        }
        self._open: dict[str, str] = {}
        self._last_forecast = self._last_alert = "0-0"
        self._arrivals: deque[tuple[float, float]] = deque()
        self._cards_due = 0.0

    def look(self) -> None:
        """Take in everything that has come since the last look. Raises ServiceError where Redis is away."""
        while entries := self._reader.forecasts(self._feed, self._last_forecast, count=200):
            for entry, batch in entries:
                self._last_forecast = entry
                # The first half of an entry's id is Redis' own clock at the moment of writing.
                arrived_ms = float(entry.partition("-")[0])
                for forecast in batch.forecasts:
                    self._forecast(forecast, arrived_ms)
        for entry, alert in self._reader.alerts(self._last_alert):
            self._last_alert = entry
            self._alert(alert)
        now_s = time.monotonic()
        if now_s >= self._cards_due:
            self._cards_due = now_s + CARDS_EVERY_S
            self._cards()
        self._measure()

    def _forecast(self, forecast: ForecastMessage, arrived_ms: float) -> None:
        self.scene.forecasts += 1
        sent = self._sent_ms.get(round(forecast.cutoff.timestamp() * 1000))
        if sent is not None:
            self._arrivals.append((arrived_ms, arrived_ms - sent))
        sensor = self._sensors.get(forecast.series)
        if sensor is None:
            return
        by_level = {float(level): values for level, values in forecast.quantiles.items()} | {0.5: forecast.median}
        bands = list(zip(by_level[min(by_level)], by_level[max(by_level)], strict=True))
        quantiles = np.array([by_level[level] for level in sorted(by_level)]).T
        step_us = round(forecast.step_s * 1e6)
        self._scorer.take(sensor.name, time_us(forecast.cutoff), step_us, self._season, forecast.value, quantiles)
        earlier = self._earlier[sensor.name]
        # A forecast made SHOWN_LEAD observations ago was for this one: the feed of the demonstration has no gaps.
        sensor.past_bands.append(earlier[0] if len(earlier) == SHOWN_LEAD else None)
        earlier.append(bands[SHOWN_LEAD - 1])
        sensor.truth.append(forecast.value)
        sensor.median, sensor.bands = forecast.median, bands
        sensor.state = forecast.state
        sensor.cutoff = f"{forecast.cutoff:%a %H:%M}"

    def _alert(self, alert: AlertMessage) -> None:
        self.scene.alerts.append(alert)
        if alert.status == "firing":
            self._open[alert.fingerprint] = alert.series
            self.scene.fired += 1
        else:
            self._open.pop(alert.fingerprint, None)
            self.scene.resolved += 1
        for sensor in self._sensors.values():
            sensor.firing = sensor.name in self._open.values()

    def _cards(self) -> None:
        for name, card in self._reader.cards(self._feed, list(self._sensors)).items():
            self._sensors[name].coverage = card.coverage.get(f"{card.nominal:.6g}")
        for name, score in self._scorer.series.items():
            self._sensors[name].error_ratio = ratio(score.mean("absolute", 0), score.mean("absolute_last", 0))

    def _measure(self) -> None:
        since_ms = time.time() * 1000 - 1000 * LATELY_S
        while self._arrivals and self._arrivals[0][0] < since_ms:
            self._arrivals.popleft()
        self.scene.rate = len(self._arrivals) / LATELY_S
        self.scene.latency_ms = median(took for _, took in self._arrivals) if self._arrivals else None

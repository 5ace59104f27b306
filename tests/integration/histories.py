"""A feed with a past: records in Kafka, and the configuration that reads them."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from workers.settings import Settings

STEP_S = 60
BEGIN_S = 1_794_268_800
KEY = "a key for tests"
Rows = list[tuple[str, int, float]]
"""Series, minute, value."""


def sines(length: int, series: int = 3) -> Rows:
    """Series that a small network learns in a second."""
    rng = np.random.default_rng(0)
    return [
        (f"s{n}", minute, 10 * n + math.sin(2 * math.pi * minute / (17 + n)) + 0.02 * rng.standard_normal())
        for minute in range(length)
        for n in range(series)
    ]


@dataclass(frozen=True)
class Site:
    """The servers of a test, and its room on them."""

    bootstrap_servers: str
    redis_url: str
    namespace: str

    def produce(self, topic: str, rows: Rows, age_s: float = 0) -> None:
        """Write rows whose records the log took ``age_s`` ago."""
        from kafka import KafkaProducer

        producer = KafkaProducer(bootstrap_servers=self.bootstrap_servers, linger_ms=20)
        stamp = int((time.time() - age_s) * 1000)
        for series, minute, value in rows:
            item = {"series": series, "time": BEGIN_S + STEP_S * minute, "value": value}
            producer.send(topic, json.dumps(item).encode(), key=series.encode(), timestamp_ms=stamp)
        producer.flush(30)
        producer.close()

    def written(self, topic: str, **retraining: Any) -> dict[str, Any]:
        """The configuration of one feed of small models, as it would stand in a file."""
        return {
            "namespace": self.namespace,
            "kafka": {"bootstrap_servers": self.bootstrap_servers},
            "redis": {"url": self.redis_url},
            "signing_key": KEY,
            "feeds": [
                {
                    "name": "small",
                    "topics": [topic],
                    "step": f"{STEP_S}s",
                    "context": 16,
                    "horizon": 4,
                    "season": 12,
                    "model": {"hidden": 8, "patch": 4},
                    "retrain": {"history": "1d", "epochs": 6} | retraining,
                }
            ],
        }

    def settings(self, topic: str, **retraining: Any) -> Settings:
        """The same, read."""
        return Settings.model_validate(self.written(topic, **retraining))

"""A worker that holds ten thousand series for ten million observations: its memory must not grow. `make soak` runs it.

``SOAK_OBSERVATIONS`` asks for another number of observations, as a first look.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
from kafka import KafkaProducer

from stream.redis_connect import connect
from stream.redis_reader import RedisReader
from tests.integration.running import Process, until, write_config

SERIES, PACKED, PARTITIONS, START_S = 10_000, 100, 4, 1_794_268_800
OBSERVATIONS = int(os.environ.get("SOAK_OBSERVATIONS", "10000000"))
AHEAD = 200_000
"""Observations that lie in Kafka before the worker at most: a backlog is another test."""
GROWTH = 1.03
"""Memory after all observations over that after a third of them: series differ a little in what their drift tests keep."""


def _resident_mb(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _feed(servers: str, topic: str, done: Callable[[], int], stop: threading.Event) -> None:
    """Every series once a minute of event time, noise about a daily wave, never far ahead of what is done."""
    producer = KafkaProducer(bootstrap_servers=servers, linger_ms=20, batch_size=400_000, compression_type="gzip")
    rng, names = np.random.default_rng(1), [f"plant/sensor-{number:05d}" for number in range(SERIES)]
    for minute in range(-(-OBSERVATIONS // SERIES)):
        values = np.round(20 + 3 * np.sin(minute / 229.0 + np.arange(SERIES)) + 0.3 * rng.standard_normal(SERIES), 3)
        for at in range(0, SERIES, PACKED):
            items = [
                {"series": name, "time": START_S + 60 * minute, "value": value}
                for name, value in zip(names[at : at + PACKED], values[at : at + PACKED].tolist(), strict=True)
            ]
            producer.send(topic, orjson.dumps(items), partition=at // PACKED % PARTITIONS)
        while (minute + 1) * SERIES - done() > AHEAD and not stop.wait(0.2):
            pass
        if stop.is_set():
            return
    producer.flush()


@pytest.mark.kafka
@pytest.mark.redis
@pytest.mark.timeout(7200)
def test_memory_does_not_grow_with_what_has_been_seen(
    tmp_path: Path, bootstrap_servers: str, redis_url: str, topic: Callable[..., str], namespace: str
) -> None:
    name, dead, reader = topic(PARTITIONS), topic(), RedisReader(connect(redis_url), namespace)
    feed = {"name": "soak", "topics": [name], "step": "60s", "horizon": 12, "context": 48}
    model = {"model": {"policy": "carried"}}
    worker = {"resident_series": SERIES, "batch_records": 20, "checkpoint": "120s"}
    config = write_config(
        tmp_path, bootstrap_servers, redis_url, namespace, [feed | model], worker=worker, dead_letters=dead
    )
    stop, seen = threading.Event(), [0]
    with Process(config, "worker", "--name", "soak") as process:

        def done() -> int:
            seen[0] = max((beat["observations"] for beat in reader.workers().values()), default=0)
            return seen[0]

        feeder = threading.Thread(target=_feed, args=(bootstrap_servers, name, done, stop))
        feeder.start()
        try:
            measured: list[tuple[int, float]] = []
            while seen[0] < OBSERVATIONS:
                time.sleep(2)
                assert process.process.poll() is None, "the worker has ended"
                measured.append((done(), _resident_mb(process.process.pid)))
                sys.stdout.write(f"{measured[-1][0]:>11,} observations, {measured[-1][1]:,.0f} MiB\n")
                sys.stdout.flush()
        finally:
            stop.set()
            feeder.join(60)
        until(lambda: done() >= OBSERVATIONS, "every observation is forecast")
        third = next(memory for count, memory in measured if count >= OBSERVATIONS / 3)
        assert measured[-1][1] <= GROWTH * third
        assert process.stop(120) == 0

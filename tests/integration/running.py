"""Real workers for integration tests: processes of the command line, on the tests' own topics and prefix."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from kafka import KafkaProducer

from stream.messages import ForecastMessage
from stream.redis_reader import RedisReader

ROOT = Path(__file__).parents[2]


def write_config(
    folder: Path, bootstrap_servers: str, redis_url: str, namespace: str, feeds: list[dict[str, Any]], **more: Any
) -> Path:
    """A configuration file for the tests' services."""
    file = folder / "tidecast.yaml"
    settings = {
        "namespace": namespace,
        "kafka": {
            "bootstrap_servers": bootstrap_servers,
            "group_id": namespace,
            "session_timeout_ms": 6000,
            "heartbeat_interval_ms": 1000,
        },
        "redis": {"url": redis_url},
        "feeds": feeds,
        **more,
    }
    file.write_text(yaml.safe_dump(settings))
    return file


class Process:
    """A ``tidecast`` process; its log goes to a file beside the configuration."""

    def __init__(self, config: Path, *arguments: str) -> None:
        self.log = config.parent / f"{arguments[0]}-{time.monotonic_ns()}.log"
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TIDECAST_LOG": "text"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "workers.cli", *arguments, "--config", str(config)],
                stdout=log,
                stderr=log,
                env=environment,
            )

    def kill(self) -> None:
        """As kill -9 does it."""
        self.process.kill()
        self.process.wait()

    def stop(self, within_s: float = 30) -> int:
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.kill()
        if error[0] is not None:
            sys.stderr.write(f"--- {self.log.name}\n{self.log.read_text()[-6000:]}")


def produce(bootstrap_servers: str, topic: str, records: Iterable[tuple[str, Any]]) -> int:
    """Send JSON (or bytes as they are) keyed by series, so that a series keeps its partition; returns how many."""
    producer = KafkaProducer(bootstrap_servers=bootstrap_servers, linger_ms=5, max_request_size=8_000_000)
    count = 0
    for key, value in records:
        producer.send(topic, key=key.encode(), value=value if isinstance(value, bytes) else json.dumps(value).encode())
        count += 1
    producer.flush()
    producer.close()
    return count


def until(condition: Callable[[], bool], what: str, within_s: float = 60) -> None:
    """Wait for a condition; fails naming what did not happen."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(0.1)


def forecasts(reader: RedisReader, feed: str) -> list[ForecastMessage]:
    """Every forecast on the feed's stream, in order."""
    found: list[ForecastMessage] = []
    after = "0-0"
    while entries := reader.forecasts(feed, after, count=200):
        found += [forecast for _, batch in entries for forecast in batch.forecasts]
        after = entries[-1][0]
    return found


def count_forecasts(client: Any, reader: RedisReader, feed: str) -> int:
    """How many forecasts the stream holds, without parsing them."""
    return sum(int(entry[b"n"]) for _, entry in client.xrange(reader.keys.forecasts(feed)))


def repeated(found: Iterable[ForecastMessage]) -> Mapping[tuple[str, str], int]:
    """Series and cutoffs that were forecast more than once."""
    counts = Counter((one.series, str(one.cutoff)) for one in found)
    return {key: number for key, number in counts.items() if number > 1}

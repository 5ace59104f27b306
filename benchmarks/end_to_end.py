"""The main job, whole: all channels of ETTm1 through Apache Kafka, two worker processes and Redis.

    make bench NAME=end_to_end [ARGS=--quick]

Every observation is forecast 24 steps ahead and learnt from. The rows come in two parts: most of them at once, which gives the
throughput, and the rest at a third of that pace or slower, which gives the latency from Kafka's append to Redis. Every cutoff of every series
must have exactly one forecast. Errors are in deviations of each channel over its first 11,520 rows, mean over series, cutoffs and leads
whose targets are in the file and for which a value one day earlier is there; last value and seasonal naive stand on the same ones.

Without the data folder beside the checkout a seeded synthetic feed of the same shape takes its place, and the result says so.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.processes import cpu_seconds, peak_memory_mb
from stream.kafka_admin import TopicSpec, create_topics
from stream.redis_connect import connect
from stream.redis_reader import RedisReader
from tests.integration.running import Process, until, write_config
from tests.services.kafka import open_kafka
from tests.services.redis import open_redis

FILE = Path(__file__).parents[2] / "shared" / "data" / "ett" / "ETTm1.csv"
STEP_S, DAY, HORIZON, PARTITIONS, SCALE_ROWS = 900, 96, 24, 8, 11_520
QUICK_ROWS, PACED_SHARE, PACE, PACED_AT_LEAST_S = 2_500, 0.15, 1 / 3, 10


@dataclass(frozen=True, slots=True)
class Feed:
    """Channel names, times in seconds since 1970 [T], values [T, C], and where they are from."""

    names: list[str]
    times: NDArray[np.int64]
    values: NDArray[np.float64]
    source: str


def read_feed(rows: int | None) -> Feed:
    """The file's first ``rows`` rows, all where None."""
    if not FILE.exists():
        rng = np.random.default_rng(0)
        count = rows or 69_680
        clock = np.arange(count)[:, None] * 2 * np.pi / DAY
        values = 10 + 3 * np.sin(clock + np.arange(7)) + 0.2 * rng.standard_normal((count, 7)).cumsum(0) * 0.1
        return Feed([f"c{n}" for n in range(7)], 1_467_331_200 + STEP_S * np.arange(count), values, "synthetic")
    with FILE.open() as file:
        table = csv.reader(file)
        names = next(table)[1:]
        read = [row for _, row in zip(range(rows or 10**9), table, strict=False)]
    times = [int(datetime.fromisoformat(row[0]).replace(tzinfo=UTC).timestamp()) for row in read]
    return Feed(names, np.array(times), np.array([[float(v) for v in row[1:]] for row in read]), "ETTm1")


class Bench:
    """The services, the topic and the workers of one run."""

    def __init__(self, stack: ExitStack, feed: Feed, architecture: str) -> None:
        self.feed = feed
        kafka, redis = open_kafka(stack), open_redis(stack)
        print(f"{kafka.detail}; {redis.detail}", file=sys.stderr)
        self.servers = kafka.address
        run = f"bench-{time.time_ns():x}"
        self.topic = run
        create_topics(
            {"bootstrap_servers": self.servers},
            [
                TopicSpec(run, PARTITIONS, 1, {"message.timestamp.type": "LogAppendTime"}),
                TopicSpec(f"{run}-dead", 1, 1),
            ],
        )
        self.client: Any = connect(redis.address)
        self.reader = RedisReader(self.client, run)
        settings = {
            "name": "ett",
            "topics": [run],
            "step": f"{STEP_S}s",
            "horizon": HORIZON,
            "model": {"architecture": architecture},
        }
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config = write_config(
            self.folder,
            self.servers,
            redis.address,
            run,
            [settings],
            dead_letters=f"{run}-dead",
            worker={"thin_most": 1},
        )
        text = config.read_text().replace("redis:\n", "redis:\n  forecast_maxlen: 100000000\n")
        config.write_text(text)
        self.workers = [stack.enter_context(Process(config, "worker", "--name", f"w{n}")) for n in range(2)]
        stack.callback(self._forget)
        until(self._all_assigned, "both workers to have their partitions", 120)
        self.producer = KafkaProducer(bootstrap_servers=self.servers, linger_ms=5)
        stack.callback(self.producer.close)
        self.counted, self._after = 0, "0-0"

    def _forget(self) -> None:
        for key in self.client.scan_iter(match=f"{self.topic}:*", count=1000):
            self.client.unlink(key)

    def _all_assigned(self) -> bool:
        held = [int(info.get("partitions") or 0) for info in self.reader.workers().values()]
        return len(held) == 2 and min(held) > 0 and sum(held) == PARTITIONS

    def count(self) -> int:
        """Forecasts on the stream so far."""
        while entries := self.client.xrange(self.reader.keys.forecasts("ett"), f"({self._after}", count=500):
            self.counted += sum(int(entry[b"n"]) for _, entry in entries)
            self._after = entries[-1][0].decode()
        return self.counted

    def send(self, row: int) -> None:
        """One row: a record for each channel, on the partition of its series."""
        for channel, name in enumerate(self.feed.names):
            item = {"series": name, "time": int(self.feed.times[row]), "value": float(self.feed.values[row, channel])}
            self.producer.send(self.topic, orjson.dumps(item), key=name.encode(), partition=channel % PARTITIONS)

    def wait(self, goal: int, bar: Progress, task: TaskID, limit_s: float) -> None:
        """Until so many forecasts are on the stream."""
        end = time.monotonic() + limit_s
        while self.count() < goal and time.monotonic() < end:
            bar.update(task, completed=self.counted)
            time.sleep(0.1)
        bar.update(task, completed=self.counted)

    def append_times(self) -> dict[tuple[int, int], int]:
        """When Kafka took each record, in ms, by partition and offset."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.servers, consumer_timeout_ms=3_000, auto_offset_reset="earliest"
        )
        consumer.assign([TopicPartition(self.topic, number) for number in range(PARTITIONS)])
        times = {(record.partition, record.offset): record.timestamp for record in consumer}
        consumer.close()
        return times


@dataclass(slots=True)
class Collected:
    """Every forecast of the run: row of its cutoff, channel, median [H], when Redis took it (ms), partition and offset."""

    row: NDArray[np.int64]
    channel: NDArray[np.int64]
    median: NDArray[np.float64]
    at_ms: NDArray[np.int64]
    place: list[tuple[int, int]]


def collect(bench: Bench) -> Collected:
    """Read the stream back, entry by entry."""
    channel_of = {name: number for number, name in enumerate(bench.feed.names)}
    row_of = {int(moment): number for number, moment in enumerate(bench.feed.times)}
    rows, channels, medians, at, place = [], [], [], [], []
    after = "-"
    while entries := bench.client.xrange(bench.reader.keys.forecasts("ett"), after, count=200):
        for entry_id, entry in entries:
            moment = int(entry_id.split(b"-")[0])
            for made in orjson.loads(entry[b"forecasts"]):
                cutoff = int(datetime.fromisoformat(made["cutoff"]).timestamp())
                rows.append(row_of[cutoff])
                channels.append(channel_of[made["series"]])
                medians.append(made["median"])
                at.append(moment)
                _, partition, offset, _ = made["id"].split(":", 3)
                place.append((int(partition), int(offset)))
        after = f"({entries[-1][0].decode()}"
    return Collected(np.array(rows), np.array(channels), np.array(medians), np.array(at), place)


def errors(feed: Feed, made: Collected) -> dict[str, float]:
    """Mean absolute errors, in deviations of each channel, on the same cutoffs and leads."""
    values = feed.values / feed.values[:SCALE_ROWS].std(0)
    scale = feed.values[:SCALE_ROWS].std(0)
    judged = (made.row >= DAY) & (made.row + HORIZON < len(values))
    row, channel = made.row[judged], made.channel[judged]
    leads = np.arange(1, HORIZON + 1)
    target = values[row[:, None] + leads, channel[:, None]]
    return {
        "mae": float(np.abs(made.median[judged] / scale[channel][:, None] - target).mean()),
        "mae_last_value": float(np.abs(values[row, channel][:, None] - target).mean()),
        "mae_seasonal_naive": float(np.abs(values[row[:, None] + leads - DAY, channel[:, None]] - target).mean()),
    }


def run(rows: int | None, architecture: str) -> dict[str, Any]:
    """One run; returns the result's keys."""
    feed = read_feed(rows)
    length, channels = feed.values.shape
    at_once = int(length * (1 - PACED_SHARE)) if length < 20_000 else length - 2_000
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,}/{task.total:,}"))
    with ExitStack() as stack:
        bar = stack.enter_context(
            Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True))
        )
        bench = Bench(stack, feed, architecture)
        pids = [worker.process.pid for worker in bench.workers]
        task = bar.add_task("forecasts", total=length * channels)
        cpu, began = cpu_seconds(pids), time.monotonic()
        for row in range(at_once):
            bench.send(row)
            if row % 1000 == 0:
                bar.update(task, completed=bench.count())
        bench.producer.flush()
        bench.wait(at_once * channels, bar, task, 3_600)
        seconds, cpu = time.monotonic() - began, cpu_seconds(pids) - cpu
        rate = at_once * channels / seconds
        pause_s = max(channels / (rate * PACE), PACED_AT_LEAST_S / (length - at_once))
        began = time.monotonic()
        for number, row in enumerate(range(at_once, length)):
            time.sleep(max(0.0, began + number * pause_s - time.monotonic()))
            bench.send(row)
        bench.producer.flush()
        bench.wait(length * channels, bar, task, 120)
        memory = peak_memory_mb(pids)
        made, appended = collect(bench), bench.append_times()
        paced = made.row >= at_once
        waits = [
            moment - appended[place]
            for moment, place, late in zip(made.at_ms.tolist(), made.place, paced.tolist(), strict=True)
            if late
        ]
        statuses = [worker.stop() for worker in bench.workers]
    distinct = len(set(zip(made.row.tolist(), made.channel.tolist(), strict=True)))
    return {
        "events": length * channels,
        "missing": length * channels - distinct,
        "duplicated": len(made.row) - distinct,
        "events_per_s": round(rate, 1),
        "events_per_worker_cpu_s": round(at_once * channels / cpu, 1),
        "latency_p50_ms": float(np.percentile(waits, 50)),
        "latency_p99_ms": float(np.percentile(waits, 99)),
        "memory_mb": round(memory, 1),
        **{name: round(value, 4) for name, value in errors(feed, made).items()},
        "source": feed.source,
        "architecture": architecture,
        "clean_exits": statuses == [0, 0],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help=f"only the first {QUICK_ROWS} rows: under 50 s on two cores"
    )
    parser.add_argument("--rows", type=int, help="only so many rows")
    parser.add_argument("--architecture", default="gru", choices=["gru", "lstm"])
    chosen = parser.parse_args()
    print("RESULT " + json.dumps(run(QUICK_ROWS if chosen.quick else chosen.rows, chosen.architecture)))

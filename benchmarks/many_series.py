"""Ten thousand series through Apache Kafka, one worker process and Redis: forecasts a worker CPU-second.

    make bench NAME=many_series [ARGS='--quick --client confluent']

A GRU of 32 units for each of 10,000 synthetic series, window 48, 12 leads; every observation is forecast and learnt from. The log is
filled first, with one observation a record and then with 100 (of as many series); the worker works it off, learning never thinned. Its CPU
time counts from when every series has been seen ``WARM`` times. Every series must have one forecast for each observation. The last line is
RESULT and JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import orjson
import yaml
from kafka import KafkaProducer

from benchmarks.processes import cpu_seconds, peak_memory_mb
from stream.kafka_admin import TopicSpec, create_topics
from stream.kafka_clients import Client
from stream.redis_connect import connect
from stream.redis_reader import RedisReader
from tests.integration.running import Process, write_config
from tests.services.kafka import open_kafka
from tests.services.redis import open_redis

SERIES, PARTITIONS, START_S, WARM = 10_000, 8, 1_794_268_800, 2
PACKED = (1, 100)
BATCH_RECORDS = {1: 1_000, 100: 10}
"""Records in a batch of the worker: a thousand observations either way."""
FEED = {"name": "many", "step": "60s", "season": 24, "context": 48, "horizon": 12}
MODEL = {"architecture": "gru", "hidden": 32, "patch": 1, "replay": 0}


def fill(servers: str, topic: str, series: int, minutes: int, packed: int) -> int:
    """Every series once a minute, those of a partition together in records of ``packed``; returns how many records that are."""
    producer = KafkaProducer(bootstrap_servers=servers, linger_ms=20, batch_size=200_000)
    records = 0
    here = [list(range(partition, series, PARTITIONS)) for partition in range(PARTITIONS)]
    for minute in range(minutes):
        for at in range(0, max(map(len, here)), packed):
            for partition, numbers in enumerate(here):
                items = [
                    {
                        "series": f"plant/sensor-{number:05d}",
                        "time": START_S + 60 * minute,
                        "value": 20 + number % 7 + 0.25 * ((minute + number) % 24),
                    }
                    for number in numbers[at : at + packed]
                ]
                if items:
                    value = orjson.dumps(items[0] if packed == 1 else items)
                    producer.send(topic, value, key=b"plant", partition=partition)
                    records += 1
    producer.flush()
    producer.close()
    return records


def run(packed: int, series: int, minutes: int, client_name: str) -> dict[str, Any]:
    """One run; returns its measures."""
    with ExitStack() as stack:
        kafka, redis = open_kafka(stack), open_redis(stack)
        print(f"{kafka.detail}; {redis.detail}; {packed} observations a record", file=sys.stderr)
        topic = f"many-{time.time_ns():x}"
        create_topics(
            {"bootstrap_servers": kafka.address}, [TopicSpec(topic, PARTITIONS, 1), TopicSpec(f"{topic}-dead", 1, 1)]
        )
        fill(kafka.address, topic, series, minutes, packed)
        client: Any = connect(redis.address)
        reader = RedisReader(client, topic)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        worker = {"batch_records": BATCH_RECORDS[packed], "thin_most": 1, "resident_series": series}
        feed = FEED | {"topics": [topic], "model": MODEL}
        config = write_config(
            folder, kafka.address, redis.address, topic, [feed], worker=worker, dead_letters=f"{topic}-dead"
        )
        settings = yaml.safe_load(config.read_text())
        settings["redis"]["forecast_maxlen"] = 100_000
        settings["kafka"]["client"] = client_name
        config.write_text(yaml.safe_dump(settings))
        stack.callback(lambda: [client.unlink(key) for key in client.scan_iter(match=f"{topic}:*", count=1000)])
        process = stack.enter_context(Process(config, "worker", "--name", "w"))
        pids, goal, after, count = [process.process.pid], series * minutes, "-", 0
        began: tuple[float, float, int] | None = None
        while count < goal:
            for entry_id, entry in client.xrange(reader.keys.forecasts("many"), after, count=500):
                count += int(entry[b"n"])
                after = f"({entry_id.decode()}"
            if began is None and count >= WARM * series:
                began = cpu_seconds(pids), time.monotonic(), count
            if process.process.poll() is not None:
                raise RuntimeError(process.log.read_text()[-2_000:])
            time.sleep(0.05)
        assert began is not None
        cpu, seconds, events = cpu_seconds(pids) - began[0], time.monotonic() - began[1], count - began[2]
        latest = reader.latest("many", f"plant/sensor-{series - 1:05d}")
        assert latest is not None
        whole = count == goal and latest.cutoff.timestamp() == START_S + 60 * (minutes - 1)
        return {
            "events_per_worker_cpu_s": round(events / cpu, 1),
            "events_per_s": round(events / seconds, 1),
            "memory_mb": round(peak_memory_mb(pids), 1),
            "whole": whole,
            "clean_exit": process.stop(120) == 0,
        }


def main() -> None:
    """Print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few observations of each series only")
    parser.add_argument("--series", type=int, default=SERIES)
    parser.add_argument("--client", choices=get_args(Client), default="kafka-python", help="that the worker reads with")
    chosen = parser.parse_args()
    minutes = 8 if chosen.quick else 40
    result = {
        f"{name}_{packed}": value
        for packed in PACKED
        for name, value in run(packed, chosen.series, minutes, chosen.client).items()
    }
    print("RESULT " + json.dumps(result | {"series": chosen.series, "client": chosen.client}))


if __name__ == "__main__":
    main()

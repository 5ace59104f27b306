"""Both clients read the same log: CPU time a record, and from how many partitions the records of a batch come.

    make bench NAME=clients [ARGS=--quick]

Logs with one observation a record and with 100, as ``many_series`` fills them. Each client is a group of its own that reads all of it in
batches of a thousand observations, with nothing behind it; they take turns, and the medians count. CPU time is of the process, with the
threads of the client. The last line is RESULT and JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack, closing
from statistics import median
from typing import Any, get_args

from benchmarks.many_series import BATCH_RECORDS, PACKED, PARTITIONS, SERIES, fill
from stream.kafka_admin import TopicSpec, create_topics
from stream.kafka_clients import Client, open_source
from tests.services.kafka import open_kafka

CLIENTS: tuple[Client, ...] = get_args(Client)
TURNS = 3
MINUTES = {1: 50, 100: 250}


def read(client: Client, servers: str, topic: str, count: int, batch_records: int, turn: int) -> tuple[float, ...]:
    """CPU seconds and seconds a record, and the partitions in a batch, on average; from the first batch to the last."""
    settings = {"bootstrap_servers": servers}
    opened = open_source(client, [topic], f"{topic}-{client}-{turn}", settings, lambda _: {}, lambda *_: None)
    with closing(opened) as source:
        seen = 0
        while not seen:
            seen = len(source.poll(batch_records, 0.2))
        goal, batches, spread = count - seen, 0, 0
        cpu, began = time.process_time(), time.monotonic()
        while seen < count:
            batch = source.poll(batch_records, 0.2)
            seen += len(batch)
            batches += bool(batch)
            spread += len({record.partition for record in batch})
        return (time.process_time() - cpu) / goal, (time.monotonic() - began) / goal, spread / batches


def measure(servers: str, packed: int, minutes: int) -> dict[str, Any]:
    """Both clients by turns on a log of ``packed`` observations a record."""
    topic = f"clients-{packed}-{time.time_ns():x}"
    create_topics({"bootstrap_servers": servers}, [TopicSpec(topic, PARTITIONS, 1)])
    count = fill(servers, topic, SERIES, minutes, packed)
    found: dict[Client, list[tuple[float, ...]]] = {client: [] for client in CLIENTS}
    for turn in range(TURNS):
        for client in CLIENTS:
            found[client].append(read(client, servers, topic, count, BATCH_RECORDS[packed], turn))
    result: dict[str, Any] = {f"records_{packed}": count}
    for name, measured in found.items():
        cpu, seconds, spread = (median(column) for column in zip(*measured, strict=True))
        result |= {
            f"{name}_cpu_us_per_record_{packed}": round(cpu * 1e6, 2),
            f"{name}_records_per_s_{packed}": round(1 / seconds),
            f"{name}_partitions_in_a_batch_{packed}": round(spread, 2),
        }
    ratio = result[f"kafka-python_cpu_us_per_record_{packed}"] / result[f"confluent_cpu_us_per_record_{packed}"]
    return result | {f"cpu_ratio_{packed}": round(ratio, 2)}


def main() -> None:
    """Print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the records")
    part = 5 if parser.parse_args().quick else 1
    result: dict[str, Any] = {}
    with ExitStack() as stack:
        kafka = open_kafka(stack)
        print(kafka.detail, file=sys.stderr)
        for packed in PACKED:
            result |= measure(kafka.address, packed, MINUTES[packed] // part)
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()

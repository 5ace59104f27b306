"""The servers of the campaign: a Kafka of one or three brokers, a Redis that each scenario gets anew, and a wire before each."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import redis
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import TopicPartition as Theirs
from kafka.admin import NewTopic
from kafka.errors import KafkaError

from stream.embedded import free_port
from stream.errors import ServiceError
from stream.kafka_config import to_record
from stream.records import Record
from tests.services.kafka import ApacheKafka, new_cluster_id
from tests.services.proxy import Wire
from tests.services.redis import RedisServer
from workers.series import Place

HEAP_MB = 256
LOSES_S = 1.0
"""What ``appendfsync everysec`` may lose."""


class Site:
    """Servers that live as long as this context, one scenario at a time."""

    def __init__(self, brokers: int = 1) -> None:
        self._stack = ExitStack()
        self._count = brokers

    def __enter__(self) -> Self:
        try:
            self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="tidecast-faults-")))
            self.kafka_wires = [self._stack.enter_context(Wire()) for _ in range(self._count)]
            self.redis_wire = self._stack.enter_context(Wire())
            controllers, cluster = [free_port() for _ in range(self._count)], new_cluster_id()
            self.brokers = [
                ApacheKafka(node=node, controllers=controllers, cluster=cluster, outer_port=wire.port, heap_mb=HEAP_MB)
                for node, wire in enumerate(self.kafka_wires, 1)
            ]
            for broker, wire in zip(self.brokers, self.kafka_wires, strict=True):
                self._stack.callback(broker.__exit__)
                wire.upstream = broker.inner_port
                broker.launch()
            for broker in self.brokers:
                broker.wait()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    @property
    def bootstrap_servers(self) -> list[str]:
        """Straight to the brokers, past the wires."""
        return [broker.bootstrap_servers for broker in self.brokers]

    @property
    def proxied_servers(self) -> list[str]:
        """The way by the wires."""
        return [f"127.0.0.1:{wire.port}" for wire in self.kafka_wires]

    def heal(self) -> None:
        """Every wire passes everything."""
        for wire in [*self.kafka_wires, self.redis_wire]:
            wire.heal()

    def create_topics(self, partitions: dict[str, int]) -> None:
        """Topics by name, with so many partitions, on all brokers."""
        self._with_admin(
            lambda admin: admin.create_topics(
                [
                    NewTopic(name, num_partitions=count, replication_factor=len(self.brokers))
                    for name, count in partitions.items()
                ],
                wait_for_metadata=True,
            )
        )

    def delete_topics(self, names: Sequence[str]) -> None:
        """Make room for the next scenario."""
        with suppress(KafkaError, OSError):
            self._with_admin(lambda admin: admin.delete_topics(list(names), raise_errors=False))

    def _with_admin(self, work: Callable[[Any], object]) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap_servers, request_timeout_ms=15_000)
        try:
            work(admin)
        finally:
            admin.close()

    def producer(self) -> Any:
        """An idempotent producer, straight to the brokers: what it sends stands in the log once, in order."""
        return KafkaProducer(
            bootstrap_servers=self.bootstrap_servers,
            linger_ms=5,
            acks="all",
            enable_idempotence=True,
            delivery_timeout_ms=90_000,
            request_timeout_ms=5_000,
            max_block_ms=60_000,
            reconnect_backoff_max_ms=500,
            max_request_size=8_000_000,
        )

    def read(self, topic: str, partitions: int) -> dict[Place, list[Record]]:
        """All that stands in a topic."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.bootstrap_servers, auto_offset_reset="earliest", enable_auto_commit=False
        )
        places = [Theirs(topic, partition) for partition in range(partitions)]
        found: dict[Place, list[Record]] = {Place(topic, partition): [] for partition in range(partitions)}
        try:
            consumer.assign(places)
            ends = consumer.end_offsets(places)
            consumer.seek_to_beginning(*places)
            until = time.monotonic() + 60
            while any(consumer.position(place) < ends[place] for place in places):
                for batch in consumer.poll(timeout_ms=200).values():
                    for one in batch:
                        found[Place(one.topic, one.partition)].append(to_record(one))
                if time.monotonic() > until:
                    raise ServiceError(f"topic {topic} could not be read to its end")
        finally:
            consumer.close()
        return found


class Memory:
    """A Redis of a scenario's own, with an append-only file, that may lose what it wrote last."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.server = RedisServer(appendonly=True)
        self._sizes: list[tuple[float, int]] = []

    def __enter__(self) -> Self:
        self.server.__enter__()
        self._wire.upstream = self.server.port
        self.client = redis.Redis(port=self.server.port, socket_timeout=5)
        return self

    def __exit__(self, *_error: object) -> None:
        self.client.close()
        self.server.__exit__()

    def look(self) -> None:
        """Note how long the append-only file is now."""
        with suppress(OSError):
            self._sizes.append((time.monotonic(), self._file().stat().st_size))

    def lose(self) -> int:
        """After a kill: forget what was written within the last second. Returns how many bytes that was."""
        file = self._file()
        size = file.stat().st_size
        before = [was for at, was in self._sizes if time.monotonic() - at >= LOSES_S]
        kept = min(size, before[-1] if before else 0)
        with file.open("r+b") as opened:
            opened.truncate(kept)
        self._sizes = [(at, min(was, kept)) for at, was in self._sizes]
        return size - kept

    def _file(self) -> Path:
        return max((self.server.folder / "appendonlydir").glob("*.incr.aof"))

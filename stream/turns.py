"""Records that were fetched but not yet handed out, by partition; handed out in equal shares.

Kafka clients give out what they fetched one partition after the other, thousands of records of each. The engine advances many series
in one step, but of one series only one observation at a time: a batch that holds all partitions goes several times as fast as one
that holds a single one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from stream.kafka_config import TopicPartition
from stream.records import Record


class Turns:
    """Queues of records. Not thread-safe."""

    def __init__(self) -> None:
        self._queues: dict[TopicPartition, deque[Record]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def add(self, records: Iterable[Record]) -> None:
        """Append records, those of a partition in the order of their offsets."""
        queue: deque[Record] = deque()
        topic, partition = "", -1
        for record in records:
            # By place, not by name: this is passed through for every record.
            if record[1] != partition or record[0] != topic:
                topic, partition = record[0], record[1]
                queue = self._queues.setdefault(TopicPartition(topic, partition), deque())
            queue.append(record)

    def waiting(self, partition: TopicPartition) -> int:
        """How many records of a partition are still to be handed out."""
        return len(self._queues.get(partition, ()))

    def take(self, most: int) -> list[Record]:
        """At most ``most`` records, from each partition as many as from another where it has them, in order within each."""
        shares = dict.fromkeys(self._queues, 0)
        left = most
        while left and (hungry := [p for p, queue in self._queues.items() if len(queue) > shares[p]]):
            even = max(1, left // len(hungry))
            for partition in hungry:
                more = min(even, len(self._queues[partition]) - shares[partition], left)
                shares[partition] += more
                left -= more
        taken = [self._queues[partition].popleft() for partition, share in shares.items() for _ in range(share)]
        for partition in [partition for partition, queue in self._queues.items() if not queue]:
            del self._queues[partition]
        return taken

    def drop(self, partition: TopicPartition) -> None:
        """Forget a partition's records."""
        self._queues.pop(partition, None)

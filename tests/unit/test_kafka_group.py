from __future__ import annotations

from collections import Counter

from stream.kafka_group import Membership
from stream.records import Record


def test_a_small_batch_has_equal_shares_of_partitions_that_the_client_hands_out_one_after_the_other() -> None:
    fetched = [Record("t", partition, offset, None, b"large") for partition in range(8) for offset in range(8)]
    membership = Membership(lambda _: {}, lambda *_: None, None)

    def receive(most: int, _timeout_s: float) -> list[Record]:
        taken, fetched[:] = fetched[:most], fetched[most:]
        membership.turns.add(taken)
        return taken

    for _ in range(8):
        batch = membership.poll(8, 0.0, lambda: None, receive)
        assert Counter(record.partition for record in batch) == dict.fromkeys(range(8), 1)
    assert membership.poll(8, 0.0, lambda: None, receive) == []

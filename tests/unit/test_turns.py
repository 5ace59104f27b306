from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from stream.kafka_config import TopicPartition
from stream.records import Record
from stream.turns import Turns


def _records(counts: list[int]) -> list[Record]:
    return [Record("t", p, offset, None, b"") for p, count in enumerate(counts) for offset in range(count)]


@given(st.lists(st.integers(0, 40), max_size=6), st.integers(1, 50))
def test_everything_comes_out_once_and_in_order_within_its_partition(counts: list[int], most: int) -> None:
    turns = Turns()
    turns.add(_records(counts))
    out: list[Record] = []
    while len(turns):
        taken = turns.take(most)
        assert 0 < len(taken) <= most
        out += taken
    for partition, count in enumerate(counts):
        assert [record.offset for record in out if record.partition == partition] == list(range(count))


def test_partitions_get_equal_shares_and_the_rest_goes_to_those_that_have_more() -> None:
    turns = Turns()
    turns.add(_records([100, 100, 3]))
    shares = Counter(record.partition for record in turns.take(63))
    assert shares[2] == 3
    assert shares[0] + shares[1] == 60
    assert abs(shares[0] - shares[1]) <= 2


def test_a_dropped_partition_is_forgotten() -> None:
    turns = Turns()
    turns.add(_records([2, 2]))
    turns.drop(TopicPartition("t", 0))
    assert {record.partition for record in turns.take(10)} == {1}


def test_records_of_partitions_and_topics_that_take_turns_keep_to_their_own() -> None:
    turns = Turns()
    places = [("a", 0), ("b", 0), ("a", 1), ("a", 0), ("b", 0)]
    turns.add(Record(topic, partition, at, None, b"") for at, (topic, partition) in enumerate(places))
    assert [turns.waiting(TopicPartition(*place)) for place in (("a", 0), ("a", 1), ("b", 0))] == [2, 1, 2]
    assert {(*record[:2], record.offset) for record in turns.take(5)} == {(*p, at) for at, p in enumerate(places)}

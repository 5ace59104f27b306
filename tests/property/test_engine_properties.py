"""The engine's promises, held against random streams."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.checkpoint import pack, unpack
from stream.records import Record
from tests.unit.engines import HOME, Run, feed, stream

CELLS = ("gru", "lstm")


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 1000), st.lists(st.integers(1, 150), min_size=1, max_size=12), st.sampled_from(CELLS))
def test_cutting_the_stream_into_other_batches_changes_no_forecast(seed: int, sizes: list[int], cell: str) -> None:
    feed_of = feed(model={"hidden": 8, "patch": 4, "architecture": cell})
    records = stream(4, 40, seed)
    whole, cut = Run(feed_of).feed(records), Run(feed_of)
    at = 0
    while at < len(records):
        size = sizes[at % len(sizes)]
        cut.feed(records[at : at + size])
        at += size
    assert cut.by_series() == whole.by_series()
    assert cut.alerts == whole.alerts


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 1000), st.integers(20, 40), st.sampled_from(CELLS))
def test_altering_all_observations_from_t_on_leaves_every_earlier_forecast_bit_for_bit(
    seed: int, minute: int, cell: str
) -> None:
    feed_of = feed(model={"hidden": 8, "patch": 4, "architecture": cell})
    records = stream(2, 45, seed)
    start = json.loads(stream(1, 1, 0)[0].value or b"{}")["time"] + 60 * minute

    def altered(record: Record) -> Record:
        item = json.loads(record.value or b"{}")
        if item["time"] < start:
            return record
        item["value"] = -7.0 * item["value"] + 1e3
        return Record(record.topic, record.partition, record.offset, None, json.dumps(item).encode())

    def before(run: Run) -> list[tuple[str, int, bytes]]:
        return [made for made in run.forecasts if made[1] < start * 1_000_000]

    plain, changed = Run(feed_of).feed(records), Run(feed_of).feed([altered(one) for one in records])
    assert before(plain) == before(changed)
    assert plain.forecasts != changed.forecasts


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 100), st.sampled_from(["1m", "auto"]))
def test_restored_series_go_on_identically_in_another_engine(seed: int, cut: int, step: str) -> None:
    feed_of = feed(step=step)
    records = stream(3, 40, seed)
    whole, first = Run(feed_of).feed(records), Run(feed_of).feed(records[:cut])
    second = Run(feed_of)
    names = list(first.engine.resident[HOME])
    second.engine.open(HOME, names)
    for name in reversed(names):
        blob = pack(*first.engine.snapshot(first.engine.resident[HOME][name]))
        second.engine.restore(HOME, name, *unpack(blob))
    # The replay begins earlier than the state was saved: what a series has applied changes nothing.
    second.feed(records[max(0, cut - 20) :])
    together = first.by_series()
    for name, made in second.by_series().items():
        together.setdefault(name, []).extend(made)
    assert together == whole.by_series()


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 2, 0, 3, 1)])
def test_other_series_in_the_engine_change_nothing(order: tuple[int, ...]) -> None:
    feed_of = feed()
    records = stream(5, 40, 3)
    whole = Run(feed_of).feed(records).by_series()
    for number in order:
        mine = [one for one in records if f'"s{number}"'.encode() in (one.value or b"")]
        assert Run(feed_of).feed(mine).by_series()[f"s{number}"] == whole[f"s{number}"]

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.decode import Decoder
from stream.fields import FieldMapping, Limits
from stream.records import Decoded, Record

MAPPINGS = [
    FieldMapping(),
    FieldMapping(series=None, channels=["c"]),
    FieldMapping(sensors=["value", "c"], value=None, series="series"),
    FieldMapping.model_validate({"sensors": "*"}),
    FieldMapping(value="a.b", timezone="Europe/Berlin", time_unit="s"),
]
LIMITS = Limits(record_bytes=4000, items_per_record=6)

numbers = (
    st.integers()
    | st.floats()
    | st.integers(0, 2 * 10**9)
    | st.integers(10**12, 2 * 10**12)
    | st.sampled_from([10**400, 2**63, -(2**63), 1e308])
)
times = (
    numbers
    | st.datetimes().map(lambda moment: moment.isoformat())
    | st.sampled_from(["", "2026-03-29 02:30:00", "1e9"])
)
scalars = numbers | st.none() | st.booleans() | st.text(max_size=6) | st.sampled_from(["1.5", "nan", "1e999", " 7 "])
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner), max_leaves=6
)
names = st.text(min_size=1, max_size=5) | st.integers(-5, 10**25) | st.sampled_from(["pump", "a\n", "\ud800", " x"])
items = st.fixed_dictionaries(
    {},
    optional={
        "time": times | anything,
        "series": names | anything,
        "value": numbers | anything,
        "c": numbers | anything,
        "a": st.dictionaries(st.just("b"), numbers),
        "other": anything,
    },
)
good_items = st.fixed_dictionaries(
    {"time": st.integers(0, 4 * 10**9) | times, "series": st.sampled_from(["a", "b", 3]), "value": numbers}
)
values = items | good_items | st.lists(items | good_items | anything, max_size=8) | anything
keys = st.none() | st.binary(max_size=4)
records = st.builds(
    lambda value, key, stamp: Record("t", 0, 0, key, json.dumps(value).encode(), stamp),
    values,
    keys,
    st.sampled_from([-1, 0, 1_800_000_000_000, 2**63 - 1]),
)


def content(decoded: Decoded) -> list[tuple[Any, ...]]:
    found = decoded.observations
    rows = zip(found.series, found.time_us, found.values.tolist(), found.record, found.item, strict=True)
    return [(series, int(time), repr(value), int(record), int(item)) for series, time, value, record, item in rows]


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=300), max_size=4), st.sampled_from(MAPPINGS), keys)
@example([b'{"time":1,"series":"a","value":1' + b"0" * 4500 + b"}"], MAPPINGS[0], None)
@example([b'[[[{"time":'], MAPPINGS[0], None)
def test_no_bytes_make_decoding_fail(raws: list[bytes], fields: FieldMapping, key: bytes | None) -> None:
    decoded = Decoder(fields, LIMITS).decode([Record("t", 0, n, key, raw) for n, raw in enumerate(raws)])
    for rejected in decoded.rejected:
        rejected.detail.encode()
        assert len(rejected.detail) < 400


@settings(max_examples=300)
@given(st.lists(records, max_size=6), st.sampled_from(MAPPINGS), st.data())
def test_no_damage_to_good_json_makes_decoding_fail(
    found: list[Record], fields: FieldMapping, data: st.DataObject
) -> None:
    damaged = []
    for record in found:
        raw = bytearray(record.value or b"")
        for _ in range(data.draw(st.integers(0, 3))):
            if raw:
                raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        damaged.append(Record("t", 0, 0, record.key, bytes(raw), record.timestamp_ms))
    decoder = Decoder(fields, LIMITS)
    fast = decoder.decode(damaged)
    decoder._fast = None
    slow = decoder.decode(damaged)
    assert content(fast) == content(slow)


@settings(max_examples=300)
@given(st.lists(records, max_size=6), st.sampled_from(MAPPINGS))
def test_the_fast_path_and_the_edge_agree(found: list[Record], fields: FieldMapping) -> None:
    decoder = Decoder(fields, LIMITS)
    fast = decoder.decode(found)
    decoder._fast = None
    slow = decoder.decode(found)
    assert content(fast) == content(slow)
    assert fast.rejected == slow.rejected
    assert np.isfinite(fast.observations.values[:, 0]).all()


@given(st.lists(records, max_size=6), st.sampled_from(MAPPINGS), st.integers(0, 6))
def test_decoding_does_not_depend_on_how_records_are_cut_into_batches(
    found: list[Record], fields: FieldMapping, cut: int
) -> None:
    together = Decoder(fields, LIMITS).decode(found)
    decoder = Decoder(fields, LIMITS)
    first, second = decoder.decode(found[:cut]), decoder.decode(found[cut:])
    shifted = [(*row[:3], row[3] + min(cut, len(found)), row[4]) for row in content(second)]
    assert content(together) == content(first) + shifted
    assert together.rejected == first.rejected + second.rejected

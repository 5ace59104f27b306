from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from stream.decode import Decoder
from stream.fields import FieldMapping, Limits
from stream.records import Decoded, Reason, Record, Rejected

GOOD = {"time": 1_772_366_400, "series": "pump-1", "value": 21.5}
NOON_US = 1_772_366_400_000_000


def record(value: object, *, key: bytes | None = None, offset: int = 0, timestamp_ms: int = -1) -> Record:
    raw = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
    return Record("feed", 0, offset, key, raw, timestamp_ms)


def decode(*values: object, fields: FieldMapping | None = None, limits: Limits | None = None, **more: Any) -> Decoded:
    records = [record(value, offset=offset, **more) for offset, value in enumerate(values)]
    return Decoder(fields or FieldMapping(), limits or Limits()).decode(records)


def rejection(value: object, **more: Any) -> Rejected:
    decoded = decode(value, **more)
    assert len(decoded.observations) == 0
    (rejected,) = decoded.rejected
    return rejected


def test_a_plain_record_becomes_one_observation() -> None:
    observations = decode(GOOD).observations
    assert observations.series == ["pump-1"]
    assert observations.time_us.tolist() == [NOON_US]
    assert observations.values.tolist() == [[21.5]]
    assert (observations.record.tolist(), observations.item.tolist()) == ([0], [0])
    assert observations.time_us.dtype == np.dtype(np.int64)
    assert observations.record.dtype == np.dtype(np.int32)


def test_no_records_give_no_observations() -> None:
    decoded = decode()
    assert len(decoded.observations) == 0
    assert decoded.observations.values.shape == (0, 1)


@pytest.mark.parametrize(
    ("value", "reason", "named"),
    [
        (None, Reason.EMPTY, "no value"),
        (b"", Reason.EMPTY, "no value"),
        (b" \n", Reason.EMPTY, "no value"),
        (b"nonsense", Reason.NOT_JSON, "nonsense"),
        (b"\xff\xfe\x00", Reason.NOT_JSON, "xff"),
        (b"[" * 100_000, Reason.NOT_JSON, "deep"),
        (b'"text"', Reason.WRONG_TYPE, "'text'"),
        ({**GOOD, "value": None}, Reason.MISSING_FIELD, "'value'"),
        ({"time": 1, "series": "a"}, Reason.MISSING_FIELD, "'value'"),
        ({**GOOD, "value": True}, Reason.WRONG_TYPE, "True"),
        ({**GOOD, "value": "warm"}, Reason.WRONG_TYPE, "'warm'"),
        ({**GOOD, "value": [1]}, Reason.WRONG_TYPE, "array of 1"),
        ({**GOOD, "value": math.nan}, Reason.NOT_FINITE, "'value'"),
        ({**GOOD, "value": "NaN"}, Reason.NOT_FINITE, "NaN"),
        (b'{"time":1,"series":"a","value":-Infinity}', Reason.NOT_FINITE, "'value'"),
        (b'{"time":1,"series":"a","value":1e400}', Reason.NOT_FINITE, "'value'"),
        (b'{"time":1,"series":"a","value":' + b"9" * 5000 + b"}", Reason.NOT_FINITE, "'value'"),
        ({**GOOD, "time": "soon"}, Reason.TIME_FORMAT, "'time'"),
        ({**GOOD, "time": False}, Reason.WRONG_TYPE, "'time'"),
        ({**GOOD, "time": "9999-01-01"}, Reason.TIME_RANGE, "9999"),
        ({**GOOD, "time": 10**30}, Reason.TIME_RANGE, "'time'"),
        ({**GOOD, "series": ""}, Reason.SERIES_ID, "0 characters"),
        ({**GOOD, "series": " pump"}, Reason.SERIES_ID, "white space"),
        ({**GOOD, "series": "a\nb"}, Reason.SERIES_ID, "control"),
        ({**GOOD, "series": "x" * 257}, Reason.SERIES_ID, "257"),
        (b'{"time":1,"series":"\\ud800","value":1}', Reason.SERIES_ID, "Unicode"),
        (b'{"time":1,"series":"\xff","value":1}', Reason.SERIES_ID, "Unicode"),
        ({**GOOD, "series": 1.5}, Reason.WRONG_TYPE, "1.5"),
        ({**GOOD, "series": True}, Reason.WRONG_TYPE, "True"),
        (b"x" * 1_048_577, Reason.TOO_LARGE, "1048577"),
        ([GOOD] * 10_001, Reason.TOO_MANY_ITEMS, "10001"),
    ],
)
def test_an_unusable_record_is_rejected_with_its_reason(value: object, reason: Reason, named: str) -> None:
    rejected = rejection(value)
    assert rejected.reason is reason
    assert named in rejected.detail
    assert rejected.item is None


def test_a_detail_never_holds_the_payload() -> None:
    secret = "s3cret " * 1000
    assert len(rejection({**GOOD, "value": secret}).detail) < 200
    assert len(rejection({**GOOD, "value": {"deep": secret}}).detail) < 200
    assert len(rejection(b"{" + secret.encode()).detail) < 200


def test_numbers_given_as_text_are_accepted() -> None:
    observations = decode({**GOOD, "value": " -1.5e3 ", "time": "1772366400"}).observations
    assert observations.values.tolist() == [[-1500.0]]
    assert observations.time_us.tolist() == [NOON_US]


def test_integer_series_ids_are_their_decimal_text() -> None:
    assert decode({**GOOD, "series": 17}).observations.series == ["17"]


def test_a_byte_order_mark_and_unused_fields_do_no_harm() -> None:
    raw = b"\xef\xbb\xbf" + json.dumps({**GOOD, "note": "\x00", "more": {"a": [1]}}).encode()
    assert len(decode(raw).observations) == 1
    assert len(decode(b'{"time":1,"series":"a","value":1,"note":"\xff"}').observations) == 1
    assert len(decode(b'{"time":1,"series":"a","value":1,"note":NaN}').observations) == 1


def test_good_items_of_an_array_are_used_and_bad_ones_named() -> None:
    decoded = decode([GOOD, {**GOOD, "value": "x"}, GOOD, 5, {**GOOD, "series": "pump-2"}])
    assert decoded.observations.series == ["pump-1", "pump-1", "pump-2"]
    assert decoded.observations.item.tolist() == [0, 2, 4]
    assert [(found.item, found.reason) for found in decoded.rejected] == [
        (1, Reason.WRONG_TYPE),
        (3, Reason.WRONG_TYPE),
    ]


def test_an_empty_array_is_nothing_and_no_fault() -> None:
    decoded = decode([])
    assert (len(decoded.observations), decoded.rejected) == (0, [])


def test_observations_keep_the_order_of_arrival_however_they_were_read() -> None:
    slow = {**GOOD, "series": "slow", "value": "1"}
    decoded = decode(slow, GOOD, b"?", [GOOD, slow], slow, GOOD)
    assert decoded.observations.record.tolist() == [0, 1, 3, 3, 4, 5]
    assert decoded.observations.item.tolist() == [0, 0, 0, 1, 0, 0]
    assert decoded.observations.series == ["slow", "pump-1", "pump-1", "slow", "slow", "pump-1"]


def test_events_far_after_their_record_are_rejected() -> None:
    noon_ms = NOON_US // 1000
    assert len(decode(GOOD, timestamp_ms=noon_ms - 3_600_000).observations) == 1
    rejected = rejection(GOOD, timestamp_ms=noon_ms - 3_600_000 - 1000)
    assert rejected.reason is Reason.TIME_FUTURE
    assert "3601 s" in rejected.detail
    assert len(decode(GOOD, timestamp_ms=-1).observations) == 1
    assert len(decode(GOOD, timestamp_ms=2**63 - 1).observations) == 1


def test_the_series_id_may_be_the_key() -> None:
    fields = FieldMapping(series=None)
    assert decode(GOOD, fields=fields, key=b"k1").observations.series == ["k1"]
    assert rejection(GOOD, fields=fields).reason is Reason.MISSING_FIELD
    assert rejection(GOOD, fields=fields, key=b"\xff").reason is Reason.SERIES_ID
    assert rejection(GOOD, fields=fields, key=b"").reason is Reason.SERIES_ID


def test_each_sensor_of_a_record_is_a_series_of_its_own() -> None:
    fields = FieldMapping(sensors=["temp", "rpm"], value=None, series="machine")
    found = decode(
        {"time": 1, "machine": "m1", "temp": 20, "rpm": 900},
        {"time": 2, "machine": "m1", "temp": None},
        {"time": 3, "machine": "m1", "rpm": 910, "temp": None},
        fields=fields,
    )
    assert found.observations.series == ["m1/temp", "m1/rpm", "m1/rpm"]
    assert found.observations.values.tolist() == [[20.0], [900.0], [910.0]]
    assert found.rejected == []


def test_a_record_without_any_of_its_sensors_is_rejected() -> None:
    fields = FieldMapping(sensors=["temp", "rpm"], value=None, series=None)
    assert rejection({"time": 1, "pressure": 2}, fields=fields).reason is Reason.MISSING_FIELD


def test_a_bad_sensor_does_not_take_the_others_with_it() -> None:
    fields = FieldMapping(sensors=["temp", "rpm"], value=None, series=None)
    found = decode({"time": 1, "temp": "hot", "rpm": 900}, fields=fields)
    assert found.observations.series == ["rpm"]
    assert [(rejected.reason, rejected.item) for rejected in found.rejected] == [(Reason.WRONG_TYPE, 0)]
    assert "'temp'" in found.rejected[0].detail


def test_sensors_are_called_after_the_key_where_there_is_one() -> None:
    fields = FieldMapping(sensors=["temp"], value=None, series=None)
    assert decode({"time": 1, "temp": 2}, fields=fields, key=b"m1").observations.series == ["m1/temp"]
    assert decode({"time": 1, "temp": 2}, fields=fields).observations.series == ["temp"]


def test_a_star_takes_every_numeric_field_but_the_named_ones() -> None:
    fields = FieldMapping.model_validate({"sensors": "*", "series": "id", "channels": ["load"]})
    found = decode(
        {"time": 1, "id": "m1", "a": 1, "b": 2.5, "ok": True, "note": "x", "load": 7, "n": None}, fields=fields
    ).observations
    assert found.series == ["m1/a", "m1/b"]
    assert found.values.tolist() == [[1.0, 7.0], [2.5, 7.0]]


def test_a_star_rejects_a_number_that_is_not_finite() -> None:
    fields = FieldMapping.model_validate({"sensors": "*"})
    found = decode(b'{"time":1,"a":NaN,"b":1}', fields=fields)
    assert found.observations.series == ["b"]
    assert [rejected.reason for rejected in found.rejected] == [Reason.NOT_FINITE]


def test_absent_channels_are_nan_and_bad_ones_reject_the_item() -> None:
    fields = FieldMapping(channels=["load", "wind"])
    values = decode({**GOOD, "load": 3}, {**GOOD, "wind": 1, "load": None}, fields=fields).observations.values
    np.testing.assert_array_equal(values, [[21.5, 3.0, np.nan], [21.5, np.nan, 1.0]])
    assert rejection({**GOOD, "load": "heavy"}, fields=fields).reason is Reason.WRONG_TYPE


def test_dotted_names_reach_into_objects_and_a_key_with_dots_comes_first() -> None:
    fields = FieldMapping(value="payload.temp", series="meta.id")
    nested = {"time": 1, "meta": {"id": "a"}, "payload": {"temp": 5}}
    assert decode(nested, fields=fields).observations.values.tolist() == [[5.0]]
    assert decode({**nested, "payload.temp": 6}, fields=fields).observations.values.tolist() == [[6.0]]
    assert rejection({**nested, "payload": 5}, fields=fields).reason is Reason.MISSING_FIELD


def test_times_of_mixed_kinds_in_one_batch_are_each_read_right() -> None:
    times = [1_772_366_400, 1_772_366_400.5, "2026-03-01T12:00:01Z", 1_772_366_402_000]
    found = decode(*({**GOOD, "time": time} for time in times)).observations
    assert (found.time_us - NOON_US).tolist() == [0, 500_000, 1_000_000, 2_000_000]


def test_a_memory_full_of_made_up_ids_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.decode._MOST_IDS", 3)
    decoder = Decoder(FieldMapping(), Limits())
    for number in range(20):
        found = decoder.decode([record({**GOOD, "series": f"s{number}"})])
        assert found.observations.series == [f"s{number}"]
    assert len(decoder._ids) <= 5

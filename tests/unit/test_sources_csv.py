from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stream.decode import Decoder
from stream.errors import InputError
from stream.fields import FieldMapping, Limits
from stream.records import Decoded
from stream.sources.csv_file import CsvSource, detect_csv


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "feed.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def objects(path: Path, fields: FieldMapping) -> list[Any]:
    source = CsvSource(path, fields)
    return [json.loads(record.value or b"") for record in source.poll(1000, 0.0)]


def decoded(path: Path) -> Decoded:
    fields = detect_csv(path)
    return Decoder(fields, Limits()).decode(CsvSource(path, fields).poll(1000, 0.0))


WIDE = "date,HUFL,OT\n2016-07-01 00:00:00,5.8,30.5\n2016-07-01 00:15:00,,30.4\n"
LONG = "timestamp,sensor,reading\n1772366400,a,1\n1772366400,b,2\n1772366460,a,3\n"


def test_numeric_columns_of_a_wide_file_are_sensors(tmp_path: Path) -> None:
    path = written(tmp_path, WIDE)
    assert detect_csv(path) == FieldMapping(time="date", series=None, value=None, sensors=["HUFL", "OT"])
    found = decoded(path)
    assert found.observations.series == ["HUFL", "OT", "OT"]
    assert found.rejected == []


def test_a_long_file_has_a_series_per_id(tmp_path: Path) -> None:
    path = written(tmp_path, LONG)
    assert detect_csv(path) == FieldMapping(time="timestamp", series="sensor", value="reading")
    assert decoded(path).observations.series == ["a", "b", "a"]


def test_numeric_ids_are_ids_where_times_repeat(tmp_path: Path) -> None:
    path = written(
        tmp_path, "ts,device_id,temp\n2026-01-01,007,1\n2026-01-01,008,2\n2026-01-02,007,3\n2026-01-02,008,4\n"
    )
    assert detect_csv(path).series == "device_id"
    assert decoded(path).observations.series == ["007", "008", "007", "008"]


def test_ids_and_several_numeric_columns_give_a_series_for_each_pair(tmp_path: Path) -> None:
    path = written(tmp_path, "time,machine,temp,rpm\n2026-01-01,m1,1,900\n2026-01-01,m2,2,910\n2026-01-02,m1,3,920\n")
    assert detect_csv(path) == FieldMapping(time="time", series="machine", value=None, sensors=["temp", "rpm"])
    assert decoded(path).observations.series[:2] == ["m1/temp", "m1/rpm"]


def test_a_running_number_is_no_sensor(tmp_path: Path) -> None:
    rows = "".join(f"{n},2026-01-0{n + 1},{n * 0.5}\n" for n in range(5))
    assert detect_csv(written(tmp_path, ",time,v\n" + rows)).sensors == ["v"]


def test_times_may_be_in_any_column_and_under_any_name(tmp_path: Path) -> None:
    path = written(tmp_path, "v,when\n1.5,2026-01-01T00:00:00Z\n1.6,2026-01-01T00:01:00Z\n")
    assert detect_csv(path).time == "when"


def test_semicolons_decimal_commas_quotes_and_windows_text_are_read(tmp_path: Path) -> None:
    text = (
        'Zeit;"Temp (°C); innen";Ort\r\n2026-01-01 00:00;21,5;"Halle ""A"""\r\n2026-01-01 00:01;22,0;"Halle ""A"""\r\n'
    )
    path = written(tmp_path, text.encode("cp1252"))
    fields = detect_csv(path)
    assert (fields.time, fields.value, fields.series) == ("Zeit", "Temp (°C); innen", "Ort")
    found = decoded(path).observations
    assert found.values.tolist() == [[21.5], [22.0]]
    assert found.series[0] == 'Halle "A"'


@pytest.mark.parametrize(
    ("text", "fields", "series"),
    [
        ("2026-01-01,1,2\n2026-01-02,3,4\n", ["column_1", "column_2"], ["column_1", "column_2"] * 2),
        ("1772366400;1,5\n1772366460;2,5\n", ["column_1"], ["column_1"] * 2),
        ("1772366400,a,1\n1772366400,b,2\n1772366460,a,3\n", None, ["a", "b", "a"]),
    ],
)
def test_a_file_without_a_header_is_read_from_its_first_line_on(
    tmp_path: Path, text: str, fields: list[str] | None, series: list[str]
) -> None:
    path = written(tmp_path, text)
    assert detect_csv(path).sensors == fields
    assert decoded(path).observations.series == series


def test_epoch_times_are_known_by_their_ascent_whatever_the_column_is_called(tmp_path: Path) -> None:
    rows = "".join(f"{1_772_366_400_000 + 60_000 * n},{1_772_366_400 + (7 * n) % 5}\n" for n in range(9))
    assert detect_csv(written(tmp_path, "moment,counter\n" + rows)).time == "moment"


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbf" + WIDE.encode())
    assert detect_csv(path).time == "date"
    assert objects(path, detect_csv(path))[0]["date"] == "2016-07-01 00:00:00"


def test_quoted_line_breaks_and_short_and_blank_rows_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, 'time,series,value\n2026-01-01,"a\nb",1\n\n2026-01-02,c\n2026-01-03,d,4,extra\n')
    assert objects(path, FieldMapping()) == [
        {"time": "2026-01-01", "series": "a\nb", "value": 1},
        {"time": "2026-01-02", "series": "c"},
        {"time": "2026-01-03", "series": "d", "value": 4},
    ]


def test_rows_are_records_with_their_number_as_offset(tmp_path: Path) -> None:
    source = CsvSource(written(tmp_path, LONG), FieldMapping(time="timestamp", series="sensor", value="reading"))
    first = source.poll(2, 0.0)
    unfinished = source.exhausted
    rest = source.poll(2, 0.0)
    assert [(r.topic, r.partition, r.offset, r.timestamp_ms) for r in [*first, *rest]] == [
        ("feed.csv", 0, n, -1) for n in range(3)
    ]
    assert (unfinished, source.exhausted) == (False, True)
    assert source.bytes_read == source.bytes_total
    source.close()


def test_a_cell_that_is_no_number_is_rejected_by_row_and_not_by_file(tmp_path: Path) -> None:
    rows = "".join(f"2026-01-01 00:{n:02}:00,a,{n}\n" for n in range(20))
    path = written(tmp_path, f"time,series,value\n{rows}2026-01-01 01:00:00,a,broken\n")
    found = decoded(path)
    assert len(found.observations) == 20
    assert [(rejected.record.offset, rejected.reason) for rejected in found.rejected] == [(20, "wrong-type")]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "empty"),
        ("time,value\n", "no row"),
        ("a,b\n1,2\n", "holds times"),
        ("time,note\n2026-01-01,x\n2026-01-02,y\n", "no numeric"),
        ("1,2,3\n4,5,6\n", "header"),
        (b"\xff\xfet\x00", "UTF-8"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused_with_what_it_lacks(
    tmp_path: Path, text: str | bytes, named: str
) -> None:
    with pytest.raises(InputError, match=named):
        detect_csv(written(tmp_path, text))


def test_a_mapping_that_does_not_fit_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no column series, value.*date, HUFL, OT"):
        CsvSource(written(tmp_path, WIDE), FieldMapping(time="date"))


def test_a_file_that_does_not_exist_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        detect_csv(tmp_path / "none.csv")

"""What a look through a file finds: steps, moments, and the order in which records have to be taken."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from stream.fields import FieldMapping, Limits
from stream.records import Record
from workers.backtest.files import Arranged, Survey, is_json_lines, read, survey

START_S = 1_794_268_800


def records(rows: Sequence[tuple[str, float]]) -> list[Record]:
    """A record for each series and minute."""
    return [
        Record("f", 0, number, None, json.dumps({"series": name, "time": START_S + 60 * minute, "value": 1}).encode())
        for number, (name, minute) in enumerate(rows)
    ]


def surveyed(rows: Sequence[tuple[str, float]]) -> Survey:
    return survey(iter([records(rows)[:3], records(rows)[3:]]), FieldMapping(), Limits())


def taken(rows: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Series and minute, in the order in which the records are taken."""
    found = [json.loads(record.value or b"") for record in surveyed(rows).arranged(records(rows))]
    return [(row["series"], (row["time"] - START_S) / 60) for row in found]


def test_each_series_has_the_step_of_its_own_times() -> None:
    found = surveyed([("a", 5 * n) for n in range(20)] + [("b", 15 * n) for n in range(20)] + [("c", 0)])
    assert found.steps_us == {"a": 300_000_000, "b": 900_000_000}
    assert found.step_us is None
    assert found.observations == 41
    assert len(found.moments) == 33


def test_a_step_is_that_of_the_file_where_all_series_share_it() -> None:
    assert surveyed([("a", 5 * n) for n in range(9)] + [("b", 5 * n) for n in range(9)]).step_us == 300_000_000


def test_series_that_stand_below_each_other_are_taken_side_by_side() -> None:
    rows = [("a", 1.0), ("a", 2.0), ("a", 3.0), ("b", 1.0), ("b", 2.0), ("b", 3.0)]
    assert taken(rows) == [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3), ("b", 3)]


def test_what_came_late_stays_late() -> None:
    rows = [("a", 1.0), ("a", 2.0), ("a", 4.0), ("a", 3.0), ("a", 5.0)]
    assert taken(rows) == rows
    assert surveyed(rows).in_order


def test_a_file_that_begins_with_the_newest_is_turned_and_its_offsets_rise() -> None:
    rows = [(name, float(minute)) for minute in range(6, 0, -1) for name in ("a", "b")]
    found = surveyed(rows)
    assert found.backwards
    arranged = found.arranged(records(rows))
    assert taken(rows) == [(name, float(minute)) for minute in range(1, 7) for name in ("b", "a")]
    assert [record.offset for record in arranged] == list(range(12))


def test_records_before_a_moment_are_counted_in_their_order() -> None:
    rows = [("a", 1.0), ("a", 2.0), ("a", 3.0), ("b", 1.0), ("b", 2.0)]
    found = surveyed(rows)
    assert [found.records_before((START_S + 60 * minute) * 1_000_000) for minute in (1, 2, 3, 4)] == [0, 2, 4, 5]


def test_records_that_cannot_be_used_keep_their_place() -> None:
    broken = Record("f", 0, 1, None, b"{")
    rows = records([("a", 1.0), ("a", 2.0), ("a", 3.0)])
    found = survey(iter([[rows[0], broken, *rows[1:]]]), FieldMapping(), Limits())
    assert found.in_order
    assert found.observations == 3


def test_an_empty_file_is_looked_through_too() -> None:
    found = survey(iter([]), FieldMapping(), Limits())
    assert (found.observations, found.step_us, found.in_order) == (0, None, True)


def test_reading_stops_at_the_limit() -> None:
    source = Arranged(records([("a", float(n)) for n in range(10)]))
    assert [len(chunk) for chunk in read(source, 7)] == [7]
    assert not source.exhausted


@pytest.mark.parametrize(
    ("path", "expected"),
    [("-", True), ("a.jsonl", True), ("a.ndjson.gz", True), ("a.jsonl.gz", True), ("a.csv", False), ("a.txt", False)],
)
def test_json_lines_are_known_by_their_name(path: str, expected: bool) -> None:
    assert is_json_lines(path) is expected

"""Records of the past on their grids: as the engine would have laid them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.records import Record
from tests.unit.engines import Run, feed, observation, record, stream
from workers.history import SPARSEST, gather, lay
from workers.settings import FeedSettings

MINUTE_US = 60_000_000


def minutes(*times: float) -> NDArray[np.int64]:
    return np.array([round(1_794_268_800_000_000 + MINUTE_US * minute) for minute in times], np.int64)


def column(*values: float) -> NDArray[np.float64]:
    return np.array(values)[:, None]


def gathered(settings: FeedSettings, records: list[Record]) -> Any:
    return gather(settings, records, lambda _: None)


@pytest.mark.parametrize("step", ["1m", "auto"])
def test_windows_are_those_of_the_engine(step: str) -> None:
    settings = feed(step=step)
    records = stream(series=3, length=120)
    engine = Run(settings).feed(records).engine
    found = gathered(settings, records)
    assert (found.records, found.observations, found.series) == (len(records), len(records), 3)
    (resident,) = engine.resident.values()
    for one in found.stretches:
        row = np.array([resident[one.name].row])
        newest = engine.forecaster.windows.newest[row]
        length = len(one.seen)
        values, seen = engine.forecaster.windows.span(row, newest[:, None], length)
        assert np.array_equal(values[0, 0], one.values)
        assert np.array_equal(seen[0, 0], one.seen)
        last_us = one.first_us + (length - 1) * one.step_us
        assert engine.grid.slot_time_us(row, newest)[0] == last_us


def test_late_observations_find_their_slot_and_the_first_of_a_slot_counts() -> None:
    (one,) = lay("s", minutes(0, 1, 3, 2, 3.1), column(10, 11, 13, 12, 99), feed())
    assert one.values[:, 0].tolist() == [10, 11, 12, 13]
    assert one.seen.all()


def test_a_missing_slot_holds_the_value_before_and_is_unseen() -> None:
    (one,) = lay("s", minutes(0, 1, 4), column(10, 11, 14), feed())
    assert one.values[:, 0].tolist() == [10, 11, 11, 11, 14]
    assert one.seen.tolist() == [True, True, False, False, True]


def test_nan_in_a_further_channel_keeps_its_last_value() -> None:
    values = np.array([[1.0, np.nan], [2.0, 5.0], [3.0, np.nan]])
    (one,) = lay("s", minutes(0, 1, 2), values, feed())
    assert one.values.tolist() == [[1, 0], [2, 5], [3, 5]]


def test_a_long_silence_begins_a_new_stretch() -> None:
    one, other = lay("s", minutes(0, 1, 2, 13, 14), column(1, 2, 3, 4, 5), feed(max_gap=10))
    assert one.values[:, 0].tolist() == [1, 2, 3]
    assert other.values[:, 0].tolist() == [4, 5]
    assert other.first_us - one.first_us == 13 * MINUTE_US


def test_a_stretch_that_is_mostly_holes_is_left_out() -> None:
    apart = round(2 / SPARSEST)
    assert lay("s", minutes(*range(0, 20 * apart, apart)), column(*range(20)), feed()) == []


def test_a_series_of_unknown_step_is_left_out() -> None:
    assert lay("s", minutes(0, 1), column(1, 2), feed(step="auto")) == []
    assert len(lay("s", minutes(0, 1, 2), column(1, 2, 3), feed(step="auto"))) == 1


def test_the_newest_are_kept_and_what_cannot_be_read_is_counted() -> None:
    records = [record(at, observation("s", at, at)) for at in range(9_000)]
    records.insert(5, Record("t", 0, 0, None, b"not json"))
    found = gathered(feed(retrain={"max_records": 100}), records)
    assert (found.records, found.rejected, found.observations) == (9_001, 1, 100)
    assert found.stretches[0].values[:, 0].tolist() == list(range(8_900, 9_000))


def test_nothing_is_something_too() -> None:
    found = gathered(feed(), [])
    assert (found.records, found.observations, found.stretches) == (0, 0, [])

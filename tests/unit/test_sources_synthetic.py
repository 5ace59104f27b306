from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.decode import Decoder
from stream.fields import FieldMapping, Limits
from stream.sources.synthetic import KINDS, Fault, SyntheticSource

START = 1_772_323_200_000_000


def feed(**more: Any) -> SyntheticSource:
    return SyntheticSource(**{"sensors": 5, "seed": 7, "start_us": START, "steps": 200, **more})


def readings(source: SyntheticSource) -> NDArray[np.float64]:
    """[steps, sensors]"""
    values = [json.loads(record.value or b"")["value"] for record in source.poll(10**6, 0.0)]
    return np.array(values).reshape(-1, len(source.series))


def test_the_same_seed_gives_the_same_records_however_they_are_polled() -> None:
    straight = feed().poll(10**6, 0.0)
    source = feed()
    pieces = [record for size in (1, 7, 100, 10**6) for record in source.poll(size, 0.0)]
    assert pieces == straight
    assert source.exhausted
    assert feed(seed=8).poll(10**6, 0.0) != straight


def test_every_record_decodes_with_the_default_mapping() -> None:
    source = feed()
    found = Decoder(FieldMapping(), Limits()).decode(source.poll(10**6, 0.0))
    assert len(found.observations) == 1000
    assert found.rejected == []
    assert found.observations.series[:5] == source.series
    assert np.unique(np.diff(found.observations.time_us)).tolist() == [0, 60_000_000]
    assert [record.offset for record in found.records] == list(range(1000))


def test_readings_are_plausible_for_their_kind() -> None:
    values = readings(feed(steps=3000))
    for kind, column in zip(KINDS, values.T, strict=True):
        assert abs(column.mean() - kind.level) < 0.25 * kind.level + kind.daily
        assert not kind.positive or column.min() >= 0.0


def test_a_feed_without_an_end_goes_on() -> None:
    source = feed(steps=None)
    assert len(source.poll(12_345, 0.0)) == 12_345
    assert not source.exhausted
    source.close()
    assert source.exhausted


def test_a_shift_moves_the_level_from_its_step_on_and_ends() -> None:
    difference = readings(feed(faults=[Fault(1, "shift", 50, steps=100, size=10)])) - readings(feed())
    np.testing.assert_allclose(difference[50:150, 1], 10 * KINDS[1].spread, atol=1e-3)
    difference[50:150, 1] = 0.0
    assert not difference.any()


def test_a_burst_widens_the_noise() -> None:
    plain, burst = readings(feed(steps=1000)), readings(feed(steps=1000, faults=[Fault(0, "burst", 500, size=8)]))
    assert np.diff(burst[500:, 0]).std() > 4 * np.diff(plain[500:, 0]).std()
    np.testing.assert_array_equal(plain[:500], burst[:500])


def test_a_stuck_sensor_repeats_its_last_reading() -> None:
    values = readings(feed(faults=[Fault(2, "stuck", 60)]))
    assert np.unique(values[59:, 2]).size == 1
    assert np.unique(values[:60, 2]).size > 50


@pytest.mark.parametrize("given", [{"sensors": 0}, {"step_us": 1500}, {"faults": [Fault(5, "stuck", 0)]}])
def test_arguments_that_make_no_feed_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="sensors"):
        feed(**given)

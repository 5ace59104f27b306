from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from stream.fields import FieldMapping, Limits


def test_the_default_mapping_is_time_series_value() -> None:
    fields = FieldMapping()
    assert (fields.time, fields.series, fields.value, fields.sensors) == ("time", "series", "value", None)


def test_naming_sensors_is_enough_to_replace_the_single_value() -> None:
    fields = FieldMapping.model_validate({"sensors": ["temp", "rpm"]})
    assert fields.value is None
    assert fields.series is None


def test_sensors_may_keep_a_series_field_as_their_prefix() -> None:
    assert FieldMapping.model_validate({"sensors": "*", "series": "machine"}).series == "machine"


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ({"value": "v", "sensors": ["a"]}, "either value or sensors"),
        ({"value": None}, "set value"),
        ({"sensors": []}, "sensors is empty"),
        ({"value": "time"}, "one role"),
        ({"sensors": ["a"], "channels": ["a"]}, "one role"),
        ({"value": "payload..temp"}, "no empty parts"),
        ({"timezone": "berlin"}, "Europe/Berlin"),
        ({"timezone": "../etc/passwd"}, "IANA"),
        ({"time_unit": "minutes"}, "'ns'"),
        ({"tme": "t"}, "not permitted"),
        ({"time": ""}, "at least 1 character"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused_with_the_remedy(given: dict[str, Any], remedy: str) -> None:
    with pytest.raises(ValidationError) as caught:
        FieldMapping.model_validate(given)
    assert remedy in str(caught.value)


def test_a_mapping_cannot_be_changed_once_made() -> None:
    with pytest.raises(ValidationError):
        FieldMapping().time = "t"  # type: ignore[misc]


@pytest.mark.parametrize("given", [{"record_bytes": 0}, {"series_id_length": -1}, {"future_s": -1}, {"x": 1}])
def test_limits_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Limits.model_validate(given)

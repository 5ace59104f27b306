from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stream.fields import FieldMapping
from stream.sources.json_lines import JsonLinesSource
from workers.spacing import common_step, file_step

MINUTE = 60_000_000


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        ([0, 10, 35, 45, 50, 55, 85, 90, 95], 5),  # begins with holes
        ([0, 5, 10, 15, 15.01, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65], 5),  # two close together once
        ([0, 4.95, 10, 15.02, 20, 24.97, 30], 5),  # jitter
        ([60, 0, 30, 15, 45], 15),  # out of order
    ],
)
def test_the_step_is_the_smallest_common_spacing(minutes: list[float], expected: int) -> None:
    times = np.array([round(minute * MINUTE) for minute in minutes], np.int64)
    assert common_step(times) == expected * MINUTE


def test_two_event_times_tell_no_step() -> None:
    assert common_step(np.array([0, 0, MINUTE])) is None


@pytest.mark.parametrize(("second", "expected"), [(5, 5 * MINUTE), (7, None)])
def test_a_file_has_a_step_where_its_series_share_one(tmp_path: Path, second: int, expected: int | None) -> None:
    rows = [{"series": "a", "time": 1_794_268_800 + 300 * n, "value": n} for n in range(20)]
    rows += [{"series": "b", "time": 1_794_268_800 + 60 * second * n, "value": n} for n in range(20)]
    file = tmp_path / "f.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    source = JsonLinesSource(file)
    assert file_step(source, FieldMapping()) == expected
    source.close()

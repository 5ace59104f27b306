from __future__ import annotations

import numpy as np
import pytest

from workers.spacing import common_step

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

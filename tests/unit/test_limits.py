from __future__ import annotations

import numpy as np
import pytest

from models.limits import crossing

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
RISING = np.array([[[0.0, 1, 2, 3, 4], [1.0, 2, 3, 4, 5]]])


@pytest.mark.parametrize(
    ("limit", "odds"), [(-1.0, 0.975), (2.0, 0.75), (3.0, 0.5), (3.5, 0.375), (4.5, 0.15), (9.0, 0.025)]
)
def test_the_probability_of_going_above_is_that_of_the_lead_where_it_is_largest(limit: float, odds: float) -> None:
    assert crossing(RISING, LEVELS, limit, above=True)[0] == pytest.approx(odds)


@pytest.mark.parametrize(("limit", "odds"), [(2.0, 0.5), (-1.0, 0.025), (9.0, 0.975)])
def test_and_of_going_below_likewise(limit: float, odds: float) -> None:
    assert crossing(RISING, LEVELS, limit, above=False)[0] == pytest.approx(odds)


def test_a_forecast_without_width_crosses_or_does_not() -> None:
    still = np.full((1, 3, 5), 2.0)
    assert crossing(still, LEVELS, 1.9, above=True)[0] == pytest.approx(0.975)
    assert crossing(still, LEVELS, 2.1, above=True)[0] == pytest.approx(0.025)

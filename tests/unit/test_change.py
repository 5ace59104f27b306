"""The time of a change of errors, with an interval that holds."""

from __future__ import annotations

import numpy as np
import pytest

from models.explanation.change import BARS, INTERVAL, change_of, posterior


@pytest.mark.parametrize("tails", ["normal", "laplace"])
@pytest.mark.parametrize("rise", [1.5, 4.0])
def test_the_interval_holds_the_true_change_at_least_as_often_as_it_says(tails: str, rise: float) -> None:
    rng = np.random.default_rng(0)
    held, widths = 0, []
    for _ in range(150):
        count = int(rng.integers(60, 400))
        true = int(rng.integers(30, count - 20))
        sizes = np.abs(getattr(rng, tails)(size=count))
        sizes[true:] *= rise
        told = change_of(sizes)
        held += told.earliest <= true <= told.latest
        widths.append(told.latest - told.earliest)
    # Three standard errors of 150 trials.
    assert held / 150 >= INTERVAL - 0.075
    assert np.median(widths) < (15 if rise > 2 else 150)


def test_both_sides_are_told_as_they_are() -> None:
    sizes = np.r_[np.full(50, 1.0), np.full(30, 4.0)]
    told = change_of(sizes)
    assert told.at == 50
    assert 45 <= told.earliest <= 50 <= told.latest <= 55
    assert (told.before.count, told.before.mean, told.before.high) == (50, 1.0, 1.0)
    assert (told.after.count, told.after.median) == (30, 4.0)
    assert len(told.before.shares) == BARS
    assert sum(told.before.shares) == pytest.approx(1.0)
    assert sum(told.after.shares) == pytest.approx(1.0)


def test_errors_of_zero_are_no_trouble() -> None:
    assert np.isfinite(posterior(np.zeros(40))).all()
    assert change_of(np.r_[np.zeros(20), np.ones(20)]).at == 20


def test_too_few_errors_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 8"):
        change_of(np.ones(7))

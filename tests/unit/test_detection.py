from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.detection import IRREGULAR, LASTING, NAMES, OUTSIDE, STILL, Detectors, needed

Floats = NDArray[np.float64]
LEVELS = (0.05, 0.5, 0.95)
MINUTES_5 = np.array([300_000_000])


def _feed(detectors: Detectors, values: Floats, irregular: Floats | None = None, row: int = 0) -> Floats:
    """Rarities [T, S] of values [T] whose forecast is always 0, within -1.645 and 1.645."""
    rows, said = np.array([row]), np.tile([-1.645, 0.0, 1.645], (1, 4, 1))
    odd = np.zeros(len(values), np.int64) if irregular is None else irregular.astype(np.int64)
    return np.concatenate(
        [
            detectors.update(rows, np.array([slot]), values[slot : slot + 1], odd[slot : slot + 1], said)
            for slot in range(len(values))
        ]
    )


def _detectors(rows: int = 1) -> Detectors:
    detectors = Detectors(4, LEVELS)
    detectors.resize(rows)
    return detectors


def _first(rare: Floats, name: str, after: int) -> int:
    """Observations from ``after`` on until a statistic is rare enough for an alert."""
    return int(np.argmax(rare[after:, NAMES.index(name)] >= needed(MINUTES_5, 0.5)[0]))


@pytest.mark.parametrize(
    ("change", "name", "soon"),
    [
        (lambda rest: rest + 8.0, "value high", 1),
        (lambda rest: rest - 8.0, "value low", 1),
        (lambda rest: rest + 2.5, "mean of 12 high", 12),
        (lambda rest: rest - 2.0, "mean of 48 low", 40),
        (lambda rest: 4.0 * rest, "spread of 12", 20),
        (lambda rest: 2.5 * rest, "spread of 48", 40),
        (lambda rest: rest + 8.0, "error", 1),
        (lambda rest: 2.5 * rest, "mean error of 48", 40),
        (np.zeros_like, "standing still", 30),
        (lambda rest: 3.0 * rest, "outside the interval", 60),
    ],
)
def test_a_change_is_seen_soon_by_the_statistic_that_is_there_for_it(change: object, name: str, soon: int) -> None:
    assert callable(change)
    noise = np.random.default_rng(0).standard_normal(1_300)
    rare = _feed(_detectors(), np.r_[noise[:1_200], change(noise[1_200:])])
    limit = needed(MINUTES_5, 0.5)[0]
    assert rare[400:1_200].max() < limit
    assert rare[1_200 : 1_200 + soon + 1, NAMES.index(name)].max() >= limit


def test_a_share_of_gaps_beyond_the_usual_is_seen() -> None:
    noise = np.random.default_rng(1).standard_normal(1_200)
    gaps = np.cumsum(np.r_[np.zeros(1_000), np.ones(200)])
    rare = _feed(_detectors(), noise, gaps)
    assert rare[:1_000, IRREGULAR].max() == 0.0
    assert 0 < _first(rare, "gaps and repeats", 1_000) < 20


def test_a_series_that_always_stands_still_is_no_flatline() -> None:
    values = np.repeat(np.random.default_rng(2).integers(0, 3, 60), 25).astype(float)
    assert _feed(_detectors(), values)[:, STILL].max() < needed(MINUTES_5, 0.5)[0]


def test_a_constant_series_has_no_alert_at_all() -> None:
    rare = _feed(_detectors(), np.full(2_000, 7.25))
    assert rare[:, :OUTSIDE].max() < needed(MINUTES_5, 0.5)[0]


def test_false_alarms_on_independent_noise_are_within_a_factor_2_of_what_is_set() -> None:
    series, length, rng = 150, 3_000, np.random.default_rng(3)
    detectors = _detectors(series)
    rows, said = np.arange(series), np.tile([-1.645, 0.0, 1.645], (series, 4, 1))
    limit, last, alarms = needed(MINUTES_5, 0.5)[0], np.full(series, -1_000), 0
    for slot in range(length):
        rare = detectors.update(rows, np.full(series, slot), rng.standard_normal(series), np.zeros(series, int), said)
        over = rare.max(1) >= limit
        alarms += int((over & (slot - last > 48)).sum())
        last[over] = slot
    weeks = series * (length - 200) / 2_016
    assert 0.25 < alarms / weeks < 1.0


def test_an_absurd_value_does_not_blind_the_statistics() -> None:
    noise = np.random.default_rng(4).standard_normal(1_500)
    noise[700] = 1e15
    noise[1_400] = 16.0
    rare = _feed(_detectors(), noise)
    assert rare[1_400].max() >= needed(MINUTES_5, 0.5)[0]


@pytest.mark.parametrize("cut", [3, 150, 700])
def test_restored_detectors_go_on_identically_in_another_row(cut: int) -> None:
    noise = np.random.default_rng(5).standard_normal(1_000)
    whole, first, second = _detectors(), _detectors(), _detectors(3)
    rare = _feed(whole, noise)
    _feed(first, noise[:cut])
    second.restore(2, first.snapshot(0))
    rows, said = np.array([2]), np.tile([-1.645, 0.0, 1.645], (1, 4, 1))
    for slot in range(cut, len(noise)):
        made = second.update(rows, np.array([slot]), noise[slot : slot + 1], np.zeros(1, np.int64), said)
        np.testing.assert_array_equal(made[0], rare[slot])


def test_a_series_rarities_do_not_depend_on_its_batch() -> None:
    values = np.random.default_rng(6).standard_normal((400, 5)).cumsum(0)
    together, said = _detectors(5), np.tile([-1.645, 0.0, 1.645], (5, 4, 1))
    at_once = np.stack(
        [together.update(np.arange(5), np.full(5, t), values[t], np.zeros(5, int), said) for t in range(400)]
    )
    for row in range(5):
        np.testing.assert_array_equal(_feed(_detectors(), np.ascontiguousarray(values[:, row])), at_once[:, row])


def test_state_of_other_detectors_is_refused() -> None:
    other = Detectors(7, LEVELS)
    other.resize(1)
    with pytest.raises(ValueError, match="is of others"):
        _detectors().restore(0, other.snapshot(0))


def test_the_names_of_the_statistics_are_in_words_for_alerts() -> None:
    from workers.alerts import SAID

    assert set(NAMES) <= set(SAID)
    assert NAMES[LASTING] == "mean error of 48"

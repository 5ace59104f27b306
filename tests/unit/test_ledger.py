from __future__ import annotations

from models.drift import DriftSettings
from stream.redis_store import Claim
from workers.engine import Place
from workers.ledger import Ledger
from workers.series import Series

HERE, THERE = Place("t", 0), Place("t", 1)


def _series(place: Place, name: str, feed: str = "a") -> Series:
    return Series(place, name, 0, feed, DriftSettings())


def _ledger(*places: Place) -> Ledger:
    ledger = Ledger()
    for place in places:
        ledger.take(place, Claim(place.topic, place.partition, 1, 99, 99))
    return ledger


def test_saved_states_are_complete_up_to_the_first_record_that_some_unsaved_series_took() -> None:
    ledger = _ledger(HERE)
    one, other = _series(HERE, "one"), _series(HERE, "other", "b")
    # A second feed of the same topic is run after the first: its series come later, with earlier records.
    ledger.note({one: 105}, now_us=0)
    ledger.note({other: 101}, now_us=0)
    holding = ledger.holdings[HERE]
    holding.reached = 110
    assert holding.complete([]) == 100
    assert holding.complete([one]) == 100
    assert holding.complete([other]) == 104
    assert holding.complete([one, other]) == 110


def test_nothing_is_complete_before_the_first_record() -> None:
    ledger = Ledger()
    ledger.take(HERE, Claim("t", 0, 1, None, None))
    series = _series(HERE, "s")
    ledger.note({series: 0}, now_us=0)
    ledger.holdings[HERE].reached = 3
    assert ledger.holdings[HERE].complete([]) is None
    assert ledger.holdings[HERE].complete([series]) == 3


def test_series_are_due_oldest_first_over_all_partitions() -> None:
    ledger = _ledger(HERE, THERE)
    first, second, third = _series(THERE, "1"), _series(HERE, "2"), _series(THERE, "3")
    for now_us, series in enumerate((first, second, third)):
        ledger.note({series: 100}, now_us)
    assert ledger.due(now_us=10, after_us=9, most=5) == [first, second]
    assert ledger.due(now_us=100, after_us=9, most=2) == [first, second]


def test_a_series_that_changes_again_keeps_its_first_unsaved_record_until_it_is_saved() -> None:
    ledger = _ledger(HERE)
    series = _series(HERE, "s")
    ledger.note({series: 100}, 0)
    ledger.note({series: 105}, 1)
    assert ledger.holdings[HERE].unsaved[series].offset == 100
    ledger.settle([series])
    assert not ledger.is_unsaved(series)

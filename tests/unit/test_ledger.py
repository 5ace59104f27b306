from __future__ import annotations

import numpy as np

from stream.redis_store import Claim
from tests.unit.engines import feed
from workers.effects import Touched
from workers.ledger import Ledger
from workers.residents import Residents
from workers.series import Place, Series

HERE, THERE = Place("t", 0), Place("t", 1)


class Books:
    """A ledger of two feeds, a and b, that have both partitions."""

    def __init__(self, complete: int | None = 99) -> None:
        self.feeds = {name: Residents(feed(name=name), seed=0) for name in "ab"}
        self.ledger = Ledger(self.feeds)
        for place in (HERE, THERE):
            self.ledger.take(place, Claim(place.topic, place.partition, 1, complete, complete))
            for residents in self.feeds.values():
                residents.open(place, ())

    def series(self, place: Place, name: str, of: str = "a") -> Series:
        return self.feeds[of].begin(place, name)

    def note(self, series: Series, offset: int, now_us: int = 0) -> None:
        self.ledger.note(series.feed, Touched(np.array([series.row]), np.array([offset])), now_us)


def test_saved_states_are_complete_up_to_the_first_record_that_some_unsaved_series_took() -> None:
    books = Books()
    one, other = books.series(HERE, "one"), books.series(HERE, "other", "b")
    # A second feed of the same topic is run after the first: its series come later, with earlier records.
    books.note(one, 105)
    books.note(other, 101)
    books.ledger.holdings[HERE].reached = 110
    for saved, complete in (([], 100), ([one], 100), ([other], 104), ([one, other], 110)):
        assert books.ledger.complete(saved)[HERE] == complete
    assert books.ledger.complete()[THERE] == 99


def test_nothing_is_complete_before_the_first_record() -> None:
    books = Books(complete=None)
    series = books.series(HERE, "s")
    books.note(series, 0)
    books.ledger.holdings[HERE].reached = 3
    assert books.ledger.complete()[HERE] is None
    assert books.ledger.complete([series])[HERE] == 3


def test_series_are_due_oldest_first_over_all_partitions_and_feeds() -> None:
    books = Books()
    first, second, third = books.series(THERE, "1", "b"), books.series(HERE, "2"), books.series(THERE, "3")
    for now_us, series in enumerate((first, second, third)):
        books.note(series, 100, now_us)
    assert books.ledger.due(now_us=10, after_us=9, most=5) == [first, second]
    assert books.ledger.due(now_us=100, after_us=9, most=2) == [first, second]
    assert books.ledger.all_unsaved([THERE]) == [third, first]


def test_a_series_that_changes_again_keeps_its_first_unsaved_record_until_it_is_saved() -> None:
    books = Books()
    series = books.series(HERE, "s")
    books.note(series, 100, 0)
    books.note(series, 105, 1)
    assert books.ledger.complete()[HERE] == 99
    assert books.ledger.due(9, 9, 1) == [series]
    books.ledger.settle([series])
    assert not books.ledger.is_unsaved(series)
    books.note(series, 110, 2)
    books.ledger.holdings[HERE].reached = 120
    assert books.ledger.complete()[HERE] == 109


def test_a_series_that_is_dropped_leaves_nothing_unsaved_for_the_next_in_its_row() -> None:
    books = Books()
    series = books.series(HERE, "s")
    books.note(series, 100)
    books.feeds["a"].drop([series])
    assert books.ledger.unsaved() == 0
    assert not books.ledger.is_unsaved(books.series(HERE, "next"))

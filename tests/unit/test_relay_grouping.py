"""Grouping and the rate limit, by a clock that the test holds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.messages import AlertMessage
from stream.redis_relay import Known
from tests.integration.incidents import alert
from workers.relay.grouping import Groups, Item, RateLimit
from workers.relay.sorting import HeldBack, sort_out

KNOWN = Known({}, {}, frozenset())


def items(*alerts: AlertMessage) -> list[Item]:
    return [Item(f"{number}-0", one) for number, one in enumerate(alerts, 1)]


def test_a_group_waits_for_more_then_for_its_interval() -> None:
    groups = Groups(["kind"], wait_s=10, interval_s=60)
    for one in items(alert("a"), alert("b")):
        groups.add(one, 100.0)
    assert groups.take(109.9) == ({}, [])
    assert groups.next_due() == 110.0
    labels, together = groups.take(110.0)
    assert labels == {"kind": "error-drift"}
    assert [one.alert.series for one in together] == ["a", "b"]
    for one in items(alert("c"), alert("d", kind="stale")):
        groups.add(one, 120.0)
    assert groups.next_due() == 130.0
    assert groups.take(130.0)[0] == {"kind": "stale"}
    assert groups.take(169.9) == ({}, [])
    assert len(groups.take(170.0)[1]) == 1


def test_what_has_no_group_is_due_at_once_and_in_order() -> None:
    groups = Groups([], wait_s=10, interval_s=60)
    for one in items(alert("a"), alert("b"), alert("a", "resolved")):
        groups.add(one, 0.0)
    assert [groups.take(0.0)[1][0].alert.id for _ in range(3)] == [
        "print-a-firing",
        "print-b-firing",
        "print-a-resolved",
    ]
    assert groups.next_due() == float("inf")


def test_a_full_group_does_not_wait() -> None:
    groups = Groups(["feed"], wait_s=10, interval_s=60, most=3)
    for one in items(alert("a"), alert("b"), alert("c")):
        groups.add(one, 0.0)
    assert groups.room == 0
    assert len(groups.take(0.0)[1]) == 3
    assert groups.room == 3


def test_the_end_joins_its_beginning_when_the_severity_has_changed() -> None:
    groups = Groups(["severity"], wait_s=10, interval_s=60)
    groups.add(items(alert("a"))[0], 0.0)
    groups.add(items(alert("a", "resolved", severity="critical"))[0], 1.0)
    assert [one.alert.status for one in groups.take(10.0)[1]] == ["firing", "resolved"]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from(["k1", "k2"]), st.floats(0, 100)), max_size=40, unique=True
    ),
    st.sampled_from([[], ["kind"], ["kind", "feed"]]),
    st.integers(1, 20),
)
def test_all_that_goes_in_comes_out_once_and_each_series_in_order(
    given_items: list[tuple[str, str, float]], group_by: list[str], most: int
) -> None:
    groups = Groups(group_by, wait_s=5, interval_s=7, most=most)
    out: list[Item] = []
    put: list[Item] = []
    now = 0.0
    for number, (series, kind, wait) in enumerate(given_items):
        now += wait
        while not groups.room:
            out += groups.take(now)[1]
        put.append(Item(str(number), alert(series, kind=kind, id=str(number), fingerprint=f"{series}/{kind}")))
        groups.add(put[-1], now)
        assert len(groups) <= most
    while len(groups):
        now = max(now, groups.next_due())
        out += groups.take(now)[1]
    assert sorted(one.entry_id for one in out) == sorted(one.entry_id for one in put)
    for name in {one.alert.fingerprint for one in put}:
        assert [one.entry_id for one in out if one.alert.fingerprint == name] == [
            one.entry_id for one in put if one.alert.fingerprint == name
        ]


def test_the_rate_limit_lets_a_burst_through_and_then_so_many_in_a_period() -> None:
    limit = RateLimit(3, 60.0)
    sent = 0
    for second in range(121):
        limit.refill(float(second))
        while limit.open:
            limit.spend()
            sent += 1
    assert sent == 3 + 2 * 3
    limit.refill(50.0)
    assert not limit.open


def test_a_restart_gives_no_new_burst() -> None:
    limit = RateLimit(2, 60.0)
    limit.refill(10.0)
    limit.spend()
    limit.spend()
    successor = RateLimit(2, 60.0)
    successor.restore(limit.to_json())
    successor.refill(11.0)
    assert not successor.open


def test_only_what_was_told_is_told_to_have_ended() -> None:
    told = Known({"print-a": alert("a")}, {"print-w": alert("w")}, frozenset({"print-l"}))
    kept = sort_out(
        items(alert("a", "resolved"), alert("w", "resolved"), alert("l", "resolved"), alert("n", "resolved")),
        told,
        [],
        RateLimit(0, 1.0),
        HeldBack(),
    )
    assert [one.alert.series for one in kept.send] == ["a"]
    assert [one.alert.series for one in kept.letter] == ["l"]
    assert kept.done.counts == {"silenced": 1, "untold": 1}
    assert {entry.id for entry in kept.done.entries} == {"2-0", "4-0"}


def test_a_beginning_and_its_end_that_are_due_together_are_both_told() -> None:
    kept = sort_out(items(alert("a"), alert("a", "resolved")), KNOWN, [], RateLimit(0, 1.0), HeldBack())
    assert [one.alert.status for one in kept.send] == ["firing", "resolved"]


@pytest.mark.parametrize("tokens", [0, 1])
def test_the_limit_holds_back_beginnings_and_never_ends(tokens: int) -> None:
    limit, held = RateLimit(5, 60.0), HeldBack()
    limit.tokens = float(tokens)
    kept = sort_out(
        items(alert("told", "resolved"), alert("new")),
        Known({"print-told": alert("told")}, {}, frozenset()),
        [],
        limit,
        held,
    )
    assert [one.alert.series for one in kept.send] == ["told", "new"][: 1 + tokens]
    assert held.count == 1 - tokens

"""Names in Redis: no foreign text reaches another key."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.errors import ConfigurationError, InputError
from stream.keys import Keys

keys = Keys("prod")

feeds = st.sampled_from(["a", "b", "alerts", "live", "open", "a.b", "a-b", "0"])
topics = st.sampled_from(["a", "b", "1", "a.b", "A_B", "open"])
partitions = st.sampled_from([0, 1, 10])
pieces = st.sampled_from(
    ["a", "b", ":", "::", "open", "alerts", "a:b", "prod", "prod:card:a:", "*", "{", "}", "\0", "é"]
)
hostile = st.lists(pieces, min_size=1, max_size=6).map("".join) | st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256
)
versions = st.sampled_from(["1", "gru:3", "a:b", "a"])

calls = st.one_of(
    st.tuples(st.sampled_from(["forecast", "card"]), feeds, hostile),
    st.tuples(st.just("model"), feeds, versions),
    st.tuples(
        st.sampled_from(
            ["forecasts", "live", "series", "models", "model_counter", "champion", "champion_fence", "retrains"]
        ),
        feeds,
    ),
    st.tuples(st.just("partition"), topics, partitions),
    st.tuples(st.just("state"), topics, partitions, feeds),
    st.tuples(st.just("worker"), hostile),
    st.tuples(st.sampled_from(["lease", "lease_fence", "seen", "relay"]), feeds),
    st.tuples(st.just("relay"), feeds, st.sampled_from(["told", "waiting", "lost", "sending", "letters", "replay"])),
    st.tuples(st.sampled_from(["alerts", "alerts_open", "alerts_live", "workers", "silences"])),
)


def name_of(call: tuple[str | int, ...]) -> str:
    kind, *arguments = call
    named = getattr(keys, str(kind))
    return str(named(*arguments) if arguments else named)


@given(calls, calls)
@example(("forecast", "a", "b:c"), ("forecast", "a", "b"))
@example(("worker", "a:b"), ("model", "a", "b"))
@example(("live", "alerts"), ("alerts_live",))
def test_two_different_things_never_share_a_name(one: tuple[str | int, ...], other: tuple[str | int, ...]) -> None:
    assert (name_of(one) == name_of(other)) == (one == other)


@given(hostile)
def test_any_series_id_stands_unchanged_at_the_end_of_its_key(series: str) -> None:
    series = series[:256]
    assert keys.forecast("a", series) == f"prod:forecast:a:{series}"


@pytest.mark.parametrize("series", ["", "x" * 257, "half a pair \ud800"])
def test_series_ids_that_cannot_be_stored_are_the_inputs_fault(series: str) -> None:
    with pytest.raises(InputError, match="series id"):
        keys.forecast("a", series)


@pytest.mark.parametrize("name", ["", "A", "a:b", "a b", "-a", "a\n", "é", "a*", "x" * 65])
def test_feeds_and_namespaces_are_plain_names(name: str) -> None:
    with pytest.raises(ConfigurationError, match="feed"):
        keys.forecasts(name)
    with pytest.raises(ConfigurationError, match="namespace"):
        Keys(name)


@pytest.mark.parametrize("topic", ["", "a:b", "a/b", "x" * 250, "a\n"])
def test_topics_are_names_that_kafka_takes(topic: str) -> None:
    with pytest.raises(ConfigurationError, match="topic"):
        keys.partition(topic, 0)

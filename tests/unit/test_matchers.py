"""Matchers: one grammar, total over any text, and never wider than written."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.errors import ConfigurationError
from stream.matchers import FIELDS, PATTERN_MAX, SEVERITIES, Matcher, Matchers
from stream.messages import AlertMessage
from tests.integration.incidents import alert

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
series_ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256)


def literal(text: str) -> str:
    """A pattern that means the text itself."""
    return "".join(f"[{one}]" if one in "*?[" else one for one in text)


@settings(deadline=None)
@given(texts | st.tuples(st.sampled_from(FIELDS), st.sampled_from(["=", "!=", ">=", "=~"]), texts).map("".join))
@example("severity>=warning")
@example("series=[")
@example("series=[z-a]")
def test_any_text_is_read_or_refused_and_what_is_read_is_written_back(text: str) -> None:
    try:
        matcher = Matcher.parse(text)
    except ConfigurationError:
        return
    assert Matcher.parse(str(matcher)) == matcher
    assert Matchers.parse([text]).match(alert("pump-3")) == matcher.holds(alert("pump-3"))


@settings(deadline=None)
@given(series_ids)
@example('quote"\n, series=*')
@example("[a-z]*?")
def test_a_series_id_of_any_characters_can_be_named_and_only_it_matches(series: str) -> None:
    if len(literal(series)) > PATTERN_MAX:
        return
    matcher = Matcher.parse(f"series={literal(series)}")
    assert matcher.holds(alert(series))
    assert not matcher.holds(alert(series[:-1] + ("b" if series[-1] == "a" else "a")))
    assert Matcher.parse(f"series!={literal(series)}").holds(alert(series)) is False


@settings(deadline=None)
@given(st.lists(st.sampled_from(["series=a*", "series=b", "kind=stale", "severity>=warning", "feed!=x"]), max_size=5))
def test_leaving_a_condition_of_another_field_away_never_narrows(chosen: list[str]) -> None:
    subjects = [
        alert(series, kind=kind, severity=severity, feed=feed)
        for series in ("a1", "b", "c")
        for kind in ("stale", "error-drift")
        for severity in SEVERITIES
        for feed in ("x", "y")
    ]
    for field in {text.split("=")[0].rstrip("!>") for text in chosen}:
        wider = Matchers.parse([text for text in chosen if not text.startswith(field)])
        assert all(wider.match(one) for one in subjects if Matchers.parse(chosen).match(one))


@pytest.mark.parametrize(
    ("where", "meant"),
    [
        ([], True),
        (["series=pump-*"], True),
        (["series=PUMP-*"], False),
        (["series=hall", "series=pump-?"], True),
        (["series=pump-*", "series!=pump-3"], False),
        (["severity>=info"], True),
        (["severity>=critical"], False),
        (["severity=warning", "kind=error-*"], True),
        (["kind=stale", "series=pump-3"], False),
        (["status=resolved"], False),
        ([" feed=plant"], True),
    ],
)
def test_what_is_meant(where: list[str], meant: bool) -> None:
    assert Matchers.parse(where).match(alert("pump-3")) == meant


@pytest.mark.parametrize(
    "wrong", ["", "series", "=x", "series=", "color=red", "kind>=stale", "severity>=loud", "series~x", "s" * 9999]
)
def test_what_cannot_be_is_refused_with_what_may_stand_there(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=r"matcher"):
        Matcher.parse(wrong)


def test_a_pattern_cannot_be_made_to_take_long() -> None:
    import time

    subject: AlertMessage = alert("a" * 256)
    matcher = Matcher.parse("series=" + "*a" * 255 + "*b")
    began = time.process_time()
    assert not matcher.holds(subject)
    assert time.process_time() - began < 0.5

"""Explanations in words, numbers and pictures."""

from __future__ import annotations

import time
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from models.explanation.attribution import explain
from stream.errors import InputError
from stream.messages import AlertMessage, iso, time_us
from tests.unit.engines import HOME, Run, feed, observation, record
from workers.explaining.drifting import error_change
from workers.explaining.finding import Found, parsed_time
from workers.explaining.message import Explanation
from workers.explaining.page import render
from workers.explaining.picture import picture
from workers.explaining.telling import tell, told_alert, told_forecast
from workers.explaining.words import Numbers, ago, lasting, sentences
from workers.publishing import alert_message

HOSTILE = "<script>alert('x')</script>\"&]]>"
DAILY: dict[str, Any] = {"context": 24, "horizon": 6, "season": 24}


def found(name: str = "pump-3", length: int = 200, rise: float = 0.0, **changes: Any) -> Found:
    """A series with a season of 24 minutes that rises by ``rise`` a minute in the end."""
    rng = np.random.default_rng(0)
    run = Run(feed(**DAILY | changes))
    values = [
        20 + 3 * np.sin(2 * np.pi * minute / 24) + 0.2 * rng.normal() + rise * max(0, minute - length + 10)
        for minute in range(length)
    ]
    run.feed([record(minute, observation(name, minute, float(value))) for minute, value in enumerate(values)])
    return Found(run.engine, run.engine.resident[HOME][name], None)


def test_the_parts_of_the_message_add_up_for_every_lead_and_every_expert() -> None:
    told, _ = told_forecast(found(), None, 6)
    total = np.full(6, told.level) + np.sum([part.adds for part in told.parts], axis=0)
    assert total == pytest.approx(told.forecast)
    for expert in told.experts:
        assert told.level + np.sum(list(expert.adds.values()), axis=0) == pytest.approx(expert.forecast), expert.name
    weighed = np.sum([np.multiply(one.weight, one.forecast) for one in told.experts], axis=0)
    assert weighed == pytest.approx(told.forecast)
    grouped = sum(np.array(part.adds) for part in told.parts if part.distance is not None)
    assert np.sum(told.inputs["value"], axis=0) == pytest.approx(grouped, abs=1e-4)


def test_the_message_survives_json() -> None:
    told, _ = told_forecast(found(), None, 3)
    assert Explanation.model_validate_json(told.to_json()) == told


def test_the_newest_forecast_is_said_to_be_the_published_one() -> None:
    told, _ = told_forecast(found(), None, 6)
    assert told.published == pytest.approx(told.forecast, abs=1e-3)
    assert told.notes == ["This is the forecast that was published, computed anew."]


def test_a_forecast_of_before_is_said_to_be_seen_with_what_was_learnt_since() -> None:
    series = found(rise=1.0)
    _, newest = series.span()
    told, _ = told_forecast(series, series.slot_us(newest - 2), 6)
    assert time_us(told.cutoff) == series.slot_us(newest - 2)
    assert told.published is not None
    assert any(note.startswith("The series has learnt from 2 slots since") for note in told.notes)
    older, _ = told_forecast(series, series.slot_us(newest - 100), 6)
    assert older.published is None
    assert any("no longer in the state" in note for note in older.notes)


def test_a_newer_forecast_than_the_saved_state_is_mentioned() -> None:
    series = found()
    _, newest = series.span()
    behind = Found(series.engine, series.series, series.slot_us(newest + 3))
    assert any("A forecast 3 min newer is in Redis already" in note for note in told_forecast(behind, None, 6)[0].notes)


@pytest.mark.parametrize("minutes", [-100_000, 1_000])
def test_a_time_that_the_state_cannot_tell_of_is_refused_with_those_that_it_can(minutes: int) -> None:
    series = found(length=700)
    oldest, newest = series.span()
    with pytest.raises(InputError) as refused:
        series.slot_at(series.slot_us(newest) + minutes * 60_000_000)
    for slot in (oldest, newest):
        assert iso(series.slot_us(slot)) in str(refused.value)


def test_a_time_between_observations_means_the_one_before() -> None:
    series = found()
    _, newest = series.span()
    assert series.slot_at(series.slot_us(newest - 1) + 59_000_000) == newest - 1


def test_times_without_a_zone_are_utc_and_others_are_refused() -> None:
    assert parsed_time("2026-11-23T14:00") == parsed_time("2026-11-23T15:00+01:00")
    with pytest.raises(InputError, match="write it as"):
        parsed_time("yesterday")


def test_the_sentences_name_what_adds_most_with_its_place_and_units() -> None:
    told, _ = told_forecast(found(rise=1.0), None, 6)
    first, because, recent, experts, *_ = told.sentences
    assert "pump-3 is forecast to be" in first
    assert "90 % interval" in first
    assert "usual level of the last 24 min" in first
    at = told.lead - 1
    largest = max(told.parts, key=lambda part: abs(part.adds[at]))
    assert because.startswith(f"Because {largest.says}")
    assert ("adds" in because) or ("takes away" in because)
    assert recent.startswith("The last 3 min rose by")
    assert "above the same time 24 min before" in recent
    assert "least squares" in experts


def test_channels_are_named() -> None:
    rng = np.random.default_rng(0)
    settings = feed(**DAILY, fields={"channels": ["valve"]})
    run = Run(settings)
    items = [observation("p", minute, float(rng.normal())) | {"valve": float(rng.normal())} for minute in range(100)]
    run.feed([record(minute, item) for minute, item in enumerate(items)])
    told, _ = told_forecast(Found(run.engine, run.engine.resident[HOME]["p"], None), None, 2)
    assert list(told.inputs) == ["value", "valve"]
    assert "channel valve" in {part.says for part in told.parts}


def test_a_hostile_name_is_escaped_in_page_and_picture() -> None:
    series = found(HOSTILE)
    told, line = told_forecast(series, None, 6)
    controlling = told.model_copy(update={"series": told.series + "\x1b[31m\x00"})
    for text in (render(controlling, line), picture(controlling, line)):
        assert "<script>alert" not in text
        assert "&lt;script&gt;" in text
        assert "\x1b" not in text
        assert "\x00" not in text
    ET.fromstring(picture(controlling, line))  # noqa: S314 - our own


def test_the_picture_is_an_svg_that_loads_nothing() -> None:
    told, line = told_forecast(found(), None, 6)
    drawn = picture(told, line)
    root = ET.fromstring(drawn)  # noqa: S314 - our own
    assert root.tag.endswith("svg")
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")
    words = " ".join(text.text or "" for text in root.iter() if text.tag.endswith("text"))
    assert "the newest value" in words
    assert "seasonal naive" in words


def test_a_picture_without_a_published_forecast_has_no_fan() -> None:
    series = found()
    _, newest = series.span()
    assert 'class="fan area"' in picture(*told_forecast(series, None, 6))
    assert 'class="fan area"' not in picture(*told_forecast(series, series.slot_us(newest - 100), 6))


def alert_after_drift(known: bool = True) -> tuple[Found, AlertMessage]:
    """A series whose noise grows tenfold, and the alert that told of it."""
    rng = np.random.default_rng(1)
    run = Run(feed(**DAILY | {"alerts": {"anomalies": False}}))
    noise = [0.2 if minute < 400 else 2.0 for minute in range(460)]
    run.feed(
        [
            record(minute, observation("p", minute, float(20 + np.sin(minute / 4) + size * rng.normal())))
            for minute, size in enumerate(noise)
        ]
    )
    fired = next(event for event in run.alerts if event.kind == "error-drift")
    return Found(run.engine, run.engine.resident[HOME]["p"], None), alert_message("small", fired, 0)


def test_an_alert_of_drift_tells_when_the_errors_changed_and_which_part_moves_the_forecast_since() -> None:
    series, fired = alert_after_drift()
    told, _ = told_alert(series, fired, 6)
    assert told.change is not None
    changed = time_us(told.change.at) / 60e6 - 1_794_268_800 / 60
    assert 395 <= changed <= 415
    assert told.change.after.mean > 1.5 * told.change.before.mean
    assert set(told.change.rose) <= {part.name for part in told.parts}
    assert told.change.rose
    assert any(sentence.startswith("The errors changed at") for sentence in told.sentences)
    assert fired.fingerprint in told.notes[0]


def test_the_interval_of_an_alert_that_carries_one_is_told() -> None:
    series, fired = alert_after_drift()
    evidence = fired.evidence | {"changed_ago_least": 5, "changed_ago_most": 20, "errors_after": 10}
    told = error_change(series, fired.model_copy(update={"evidence": evidence}), 6)
    assert told is not None
    if told.earliest is not None and told.latest is not None:
        assert told.earliest <= told.at <= told.latest


def test_an_alert_that_the_window_no_longer_reaches_is_said_to_be_out_of_reach() -> None:
    series, fired = alert_after_drift()
    gone = fired.model_copy(update={"at": fired.at.replace(year=2020), "started": fired.at.replace(year=2020)})
    told, _ = told_alert(series, gone, 6)
    assert any("no longer reaches back to the alert" in note for note in told.notes)


def test_an_explanation_is_made_within_half_a_second() -> None:
    run = Run(feed(context=96, horizon=24, season=96, model={"hidden": 32, "patch": 8}))
    run.feed([record(minute, observation("p", minute, float(np.sin(minute / 9)))) for minute in range(700)])
    series = Found(run.engine, run.engine.resident[HOME]["p"], None)
    spent = []
    for _ in range(3):
        begun = time.process_time()
        tell(series, explain(series.newest()), 24)
        spent.append(time.process_time() - begun)
    assert min(spent) < 0.5


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "1 s"),
        (0.5, "0.5 s"),
        (90, "90 s"),
        (900, "15 min"),
        (10_800, "3 h"),
        (9_900, "2 h 45 min"),
        (86_400, "1 day"),
        (172_800, "2 days"),
    ],
)
def test_durations_are_said_as_people_do(seconds: float, words: str) -> None:
    assert lasting(seconds) == words


def test_seasons_are_said_as_people_do() -> None:
    assert ago(86_400) == "the same time a day before"
    assert ago(604_800) == "the same time a week before"
    assert ago(1_440, 2) == "the same time 48 min before"


@pytest.mark.parametrize(
    ("scale", "value", "text"),
    [(3.0, 21.2345, "21.2"), (0.02, 1.23456, "1.235"), (400, 12_345.6, "12350"), (3.0, -0.01, "0.0")],
)
def test_numbers_have_the_places_that_the_scale_makes_sensible(scale: float, value: float, text: str) -> None:
    assert Numbers(scale).plain(value) == text


@pytest.mark.parametrize(("error", "weight", "said"), [(0.1, 0.5, 2), (0.9, 0.5, 1), (0.1, 0.05, 0)])
def test_gates_are_spoken_of_only_where_the_network_has_learnt_and_is_heard(
    error: float, weight: float, said: int
) -> None:
    told, _ = told_forecast(found(), None, 6)
    experts = []
    for one in told.experts:
        mine = {"network": {"error": [error] * 6, "weight": [weight] * 6}, "last-value": {"error": [1.0] * 6}}.get(
            one.name, {}
        )
        experts.append(one.model_copy(update=mine))
    made = sentences(told.model_copy(update={"experts": experts}), 1_440)
    assert (
        sum("network's forecast lies within" in sentence or "keep what they saw" in sentence for sentence in made)
        == said
    )


@pytest.mark.parametrize("length", [1, 2, 5, 30])
def test_a_series_that_has_just_begun_is_explained_too(length: int) -> None:
    told, line = told_forecast(found(length=length), None, 6)
    total = np.full(6, told.level) + np.sum([part.adds for part in told.parts], axis=0)
    assert total == pytest.approx(told.forecast)
    assert "is forecast to be" in told.sentences[0]
    assert picture(told, line).endswith("</svg>")


def test_a_sensor_that_stands_still_is_forecast_so_because_nothing_moved() -> None:
    run = Run(feed(**DAILY))
    run.feed([record(minute, observation("stuck", minute, 7.0)) for minute in range(100)])
    told, _ = told_forecast(Found(run.engine, run.engine.resident[HOME]["stuck"], None), None, 6)
    assert told.forecast == pytest.approx([7.0] * 6, abs=1e-6)
    assert told.sentences[1] == "Because nothing in what it sees lies away from the usual level."

"""The messages, and that the quick encoder writes what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from stream.encode import ForecastColumns, decimals, encode_forecasts, extension, with_crossings
from stream.messages import STATES, AlertMessage, ForecastMessage, SeriesCard, iso, schemas, time_us

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
times_us = st.integers(0, 250_000_000_000_000_000) | st.integers(0, 4_000_000_000).map(lambda s: s * 1_000_000)


def columns(quantiles: NDArray[Any], **other: Any) -> ForecastColumns:
    n = len(quantiles)
    rows: dict[str, Any] = {
        "sources": ["sensors:0", "sensors:1"],
        "source": np.arange(n, dtype=np.int32) % 2,
        "offset": np.arange(n) + 1000,
        "item": np.zeros(n, np.int32),
        "feed": "temperatures",
        "series": [f"sensor-{row}" for row in range(n)],
        "state": np.ones(n, np.uint8),
        "cutoff_us": np.full(n, 1_767_225_600_000_000),
        "issued_us": 1_767_225_600_250_000,
        "step_us": np.full(n, 60_000_000),
        "value": np.zeros(n),
        "levels": LEVELS,
        "quantiles": quantiles,
        "models": ["gru:3"],
        "model": np.zeros(n, np.int32),
        "weights": np.full((n, 2), 0.5),
        "experts": ("last-value", "network"),
    }
    return ForecastColumns(**(rows | other))


def rows_of(encoded: list[bytes]) -> list[ForecastMessage]:
    return [ForecastMessage.model_validate_json(row) for row in encoded]


def numbers_of(message: ForecastMessage, levels: tuple[float, ...] = LEVELS) -> NDArray[np.float64]:
    """[H, Q], as the columns hold them."""
    by_level = [message.median if level == 0.5 else message.quantiles[f"{level:g}"] for level in levels]
    return np.array(by_level).T


@st.composite
def any_columns(draw: st.DrawFn) -> ForecastColumns:
    n, horizon = draw(st.integers(0, 70)), draw(st.integers(1, 4))
    levels = draw(st.sampled_from([(0.5,), (0.1, 0.5, 0.9), LEVELS]))
    experts = draw(st.sampled_from([(), ("gru",), ("last", 'a "quoted" 100%', "gru")]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def numbers(*shape: int) -> NDArray[np.float64]:
        return rng.normal(size=shape) * 10.0 ** rng.integers(-30, 30, shape)

    def many(values: st.SearchStrategy[Any]) -> list[Any]:
        few = draw(st.lists(values, min_size=1, max_size=3))
        return [few[row % len(few)] for row in range(n)]

    return columns(
        np.sort(numbers(n, horizon, len(levels))),
        sources=(sources := draw(st.lists(text, min_size=1, max_size=3))),
        source=rng.integers(0, len(sources), n).astype(np.int32),
        offset=rng.integers(0, 2**62, n),
        item=rng.integers(0, 2**31, n).astype(np.int32),
        series=many(text),
        state=rng.integers(0, 3, n).astype(np.uint8),
        cutoff_us=np.array(many(times_us), np.int64),
        issued_us=draw(times_us),
        step_us=np.array(many(st.integers(1, 10**13)), np.int64),
        value=numbers(n),
        levels=levels,
        models=(models := draw(st.lists(text, min_size=1, max_size=3))),
        model=rng.integers(0, len(models), n).astype(np.int32),
        weights=rng.random((n, len(experts))),
        experts=experts,
    )


@given(any_columns())
def test_an_encoded_forecast_reads_back_to_what_it_was_made_of(given_columns: ForecastColumns) -> None:
    messages = rows_of(encode_forecasts(given_columns))
    assert len(messages) == len(given_columns)
    for row, message in enumerate(messages):
        source = given_columns.sources[given_columns.source[row]]
        place = f"{source}:{given_columns.offset[row]}:{given_columns.item[row]}"
        assert (message.id, message.feed) == (f"{place}:{given_columns.series[row]}", given_columns.feed)
        assert message.series == given_columns.series[row]
        assert message.model == given_columns.models[given_columns.model[row]]
        assert message.state == STATES[given_columns.state[row]]
        assert time_us(message.cutoff) == given_columns.cutoff_us[row]
        assert time_us(message.issued) == given_columns.issued_us
        assert message.step_s == given_columns.step_us[row] / 1e6
        assert message.value == given_columns.value[row]
        assert tuple(message.weights) == given_columns.experts
        np.testing.assert_allclose(list(message.weights.values()), given_columns.weights[row], atol=0.50001e-4)
        quantiles = given_columns.quantiles[row]
        off = np.abs(numbers_of(message, given_columns.levels) - quantiles).max()
        assert off <= 0.50001e-3 * (quantiles[:, -1] - quantiles[:, 0]).min()


@given(any_columns())
def test_the_encoder_writes_the_fields_of_the_model_in_its_order(given_columns: ForecastColumns) -> None:
    for encoded in encode_forecasts(given_columns):
        assert list(orjson.loads(encoded)) == list(ForecastMessage.model_fields)


@given(st.integers(0, 300), st.sampled_from([1e-12, 1e-3, 1.0, 1e9, 1e15, 1e200]), st.sampled_from([1e-9, 1e-3, 1.0]))
def test_float64_keeps_intervals_sharp_at_any_size(seed: int, size: float, width: float) -> None:
    rng = np.random.default_rng(seed)
    quantiles = size * (1 + width * np.sort(rng.normal(size=(3, 4, 5))))
    for row, message in enumerate(rows_of(encode_forecasts(columns(quantiles)))):
        widths = quantiles[row, :, -1] - quantiles[row, :, 0]
        off = np.abs(numbers_of(message) - quantiles[row])
        assert (off <= 1e-3 * widths[:, None]).all()


def test_narrow_rows_next_to_wide_ones_keep_their_place() -> None:
    quantiles = np.array([[[1.0, 2, 3, 4, 5]], [[1e9, 1e9 + 1, 1e9 + 2, 1e9 + 3, 1e9 + 4]], [[2.0, 3, 4, 5, 6]]])
    assert [message.median for message in rows_of(encode_forecasts(columns(quantiles)))] == [[3.0], [1e9 + 2], [4.0]]


@pytest.mark.skipif(extension() is None, reason="stream._encode was not built")
@given(any_columns())
def test_the_compiled_encoder_says_what_the_reference_says(given_columns: ForecastColumns) -> None:
    compiled, reference = (encode_forecasts(given_columns, compiled=how) for how in (True, False))
    assert [list(orjson.loads(text).items()) for text in compiled] == [
        list(orjson.loads(text).items()) for text in reference
    ]


@pytest.mark.skipif(extension() is None, reason="stream._encode was not built")
@given(st.integers(0, 2**32), st.integers(-25, 20), st.integers(-18, 0))
def test_the_compiled_encoder_writes_numbers_of_any_size_and_resolution(seed: int, size: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    quantiles = 10.0**size * (rng.normal(size=(20, 1, 1)) + 10.0**width * np.sort(rng.normal(size=(20, 3, 5))))
    given_columns = columns(quantiles, value=quantiles[:, 0, 0])
    compiled, reference = (encode_forecasts(given_columns, compiled=how) for how in (True, False))
    assert list(map(orjson.loads, compiled)) == list(map(orjson.loads, reference))


@pytest.mark.skipif(extension() is None, reason="stream._encode was not built")
@pytest.mark.parametrize(
    "wrong",
    [
        {"source": np.array([0, 0, 2], np.int32)},
        {"source": np.array([0, -1, 0], np.int32)},
        {"model": np.array([0, 0, 1], np.int32)},
        {"state": np.array([0, 3, 1], np.uint8)},
        {"cutoff_us": np.array([0, -1, 5])},
        {"quantiles": np.zeros((3, 2, 5), np.float32)},
        {"offset": np.zeros(3, np.int32)},
    ],
)
def test_the_compiled_encoder_refuses_what_would_lead_it_astray(wrong: dict[str, Any]) -> None:
    given_columns = columns(**({"quantiles": np.zeros((3, 2, 5))} | wrong))
    with pytest.raises(ValueError, match=r"out of range|must have"):
        encode_forecasts(given_columns, compiled=True)


def test_quantiles_are_rounded_to_a_thousandth_of_the_narrowest_interval() -> None:
    quantiles = np.array([20.0, 1e9, 5.0, 1.0])[:, None, None] + np.array([-1.0, 0.0, 1.0]) * np.array(
        [[[0.5], [50.0]], [[40.0], [30.0]], [[0.004], [1.0]], [[1e-17], [1.0]]]
    )
    assert decimals(quantiles).tolist() == [3, 2, 6, -1]
    texts = encode_forecasts(columns(quantiles + 0.123456789, levels=(0.1, 0.5, 0.9)))
    assert [orjson.loads(text)["median"][0] for text in texts] == [20.123, 1000000000.12, 5.123457, 1.123456789]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["quantiles", "value", "weights"])
def test_a_number_that_json_cannot_hold_is_refused_and_names_the_series(name: str, bad: float) -> None:
    given_columns = columns(np.ones((3, 2, 5)))
    getattr(given_columns, name)[1] = bad
    with pytest.raises(ValueError, match=rf"{name} of series 'sensor-1'"):
        encode_forecasts(given_columns)


def test_columns_that_do_not_fit_together_are_refused() -> None:
    for wrong in ({"value": np.zeros(1)}, {"levels": (0.1, 0.2, 0.3, 0.4, 0.6)}, {"experts": ("gru",)}):
        with pytest.raises(ValueError, match=r"rows|0\.5|axis"):
            encode_forecasts(columns(np.zeros((3, 2, 5)), **wrong))


@given(times_us)
def test_iso_is_exact_and_what_pydantic_writes(moment_us: int) -> None:
    moment = EPOCH + timedelta(microseconds=moment_us)
    assert time_us(datetime.fromisoformat(iso(moment_us))) == moment_us
    assert orjson.loads(card(updated=moment).to_json())["updated"] == iso(moment_us)


def alert(**other: Any) -> AlertMessage:
    fields: dict[str, Any] = {
        "id": "a1",
        "fingerprint": "f1",
        "feed": "temperatures",
        "series": "hall:7",
        "kind": "error-drift",
        "status": "firing",
        "severity": "warning",
        "started": "2026-01-01T00:00:00Z",
        "at": "2026-01-01T01:00:00+01:00",
        "issued": "2026-01-01T00:00:01.5Z",
        "title": "Errors of hall:7 have grown",
        "evidence": {"detector": "page-hinkley", "before": 1.0, "width": 30},
    }
    return AlertMessage(**(fields | other))


def card(**other: Any) -> SeriesCard:
    fields: dict[str, Any] = {
        "feed": "temperatures",
        "series": "hall:7",
        "state": "ready",
        "model": "gru:3",
        "step_s": 60.0,
        "observations": 10,
        "gaps": 0,
        "late": 0,
        "duplicates": 0,
        "cutoff": "2026-01-01T00:00:00Z",
        "value": 20.5,
        "nominal": 0.9,
        "partition": 3,
        "offset": 17,
        "updated": "2026-01-01T00:00:00Z",
    }
    return SeriesCard(**(fields | other))


def test_alerts_and_cards_read_back_unchanged() -> None:
    for message in (alert(), alert(status="resolved", ended="2026-01-01T02:00:00Z", kind="a-later-kind")):
        again = AlertMessage.model_validate_json(message.to_json())
        assert again == message
        assert [type(value) for value in again.evidence.values()] == [str, float, int]
    assert SeriesCard.model_validate_json(card(error=0.5).to_json()) == card(error=0.5)


def test_times_are_written_in_utc() -> None:
    assert orjson.loads(alert().to_json())["at"] == "2026-01-01T00:00:00Z"
    assert alert().stream_fields(b"")["at"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "wrong",
    [
        {"v": 2},
        {"surprise": 1},
        {"at": "2026-01-01T00:00:00"},
        {"status": "resolved"},
        {"ended": "2026-01-01T00:00:00Z"},
        {"evidence": {"mean": float("nan")}},
        {"kind": "Not A Kind"},
    ],
)
def test_a_wrong_alert_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        alert(**wrong)


def test_a_forecast_that_lacks_a_lead_is_refused() -> None:
    fields = orjson.loads(encode_forecasts(columns(np.zeros((1, 3, 5))))[0])
    fields["quantiles"]["0.05"].pop()
    with pytest.raises(ValidationError, match=r"level 0\.05 has 2 values, horizon is 3"):
        ForecastMessage.model_validate(fields)


def test_the_module_prints_the_schemas() -> None:
    printed = subprocess.run([sys.executable, "-m", "stream.messages"], check=True, capture_output=True).stdout
    assert orjson.loads(printed) == schemas()
    for schema in schemas().values():
        assert schema["additionalProperties"] is False
        assert "v" in schema["required"]


def test_the_example_in_the_docs_is_what_the_encoder_writes() -> None:
    page = (Path(__file__).parents[2] / "docs" / "messages.md").read_text()
    found = re.search(r"<!-- forecast -->\n```json\n(.*?)```", page, re.DOTALL)
    assert found is not None
    quantiles = np.array([[[20.9, 21.2, 21.4, 21.6, 21.9], [20.5, 21.0, 21.5, 21.9, 22.4]]])
    encoded = encode_forecasts(
        columns(
            quantiles,
            sources=["temperatures:3"],
            source=np.zeros(1, np.int32),
            offset=np.array([1041]),
            series=["hall-7"],
            value=np.array([21.3]),
            weights=np.array([[0.125, 0.875]]),
        )
    )
    told = with_crossings(encoded, np.array([[22.0, np.nan]]), np.array([[0.31, np.nan]]))
    assert found[1].replace("\n", "").replace(" ", "") == told[0].decode()

"""What the engine does with observations that are not simply the next one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from models.checkpoint import pack, unpack
from stream.messages import SeriesCard
from stream.records import Reason, Record
from tests.unit.engines import HOME, Run, feed, observation, record, stream
from workers.cards import cards
from workers.engine import Engine


def _cutoff_minutes(run: Run) -> list[int]:
    start = observation("s", 0, 0)["time"]
    return [(cutoff // 1_000_000 - start) // 60 for _, cutoff, _ in run.forecasts]


def _minutes(run: Run, minutes: list[float]) -> Run:
    records = [record(offset, observation("s", minute, minute)) for offset, minute in enumerate(minutes)]
    return run.feed(records)


def test_every_observation_in_order_has_one_forecast_from_the_first_on() -> None:
    assert _cutoff_minutes(_minutes(Run(feed()), [0, 1, 2, 3])) == [0, 1, 2, 3]


def test_a_duplicate_is_dropped_and_counted() -> None:
    run = _minutes(Run(feed()), [0, 1, 1, 2, 1])
    assert _cutoff_minutes(run) == [0, 1, 2]
    assert run.engine.resident[HOME]["s"].count("duplicates") == 2


def test_a_late_observation_within_the_lateness_fills_its_gap_without_a_forecast() -> None:
    run = _minutes(Run(feed()), [0, 1, 4, 2])
    series = run.engine.resident[HOME]["s"]
    assert _cutoff_minutes(run) == [0, 1, 4]
    assert (series.count("gaps"), series.count("fills")) == (1, 1)
    slot = run.engine.grid.newest[series.row] - 2
    values, there = run.engine.forecaster.windows.at(np.array([series.row]), np.array([[slot]]))
    assert (values[0, 0], bool(there[0, 0])) == (2.0, True)


def test_an_observation_beyond_the_lateness_is_counted_and_dropped() -> None:
    run = _minutes(Run(feed(lateness=3)), [0, 10, 6])
    assert _cutoff_minutes(run) == [0, 10]
    assert run.engine.resident[HOME]["s"].count("late") == 1


def test_after_a_long_silence_the_series_warms_up_anew() -> None:
    run = _minutes(Run(feed(max_gap=50)), [float(minute) for minute in range(30)])
    assert run.engine.resident[HOME]["s"].ready
    run.feed([record(100, observation("s", 500, 1.0))])
    assert not run.engine.resident[HOME]["s"].ready
    assert _cutoff_minutes(run)[-1] == 500


def test_a_step_is_inferred_from_three_observations_and_none_is_lost() -> None:
    run = _minutes(Run(feed(step="auto")), [0, 15, 30, 45])
    series = run.engine.resident[HOME]["s"]
    assert run.engine.grid.step_us[series.row] == 900_000_000
    assert _cutoff_minutes(run) == [30, 45]
    assert run.engine.forecaster.scores.arrays["score.count"][series.row] == 4


def test_one_record_may_hold_several_sensors_and_several_moments() -> None:
    run = Run(feed(fields={"sensors": ["temp", "rpm"], "time": "ts", "series": "device"}))
    items = [{"ts": 1_794_268_800 + 60 * n, "device": "d", "temp": 20.0 + n, "rpm": 800 + n} for n in range(3)]
    run.feed([Record("t", 0, 0, None, json.dumps(items).encode())])
    assert {name: len(made) for name, made in run.by_series().items()} == {"d/temp": 3, "d/rpm": 3}


def test_new_series_past_the_limit_are_refused_and_the_known_ones_go_on() -> None:
    run = Run(feed(known_series=2))
    decoded = run.decoder.decode([record(n, observation(f"s{n % 4}", n // 4, 1.0)) for n in range(8)])
    effects = run.engine.step(decoded, 0)
    assert {one.reason for one in effects.rejected} == {Reason.SERIES_LIMIT}
    assert len(effects.rejected) == 4
    assert effects.forecasts is not None
    assert set(effects.forecasts.series) == {"s0", "s1"}


def test_an_absurd_value_leaves_the_series_finite_and_forecastable() -> None:
    run = Run(feed())
    values = [float(np.sin(n)) for n in range(40)] + [1e300, -1e300] + [float(np.sin(n)) for n in range(40, 80)]
    run.feed([record(n, observation("s", n, value)) for n, value in enumerate(values)])
    last = np.frombuffer(run.forecasts[-1][2])
    assert np.isfinite(last).all()


def test_an_abrupt_change_fires_once_soon_and_resolves() -> None:
    rng = np.random.default_rng(0)
    values = 10 + rng.standard_normal(800)
    values[600:] += 3 * rng.standard_normal(200)
    run = Run(feed(model={"hidden": 8, "patch": 4, "learn_every": 2}))
    run.feed([record(n, observation("s", n, float(value))) for n, value in enumerate(values)])
    assert [alert.status for alert in run.alerts] == ["firing", "resolved"]
    fired, ended = run.alerts
    start = observation("s", 0, 0)["time"]
    assert 600 <= (fired.at_us // 1_000_000 - start) // 60 <= 660
    assert fired.fingerprint == ended.fingerprint
    assert float(fired.evidence["once_in_weeks"]) > 2.0


@pytest.mark.parametrize("cut", [605, 630, 700])
def test_an_alert_that_fires_is_not_told_again_after_a_restart(cut: int) -> None:
    rng = np.random.default_rng(0)
    values = 10 + rng.standard_normal(800)
    values[600:] += 3 * rng.standard_normal(200)
    records = [record(n, observation("s", n, float(value))) for n, value in enumerate(values)]
    feed_of = feed(model={"hidden": 8, "patch": 4, "learn_every": 2})
    whole, first, second = Run(feed_of).feed(records), Run(feed_of).feed(records[:cut]), Run(feed_of)
    second.engine.open(HOME, ["s"])
    second.engine.restore(HOME, "s", *unpack(pack(*first.engine.snapshot(first.engine.resident[HOME]["s"]))))
    second.feed(records[cut - 50 :])
    assert first.alerts + second.alerts == whole.alerts


def test_a_forecast_that_will_cross_a_limit_is_told_before_it_does() -> None:
    values = [10.0 + np.sin(n * 2 * np.pi / 8) for n in range(60)] + [10.0 + 0.5 * n for n in range(40)]
    run = Run(feed(alerts={"above": 25.0, "anomalies": False, "drift": False}))
    run.feed([record(n, observation("s", n, float(value))) for n, value in enumerate(values)])
    assert [alert.kind for alert in run.alerts] == ["threshold"]
    at = (run.alerts[0].at_us // 1_000_000 - observation("s", 0, 0)["time"]) // 60
    assert values[at] <= 25.0
    assert "above 25" in run.alerts[0].title


@pytest.mark.parametrize("seed", range(3))
def test_a_steady_series_raises_no_alert(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = 10 + 3 * np.sin(np.arange(700) * 2 * np.pi / 48) + 0.3 * rng.standard_normal(700)
    run = Run(feed(season=48, model={"hidden": 8, "patch": 4, "learn_every": 4}))
    run.feed([record(n, observation("s", n, float(value))) for n, value in enumerate(values)])
    assert not run.alerts


def test_silence_is_told_by_the_clock_and_the_series_counts_as_stale() -> None:
    run = Run(feed(alerts={"stale_after": "10s"}))
    run.feed([record(0, observation("s", 0, 1.0))], now_us=1_000_000)
    assert not run.engine.sweep(10_999_999).alerts
    told = run.engine.sweep(11_000_000)
    assert [event.kind for _, event in told.alerts] == ["stale"]
    assert run.engine.resident[HOME]["s"].stale
    assert not run.engine.sweep(99_000_000).alerts


def test_state_of_another_configuration_is_refused_and_the_row_is_free_again() -> None:
    run = _minutes(Run(feed()), [0, 1, 2])
    blob = pack(*run.engine.snapshot(run.engine.resident[HOME]["s"]))
    other = Run(feed(horizon=5))
    with pytest.raises(ValueError, match="does not fit this configuration"):
        other.engine.restore(HOME, "s", *unpack(blob))
    assert other.engine.count == 0
    _minutes(other, [0, 1])
    assert len(other.forecasts) == 2


def test_adopted_weights_serve_old_and_new_series_and_wrong_ones_change_nothing() -> None:
    run = _minutes(Run(feed()), [0, 1, 2])
    fleet = run.engine.forecaster.fleet
    shapes = fleet.net.shapes(fleet.sizes)
    with pytest.raises(ValueError, match="shape"):
        run.engine.adopt("9", {name: np.zeros((1, 1)) for name in shapes})
    assert run.engine.model == "gru:untrained"
    run.engine.adopt("7", {name: np.full(shape, 0.01, np.float32) for name, shape in shapes.items()})
    run.feed([record(50, observation("new", 0, 1.0))])
    engine = run.engine
    assert {engine.models[engine.table.model[series.row]] for series in engine.series} == {"gru:7"}
    for series in run.engine.resident[HOME].values():
        np.testing.assert_array_equal(fleet.weights[series.row, 0], fleet.start)


def test_a_partition_that_is_held_back_is_run_again_as_under_the_model_it_was_published_under() -> None:
    records = stream(3, 60)
    before = Run(feed()).feed(records[:100])
    fleet = before.engine.forecaster.fleet
    weights = {name: np.full(shape, 0.01, np.float32) for name, shape in fleet.net.shapes(fleet.sizes).items()}
    again = Run(feed())
    again.engine.adopt("7", weights)
    again.engine.hold_back(HOME, "untrained", None)
    again.feed(records[:100])
    assert again.by_series() == before.by_series()
    engine = again.engine
    assert {engine.models[engine.table.model[series.row]] for series in engine.series} == {"gru:untrained"}
    before.engine.adopt("7", weights)
    assert set(engine.catch_up()) == set(engine.series)
    assert before.feed(records[100:]).by_series() == again.feed(records[100:]).by_series()
    assert {engine.models[engine.table.model[series.row]] for series in engine.series} == {"gru:7"}


def test_a_series_that_is_on_the_new_champion_already_is_not_set_back_to_its_start() -> None:
    run = _minutes(Run(feed()), [0, 1, 2])
    fleet = run.engine.forecaster.fleet
    weights = {name: np.full(shape, 0.01, np.float32) for name, shape in fleet.net.shapes(fleet.sizes).items()}
    assert len(run.engine.adopt("7", weights)) == 1
    _minutes(run, list(range(40)))
    learnt = fleet.weights.clone()
    assert run.engine.adopt("7", weights) == []
    assert np.array_equal(fleet.weights, learnt)


def test_a_series_that_sticks_for_long_keeps_a_card_that_can_be_written() -> None:
    run = Run(feed())
    run.feed([record(n, observation("s", n, float(np.sin(n)))) for n in range(40)])
    series = run.engine.resident[HOME]["s"]
    # What tens of thousands of equal values leave behind.
    run.engine.forecaster.scores.arrays["score.errors"][series.row, :, 0] = 1.2e-322
    card = SeriesCard.model_validate_json(cards(run.engine, [series], 0)[HOME]["s"])
    assert card.error_ratio is None
    run.feed([record(100 + n, observation("s", 40 + n, 1.0)) for n in range(60)])
    assert run.engine.forecaster.scores.arrays["score.errors"][series.row].min() >= 1e-12


def test_a_counter_at_a_high_level_is_forecast_within_its_own_steps() -> None:
    run = Run(feed())
    run.feed([record(n, observation("s", n, 1e12 + n)) for n in range(120)])
    quantiles = np.frombuffer(run.forecasts[-1][2]).reshape(4, 5)
    assert np.abs(quantiles[0] - (1e12 + 120)).max() < 50


def test_a_partition_that_is_opened_twice_has_its_series_once() -> None:
    run = _minutes(Run(feed()), [0, 1, 2])
    blob = pack(*run.engine.snapshot(run.engine.resident[HOME]["s"]))
    for _ in range(2):
        run.engine.open(HOME, ["s"])
        run.engine.restore(HOME, "s", *unpack(blob))
    assert run.engine.count == 1
    assert len(run.engine.sweep(10**15).alerts) == 1


def test_observations_that_are_not_taken_are_no_sign_of_life() -> None:
    run = Run(feed(lateness=2, alerts={"stale_after": "10s"}))
    run.feed([record(0, observation("s", 100, 1.0))], now_us=0)
    run.feed([record(1, observation("s", 5, 1.0))], now_us=9_000_000)
    assert len(run.engine.sweep(10_000_000).alerts) == 1


def test_what_each_expert_says_is_told_on_request_and_changes_nothing() -> None:
    records = stream(2, 40)
    silent, telling = Run(feed()), Run(feed(), Engine(feed(), 0, tells_experts=True))
    telling.engine.open(HOME, [])
    made = telling.engine.step(telling.decoder.decode(records), 0).forecasts
    silent.feed(records)
    assert made is not None
    assert made.experts is not None
    assert made.experts.shape == (len(made.series), 4, len(telling.engine.spec.experts))
    last = made.experts[..., telling.engine.spec.experts.index("last-value")]
    assert np.allclose(last, made.value[:, None])
    assert [one[2] for one in silent.forecasts] == [quantiles.tobytes() for quantiles in made.quantiles]


def test_a_step_that_is_known_beforehand_gives_forecasts_from_the_first_observation_on() -> None:
    settings = feed(step="auto")
    for steps_us, count in (({}, 3), ({"s": 60_000_000}, 5)):
        run = Run(settings, Engine(settings, 0, steps_us=steps_us))
        run.engine.open(HOME, [])
        run.feed([record(minute, observation("s", minute, minute)) for minute in range(5)])
        assert len(run.forecasts) == count


def test_thinned_learning_takes_every_so_many_observations_and_forecasts_all() -> None:
    records = stream(3, 60)
    whole, fourth = Run(feed()).feed(records), Run(feed()).feed(records, thin=4)
    assert len(fourth.forecasts) == len(whole.forecasts)
    for series in fourth.engine.series:
        steps = [run.engine.forecaster.fleet.steps[series.row] for run in (whole, fourth)]
        assert abs(steps[0] / 4 - steps[1]) <= 1
    in_parts = Run(feed())
    for at in range(0, len(records), 7):
        in_parts.feed(records[at : at + 7], thin=4)
    assert in_parts.by_series() == fourth.by_series()


def test_a_card_is_the_public_message_and_tells_what_the_series_has_gone_through() -> None:
    run = Run(feed())
    run.feed([record(n, observation("s", n, float(np.sin(n)))) for n in range(40)])
    run.feed(
        [
            record(40, observation("s", 39, 9.0)),
            record(41, observation("t", 0, 5.0)),
            record(42, observation("s", 44, 2.5)),
        ]
    )
    assert cards(run.engine, [], 0) == {}
    texts = cards(run.engine, run.engine.series, 1_794_268_800_000_000)[HOME]
    first, other = (SeriesCard.model_validate_json(texts[name]) for name in "st")
    assert (first.observations, first.gaps, first.duplicates, first.value, first.offset) == (41, 1, 1, 2.5, 42)
    assert (first.state, first.model, first.step_s) == ("ready", "gru:untrained", 60.0)
    assert first.nominal == pytest.approx(0.9)
    assert first.error_ratio is not None
    assert first.error is not None
    assert first.error_last_value is not None
    assert first.error_ratio == pytest.approx(first.error / first.error_last_value)
    assert list(first.coverage) == ["0.9", "0.5"]
    assert sum(first.weights.values()) == pytest.approx(1.0)
    assert (first.cutoff - other.cutoff).total_seconds() == 44 * 60
    assert (other.state, other.error, other.coverage) == ("warming", None, {})


def test_after_a_regime_change_the_forecasts_are_good_again_sooner_with_the_reaction() -> None:
    rng = np.random.default_rng(7)
    values = rng.standard_normal(1_100)
    for n in range(1, 1_100):
        values[n] += (0.8 if n < 900 else -0.9) * values[n - 1]
    values[900:] *= 4

    def error(*, adapt: bool) -> float:
        experts = ("last-value", "quick-least-squares")
        run = Run(feed(alerts={"adapt": adapt}, model={"hidden": 8, "patch": 4, "experts": experts}))
        run.feed([record(n, observation("s", n, float(value))) for n, value in enumerate(values)])
        medians = np.array([np.frombuffer(made[2]).reshape(4, 5)[0, 2] for made in run.forecasts])
        return float(np.abs(medians[930:-1] - values[931:]).mean())

    assert error(adapt=True) < 0.9 * error(adapt=False)

"""Explanations of forecasts: complete, the same as occlusion's, and of the forecast that was really made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from models.explanation import linear
from models.explanation.attribution import as_issued, explain
from models.explanation.memory import memory, reach
from models.explanation.moment import Moment, moment, oldest_cutoff
from models.explanation.occlusion import forecasts, occluded
from models.forecaster import Forecaster
from models.recurrent import GRU
from tests.unit.explained import PHASE_US, POLICIES, STEP_US, ran, wave

COMPLETE = 1e-3
each_policy = pytest.mark.parametrize("changes", POLICIES, ids=str)


def newest(forecaster: Forecaster) -> Moment:
    return as_issued(forecaster, 0, STEP_US, PHASE_US)


def small(changes: dict[str, Any], length: int = 200, **more: Any) -> Forecaster:
    return ran(wave(length, changes.get("channels", 1)), **changes, **more)


@each_policy
def test_what_is_explained_is_the_forecast_that_was_made(changes: dict[str, Any]) -> None:
    forecaster = small(changes, missing=(50, 51, 180))
    at = newest(forecaster)
    made = explain(at)
    assert at.issued is not None
    said = at.issued.quantiles[:, at.spec.median]
    # A carried state was made by weights of before, which nobody has any more.
    tolerance = 0.05 if at.spec.policy == "carried" else 1e-5
    assert made.mixture.forecast == pytest.approx(said, abs=tolerance * at.scale[0])
    for place, name in enumerate(at.spec.experts):
        if name != "network":
            assert made.experts[name].forecast == pytest.approx(at.issued.points[:, place], abs=1e-5 * at.scale[0])


@each_policy
def test_the_parts_of_a_forecast_add_up(changes: dict[str, Any]) -> None:
    forecaster = small(changes, missing=(50, 51, 180))
    at = newest(forecaster)
    made = explain(at)
    for name, one in (("mixture", made.mixture), *made.experts.items()):
        total = one.level + one.inputs.sum((1, 2)) + one.calendar + one.constant + one.memory
        assert np.abs(one.forecast - total).max() < COMPLETE * at.scale[0], name
        assert one.unexplained == pytest.approx(one.forecast - total)
    assert np.abs(made.mixture.inputs).max() > 0.1 * at.scale[0]


@pytest.mark.parametrize("spike", [1e3, -1e9])
def test_an_absurd_value_that_is_clipped_leaves_the_sum_complete(spike: float) -> None:
    values = wave(200)
    values[190] += spike
    at = newest(ran(values))
    made = explain(at)
    assert np.abs(made.mixture.unexplained).max() < COMPLETE * at.scale[0] + 1e-9 * abs(spike)


def test_linear_experts_are_attributed_exactly() -> None:
    at = newest(small({}))
    for name, one in linear.responses(at).items():
        told = (one.gains * at.line).sum((1, 2)) + one.calendar + one.constant
        assert told == pytest.approx(one.total, rel=1e-10), name
        assert one.gains.sum((1, 2)) == pytest.approx(1.0), name


def test_the_seasonal_naive_forecast_is_the_value_a_season_before_and_nothing_else() -> None:
    one = linear.responses(newest(small({})))["seasonal-naive"]
    expected = np.zeros_like(one.gains)
    expected[np.arange(6), 12 - np.arange(1, 7), 0] = 1.0
    assert one.gains == pytest.approx(expected, abs=1e-9)


@each_policy
def test_occluding_a_lag_takes_away_what_was_attributed_to_it(changes: dict[str, Any]) -> None:
    at = newest(small(changes, 300))
    made = explain(at)
    cells = [(lag, channel) for lag in range(len(at.line)) for channel in range(at.spec.channels)]
    masks = np.zeros((len(cells), *at.line.shape), bool)
    for place, cell in enumerate(cells):
        masks[(place, *cell)] = True
    fallen = occluded(at, masks)
    given = np.array([made.mixture.inputs[:, lag, channel] for lag, channel in cells])
    assert np.corrcoef(fallen.ravel(), given.ravel())[0, 1] > 0.99
    everything = occluded(at, np.ones((1, *at.line.shape), bool))[0]
    assert everything == pytest.approx(made.mixture.inputs.sum((1, 2)), abs=0.5 * at.scale[0])


def test_gradients_are_those_of_the_network_itself() -> None:
    """Beside autograd: a small step of one lag moves the forecast of a nearly linear network by its gain."""
    at = newest(small({}, 300))
    step = 1e-4 * at.scale[0]
    near = at.level + 0.02 * (at.line - at.level)  # so near to standing still that the way is straight
    lines = np.stack([near, near])
    lines[1, 5, 0] += step
    slope = np.diff(forecasts(at, lines), axis=0)[0] / step
    moved = Moment(**{name: getattr(at, name) for name in Moment.__slots__} | {"line": near})
    assert slope == pytest.approx(explain(moved).mixture.gains[:, 5, 0], abs=0.02)


def test_an_older_cutoff_is_told_as_far_as_the_window_reaches() -> None:
    forecaster = small({}, 600)
    oldest = oldest_cutoff(forecaster, 0, STEP_US)
    assert 0 < oldest < 599
    at = moment(forecaster, 0, STEP_US, PHASE_US, oldest)
    assert at.newest == wave(600)[oldest, 0]
    assert at.issued is None
    assert np.abs(explain(at).mixture.unexplained).max() < COMPLETE * at.scale[0]
    for slot in (oldest - 1, 600):
        with pytest.raises(ValueError, match="not among those that the state can tell of"):
            moment(forecaster, 0, STEP_US, PHASE_US, slot)


def test_a_slot_without_an_observation_has_no_forecast_to_explain() -> None:
    with pytest.raises(ValueError, match="no observation"):
        moment(small({}, missing=(190,)), 0, STEP_US, PHASE_US, 190)


def test_explaining_changes_nothing() -> None:
    forecaster = small({})
    before = forecaster.arena.records.copy()
    explain(newest(forecaster))
    assert (forecaster.arena.records == before).all()


@pytest.mark.parametrize(("keep", "length"), [(0.5, 2.0), (0.75, 4.0)])
def test_a_network_that_keeps_a_known_share_has_the_memory_that_this_makes(keep: float, length: float) -> None:
    forecaster = ran(wave(200), patch=1, architecture="gru")
    at = newest(forecaster)
    assert at.network is not None
    assert isinstance(at.network.net, GRU)
    for name, tensor in at.network.weights.items():
        if name != "head":
            tensor.zero_()
    units = at.network.sizes.hidden
    at.network.weights["hidden_bias"][..., units : 2 * units] = float(np.log(keep / (1 - keep)))
    told = memory(at)
    assert told is not None
    assert told.kept == pytest.approx(keep)
    assert told.let_in == pytest.approx(1 - keep)
    assert told.slots == pytest.approx(length, rel=0.01)
    assert not told.beyond


def test_an_lstm_remembers_by_its_forget_gate() -> None:
    at = newest(ran(wave(200), patch=1, architecture="lstm"))
    assert at.network is not None
    for name, tensor in at.network.weights.items():
        if name != "head":
            tensor.zero_()
    units = at.network.sizes.hidden
    at.network.weights["bias"][..., units : 2 * units] = 10.0
    at.network.weights["input"][0, 0, :units] = 5.0  # a value above the newest opens the input gate
    told = memory(at)
    assert told is not None
    assert told.beyond
    assert told.slots == pytest.approx(24, rel=0.01)
    highest = int(np.argmax(at.line[:24, 0]))
    assert told.opened == highest


def test_torch_keeps_its_own_numbers() -> None:
    """The explanation runs in float64 on copies; the default type of the process stays."""
    explain(newest(small({})))
    assert torch.get_default_dtype() == torch.float32


def test_the_reach_is_where_half_of_what_moves_the_network_lies() -> None:
    made = explain(newest(small({}, 300)))
    network = made.experts["network"]
    slots = reach(network, 3)
    size = np.abs(network.gains[2])
    assert size[:slots].sum() >= 0.5 * size.sum() > size[: slots - 1].sum()
    assert reach(made.experts["last-value"], 3) == 1
    assert reach(made.experts["seasonal-naive"], 1) == 12


def driven(lag: int, length: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """x(t) = 2 u(t - lag) + noise, with u and an idle channel beside it."""
    rng = np.random.default_rng(lag)
    others = rng.normal(size=(length, 2))
    line = 0.3 * rng.normal(size=length)
    line[lag:] += 2 * others[:-lag, 0]
    return np.column_stack([line, others])


def repeating(lag: int, length: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """x(t) = 0.9 x(t - lag) + noise."""
    line = np.random.default_rng(lag).normal(size=length)
    for at in range(lag, length):
        line[at] += 0.9 * line[at - lag]
    return line[:, None]


@pytest.mark.parametrize(
    ("values", "driver"),
    [
        (repeating(3, 1_500), (2, 0)),
        (repeating(7, 1_500), (6, 0)),
        (driven(1, 5_000), (0, 1)),
        (driven(3, 5_000), (2, 1)),
    ],
    ids=["own lag 3", "own lag 7", "channel lag 1", "channel lag 3"],
)
def test_what_drives_a_series_adds_most(values: Any, driver: tuple[int, int]) -> None:
    forecaster = ran(values, season=24, hidden=16)
    sizes = []
    for slot in range(len(values) - 40, len(values), 2):
        made = explain(moment(forecaster, 0, STEP_US, PHASE_US, slot))
        sizes.append(np.abs(made.mixture.inputs[0, :24]))
    mean = np.mean(sizes, axis=0)
    assert np.unravel_index(mean.argmax(), mean.shape) == driver


def test_removing_what_adds_most_moves_the_forecast_thrice_as_much_as_removing_anything() -> None:
    forecaster, rng = ran(repeating(7, 1_000), season=24), np.random.default_rng(0)
    top, random = [], []
    for slot in range(960, 1_000, 4):
        at = moment(forecaster, 0, STEP_US, PHASE_US, slot)
        order = np.argsort(-np.abs(explain(at).mixture.inputs[2, :24, 0]))
        masks = np.zeros((21, *at.line.shape), bool)
        masks[0, order[:5], 0] = True
        for mask in masks[1:]:
            mask[rng.choice(24, 5, replace=False), 0] = True
        moved = np.abs(occluded(at, masks))[:, 2]
        top.append(moved[0])
        random.append(moved[1:].mean())
    assert np.mean(top) > 3 * np.mean(random)


@each_policy
@pytest.mark.parametrize("back", [3, 20])
def test_older_cutoffs_add_up_under_every_policy(changes: dict[str, Any], back: int) -> None:
    forecaster = small(changes, 140)
    at = moment(forecaster, 0, STEP_US, PHASE_US, 139 - back)
    assert at.newest == wave(140, changes.get("channels", 1))[139 - back, 0]
    assert np.abs(explain(at).mixture.unexplained).max() < COMPLETE * at.scale[0]


def test_a_network_that_saturates_leaves_nothing_open_either() -> None:
    at = newest(small({}))
    assert at.network is not None
    at.network.weights["input"].mul_(200.0)
    at.network.weights["head"].mul_(20.0)
    made = explain(at)
    assert np.abs(made.experts["network"].unexplained).max() < COMPLETE * at.scale[0]

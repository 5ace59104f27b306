"""The stacked fleet: rows are independent to the bit, learning works, rows move exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.adam import adam, corrections
from models.arena import Arena
from models.batch import unflatten
from models.compiled import extension
from models.fleet import Fleet
from models.registry import names
from models.spec import ModelSpec
from tests.unit.fleets import copy_row, event_of, fleet_of, take

F = NDArray[np.float32]


IMPLEMENTATIONS = [
    False,
    pytest.param(
        True,
        marks=pytest.mark.skipif(extension() is None, reason="the compiled kernel was not built in this installation"),
    ),
]
both = pytest.mark.parametrize("kernel", IMPLEMENTATIONS, ids=lambda kernel: "kernel" if kernel else "reference")


def _fleet(spec: ModelSpec, rows: int, *, kernel: bool) -> Fleet:
    fleet = Fleet(spec, seed=0, kernel=kernel)
    Arena([fleet]).resize(rows)
    fleet.reset(np.arange(rows))
    return fleet


def _step_inputs(fleet: Fleet, rows: int, seed: int) -> tuple[F, F, F, F]:
    rng, sizes = np.random.default_rng(seed), fleet.sizes
    windows = 2 + fleet.spec.replay
    return (
        rng.standard_normal((rows, windows, sizes.steps, sizes.features)).astype(np.float32),
        rng.standard_normal((rows, windows, sizes.context)).astype(np.float32),
        rng.standard_normal((rows, windows - 1, sizes.horizon)).astype(np.float32),
        np.ones((rows, windows - 1, sizes.horizon), np.float32),
    )


def _rows(inputs: tuple[F, F, F, F], rows: NDArray[np.int64]) -> tuple[F, F, F, F]:
    patches, centred, targets, known = inputs
    return patches[rows], centred[rows], targets[rows], known[rows]


@both
@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize(("hidden", "horizon", "replay"), [(32, 24, 1), (16, 5, 0), (20, 7, 1), (8, 1, 2)])
def test_a_row_learns_bit_for_bit_the_same_whatever_rows_are_beside_it(
    name: str, hidden: int, horizon: int, replay: int, kernel: bool
) -> None:
    spec = ModelSpec(architecture=name, context=16, horizon=horizon, hidden=hidden, patch=4, replay=replay)
    together, alone = _fleet(spec, 7, kernel=kernel), _fleet(spec, 7, kernel=kernel)
    for step in range(6):
        inputs = _step_inputs(together, 7, step)
        learn = np.arange(7) % 3 != step % 3
        expected = together.step(np.arange(7), *inputs, learn)
        for rows in (np.array([5]), np.array([2, 0, 6]), np.array([4, 1, 3])):
            got = alone.step(rows, *_rows(inputs, rows), learn[rows])
            np.testing.assert_array_equal(got, expected[rows])
    assert torch.equal(together.weights, alone.weights)


@both
@pytest.mark.parametrize("name", names())
def test_fine_tuning_learns_what_last_value_cannot(name: str, kernel: bool) -> None:
    spec = ModelSpec(architecture=name, context=16, horizon=4, hidden=16, patch=4, replay=0, train_rate=1e-2)
    fleet = _fleet(spec, 2, kernel=kernel)
    rng, losses = np.random.default_rng(0), []
    for _ in range(300):
        patches, centred, _, known = _step_inputs(fleet, 2, int(rng.integers(1 << 30)))
        targets = np.float32(0.5) * centred[:, 1:, -4:]
        made = fleet.step(np.arange(2), patches, centred, targets, known, np.ones(2, bool))
        losses.append(np.abs(made[..., spec.median] - 0.5 * centred[:, 0, -4:]).mean())
    assert np.mean(losses[-30:]) < 0.5 * np.mean(losses[:30])


@both
def test_the_forecast_comes_from_the_weights_before_the_step(kernel: bool) -> None:
    spec = ModelSpec(context=16, horizon=4, hidden=8, patch=4)
    learner, idle = _fleet(spec, 1, kernel=kernel), _fleet(spec, 1, kernel=kernel)
    inputs = _step_inputs(learner, 1, 0)
    row = np.array([0])
    np.testing.assert_array_equal(
        learner.step(row, *inputs, np.array([True])), idle.step(row, *inputs, np.array([False]))
    )
    assert not torch.equal(learner.weights, idle.weights)
    assert torch.equal(idle.weights[0, 0], idle.start)


@both
def test_rows_without_known_targets_keep_their_weights(kernel: bool) -> None:
    fleet = _fleet(ModelSpec(context=16, horizon=4, hidden=8, patch=4), 1, kernel=kernel)
    patches, centred, targets, known = _step_inputs(fleet, 1, 0)
    fleet.step(np.array([0]), patches, centred, targets, 0 * known, np.array([True]))
    assert torch.equal(fleet.weights[0, 0], fleet.start)
    assert fleet.steps[0] == 0


def _pace(steps: NDArray[np.int64], rate: float, decay: float = 0.0) -> tuple[torch.Tensor, ...]:
    return tuple(map(torch.from_numpy, corrections(steps, np.full(len(steps), rate), decay)))


def test_a_gradient_that_is_not_finite_is_dropped_and_a_large_one_is_clipped() -> None:
    states = torch.zeros(2, 3, 32)
    gradient = torch.full((2, 32), 1e6)
    gradient[1, 3] = float("nan")
    adam(states, gradient, _pace(np.ones(2, np.int64), 0.1), clip=1.0)
    assert states[0, 1].norm().item() == pytest.approx(
        0.1, rel=1e-4
    )  # (1 - beta1) times the clipped gradient's norm of 1
    assert torch.equal(states[1], torch.zeros(3, 32))


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adam_is_that_of_torch(decay: float) -> None:
    torch.manual_seed(0)
    gradients = 0.01 * torch.randn(20, 32)
    parameter = torch.ones(32, requires_grad=True)
    theirs = torch.optim.AdamW([parameter], lr=1e-2, weight_decay=decay)
    states = torch.zeros(1, 3, 32)
    states[0, 0] = 1.0
    for number, gradient in enumerate(gradients, 1):
        parameter.grad = gradient.clone()
        theirs.step()
        adam(states, gradient[None].clone(), _pace(np.array([number]), 1e-2, decay), clip=1e9)
    torch.testing.assert_close(states[0, 0], parameter.detach(), rtol=1e-4, atol=1e-6)


@both
def test_a_row_moves_to_another_fleet_exactly(kernel: bool) -> None:
    spec = ModelSpec(context=16, horizon=4, hidden=8, patch=4)
    here, there = _fleet(spec, 3, kernel=kernel), _fleet(spec, 5, kernel=kernel)
    for step in range(3):
        here.step(np.arange(3), *_step_inputs(here, 3, step), np.ones(3, bool))
    copy_row(here, 1, there, 4)
    inputs = _step_inputs(here, 3, 9)
    one = here.step(np.array([1]), *_rows(inputs, np.array([0])), np.array([True]))
    other = there.step(np.array([4]), *_rows(inputs, np.array([0])), np.array([True]))
    np.testing.assert_array_equal(one, other)
    assert torch.equal(here.weights[1], there.weights[4])


POLICIES = [("joint", 1, 2), ("joint", 4, 1), ("carried", 1, 1), ("carried", 1, 2)]


def _by_policy(name: str, policy: str, patch: int, layers: int, **more: Any) -> ModelSpec:
    sizes = {"context": 8, "horizon": 3, "hidden": 20, "truncation": 5, "replay": 0} | more
    return ModelSpec(architecture=name, policy=policy, patch=patch, layers=layers, **sizes)


@both
@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize(("policy", "patch", "layers"), POLICIES)
def test_whatever_the_policy_a_row_is_bit_for_bit_the_same_beside_others(
    name: str, policy: str, patch: int, layers: int, kernel: bool
) -> None:
    spec = _by_policy(name, policy, patch, layers)
    together, alone = (fleet_of(spec, 7, kernel=kernel) for _ in range(2))
    for step in range(12):
        event = event_of(spec, 7, step)
        expected = take(together, np.arange(7), event)
        for rows in (np.array([5]), np.array([2, 0, 6]), np.array([4, 1, 3])):
            np.testing.assert_array_equal(take(alone, rows, event.of(rows)), expected[rows])
    assert together.steps.max() > 0
    assert torch.equal(together.weights, alone.weights)
    assert torch.equal(together.states, alone.states)


@both
@pytest.mark.parametrize("name", names())
def test_steps_taken_at_once_are_those_taken_one_by_one(name: str, kernel: bool) -> None:
    spec = _by_policy(name, "carried", 1, 2)
    at_once, one_by_one = (fleet_of(spec, 2, kernel=kernel) for _ in range(2))
    rows, ones = np.arange(2), np.ones(2, np.int64)
    fresh = np.concatenate(
        [event_of(spec, 2, seed).fresh for seed in range(8)], axis=1
    )  # more steps than the ring has states
    at_once.advance(rows, fresh[:, :-1], 23 * ones)
    for step in range(23):
        one_by_one.advance(rows, fresh[:, step : step + 1], ones)
    event = event_of(spec, 2, 9)
    event.fresh, event.counts = fresh[:, -1:], ones
    np.testing.assert_array_equal(take(at_once, rows, event), take(one_by_one, rows, event))
    assert torch.equal(at_once.states, one_by_one.states)
    assert torch.equal(at_once.weights, one_by_one.weights)
    assert at_once.moment.tolist() == [24, 24]


@both
def test_a_carried_state_is_that_of_one_recurrence_over_all_steps(kernel: bool) -> None:
    spec = _by_policy("gru", "carried", 1, 1)
    fleet = fleet_of(spec, 1, kernel=kernel)
    inputs = event_of(spec, 1, 0).inputs
    fleet.advance(np.array([0]), inputs[:, 0], np.array([5]))
    weights = unflatten(fleet.start[None], fleet.net, fleet.sizes)
    zero = torch.zeros(1, 1, 1, spec.hidden)
    outputs, _ = fleet.net.encode(weights, torch.from_numpy(inputs), zero, fleet.sizes)
    torch.testing.assert_close(fleet.states[0, 1:6, 0], outputs[0, 0], rtol=1e-5, atol=1e-6)


@both
def test_a_carried_row_learns_once_its_oldest_state_is_stored(kernel: bool) -> None:
    spec = _by_policy("gru", "carried", 1, 1)
    fleet, row = fleet_of(spec, 1, kernel=kernel), np.array([0])
    event = event_of(spec, 1, 0)
    event.counts = np.array([1])
    for step in range(10):
        take(fleet, row, event)
        assert fleet.steps[0] == max(0, step + 2 - spec.horizon - spec.truncation)
    fleet.forget(row)
    take(fleet, row, event)
    assert fleet.steps[0] == 3


@both
@pytest.mark.parametrize("policy", ["joint", "carried"])
def test_a_row_moves_with_its_states(policy: str, kernel: bool) -> None:
    spec = _by_policy("lstm", policy, 1, 1)
    here, there = fleet_of(spec, 3, kernel=kernel), fleet_of(spec, 5, kernel=kernel)
    for step in range(10):
        take(here, np.arange(3), event_of(spec, 3, step))
    copy_row(here, 1, there, 4)
    event = event_of(spec, 3, 10).of(np.array([1]))
    np.testing.assert_array_equal(take(there, np.array([4]), event), take(here, np.array([1]), event))
    assert torch.equal(here.states[1], there.states[4])


@both
@pytest.mark.parametrize("policy", ["window", "joint", "carried"])
def test_squared_error_learns_the_mean(policy: str, kernel: bool) -> None:
    spec = _by_policy("gru", policy, 1, 1, levels=(0.5,), loss="mean", train_rate=1e-2, clip=1e3, skip=False)
    fleet, made = fleet_of(spec, 1, kernel=kernel), []
    event = event_of(spec, 1, 0)
    event.counts, event.known[:], event.inputs[:], event.fresh[:] = np.array([1]), 1.0, 0.0, 0.0
    for step in range(400):
        event.targets[:] = 4.0 if step % 4 == 0 else 0.0  # of mean 1 and median 0
        made.append(take(fleet, np.array([0]), event).mean())
    assert 0.7 < np.mean(made[-100:]) < 1.3


def test_each_policy_has_its_own_method() -> None:
    joint, carried = (fleet_of(_by_policy("gru", policy, 1, 1), 1, kernel=False) for policy in ("joint", "carried"))
    event = event_of(joint.spec, 1, 0)
    last = (event.centred, event.targets, event.known, event.learn)
    with pytest.raises(ValueError, match="carry"):
        carried.step(np.array([0]), event.inputs, *last)
    with pytest.raises(ValueError, match="carry"):
        joint.carry(np.array([0]), event.fresh, event.counts, event.inputs[:, 0], *last)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("policy", {"policy": "stacked"}),
        ("policy", {"policy": "carried", "patch": 2, "replay": 0}),
        ("replay", {"policy": "joint", "replay": 1}),
        ("replay", {"replay": 63}),
        ("layers", {"layers": 3}),
        ("truncation", {"truncation": 0}),
        ("loss", {"loss": "huber"}),
        ("loss", {"loss": "mean"}),
        ("weight_decay", {"weight_decay": -0.1}),
        ("weight_decay", {"weight_decay": 1000.0}),
    ],
)
def test_a_network_that_cannot_be_is_refused_by_name(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{name} = "):
        ModelSpec(**settings)

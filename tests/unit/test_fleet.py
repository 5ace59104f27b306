"""The stacked fleet: rows are independent to the bit, learning works, rows move exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.compiled import extension
from models.fleet import Fleet, adam
from models.registry import names
from models.spec import ModelSpec

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
    fleet.resize(rows)
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
    assert torch.equal(together.arena, alone.arena)


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
    assert not torch.equal(learner.arena, idle.arena)
    assert torch.equal(idle.arena[0, 0], idle.start)


@both
def test_rows_without_known_targets_keep_their_weights(kernel: bool) -> None:
    fleet = _fleet(ModelSpec(context=16, horizon=4, hidden=8, patch=4), 1, kernel=kernel)
    patches, centred, targets, known = _step_inputs(fleet, 1, 0)
    fleet.step(np.array([0]), patches, centred, targets, 0 * known, np.array([True]))
    assert torch.equal(fleet.arena[0, 0], fleet.start)
    assert fleet.steps[0] == 0


def test_a_gradient_that_is_not_finite_is_dropped_and_a_large_one_is_clipped() -> None:
    states = torch.zeros(2, 3, 32)
    gradient = torch.full((2, 32), 1e6)
    gradient[1, 3] = float("nan")
    adam(states, gradient, np.ones(2, np.int64), np.full(2, 0.1), clip=1.0)
    assert states[0, 1].norm().item() == pytest.approx(
        0.1, rel=1e-4
    )  # (1 - beta1) times the clipped gradient's norm of 1
    assert torch.equal(states[1], torch.zeros(3, 32))


def test_adam_is_that_of_torch() -> None:
    torch.manual_seed(0)
    gradients = 0.01 * torch.randn(20, 32)
    parameter = torch.zeros(32, requires_grad=True)
    theirs = torch.optim.Adam([parameter], lr=1e-2)
    states = torch.zeros(1, 3, 32)
    for number, gradient in enumerate(gradients, 1):
        parameter.grad = gradient.clone()
        theirs.step()
        adam(states, gradient[None].clone(), np.array([number]), np.array([1e-2]), clip=1e9)
    torch.testing.assert_close(states[0, 0], parameter.detach(), rtol=1e-4, atol=1e-6)


@both
def test_a_row_moves_to_another_fleet_exactly(kernel: bool) -> None:
    spec = ModelSpec(context=16, horizon=4, hidden=8, patch=4)
    here, there = _fleet(spec, 3, kernel=kernel), _fleet(spec, 5, kernel=kernel)
    for step in range(3):
        here.step(np.arange(3), *_step_inputs(here, 3, step), np.ones(3, bool))
    there.restore(4, here.snapshot(1))
    inputs = _step_inputs(here, 3, 9)
    one = here.step(np.array([1]), *_rows(inputs, np.array([0])), np.array([True]))
    other = there.step(np.array([4]), *_rows(inputs, np.array([0])), np.array([True]))
    np.testing.assert_array_equal(one, other)
    assert torch.equal(here.arena[1], there.arena[4])


def test_state_of_another_size_is_refused() -> None:
    small, large = (_fleet(ModelSpec(context=16, horizon=4, hidden=h, patch=4), 1, kernel=False) for h in (8, 16))
    with pytest.raises(ValueError, match="state of"):
        large.restore(0, small.snapshot(0))

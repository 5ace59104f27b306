"""The compiled kernel against the reference: the same gradients, the same learning, in every instruction set that this processor has."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import models.fleet
from models import compiled
from models.compiled import Kernel
from models.fleet import BETA1, BETA2, EPSILON, Fleet, corrections
from models.recurrent import GRU
from models.spec import ModelSpec

F = NDArray[np.float32]
EXTENSION = compiled.extension()
LEVELS: tuple[str, ...] = EXTENSION.LEVELS if EXTENSION else ()
needs_kernel = pytest.mark.skipif(EXTENSION is None, reason="the compiled kernel was not built in this installation")

SHAPES = [
    # hidden, horizon, levels, replay, channels
    (32, 24, (0.05, 0.25, 0.5, 0.75, 0.95), 1, 1),
    (8, 1, (0.5,), 0, 2),
    (16, 5, (0.1, 0.5, 0.9), 2, 1),
    (20, 24, (0.5, 0.7, 0.9), 1, 3),
    (64, 5, (0.05, 0.25, 0.5, 0.75, 0.95), 0, 4),
    (7, 3, (0.1, 0.5), 1, 1),
]


def _spec(name: str, shape: tuple[int, int, tuple[float, ...], int, int], **more: Any) -> ModelSpec:
    hidden, horizon, levels, replay, channels = shape
    return ModelSpec(
        architecture=name,
        context=15,
        patch=3,
        hidden=hidden,
        horizon=horizon,
        levels=levels,
        replay=replay,
        channels=channels,
        **more,
    )


def _fleet(spec: ModelSpec, rows: int, *, kernel: bool, level: int = -1) -> Fleet:
    """Random weights everywhere, so that no gradient is zero by luck."""
    fleet = Fleet(spec, seed=0, kernel=kernel)
    if kernel:
        levels, constants = fleet.levels.numpy(), (spec.clip, BETA1, BETA2, EPSILON)
        fleet.kernel = Kernel(fleet.net, fleet.sizes, levels, constants, level)
    fleet.resize(rows)
    fleet.reset(np.arange(rows))
    fleet.arena[:, 0] += 0.2 * torch.randn(rows, len(fleet.start), generator=torch.Generator().manual_seed(1))
    return fleet


def _inputs(fleet: Fleet, rows: int, seed: int, windows: int) -> tuple[F, F, F, F]:
    """Targets lie far from every forecast: where one crosses its target the loss has a kink, and the least rounding matters."""
    rng, sizes = np.random.default_rng(seed), fleet.sizes
    signs = rng.choice([-20.0, 20.0], (rows, windows - 1, sizes.horizon))
    known = rng.random((rows, windows - 1, sizes.horizon)) < 0.8
    return (
        rng.standard_normal((rows, windows, sizes.steps, sizes.features)).astype(np.float32),
        rng.standard_normal((rows, windows, sizes.context)).astype(np.float32),
        (signs + rng.standard_normal(signs.shape)).astype(np.float32),
        known.astype(np.float32),
    )


def _off(got: F, expected: F) -> float:
    """Distance relative to the size of what is expected."""
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


@needs_kernel
@pytest.mark.parametrize("level", range(len(LEVELS)))
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_a_hundred_online_steps_are_those_of_the_reference(
    name: str, shape: tuple[int, int, tuple[float, ...], int, int], level: int
) -> None:
    spec = _spec(name, shape)
    reference, ours = _fleet(spec, 3, kernel=False), _fleet(spec, 3, kernel=True, level=level)
    # Adam's first steps go by the gradient's sign alone, so that where it is nearly zero rounding decides: those are one run for both.
    for step in range(20):
        reference.step(np.arange(3), *_inputs(reference, 3, 100 + step, 2 + spec.replay), np.ones(3, bool))
    for row in range(3):
        ours.restore(row, reference.snapshot(row))
    for step in range(100):
        inputs = _inputs(reference, 3, step, 2 + spec.replay)
        learn = np.arange(3) != step % 4
        rows = np.roll(np.arange(3), step)
        expected, got = reference.step(rows, *inputs, learn), ours.step(rows, *inputs, learn)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_array_equal(ours.steps, reference.steps)
    for part in range(3):
        assert _off(ours.arena[:, part].numpy(), reference.arena[:, part].numpy()) < 1e-4


@needs_kernel
@pytest.mark.parametrize("level", range(len(LEVELS)))
@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_every_parameter_has_the_gradient_of_autograd(name: str, level: int) -> None:
    spec = _spec(name, SHAPES[3], clip=1e9)
    reference, ours = _fleet(spec, 2, kernel=False), _fleet(spec, 2, kernel=True, level=level)
    inputs = _inputs(reference, 2, 0, 3)
    for fleet in (reference, ours):
        fleet.step(np.arange(2), *inputs, np.ones(2, bool))
    # The first moment of a first step is a tenth of the gradient.
    expected = models.fleet.unflatten(reference.arena[:, 1], reference.net, reference.sizes)
    got = models.fleet.unflatten(ours.arena[:, 1], ours.net, ours.sizes)
    for parameter, gradient in expected.items():
        assert _off(got[parameter].numpy(), gradient.numpy()) < 1e-5, parameter


@needs_kernel
@pytest.mark.parametrize("level", range(len(LEVELS)))
@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_one_window_is_forecast_and_teaches_nothing(name: str, level: int) -> None:
    spec = _spec(name, SHAPES[0])
    reference, ours = _fleet(spec, 2, kernel=False), _fleet(spec, 2, kernel=True, level=level)
    before = ours.arena.clone()
    inputs = _inputs(reference, 2, 0, 1)
    got = ours.step(np.arange(2), *inputs, np.ones(2, bool))
    np.testing.assert_allclose(got, reference.step(np.arange(2), *inputs, np.ones(2, bool)), rtol=1e-5, atol=1e-5)
    assert torch.equal(ours.arena, before)
    assert not ours.steps.any()


@needs_kernel
@pytest.mark.parametrize("level", range(len(LEVELS)))
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_a_gradient_that_is_not_finite_is_dropped_whole(name: str, bad: float, level: int) -> None:
    spec = _spec(name, SHAPES[3])
    fleet = _fleet(spec, 2, kernel=True, level=level)
    before = fleet.arena.clone()
    undisturbed = _fleet(spec, 2, kernel=True, level=level)
    inputs, learn = _inputs(fleet, 2, 0, 3), np.ones(2, bool)
    undisturbed.step(np.arange(2), *inputs, learn)
    inputs[0][0, 1, 2, 0] = bad
    fleet.step(np.arange(2), *inputs, learn)
    assert torch.equal(fleet.arena[0], before[0])
    assert fleet.steps.tolist() == [1, 1]
    # Nothing of it is left behind for the series that is computed next.
    assert torch.equal(fleet.arena[1], undisturbed.arena[1])
    assert not torch.equal(fleet.arena[1], before[1])


@needs_kernel
@pytest.mark.parametrize("level", range(len(LEVELS)))
def test_what_another_network_left_in_the_working_memory_changes_nothing(level: int) -> None:
    one, other = _spec("gru", SHAPES[3]), _spec("lstm", SHAPES[5])
    alone, between, intruder = (_fleet(spec, 1, kernel=True, level=level) for spec in (one, one, other))
    row, learn = np.array([0]), np.array([True])
    for step in range(3):
        inputs = _inputs(alone, 1, step, 3)
        expected = alone.step(row, *inputs, learn)
        intruder.step(row, *_inputs(intruder, 1, step, 3), learn)
        np.testing.assert_array_equal(between.step(row, *inputs, learn), expected)
    assert torch.equal(alone.arena, between.arena)


@needs_kernel
@pytest.mark.parametrize("level", range(len(LEVELS)))
def test_the_curves_are_within_their_bounds(level: int) -> None:
    assert EXTENSION is not None
    values = np.concatenate([np.linspace(-20, 20, 400_001), np.linspace(-200, 200, 4_001)]).astype(np.float32)
    exact = values.astype(np.float64)
    got = np.empty_like(values)
    EXTENSION.curve(values, got, True, level)
    assert np.abs(got - np.tanh(exact)).max() < 3e-7
    EXTENSION.curve(values, got, False, level)
    assert np.abs(got - 1 / (1 + np.exp(-exact))).max() < 3e-7
    assert (got >= 0).all()
    assert (got <= 1).all()
    EXTENSION.curve(np.full(5, np.nan, np.float32), got[:5], False, level)
    assert np.isnan(got[:5]).all()


def _arguments(fleet: Fleet) -> dict[str, Any]:
    inputs = _inputs(fleet, 2, 0, 3)
    size, root = corrections(np.ones(2, np.int64), np.full(2, 1e-3))
    return {
        "arena": fleet.arena.numpy(),
        "rows": np.arange(2),
        **dict(zip(("patches", "centred", "targets", "known"), inputs, strict=True)),
        "learn": np.ones(2, bool),
        "size": size,
        "root": root,
        "levels": fleet.levels.numpy(),
        "quantiles": np.zeros((2, fleet.sizes.horizon, fleet.sizes.levels), np.float32),
        "lstm": False,
        "hidden": fleet.sizes.hidden,
        "median": fleet.sizes.median,
        "constants": (1.0, BETA1, BETA2, EPSILON),
        "level": -1,
    }


def _call(arguments: dict[str, Any]) -> None:
    assert EXTENSION is not None
    entries = list(arguments.items())
    EXTENSION.step(*(value for _, value in entries[:11]), **dict(entries[11:]))


def _read_only(array: F) -> F:
    array = array.copy()
    array.flags.writeable = False
    return array


@needs_kernel
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("arena", lambda a: a[:, :, :-32].copy()),
        ("arena", lambda a: a[:, :, :-1].copy()),
        ("arena", lambda a: a[:, :2].copy()),
        ("arena", _read_only),
        ("arena", lambda a: a[:, :, ::2]),
        ("arena", lambda a: a.astype(np.float64)),
        ("rows", lambda a: a + 1),
        ("rows", lambda a: a - 1),
        ("rows", lambda a: a.astype(np.int32)),
        ("rows", lambda a: a[:1]),
        ("patches", lambda a: a[:, :, :, :-1]),
        ("patches", lambda a: a[:, :2].copy()),
        ("patches", lambda a: a[:, :, :0].copy()),
        ("patches", lambda a: a[0]),
        ("centred", lambda a: a[:1]),
        ("centred", lambda a: a[..., :0].copy()),
        ("targets", lambda a: a[:, :1].copy()),
        ("targets", lambda a: a[..., 1:].copy()),
        ("known", lambda a: a.astype(bool)),
        ("learn", lambda a: a[:1]),
        ("learn", lambda a: a.astype(np.float32)),
        ("size", lambda a: a[:1]),
        ("root", lambda a: a[:1]),
        ("levels", lambda a: a[:-1].copy()),
        ("quantiles", lambda a: a[:1]),
        ("quantiles", lambda a: a[..., :-1].copy()),
        ("quantiles", _read_only),
        ("hidden", lambda _: 0),
        ("hidden", lambda _: -8),
        ("hidden", lambda _: 1 << 40),
        ("median", lambda _: 9),
        ("lstm", lambda _: True),
        ("level", lambda _: 9),
    ],
)
def test_what_does_not_fit_is_refused(name: str, change: Any) -> None:
    fleet = _fleet(_spec("gru", SHAPES[0]), 2, kernel=True)
    before = fleet.arena.clone()
    arguments = _arguments(fleet)
    _call(arguments)
    fleet.arena.copy_(before)
    arguments[name] = change(arguments[name])
    with pytest.raises(ValueError, match=r"\w"):
        _call(arguments)
    assert torch.equal(fleet.arena, before)


@needs_kernel
def test_a_batch_of_nothing_is_nothing() -> None:
    fleet = _fleet(_spec("gru", SHAPES[0]), 1, kernel=True)
    made = fleet.step(np.zeros(0, np.int64), *_inputs(fleet, 0, 0, 3), np.zeros(0, bool))
    assert made.shape == (0, 24, 5)


class Other(GRU):
    """Another package's architecture, which the kernel cannot know."""


@pytest.fixture
def not_built(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(compiled, "import_module", missing)
    compiled.extension.cache_clear()
    yield
    compiled.extension.cache_clear()


@pytest.mark.usefixtures("not_built")
def test_without_the_extension_the_reference_runs_and_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert Fleet(ModelSpec(), seed=0).kernel is None
        assert Fleet(ModelSpec(), seed=0).kernel is None
    assert len(caplog.records) == 1
    with pytest.raises(RuntimeError, match="no compiled kernel"):
        Fleet(ModelSpec(), seed=0, kernel=True)


def test_an_architecture_of_another_package_runs_in_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.fleet, "architecture", lambda _: Other())
    assert Fleet(ModelSpec(), seed=0).kernel is None


@needs_kernel
def test_the_kernel_is_chosen_where_there_is_one() -> None:
    assert Fleet(ModelSpec(architecture="lstm"), seed=0).kernel is not None
    assert Fleet(ModelSpec(architecture="lstm"), seed=0, kernel=False).kernel is None

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
from models.adam import corrections
from models.batch import unflatten
from models.compiled import Kernel
from models.fleet import Fleet
from models.recurrent import GRU
from models.reference import Reference
from models.spec import ModelSpec
from tests.unit.fleets import copy_row, event_of, fleet_of, shaken, take

F = NDArray[np.float32]
EXTENSION = compiled.extension()
LEVELS: tuple[str, ...] = EXTENSION.LEVELS if EXTENSION else ()
needs_kernel = pytest.mark.skipif(EXTENSION is None, reason="the compiled kernel was not built in this installation")
each_level = pytest.mark.parametrize("level", range(len(LEVELS)))
each_cell = pytest.mark.parametrize("name", ["gru", "lstm"])
ROWS = np.arange(3)
FIVE = (0.05, 0.25, 0.5, 0.75, 0.95)

WINDOWS: list[dict[str, Any]] = [
    {"hidden": 32, "horizon": 24, "levels": FIVE, "replay": 1},
    {"hidden": 8, "horizon": 1, "levels": (0.5,), "replay": 0, "channels": 2},
    {"hidden": 16, "horizon": 5, "levels": (0.1, 0.5, 0.9), "replay": 2},
    {"hidden": 20, "horizon": 24, "levels": (0.5, 0.7, 0.9), "replay": 1, "channels": 3},
    {"hidden": 64, "horizon": 5, "levels": FIVE, "replay": 0, "channels": 4},
    {"hidden": 7, "horizon": 3, "levels": (0.1, 0.5), "replay": 3},
]


def _window(name: str, shape: dict[str, Any], **more: Any) -> ModelSpec:
    return ModelSpec(architecture=name, context=15, patch=3, **shape | more)


def _every_shape() -> Iterator[ModelSpec]:
    """Each pair of cell, policy, layers, units, loss, skip and decay; all of them with each other would take an hour."""
    number = 0
    for hidden in (16, 32, 33, 64, 128):
        for policy in ("window", "joint", "carried"):
            for name in ("gru", "lstm"):
                number += 1
                mean = (number + hidden) % 2 == 0
                yield ModelSpec(
                    architecture=name,
                    policy=policy,
                    hidden=hidden,
                    layers=1 + (number // 2 + hidden) % 2,
                    loss="mean" if mean else "quantile",
                    levels=(0.5,) if mean else (0.1, 0.5, 0.9),
                    patch=2 if policy == "joint" and mean else 1,
                    context=6,
                    truncation=5,
                    horizon=4 if policy == "carried" else 5,
                    replay=0,
                    channels=1 + number % 2,
                    skip=number % 3 != 0,
                    weight_decay=0.1 * (number % 4),
                )


def _close(spec: ModelSpec) -> None:
    """A hundred online steps in the reference and in the kernel of each level."""
    reference = shaken(fleet_of(spec, 3, kernel=False))
    # Adam's first steps go by the gradient's sign alone, so that where it is nearly zero rounding decides: those are one run for all.
    for step in range(15):
        take(reference, ROWS, event_of(spec, 3, 1000 + step, 20.0))
    ours = [fleet_of(spec, 3, kernel=True, level=level) for level in range(len(LEVELS))]
    for fleet in ours:
        for row in range(3):
            copy_row(reference, row, fleet, row)
    for step in range(100):
        # Targets lie far from every forecast: where one crosses its target the loss has a kink, and the least rounding matters.
        event, rows = event_of(spec, 3, step, 20.0), np.roll(ROWS, step)
        learn = step % 4 != ROWS
        expected = take(reference, rows, event, learn=learn)
        for fleet in ours:
            got = take(fleet, rows, event, learn=learn)
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    for fleet in ours:
        np.testing.assert_array_equal(fleet.steps, reference.steps)
        np.testing.assert_array_equal(fleet.moment, reference.moment)
        for part in range(3):
            assert _off(fleet.weights[:, part].numpy(), reference.weights[:, part].numpy()) < 1e-4
        assert not fleet.ring or _off(fleet.states.numpy(), reference.states.numpy()) < 1e-4


def _off(got: F, expected: F) -> float:
    """Distance relative to the size of what is expected."""
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


@needs_kernel
@pytest.mark.parametrize(
    "spec", list(_every_shape()), ids=lambda s: f"{s.architecture}-{s.policy}-{s.layers}x{s.hidden}-{s.loss}"
)
def test_a_hundred_online_steps_are_those_of_the_reference(spec: ModelSpec) -> None:
    _close(spec)


@needs_kernel
@pytest.mark.parametrize("shape", WINDOWS)
@each_cell
def test_a_hundred_online_steps_on_patches_and_older_windows_are_too(name: str, shape: dict[str, Any]) -> None:
    _close(_window(name, shape))


@needs_kernel
@each_level
@pytest.mark.parametrize("policy", ["window", "joint", "carried"])
@pytest.mark.parametrize("layers", [1, 2])
@each_cell
def test_every_parameter_has_the_gradient_of_autograd(name: str, layers: int, policy: str, level: int) -> None:
    spec = ModelSpec(
        architecture=name,
        layers=layers,
        policy=policy,
        patch=1,
        context=6,
        truncation=4,
        horizon=3,
        hidden=20,
        replay=0,
        clip=1e9,
    )
    reference, ours = (shaken(fleet_of(spec, 3, kernel=kernel, level=level)) for kernel in (False, True))
    for fleet in (reference, ours):
        if fleet.ring:
            event = event_of(spec, 3, 1)
            fleet.advance(ROWS, np.tile(event.fresh, (1, 3, 1)), np.array([7, 8, 9]))
        take(fleet, ROWS, event_of(spec, 3, 0))
    # The first moment of a first step is a tenth of the gradient.
    expected = unflatten(reference.weights[:, 1], reference.net, reference.sizes)
    got = unflatten(ours.weights[:, 1], ours.net, ours.sizes)
    for parameter, gradient in expected.items():
        assert gradient.norm() > 0
        assert _off(got[parameter].numpy(), gradient.numpy()) < 1e-5, parameter


@needs_kernel
@each_level
@each_cell
def test_one_window_is_forecast_and_teaches_nothing(name: str, level: int) -> None:
    spec = _window(name, WINDOWS[0])
    reference, ours = (shaken(fleet_of(spec, 3, kernel=kernel, level=level)) for kernel in (False, True))
    before = ours.weights.clone()
    event = event_of(spec, 3, 0)
    alone = {name: getattr(event, name)[:, :1] for name in ("inputs", "centred")}
    alone |= {name: getattr(event, name)[:, :0] for name in ("targets", "known")}
    got = take(ours, ROWS, event, **alone)
    np.testing.assert_allclose(got, take(reference, ROWS, event, **alone), rtol=1e-5, atol=1e-5)
    assert torch.equal(ours.weights, before)
    assert not ours.steps.any()


@needs_kernel
@each_level
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@each_cell
def test_a_gradient_that_is_not_finite_is_dropped_whole(name: str, bad: float, level: int) -> None:
    spec = _window(name, WINDOWS[3])
    fleet, undisturbed = (shaken(fleet_of(spec, 3, kernel=True, level=level)) for _ in range(2))
    before = fleet.weights.clone()
    event = event_of(spec, 3, 0)
    take(undisturbed, ROWS, event)
    event.inputs[0, 1, 2, 0] = bad
    take(fleet, ROWS, event)
    assert torch.equal(fleet.weights[0], before[0])
    assert fleet.steps.tolist() == [1, 1, 1]
    # Nothing of it is left behind for the series that is computed next.
    assert torch.equal(fleet.weights[1:], undisturbed.weights[1:])
    assert not torch.equal(fleet.weights[1], before[1])


@needs_kernel
@each_level
@pytest.mark.parametrize("policy", ["window", "joint", "carried"])
def test_what_another_network_left_in_the_working_memory_changes_nothing(policy: str, level: int) -> None:
    one = ModelSpec(policy=policy, patch=1, context=6, truncation=4, horizon=3, hidden=20, replay=0)
    other = _window("lstm", WINDOWS[5])
    alone, between, intruder = (shaken(fleet_of(spec, 3, kernel=True, level=level)) for spec in (one, one, other))
    for step in range(10):
        event = event_of(one, 3, step)
        expected = take(alone, ROWS, event)
        take(intruder, ROWS, event_of(other, 3, step))
        np.testing.assert_array_equal(take(between, ROWS, event), expected)
    assert torch.equal(alone.weights, between.weights)


@needs_kernel
@pytest.mark.parametrize("policy", ["window", "joint", "carried"])
def test_rows_may_lie_in_larger_records(policy: str) -> None:
    spec = ModelSpec(policy=policy, patch=1, context=6, truncation=4, horizon=3, hidden=20, replay=0)
    whole, parted = (shaken(fleet_of(spec, 3, kernel=True)) for _ in range(2))
    for name in ("fleet.weights", "fleet.states"):
        part = parted.arrays[name]
        record = np.full((3, part[0].size + 48), np.nan, np.float32)
        view = record[:, 16:-32].reshape(part.shape, copy=False)
        view[:] = part
        parted.arrays[name] = view
    for step in range(10):
        event = event_of(spec, 3, step)
        np.testing.assert_array_equal(take(parted, ROWS, event), take(whole, ROWS, event))
    assert torch.equal(parted.weights, whole.weights)
    assert torch.equal(parted.states, whole.states)


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
    event, spec = event_of(fleet.spec, 3, 0), fleet.spec
    size, root, keep = corrections(np.ones(3, np.int64), np.full(3, 1e-3), 0.0)
    return {
        "arena": fleet.weights.numpy(),
        "rows": ROWS,
        **{name: getattr(event, name) for name in ("inputs", "centred", "targets", "known", "learn")},
        "size": size,
        "root": root,
        "keep": keep,
        "levels": np.array(spec.levels, np.float32),
        "quantiles": np.zeros((3, fleet.sizes.horizon, fleet.sizes.levels), np.float32),
        "states": fleet.states.numpy(),
        "moment": np.full(3, 20),
        "fresh": event.fresh,
        "counts": event.counts,
        "lstm": False,
        "squared": False,
        "policy": 2 if fleet.ring else 0,
        "ahead": 0,
        "hidden": fleet.sizes.hidden,
        "layers": 1,
        "median": fleet.sizes.median,
        "constants": (1.0, 0.9, 0.999, 1e-8),
        "level": -1,
    }


def _call(arguments: dict[str, Any]) -> None:
    assert EXTENSION is not None
    entries = list(arguments.items())
    EXTENSION.step(*(value for _, value in entries[:16]), **dict(entries[16:]))


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
        ("rows", lambda _: np.array([0, 1, 1 << 40])),
        ("inputs", lambda a: a[:, :, :, :-1]),
        ("inputs", lambda a: a[:, :2].copy()),
        ("inputs", lambda a: a[:, :, :0].copy()),
        ("inputs", lambda a: a[0]),
        ("centred", lambda a: a[:1]),
        ("centred", lambda a: a[:, :1].copy()),
        ("targets", lambda a: a[:, :1].copy()),
        ("targets", lambda a: a[..., 1:].copy()),
        ("known", lambda a: a.astype(bool)),
        ("learn", lambda a: a[:1]),
        ("learn", lambda a: a.astype(np.float32)),
        ("size", lambda a: a[:1]),
        ("root", lambda a: a[:1]),
        ("keep", lambda a: a[:1]),
        ("levels", lambda a: a[:-1].copy()),
        ("quantiles", lambda a: a[:1]),
        ("quantiles", lambda a: a[..., :-1].copy()),
        ("quantiles", _read_only),
        ("hidden", lambda _: 0),
        ("hidden", lambda _: -8),
        ("hidden", lambda _: 1 << 40),
        ("median", lambda _: 9),
        ("lstm", lambda _: True),
        ("layers", lambda _: 2),
        ("layers", lambda _: 3),
        ("layers", lambda _: 0),
        ("squared", lambda _: True),
        ("policy", lambda _: 1),
        ("policy", lambda _: 2),
        ("policy", lambda _: -1),
        ("level", lambda _: 9),
    ],
)
def test_what_does_not_fit_is_refused(name: str, change: Any) -> None:
    _refused(shaken(fleet_of(_window("gru", WINDOWS[0]), 3, kernel=True)), name, change)


@needs_kernel
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("states", lambda a: a[:, :-1].copy()),
        ("states", lambda a: a[:2]),
        ("states", lambda a: a[..., :-1]),
        ("states", _read_only),
        ("moment", lambda a: a - 18),  # it learns from a state that was never stored
        ("moment", lambda a: -a),
        ("moment", lambda a: a[:1]),
        ("fresh", lambda a: a[..., :-1].copy()),
        ("fresh", lambda a: a[:, :1].copy()),
        ("counts", lambda a: a - 9),
        ("counts", lambda a: a + 9),
        ("counts", lambda a: a[:1]),
    ],
)
def test_a_carried_state_that_does_not_fit_is_refused(name: str, change: Any) -> None:
    spec = ModelSpec(policy="carried", patch=1, context=6, truncation=4, horizon=3, replay=0)
    _refused(shaken(fleet_of(spec, 3, kernel=True)), name, change)


def _refused(fleet: Fleet, name: str, change: Any) -> None:
    before = fleet.weights.clone()
    arguments = _arguments(fleet)
    _call(arguments)
    fleet.weights.copy_(before)
    arguments[name] = change(arguments[name])
    with pytest.raises(ValueError, match=r"\w"):
        _call(arguments)
    assert torch.equal(fleet.weights, before)


@needs_kernel
@pytest.mark.parametrize("policy", ["window", "joint", "carried"])
def test_a_batch_of_nothing_is_nothing(policy: str) -> None:
    spec = ModelSpec(policy=policy, patch=1, context=6, truncation=4, horizon=3, replay=0)
    fleet = fleet_of(spec, 1, kernel=True)
    assert take(fleet, ROWS[:0], event_of(spec, 0, 0)).shape == (0, 3, 5)


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
        assert isinstance(Fleet(ModelSpec(), seed=0).implementation, Reference)
        assert isinstance(Fleet(ModelSpec(), seed=0).implementation, Reference)
    assert len(caplog.records) == 1
    with pytest.raises(RuntimeError, match="no compiled kernel"):
        Fleet(ModelSpec(), seed=0, kernel=True)


def test_an_architecture_of_another_package_runs_in_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.fleet, "architecture", lambda _: Other())
    assert isinstance(Fleet(ModelSpec(), seed=0).implementation, Reference)


@needs_kernel
def test_the_kernel_is_chosen_where_there_is_one() -> None:
    assert isinstance(Fleet(ModelSpec(architecture="lstm"), seed=0).implementation, Kernel)
    assert isinstance(Fleet(ModelSpec(architecture="lstm"), seed=0, kernel=False).implementation, Reference)

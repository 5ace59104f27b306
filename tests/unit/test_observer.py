from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.forecaster import Forecaster
from models.observation import Beat
from models.observer import CompiledObserver, compiled
from models.spec import EXPERTS, ModelSpec

pytestmark = pytest.mark.skipif(compiled() is None, reason="the compiled forecaster was not built here")

STEP_US = 600_000_000
SERIES, STEPS = 6, 160
SMALL: dict[str, Any] = {"context": 24, "horizon": 6, "hidden": 8, "patch": 4, "season": 12, "history": 40}
FEW = ("last-value", "seasonal-naive", "network")


def _forecaster(spec: ModelSpec, level: int | None) -> Forecaster:
    """With the compiled observer of that level, or with numpy's; the network is the same for both."""
    forecaster = Forecaster(spec, 0, STEP_US)
    forecaster.observer = (
        forecaster.surroundings if level is None else CompiledObserver(forecaster.surroundings, forecaster.arena, level)
    )
    forecaster.tells_experts = True
    forecaster.resize(SERIES)
    rows = np.arange(SERIES)
    forecaster.start(rows, rows.astype(np.uint64) * 7919 + 1)
    return forecaster


def _values(channels: int) -> NDArray[np.float64]:
    """Walks of several sizes and levels, one of them with an absurd value, one that stands still."""
    rng = np.random.default_rng(5)
    walks = rng.standard_normal((STEPS, SERIES, channels)).cumsum(0)
    values: NDArray[np.float64] = (
        walks * np.array([1, 1e3, 1e-3, 1, 1, 0])[:, None] + np.array([0, 1e6, 0, 3, 0, 7])[:, None]
    )
    values[90, 3, 0] = 1e12
    if channels > 1:
        values[40:60, 2, 1] = np.nan
    return values


def _run(spec: ModelSpec, level: int | None, batches: int = 1) -> tuple[Forecaster, dict[str, NDArray[Any]]]:
    forecaster = _forecaster(spec, level)
    rng = np.random.default_rng(6)
    slots = np.full(SERIES, 100_000)
    made: dict[str, list[NDArray[Any]]] = {"error": [], "quantiles": [], "weights": [], "ready": [], "experts": []}
    for number, values in enumerate(_values(spec.channels)):
        jump = np.ones(SERIES, np.int64)
        if number % 17 == 3:
            jump[rng.integers(SERIES)] = rng.integers(2, 9)
        if number == 120:
            jump[1] = 90
        slots = slots + jump
        for part in np.array_split(np.arange(SERIES), batches):
            beat = Beat(np.full(len(part), STEP_US), np.full(len(part), 17))
            settled, issued = forecaster.observe(part, slots[part], values[part], beat, 1 + number // 100)
            assert issued.experts is not None
            for name, column in (
                ("error", settled.error),
                ("experts", issued.experts),
                ("quantiles", issued.quantiles),
            ):
                made[name].append(column)
            made["weights"].append(issued.weights)
            made["ready"].append(issued.ready)
    return forecaster, {name: np.concatenate(columns) for name, columns in made.items()}


@pytest.mark.parametrize("level", range(len(compiled().LEVELS)) if compiled() is not None else [])  # type: ignore[union-attr]
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"channels": 3, "replay": 2, "patch": 1},
        {"policy": "joint", "replay": 0, "patch": 4, "horizon": 6},
        {"policy": "carried", "replay": 0, "patch": 1, "channels": 2, "truncation": 5},
        {"experts": FEW, "season": 0},
        {"experts": EXPERTS[:3], "learn_every": 3},
        {"levels": (0.5,), "loss": "mean", "replay": 0, "experts": ("last-value", "network")},
        {"context": 23, "patch": 1, "horizon": 1, "levels": (0.01, 0.1, 0.5, 0.6, 0.7, 0.999)},
    ],
    ids=["defaults", "channels", "joint", "carried", "few", "no-network", "mean", "odd"],
)
def test_compiled_and_numpy_forecasters_agree_in_all_that_they_say_and_keep(
    changes: dict[str, Any], level: int
) -> None:
    spec = ModelSpec(**SMALL | changes)
    plain, expected = _run(spec, None)
    fast, found = _run(spec, level)
    for name in ("error", "weights", "ready"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-6, err_msg=name)
    scale = np.abs(expected["quantiles"]).max(axis=(1, 2), keepdims=True) + 1e-9
    for name in ("quantiles", "experts"):
        np.testing.assert_allclose(found[name] / scale, expected[name] / scale, atol=2e-6, err_msg=name)
    for name, array in plain.arena.arrays.items():
        size = max(1.0, float(np.abs(array.astype(float)).max(initial=0.0)))
        np.testing.assert_allclose(
            fast.arena.arrays[name].astype(float) / size, array.astype(float) / size, atol=1e-5, err_msg=name
        )


@pytest.mark.parametrize("policy", ["window", "joint", "carried"])
def test_a_series_result_does_not_depend_on_its_batch_to_the_bit(policy: str) -> None:
    patch = 1 if policy == "carried" else 4
    spec = ModelSpec(**SMALL | {"policy": policy, "patch": patch, "replay": int(policy == "window")})
    together, _ = _run(spec, -1)
    apart, _ = _run(spec, -1, batches=4)
    for name, array in together.arena.arrays.items():
        assert array.tobytes() == apart.arena.arrays[name].tobytes(), name


def test_a_slot_that_is_not_new_is_refused_and_changes_nothing() -> None:
    forecaster = _forecaster(ModelSpec(**SMALL), -1)
    beat = Beat(np.full(2, STEP_US), np.zeros(2, np.int64))
    rows, values = np.arange(2), np.ones((2, 1))
    forecaster.observe(rows, np.array([10, 10]), values, beat)
    before = forecaster.arena.records.tobytes()
    with pytest.raises(ValueError, match="slots after the newest"):
        forecaster.observe(rows, np.array([11, 10]), values, beat)
    assert forecaster.arena.records.tobytes() == before


def test_arrays_of_other_sizes_are_refused() -> None:
    forecaster = _forecaster(ModelSpec(**SMALL), -1)
    beat = Beat(np.full(2, STEP_US), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="values has 3 entries in dimension 1, needed 1"):
        forecaster.observe(np.arange(2), np.array([10, 10]), np.ones((2, 3)), beat)
    with pytest.raises(ValueError, match="a row that the arena does not have"):
        forecaster.observe(np.array([0, SERIES]), np.array([10, 10]), np.ones((2, 1)), beat)

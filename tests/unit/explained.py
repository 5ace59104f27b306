"""Small forecasters that have run for a while, for tests of explanations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.forecaster import Forecaster
from models.observation import Beat
from models.spec import ModelSpec

Floats = NDArray[np.float64]
STEP_US, PHASE_US = 3_600_000_000, 1_794_268_800_000_000
ROW = np.array([0])
SMALL: dict[str, Any] = {"context": 24, "horizon": 6, "season": 12, "hidden": 8, "patch": 4, "history": 128}
POLICIES: list[dict[str, Any]] = [
    {},
    {"architecture": "lstm"},
    {"policy": "joint", "replay": 0},
    {"policy": "carried", "replay": 0, "patch": 1, "truncation": 8},
    {"architecture": "lstm", "layers": 2, "channels": 2},
    {"skip": False},
]


def wave(length: int, channels: int = 1, seed: int = 0) -> Floats:
    """A season of 12, a wandering level and noise; further channels are noise."""
    rng = np.random.default_rng(seed)
    at = np.arange(length)
    line = 50 + 3 * np.sin(2 * np.pi * at / 12) + 0.2 * rng.normal(size=length).cumsum() + 0.3 * rng.normal(size=length)
    return np.column_stack([line, *(rng.normal(size=length) for _ in range(channels - 1))])


def ran(values: Floats, missing: Iterable[int] = (), **changes: Any) -> Forecaster:
    """One series that has seen ``values`` [T, C], but those ``missing``."""
    forecaster = Forecaster(ModelSpec(**SMALL | {"channels": values.shape[1]} | changes), 0, STEP_US)
    forecaster.resize(1)
    forecaster.start(ROW, np.array([7], np.uint64))
    beat, gone = Beat(np.array([STEP_US]), np.array([PHASE_US])), set(missing)
    for slot, value in enumerate(values):
        if slot not in gone:
            forecaster.observe(ROW, np.array([slot]), value[None], beat)
    return forecaster

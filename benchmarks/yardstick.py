"""The yardstick beside the checkout (../shared/yardstick), as a way like ours, so that both can be measured in turns."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.ways import HORIZON, RATE, TRUNCATION, UNITS, WINDOW, Way
from models.compiled import extension

FILE = Path(__file__).parents[2] / "shared" / "yardstick" / "race.py"


def load() -> tuple[ModuleType, ctypes.CDLL] | None:
    """Its module and its compiled sketch; None, saying why, where it is not there, cannot be built, or the processor has no AVX-512."""
    module = extension()
    if not FILE.exists() or module is None or "avx512" not in module.LEVELS:
        print("yardstick: not measured, it is not beside the checkout or the processor has no AVX-512")
        return None
    spec = importlib.util.spec_from_file_location("race", FILE)
    assert spec is not None
    assert spec.loader is not None
    race = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(race)
    try:
        return race, race.build()
    except (OSError, ValueError) as reason:
        print(f"yardstick: not measured, {reason}")
        return None


def way(found: tuple[ModuleType, ctypes.CDLL], cell: str, *, carried: bool, series: int, batch: int) -> Way:
    """Its full window, or its carried state."""
    race, lib = found
    lstm, mode = int(cell == "lstm"), race.CARRIED if carried else race.JOINT_FULL
    rng, size = np.random.default_rng(0), lib.psize(UNITS, 1, lstm)
    stride = -(-2 * (WINDOW + HORIZON) // 16) * 16
    states, history = race.aligned((series, 3 * size)), race.aligned((series, stride))
    carry = race.aligned((series, 2 * UNITS * (HORIZON + TRUNCATION + 2)))
    gates = (4 if lstm else 3) * UNITS
    head = (UNITS + 3) * gates
    states[:, :size] = rng.uniform(-(UNITS**-0.5), UNITS**-0.5, size)
    states[:, head:size].reshape(series, UNITS + 1, 16)[:, :, HORIZON:] = 0.0
    history[:] = rng.standard_normal(history.shape)
    steps = np.full(series, 2 * (WINDOW + HORIZON), np.int32)
    order, count, at = rng.permutation(series).astype(np.int32), min(batch, series), 0
    values, ahead, loss = race.aligned((count, 1)), race.aligned((count, 16)), race.aligned((count,))

    def address(array: Any) -> ctypes.c_void_p:
        return ctypes.c_void_p(array.ctypes.data)

    def take() -> int:
        nonlocal at
        rows = np.take(order, np.arange(at, at + count), mode="wrap")
        at = (at + count) % series
        values[:, 0] = rng.standard_normal(count)
        arrays = (states, ctypes.c_long(3 * size), history, ctypes.c_long(stride), rows)
        first = [part if isinstance(part, ctypes.c_long) else address(part) for part in arrays]
        lib.fleet(
            UNITS, 1, lstm, *first, count, address(values), address(ahead), address(loss), WINDOW, HORIZON, mode,
            ctypes.c_float(RATE), ctypes.c_float(1.0), TRUNCATION, address(steps), address(carry), ctypes.c_long(carry.shape[1]),
        )  # fmt: skip
        return count

    return take

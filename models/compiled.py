"""The compiled kernel (models/kernel/), where it was built: what ``Fleet.step`` does, one series at a time in the processor's cache."""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from models.recurrent import GRU, LSTM, Architecture, Sizes

Floats32 = NDArray[np.float32]
log = logging.getLogger(__name__)


@cache
def extension() -> ModuleType | None:
    """The module models._kernel, or None where it was not built, which is said once."""
    try:
        return import_module("models._kernel")
    except ImportError as reason:
        log.warning("the compiled kernel is not there, so fine-tuning takes many times longer: %s", reason)
        return None


def covers(net: Architecture) -> bool:
    """Whether the kernel computes this architecture: ours it does; a subclass of them might differ."""
    return type(net) in {GRU, LSTM}


class Kernel:
    """The kernel for one network. ``level`` is a place in the extension's ``LEVELS``: -1 is the fastest that the processor has."""

    def __init__(
        self,
        net: Architecture,
        sizes: Sizes,
        levels: Floats32,
        constants: tuple[float, float, float, float],
        level: int = -1,
    ) -> None:
        """``constants`` are the norm to clip to and Adam's beta1, beta2 and epsilon. Raises RuntimeError where there is no kernel."""
        module = extension()
        if module is None or not covers(net):
            raise RuntimeError(f"there is no compiled kernel for {type(net).__name__} in this installation")
        self._module, self._sizes, self._levels = module, sizes, levels
        self._lstm, self._constants, self._level = type(net) is LSTM, constants, level

    def step(
        self,
        arena: Floats32,
        rows: NDArray[np.int64],
        patches: Floats32,
        centred: Floats32,
        targets: Floats32,
        known: Floats32,
        learn: NDArray[np.bool_],
        size: Floats32,
        root: Floats32,
    ) -> Floats32:
        """Quantiles [B, H, Q] of window 0; rows that ``learn`` are updated in the arena. Raises ValueError where a shape is off.

        ``size`` and ``root`` [B] are Adam's rate over its first bias and the root of its second (``models.fleet.corrections``).
        """
        quantiles = np.empty((len(rows), self._sizes.horizon, self._sizes.levels), np.float32)
        self._module.step(
            arena,
            np.ascontiguousarray(rows, np.int64),
            *(np.ascontiguousarray(array, np.float32) for array in (patches, centred, targets, known)),
            np.ascontiguousarray(learn, np.bool_),
            size,
            root,
            self._levels,
            quantiles,
            lstm=self._lstm,
            hidden=self._sizes.hidden,
            median=self._sizes.median,
            constants=self._constants,
            level=self._level,
        )
        return quantiles

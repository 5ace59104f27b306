"""The compiled kernel (models/kernel/), where it was built: what the reference does, one series at a time in the processor's cache."""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from models.batch import Batch, Floats32, Store, ahead_of
from models.recurrent import GRU, LSTM, Architecture, Sizes
from models.spec import POLICIES, ModelSpec

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
        spec: ModelSpec,
        constants: tuple[float, float, float],
        level: int = -1,
    ) -> None:
        """``constants`` are Adam's beta1, beta2 and epsilon. Raises RuntimeError where there is no kernel."""
        module = extension()
        if module is None or not covers(net):
            raise RuntimeError(f"there is no compiled kernel for {type(net).__name__} in this installation")
        self._module, self._sizes, self._levels = module, sizes, np.array(spec.levels, np.float32)
        self._settings = {
            "lstm": type(net) is LSTM,
            "squared": spec.loss == "mean",
            "policy": POLICIES.index(spec.policy),
            "ahead": ahead_of(spec) if spec.policy == "joint" else 0,
            "hidden": sizes.hidden,
            "layers": sizes.layers,
            "median": sizes.median,
            "constants": (spec.clip, *constants),
            "level": level,
        }

    def step(self, store: Store, batch: Batch) -> Floats32:
        """See ``models.batch.Implementation.step``. Raises ValueError where a shape is off."""
        quantiles = np.empty((len(batch.rows), self._sizes.horizon, self._sizes.levels), np.float32)
        self._module.step(
            store.arena,
            np.ascontiguousarray(batch.rows, np.int64),
            *map(_floats, (batch.inputs, batch.centred, batch.targets, batch.known)),
            np.ascontiguousarray(batch.learn, np.bool_),
            *map(_floats, (batch.size, batch.root, batch.keep)),
            self._levels,
            quantiles,
            store.states,
            np.ascontiguousarray(batch.moment, np.int64),
            _floats(batch.fresh),
            np.ascontiguousarray(batch.counts, np.int64),
            **self._settings,
        )
        return quantiles


def _floats(array: NDArray[np.float32]) -> Floats32:
    return np.ascontiguousarray(array, np.float32)

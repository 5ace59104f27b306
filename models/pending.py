"""Forecasts that wait for their targets: the last H cutoffs of each series, with what was said at them.

Points and quantiles are kept in the units of their cutoff (minus the last value, over the scale), so float32 serves series of any level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(slots=True)
class Due:
    """What was said about one target, by lead: ``known`` [B, H], ``cutoffs`` [B, H], ``origin`` and ``scale`` [B, H], ``points`` [B, H, E],
    ``quantiles`` [B, H, Q] (units of the cutoff). Where ``known`` is False there was no forecast for that lead."""

    known: NDArray[np.bool_]
    cutoffs: Rows
    origin: Floats
    scale: Floats
    points: NDArray[np.float32]
    quantiles: NDArray[np.float32]


class Pending:
    """Rings over cutoffs: everything [N, H, ...], the place of a cutoff being cutoff modulo H."""

    def __init__(self, horizon: int, experts: int, levels: int) -> None:
        self.horizon = horizon
        self.arrays: dict[str, NDArray[Any]] = {
            "pending.cutoff": np.zeros((0, horizon), np.int64),
            "pending.origin": np.zeros((0, horizon)),
            "pending.scale": np.zeros((0, horizon)),
            "pending.points": np.zeros((0, horizon, horizon, experts), np.float32),
            "pending.quantiles": np.zeros((0, horizon, horizon, levels), np.float32),
        }

    def resize(self, rows: int) -> None:
        """Make room for ``rows`` series."""
        for name, array in self.arrays.items():
            more = rows - len(array)
            if more > 0:
                self.arrays[name] = np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)])

    def clear(self, rows: Rows) -> None:
        """Drop what these rows wait for."""
        for array in self.arrays.values():
            array[rows] = 0
        self.arrays["pending.cutoff"][rows] = -1

    def put(self, rows: Rows, cutoffs: Rows, origin: Floats, scale: Floats, points: Floats, quantiles: Floats) -> None:
        """Remember the forecasts [B, H, ...] made at ``cutoffs`` [B] from the last values ``origin`` [B] under ``scale`` [B]."""
        at = cutoffs % self.horizon
        for name, value in (
            ("cutoff", cutoffs),
            ("origin", origin),
            ("scale", scale),
            ("points", points),
            ("quantiles", quantiles),
        ):
            self.arrays[f"pending.{name}"][rows, at] = value

    def due(self, rows: Rows, slots: Rows) -> Due:
        """What was said about the targets at ``slots`` [B]: lead h comes from cutoff slot - h, if that forecast was made."""
        leads = np.arange(self.horizon)
        cutoffs = slots[:, None] - 1 - leads
        at, row = cutoffs % self.horizon, rows[:, None]
        arrays = self.arrays
        return Due(
            known=(arrays["pending.cutoff"][row, at] == cutoffs) & (cutoffs >= 0),
            cutoffs=cutoffs,
            origin=arrays["pending.origin"][row, at],
            scale=arrays["pending.scale"][row, at],
            points=arrays["pending.points"][row, at, leads],
            quantiles=arrays["pending.quantiles"][row, at, leads],
        )

    def snapshot(self, row: int) -> dict[str, NDArray[Any]]:
        """One row as plain arrays."""
        return {name: array[row].copy() for name, array in self.arrays.items()}

    def restore(self, row: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Put a snapshot into a row."""
        for name, array in self.arrays.items():
            array[row] = arrays[name]

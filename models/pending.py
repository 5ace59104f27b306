"""Forecasts that wait for their targets: the last H cutoffs of each series, with what was said at them.

Points and quantiles are kept in the units of their cutoff (minus the last value, over the scale), so float32 serves series of any level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.arena import Arrays, Field

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
        self.horizon, self.experts, self.levels = horizon, experts, levels
        self.arrays: Arrays = {}

    def fields(self) -> list[Field]:
        """See ``models.arena.Part``."""
        horizon = self.horizon
        return [
            Field("pending.cutoff", np.int64, (horizon,)),
            Field("pending.origin", np.float64, (horizon,)),
            Field("pending.scale", np.float64, (horizon,)),
            Field("pending.points", np.float32, (horizon, horizon, self.experts)),
            Field("pending.quantiles", np.float32, (horizon, horizon, self.levels)),
        ]

    def clear(self, rows: Rows) -> None:
        """Drop what these rows wait for."""
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

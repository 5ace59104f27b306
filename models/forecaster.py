"""The forecaster of one feed: every series' windows, experts, network, mixture and calibration, stacked, advanced together.

The order at each new observation is the promise of the whole project: settle the forecasts that it decides, then forecast, then learn,
all from what is known at that moment. The network is the fleet's (``models/fleet.py``); what surrounds it stands in
``models/surroundings.py``, and compiled in ``models/observer.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arena import Arena, Arrays
from models.fleet import Fleet
from models.observation import Beat, Floats, Floats32, Issued, Observer, Rows, Settled, Sight
from models.observer import CompiledObserver, compiled
from models.spec import ModelSpec
from models.surroundings import Surroundings

MOST_FRESH = 64
"""Missing slots that a carried state steps over one by one."""
CHUNK = 256
"""Series in one pass: what passes between its parts stays in the cache."""


class Forecaster:
    """N series of one feed. Rows are handed out by the caller, which names them with a stable ``key`` each."""

    def __init__(self, spec: ModelSpec, seed: int, step_us: int = 0, kernel: bool | None = None) -> None:
        """``kernel`` False runs in numpy and torch, True compiled (RuntimeError where that was not built), None the best there is."""
        self.spec = spec
        self.tells_experts = False
        self.surroundings = Surroundings(spec, step_us)
        self.windows, self.scales = self.surroundings.windows, self.surroundings.scales
        self.scores = self.surroundings.scores
        self.fleet = Fleet(spec, seed, kernel)
        self.arena = Arena([*self.surroundings.parts, self.fleet])
        self.observer: Observer = self.surroundings
        if kernel or (kernel is None and compiled() is not None):
            self.observer = CompiledObserver(self.surroundings, self.arena)

    @property
    def capacity(self) -> int:
        """Rows there is room for."""
        return len(self.arena.records)

    def resize(self, rows: int) -> None:
        """Make room for ``rows`` series."""
        self.arena.resize(rows)

    def start(self, rows: Rows, keys: NDArray[np.uint64]) -> None:
        """Begin new series in these rows, from the starting weights."""
        self.surroundings.start(rows, keys)
        self.fleet.reset(rows)

    def restart(self, rows: Rows) -> None:
        """After a long silence: a new window, nothing pending; what was learnt (weights, mixture, calibration) stays."""
        self.surroundings.restart(rows)
        self.fleet.forget(rows)

    def adapt(self, rows: Rows) -> None:
        """A new regime has begun in these rows: learn faster for a while, and let what was learnt be overruled sooner. Between observations."""
        self.surroundings.loosen(rows)
        self.fleet.hasten(rows)

    def observe(
        self, rows: Rows, slots: Rows, values: Floats, beat: Beat, thin: Rows | int = 1
    ) -> tuple[Settled, Issued]:
        """Take one observation of each row, at a slot after its newest: settle, forecast, learn.

        rows [B] unique, slots [B], values [B, C] finite in channel 0. The forecasts have their cutoff at ``slots``. A series learns at every
        ``thin``-th of the observations at which it would, counted over all it has had. Raises ValueError for a slot not after the newest.
        """
        thins = np.broadcast_to(np.asarray(thin, np.int64), rows.shape)
        parts = [slice(at, at + CHUNK) for at in range(0, max(len(rows), 1), CHUNK)]
        made = [self._observe(rows[part], slots[part], values[part], beat[part], thins[part]) for part in parts]
        if len(made) == 1:
            return made[0]
        settled, issued = zip(*made, strict=True)
        told = [one.experts for one in issued if one.experts is not None]
        return Settled(
            np.concatenate([one.error for one in settled]), np.concatenate([one.known for one in settled])
        ), Issued(
            np.concatenate([one.quantiles for one in issued]),
            np.concatenate([one.weights for one in issued]),
            np.concatenate([one.ready for one in issued]),
            np.concatenate(told) if told else None,
        )

    def _observe(self, rows: Rows, slots: Rows, values: Floats, beat: Beat, thin: Rows) -> tuple[Settled, Issued]:
        counts = self._fresh_steps(rows, slots)
        settled, sight = self.observer.before(rows, slots, values, beat, thin, counts)
        network = self._network(sight) if "network" in self.spec.experts else None
        return settled, self.observer.after(sight, network, self.tells_experts)

    def _network(self, sight: Sight) -> Floats32:
        if self.spec.policy != "carried":
            return self.fleet.step(sight.rows, sight.inputs, sight.centred, sight.targets, sight.known, sight.learn)
        past = sight.inputs[:, 0]
        return self.fleet.carry(
            sight.rows, sight.fresh, sight.counts, past, sight.centred, sight.targets, sight.known, sight.learn
        )

    def _fresh_steps(self, rows: Rows, slots: Rows) -> Rows:
        """Steps [B] that carried states take to ``slots``: one, and one for each slot missing before. After a long gap they begin anew."""
        if self.spec.policy != "carried":
            return np.zeros(len(rows), np.int64)
        newest = self.windows.newest[rows]
        steps = np.where(newest < 0, 1, slots - newest)
        long = steps > MOST_FRESH
        self.fleet.forget(rows[long])
        return np.where(long, 1, steps)

    def fill(self, rows: Rows, slots: Rows, values: Floats) -> NDArray[np.bool_]:
        """Put late observations [B, C] into their empty slots and settle what they decide; False where the slot was taken (a duplicate)."""
        return self.surroundings.fill(rows, slots, values)

    def snapshot(self, row: int) -> Arrays:
        """Everything of one series as plain arrays; ``restore`` is the exact inverse, into any row of any forecaster of the same spec."""
        return self.arena.snapshot(row)

    def restore(self, row: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Put a snapshot into a row. Raises ValueError where it comes from another spec; the row is then as it was."""
        self.arena.restore(row, arrays)

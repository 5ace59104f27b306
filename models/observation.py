"""What passes between the parts of a forecaster at one observation of each of B series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(slots=True)
class Beat:
    """The series' clocks for one call: ``step_us`` and ``phase_us`` [B]; slot s lies at phase + s*step."""

    step_us: Rows
    phase_us: Rows

    def time(self, slots: Rows) -> Rows:
        """Time of slots [B, ...] in microseconds."""
        shape = (-1,) + (1,) * (slots.ndim - 1)
        return self.phase_us.reshape(shape) + slots * self.step_us.reshape(shape)

    def __getitem__(self, part: slice) -> Beat:
        """The clocks of some of the series."""
        return Beat(self.step_us[part], self.phase_us[part])


@dataclass(slots=True)
class Settled:
    """What an observation decided: the standardised lead-1 error [B] of the median (0 where not ``known``)."""

    error: Floats
    known: NDArray[np.bool_]


@dataclass(slots=True)
class Sight:
    """What the network is to see, in the shapes that ``models.fleet.Fleet.step`` and ``carry`` ask for; empty where a feed has no network.

    ``inputs`` are the recurrence's (of a carried one, those of the learnt steps, and ``fresh`` with ``counts`` the new ones). ``origin``
    [B, 3] holds the newest value, the window scale that everything is over, and the steady scale; ``season`` [B] is in slots, 0 for none.
    """

    rows: Rows
    slots: Rows
    beat: Beat
    season: Rows
    inputs: Floats32
    fresh: Floats32
    counts: Rows
    centred: Floats32
    targets: Floats32
    known: Floats32
    learn: NDArray[np.bool_]
    origin: Floats


@dataclass(slots=True)
class Issued:
    """Forecasts of B series: quantiles [B, H, Q] in the series' own units, mean mixture weights [B, E], and whether each series is ready.

    ``experts`` [B, H, E]: what each expert says by itself, in the series' own units; None unless the forecaster ``tells_experts``.
    """

    quantiles: Floats
    weights: Floats
    ready: NDArray[np.bool_]
    experts: Floats | None = None


class Observer(Protocol):
    """Everything that an observation does but the network: in numpy (``models/surroundings.py``) or compiled (``models/observer.py``)."""

    def before(
        self, rows: Rows, slots: Rows, values: Floats, beat: Beat, thin: Rows, counts: Rows
    ) -> tuple[Settled, Sight]:
        """Settle what the values [B, C] at ``slots`` [B] decide, and look at the windows that they end; rows [B] unique.

        A series learns at every ``thin``-th [B] of the observations at which it would. ``counts`` [B] are the steps that a carried state
        takes. Raises ValueError for a slot not after the newest.
        """
        ...

    def after(self, sight: Sight, network: Floats32 | None, tell: bool) -> Issued:
        """The forecasts, from what the network says, [B, H, Q]; ``tell`` asks for the experts' too."""
        ...

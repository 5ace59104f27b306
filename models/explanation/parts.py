"""The parts that a forecast is the sum of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Response:
    """How one expert answers to its inputs, in the series' own units, all [H, ...].

    ``gains`` [H, J, C]: what one unit more at a lag of a channel does to the forecast of a lead, on average over the way from a window that
    stands still to the real one. ``calendar`` [H] comes from the time of day and week, ``memory`` [H] from a state carried from before
    the window, and ``constant`` [H] is there whatever the window does. ``total`` [H] is what the expert says.
    """

    gains: Floats
    calendar: Floats
    constant: Floats
    memory: Floats
    total: Floats


@dataclass(frozen=True, slots=True)
class Attribution:
    """A forecast as a sum: ``level`` of channel 0 + ``inputs`` [H, J, C] over lags and channels + ``calendar`` + ``constant`` + ``memory`` +
    ``unexplained`` = ``forecast``, each [H], in the series' own units.

    An input counts from its channel's usual level: its part is its gain times its distance from there.
    """

    level: float
    inputs: Floats
    gains: Floats
    calendar: Floats
    constant: Floats
    memory: Floats
    unexplained: Floats
    forecast: Floats


def attributed(response: Response, line: Floats, level: Floats) -> Attribution:
    """The forecast of a ``response`` to the window ``line`` [J, C] as a sum that begins at the usual ``level`` [C]."""
    inputs = response.gains * (line - level)
    told = level[0] + inputs.sum((1, 2)) + response.calendar + response.constant + response.memory
    return Attribution(
        level=float(level[0]),
        inputs=inputs,
        gains=response.gains,
        calendar=response.calendar,
        constant=response.constant,
        memory=response.memory,
        unexplained=response.total - told,
        forecast=response.total,
    )

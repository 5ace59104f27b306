"""The experts that are linear in the window: last value, seasonal naive, least squares. Their attributions are exact.

They are linear in each lag's difference to the newest value, one clip apiece, and their sum has no products. So a lag's gain is found by
moving that lag alone in a window that stands still. This asks the definition itself (``models/lags.py``) and repeats none of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models import lags
from models.explanation.moment import Moment
from models.explanation.parts import Response
from models.inputs import seasonal
from models.windows import Windows

Floats = NDArray[np.float64]
PHASES = 24
"""Moments of a season over which the calendar's mean is taken: more than twice the harmonics, so that these vanish from it."""
SMALLEST_MOVE = 1e-3
"""A lag that lies closer to the newest value, in steady scales, is moved by a whole scale: the gain is the same, rounding is not."""


def points(moment: Moment, lines: Floats, times_us: NDArray[np.int64] | None = None) -> dict[str, Floats]:
    """What each linear expert says [R, H] to windows ``lines`` [R, J] of channel 0, newest first, at ``times_us`` [R], in the series' units."""
    count, length = lines.shape
    rows = np.arange(count)
    times = np.full(count, moment.time_us) if times_us is None else times_us
    windows, season = _windows(moment, lines), np.full(count, moment.season)
    slots, newest = np.full(count, length - 1), lines[:, 0]
    said = {"last-value": np.repeat(newest[:, None], moment.spec.horizon, 1)}
    if "seasonal-naive" in moment.spec.experts:
        said["seasonal-naive"] = seasonal(windows, rows, slots, season, moment.spec.horizon, newest)
    if moment.coefficients:
        counts, steps, unit = (np.full(count, one) for one in (moment.count, moment.step_us, moment.steady))
        seen = lags.inputs(windows, rows, slots, counts, season, times, steps, unit)
        for name, coefficients in moment.coefficients.items():
            said[name] = newest[:, None] + moment.steady * (seen[name][0] @ coefficients.T)
    return said


def _windows(moment: Moment, lines: Floats) -> Windows:
    """Rings that hold these lines, as the forecaster's would."""
    count, length = lines.shape
    windows = Windows(moment.capacity, 1)
    windows.arrays = {
        "window.first": np.zeros(count, np.int64),
        "window.newest": np.full(count, length - 1),
        "window.seen": np.zeros((count, moment.capacity), np.bool_),
        "window.values": np.zeros((count, moment.capacity, 1)),
    }
    windows.seen[:, :length] = moment.seen[::-1]
    windows.values[:, :length, 0] = lines[:, ::-1]
    return windows


def responses(moment: Moment) -> dict[str, Response]:
    """How each linear expert answers to the window."""
    line, newest = moment.line[:, 0], moment.newest
    moved = line[1:] - newest
    moved = np.where(np.abs(moved) < SMALLEST_MOVE * moment.steady, moment.steady, moved)
    still = np.full((len(line), len(line)), newest)
    lags_but_newest = np.arange(1, len(line))
    still[lags_but_newest, lags_but_newest] += moved
    probed = points(moment, still)  # row 0 stands still, row j has lag j moved
    turning = _calendar(moment, still[:1])
    told = points(moment, line[None])
    made = {}
    for name, said in probed.items():
        gains = np.zeros((moment.spec.horizon, *moment.line.shape))
        gains[:, 1:, 0] = ((said[1:] - said[0]) / moved[:, None]).T
        gains[:, 0, 0] = 1.0 - gains[:, 1:, 0].sum(1)  # all lags moved together move the forecast with them
        made[name] = Response(
            gains=gains,
            calendar=said[0] - turning[name],
            constant=turning[name] - newest,
            memory=np.zeros(moment.spec.horizon),
            total=told[name][0],
        )
    return made


def _calendar(moment: Moment, still: Floats) -> dict[str, Floats]:
    """The mean over all phases of the season [H] of what is said to a window that stands still, [1, J]."""
    period_us = moment.season * moment.step_us if moment.season else lags.WEEK_US
    times = moment.time_us + np.arange(PHASES) * period_us // PHASES
    said = points(moment, np.repeat(still, PHASES, 0), times)
    return {name: one.mean(0) for name, one in said.items()}

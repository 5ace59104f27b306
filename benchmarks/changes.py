"""Synthetic streams, steady or with a known change, and bare detectors to compare with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN, PageHinkley

Floats = NDArray[np.float64]
SEASON = 48
STEADY = ("normal", "student-4", "autoregressive-0.7", "autoregressive-0.95", "season", "log-normal")
CHANGES = ("level", "variance", "gradual", "season", "trend")
ABRUPT = ("level", "variance")
"""The changes on which a detector is compared with ADWIN."""
APART = 48
"""Alarms of one stream within this many observations of each other are one."""


def steady(kind: str, series: int, length: int, seed: int) -> Floats:
    """Streams [length, series] in which nothing changes."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((length, series))
    if kind == "student-4":
        noise = rng.standard_t(4, (length, series))
    if kind == "log-normal":
        noise = np.exp(0.7 * noise)
    if kind == "season":
        noise += 3.0 * np.sin(2 * np.pi * np.arange(length) / SEASON)[:, None]
    if kind.startswith("autoregressive"):
        memory = float(kind.rpartition("-")[2])
        for row in range(1, length):
            noise[row] += memory * noise[row - 1]
    return 20.0 + noise


def changing(kind: str, series: int, length: int, at: int, seed: int) -> Floats:
    """Streams [length, series] of autoregressive noise (0.5) of deviation 1, every other one with a season, that change at row ``at``."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((length, series)) * np.sqrt(0.75)
    for row in range(1, length):
        noise[row] += 0.5 * noise[row - 1]
    since = np.maximum(np.arange(length) - at + 1, 0)[:, None]
    phase = 2 * np.pi * np.arange(length) / SEASON
    wave = np.where(np.arange(series) % 2 == 0, 2.0, 0.0) * np.sin(phase)[:, None]
    if kind == "variance":
        noise = np.where(since > 0, 3.0 * noise, noise)
    elif kind == "season":
        wave = np.where(since > 0, 3.0 * np.sin(2.0 * phase)[:, None] * np.ones(series), wave)
    extra = {"level": 3.0 * (since > 0), "gradual": 3.0 * np.minimum(since / 200, 1.0), "trend": 0.02 * since}
    made: Floats = 20.0 + noise + wave + extra.get(kind, 0.0)
    return made


def starts(alarms: list[int], apart: int = APART) -> list[int]:
    """Of alarms, ascending, those that come more than ``apart`` after the one before."""
    return [row for place, row in enumerate(alarms) if place == 0 or row - alarms[place - 1] > apart]


def judge(alarms: list[list[int]], at: int, length: int, first: int) -> tuple[float, float]:
    """Observations to a false alarm (over rows [first, at) of all streams) and the mean delay behind the change, at most to the end."""
    false = sum(len(starts([row for row in one if first <= row < at])) for one in alarms)
    delays = [next((row for row in one if row >= at), length) - at for one in alarms]
    return len(alarms) * (at - first) / max(false, 0.5), float(np.mean(delays))


def bare(detector: str, sensitivity: float, values: Floats) -> list[int]:
    """Rows at which river's bare detector fires on values [T]."""
    test: Any = ADWIN(delta=sensitivity) if detector == "ADWIN" else PageHinkley(threshold=sensitivity, mode="both")
    alarms = []
    for row, value in enumerate(values.tolist()):
        test.update(value)
        if test.drift_detected:
            alarms.append(row)
    return alarms


SENSITIVITIES: dict[str, list[float]] = {
    "ADWIN": [0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 1e-4, 1e-6],
    "Page-Hinkley": [5.0, 10.0, 15.0, 20.0, 30.0, 50.0, 80.0, 150.0, 300.0],
}
SIGNALS: dict[str, Callable[[Floats], Floats]] = {
    "last-value errors": lambda values: np.abs(np.diff(values, axis=0, prepend=values[:1])),
    "values": lambda values: values,
}


def delay_at(curve: list[tuple[float, float]], run_length: float) -> float:
    """The delay at a mean run length between false alarms: the smallest of a curve's points that are at least as quiet; infinite for none."""
    return min((delay for length, delay in curve if length >= run_length), default=float("inf"))

"""Prequential scores: every lead of every forecast is judged when its target arrives, beside two naive forecasts.

Memory is bounded: a series keeps its last H forecasts and one season of values, however long the stream.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NO_SLOT = -(2**62)
"""Farther from every slot than any lead or season."""


def widest_pair(levels: tuple[float, ...]) -> tuple[int, int]:
    """Indices of the lowest level with a mirror above 0.5, and of that mirror; the median twice where there is none."""
    for low, level in enumerate(levels):
        for high in range(len(levels) - 1, low, -1):
            if abs(level + levels[high] - 1.0) < 1e-9:
                return low, high
    middle = levels.index(0.5)
    return middle, middle


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """``ours / theirs``; None where either is unknown or the divisor is 0."""
    return ours / theirs if ours is not None and theirs else None


def typical_ratio(ratios: Iterable[float | None]) -> float | None:
    """The geometric mean: half the error on one series and twice on another cancel out. None when there is none."""
    known = [one for one in ratios if one is not None]
    if not known:
        return None
    return 0.0 if min(known) <= 0 else math.exp(sum(map(math.log, known)) / len(known))


@dataclass(slots=True)
class SeriesScore:
    """What is settled of one series. Per lead [H]: sums of absolute errors, targets inside the interval, targets."""

    forecast: Floats
    last_value: Floats
    seasonal: Floats
    inside: Floats
    settled: Floats
    observations: int = 0

    @classmethod
    def empty(cls, horizon: int) -> SeriesScore:
        forecast, last_value, seasonal, inside, settled = np.zeros((5, horizon))
        return cls(forecast, last_value, seasonal, inside, settled)

    def mean(self, errors: Floats) -> float | None:
        """Mean over all settled targets of one of the sums; None before the first."""
        count = float(self.settled.sum())
        return float(errors.sum()) / count if count else None

    def by_lead(self, errors: Floats) -> list[float | None]:
        """The mean at each lead, lead 1 first."""
        pairs = zip(errors.tolist(), self.settled.tolist(), strict=True)
        return [total / count if count else None for total, count in pairs]


class _Track:
    """The open forecasts of one series, in a ring by cutoff slot: [H, H], row = cutoff, column = lead."""

    def __init__(self, horizon: int, season: int, phase_us: int) -> None:
        self.phase_us, self.season = phase_us, season
        self.slots = np.full(horizon, NO_SLOT, np.int64)
        self.median, self.low, self.high, self.periodic = (np.zeros((horizon, horizon)) for _ in range(4))
        self.value = np.zeros(horizon)
        self.past = np.zeros(max(season, 1))
        self.past_slots = np.full(max(season, 1), NO_SLOT, np.int64)


class Scorer:
    """Scores the forecasts of one feed, which must come in the order in which they were issued.

    The truth is taken from the forecasts themselves, each of which carries the observation at its cutoff. A late
    observation makes no forecast, so its slot counts as missing here: nothing is scored against it.
    """

    def __init__(self, horizon: int, levels: tuple[float, ...]) -> None:
        self._horizon = horizon
        self._leads = np.arange(1, horizon + 1)
        self._median = levels.index(0.5)
        self._low, self._high = widest_pair(levels)
        self.nominal = levels[self._high] - levels[self._low]
        self.series: dict[str, SeriesScore] = {}
        self._tracks: dict[str, _Track] = {}

    def take(self, name: str, cutoff_us: int, step_us: int, season: int, value: float, quantiles: Floats) -> None:
        """One forecast, quantiles [H, Q], from ``cutoff_us``, where ``value`` was observed. ``season``: slots, or 0."""
        track = self._tracks.get(name)
        if track is None:
            track = self._tracks[name] = _Track(self._horizon, season, cutoff_us % step_us)
            self.series[name] = SeriesScore.empty(self._horizon)
        score = self.series[name]
        score.observations += 1
        slot = (cutoff_us - track.phase_us) // step_us
        self._settle(track, score, slot, value)
        self._open(track, slot, value, quantiles)

    def _settle(self, track: _Track, score: SeriesScore, slot: int, value: float) -> None:
        rows, columns = (slot - self._leads) % self._horizon, self._leads - 1
        open_here = track.slots[rows] == slot - self._leads
        if not open_here.any():
            return
        score.settled += open_here
        score.forecast += open_here * np.abs(value - track.median[rows, columns])
        score.last_value += open_here * np.abs(value - track.value[rows])
        score.seasonal += open_here * np.abs(value - track.periodic[rows, columns])
        score.inside += open_here & (track.low[rows, columns] <= value) & (value <= track.high[rows, columns])

    def _open(self, track: _Track, slot: int, value: float, quantiles: Floats) -> None:
        season = track.season
        at = slot % len(track.past)
        track.past[at], track.past_slots[at] = value, slot
        row = slot % self._horizon
        track.slots[row], track.value[row] = slot, value
        track.median[row] = quantiles[:, self._median]
        track.low[row], track.high[row] = quantiles[:, self._low], quantiles[:, self._high]
        if season:
            before = slot + self._leads - season * -(-self._leads // season)
            there = track.past_slots[before % season] == before
            # Without a value a season ago, both naive forecasts are the same: all are judged on the same targets.
            track.periodic[row] = np.where(there, track.past[before % season], value)
        else:
            track.periodic[row] = value

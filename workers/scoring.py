"""Prequential scores: every forecast is judged once its horizon has passed, beside the two naive forecasts.

The naive forecasts are made here, from the values alone, so that nothing of the engine stands in the yardstick. All
forecasters are judged on the same targets. A point forecaster is judged by its errors; the mixture, which gives
quantiles, also by pinball loss, CRPS, coverage and PIT.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from workers.measures import crps, crps_weights, pinball, pit_mass, symmetric_pairs

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

MIXTURE, LAST, SEASONAL = "mixture", "last-value", "seasonal-naive"
NO_SLOT = -(2**62)
"""Farther from every slot than any lead or season."""
MOST_FANS = 16


@dataclass(slots=True)
class Origins:
    """Scored forecasts of one series in order, n in all: cutoff and value there, mean absolute error of each of F
    forecasters (NaN where it gave none), and the share of targets inside the widest interval.
    """

    cutoff_us: Rows
    value: Floats
    absolute: Floats
    inside: Floats
    weights: Floats

    @classmethod
    def joined(cls, parts: Sequence[Origins]) -> Origins:
        """Several blocks as one."""
        names = cls.__slots__
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(slots=True)
class Fan:
    """A forecast that is kept to be drawn: quantiles [H, Q]."""

    cutoff_us: int
    step_us: int
    quantiles: Floats


class SeriesScore:
    """What has been judged of one series.

    Sums per forecaster and lead [F, H]: ``count`` of targets, ``absolute`` and ``squared`` errors; ``*_last`` and
    ``*_mixture`` are the errors of these two on the same targets. Of the mixture, over all leads: ``pinball``, ``below``
    (targets at or below) [H, Q], ``inside`` and ``width`` of each symmetric interval [H, P], ``pit`` [Q + 1].
    """

    def __init__(self, horizon: int, forecasters: int, levels: int, intervals: int) -> None:
        self.count, self.absolute, self.squared = np.zeros((3, forecasters, horizon))
        self.absolute_last, self.squared_last, self.absolute_mixture = np.zeros((3, forecasters, horizon))
        self.pinball, self.below = np.zeros((2, horizon, levels))
        self.crps = np.zeros(horizon)
        self.inside, self.width = np.zeros((2, horizon, intervals))
        self.pit = np.zeros(levels + 1)
        self.observations = 0
        self.blocks: list[Origins] = []
        self.fans: list[Fan] = []
        self._moved, self._moves = 0.0, 0
        self._mean, self._squares = 0.0, 0.0

    @property
    def targets(self) -> int:
        """Targets that the mixture was judged on."""
        return int(self.count[0].sum())

    @property
    def mean_move(self) -> float | None:
        """Mean absolute difference of values one step apart: what MASE divides by (Hyndman and Koehler 2006)."""
        return self._moved / self._moves if self._moves else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the values; None where they do not differ."""
        return math.sqrt(self._squares / self.observations) if self._squares > 0 else None

    def mean(self, name: str, forecaster: int) -> float | None:
        """Mean over all leads of one of the sums [F, H]; None before the first."""
        number = float(self.count[forecaster].sum())
        return float(getattr(self, name)[forecaster].sum()) / number if number else None

    def observe(self, value: float, before: float | None) -> None:
        """Take a value, and the one a step before it if there was one, into ``mean_move`` and ``deviation``."""
        self.observations += 1
        if before is not None:
            self._moved += abs(value - before)
            self._moves += 1
        # Welford (1962): exact where the values lie far from zero.
        shift = value - self._mean
        self._mean += shift / self.observations
        self._squares += shift * (value - self._mean)


@dataclass(slots=True)
class _Track:
    """Forecasts of one series whose horizon has not passed, oldest first, and the last season of its values."""

    phase_us: int
    step_us: int
    season: int
    past: Floats
    past_slots: Rows
    slots: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    quantiles: list[Floats] = field(default_factory=list)
    points: list[Floats] = field(default_factory=list)
    weights: list[Floats] = field(default_factory=list)
    last_slot: int = NO_SLOT
    last_value: float = 0.0
    fan_every: int = 1
    made: int = 0


class Scorer:
    """Scores the forecasts of one feed, which must come in the order in which they were issued.

    The truth is taken from the forecasts themselves, each of which carries the observation at its cutoff. A late
    observation makes no forecast, so its slot counts as missing here: nothing is scored against it.

    ``experts`` and ``rivals`` name the point forecasts that ``take`` brings. ``units`` (series -> deviation) are what
    values are divided by, 1 for the others. Forecasts whose first target lies before ``from_us`` are not scored. With
    ``whole`` only those count whose horizon has passed in full. They are judged ``block`` at a time.
    """

    def __init__(
        self,
        horizon: int,
        levels: tuple[float, ...],
        *,
        experts: Sequence[str] = (),
        rivals: Sequence[str] = (),
        units: Mapping[str, float] | None = None,
        from_us: int = 0,
        whole: bool = False,
        block: int = 32,
    ) -> None:
        self.horizon, self.levels = horizon, levels
        # The engine's copies of the naive forecasts would say the same twice.
        self._shown = [at for at, name in enumerate(experts) if name not in {LAST, SEASONAL}]
        self.forecasters = [MIXTURE, *(experts[at] for at in self._shown), LAST, SEASONAL, *rivals]
        self.experts, self.rivals = list(experts), list(rivals)
        self.last = self.forecasters.index(LAST)
        self.intervals = symmetric_pairs(levels)
        self._units, self._from_us = units or {}, from_us
        self._whole, self._block = whole, block
        self._leads = np.arange(1, horizon + 1)
        self._median = levels.index(0.5)
        self._levels, self._weights = np.array(levels), crps_weights(levels)
        self.series: dict[str, SeriesScore] = {}
        self._tracks: dict[str, _Track] = {}

    @property
    def nominal(self) -> float:
        """What the widest interval is to hold; 0 without one."""
        return self.levels[self.intervals[0][1]] - self.levels[self.intervals[0][0]] if self.intervals else 0.0

    def take(
        self,
        name: str,
        cutoff_us: int,
        step_us: int,
        season: int,
        value: float,
        quantiles: Floats,
        experts: Floats | None = None,
        rivals: Floats | None = None,
        weights: Floats | None = None,
    ) -> None:
        """One forecast, quantiles [H, Q], from ``cutoff_us``, where ``value`` was observed.

        ``season`` in slots, or 0; points of experts [H, E] and of rivals [R, H], NaN where one gave none; ``weights`` [E].
        """
        track = self._tracks.get(name)
        if track is None:
            track = self._start(name, cutoff_us, step_us, season)
        score = self.series[name]
        slot = (cutoff_us - track.phase_us) // step_us
        score.observe(value, track.last_value if track.last_slot == slot - 1 else None)
        track.last_slot, track.last_value = slot, value
        at = slot % len(track.past)
        track.past[at], track.past_slots[at] = value, slot
        if cutoff_us + step_us >= self._from_us:
            track.slots.append(slot)
            track.values.append(value)
            track.quantiles.append(np.asarray(quantiles, np.float64))
            track.points.append(self._points(track, slot, value, quantiles, experts, rivals))
            track.weights.append(np.zeros(len(self.experts)) if weights is None else weights)
            self._keep_fan(track, score, cutoff_us, quantiles)
        if track.slots and slot - track.slots[0] >= self.horizon + self._block - 1:
            self._judge(name, track, score, slot - self.horizon)

    def finish(self) -> None:
        """Judge what is left: leads whose targets have come, unless only whole forecasts count."""
        for name, track in self._tracks.items():
            if track.slots:
                last = track.slots[-1]
                self._judge(name, track, self.series[name], last - self.horizon if self._whole else last)

    def _start(self, name: str, cutoff_us: int, step_us: int, season: int) -> _Track:
        self.series[name] = SeriesScore(
            self.horizon, len(self.forecasters), len(self.levels), max(1, len(self.intervals))
        )
        past = np.zeros(max(season, 1))
        track = _Track(cutoff_us % step_us, step_us, season, past, np.full(len(past), NO_SLOT, np.int64))
        self._tracks[name] = track
        return track

    def _points(
        self, track: _Track, slot: int, value: float, quantiles: Floats, experts: Floats | None, rivals: Floats | None
    ) -> Floats:
        """What each forecaster says, [F, H]."""
        points = np.full((len(self.forecasters), self.horizon), np.nan)
        points[0] = quantiles[:, self._median]
        if experts is not None:
            points[1 : self.last] = experts[:, self._shown].T
        points[self.last] = points[self.last + 1] = value
        if season := track.season:
            before = slot + self._leads - season * -(-self._leads // season)
            there = track.past_slots[before % season] == before
            # Without a value a season ago, both naive forecasts are the same: all are judged on the same targets.
            points[self.last + 1] = np.where(there, track.past[before % season], value)
        if rivals is not None:
            points[self.last + 2 :] = rivals
        return points

    def _judge(self, name: str, track: _Track, score: SeriesScore, upto: int) -> None:
        """Judge the forecasts from slots up to ``upto``, and forget them."""
        slots = np.array(track.slots)
        n = int(np.searchsorted(slots, upto, side="right"))
        if not n:
            return
        targets = slots[:n, None] + self._leads
        at = np.minimum(np.searchsorted(slots, targets), len(slots) - 1)
        known = slots[at] == targets  # [n, H]
        unit = self._units.get(name, 1.0)
        truth = np.where(known, np.array(track.values)[at], 0.0) / unit
        points, quantiles = np.stack(track.points[:n]) / unit, np.stack(track.quantiles[:n]) / unit
        absolute = np.where(known[:, None], np.abs(truth[:, None] - points), np.nan)  # [n, F, H]
        self._add_errors(score, absolute)
        inside = self._add_quantiles(score, truth, quantiles, known)
        number = known.sum(1)
        judged = number > 0
        means = np.nansum(absolute, -1) / np.maximum((~np.isnan(absolute)).sum(-1), 1)
        means[np.isnan(absolute).all(-1)] = np.nan
        score.blocks.append(
            Origins(
                (track.phase_us + slots[:n] * track.step_us)[judged],
                np.array(track.values[:n])[judged],
                means[judged],
                (inside.sum(1) / np.maximum(number, 1))[judged],
                np.stack(track.weights[:n])[judged],
            )
        )
        for kept in (track.slots, track.values, track.quantiles, track.points, track.weights):
            del kept[:n]

    def _add_errors(self, score: SeriesScore, absolute: Floats) -> None:
        there = ~np.isnan(absolute)
        own = np.where(there, absolute, 0.0)
        last = np.where(there, absolute[:, self.last, None], 0.0)
        score.count += there.sum(0)
        score.absolute += own.sum(0)
        score.squared += (own**2).sum(0)
        score.absolute_last += last.sum(0)
        score.squared_last += (last**2).sum(0)
        score.absolute_mixture += np.where(there, absolute[:, :1], 0.0).sum(0)

    def _add_quantiles(
        self, score: SeriesScore, truth: Floats, quantiles: Floats, known: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Returns which targets [n, H] lie inside the widest interval."""
        losses = np.where(known[..., None], pinball(truth, quantiles, self._levels), 0.0)
        score.pinball += losses.sum(0)
        score.crps += crps(losses, self._weights).sum(0)
        score.below += (known[..., None] & (truth[..., None] <= quantiles)).sum(0)
        score.pit += pit_mass(truth[known], quantiles[known], self.levels).sum(0)
        widest = np.zeros_like(known)
        for number, (low, high) in enumerate(self.intervals):
            lower, upper = quantiles[..., low], quantiles[..., high]
            inside = known & (lower <= truth) & (truth <= upper)
            score.inside[:, number] += inside.sum(0)
            score.width[:, number] += np.where(known, upper - lower, 0.0).sum(0)
            widest = widest if number else inside
        return widest

    def _keep_fan(self, track: _Track, score: SeriesScore, cutoff_us: int, quantiles: Floats) -> None:
        """Keep forecasts at even distances, however long the series: every other one goes when there are too many."""
        if track.made % track.fan_every == 0:
            score.fans.append(Fan(cutoff_us, track.step_us, np.array(quantiles)))
            if len(score.fans) > MOST_FANS:
                score.fans = score.fans[::2]
                track.fan_every *= 2
        track.made += 1

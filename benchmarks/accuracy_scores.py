"""What the accuracy benchmark finds in a run: errors, coverage, quantile loss beside fixed intervals, reliability of crossings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.crossing import Crossings
from models.spec import ModelSpec

HORIZONS, STRETCH, BINS = (1, 24, 48), 1_000, 10
Floats = NDArray[np.float64]


@dataclass(slots=True)
class Run:
    """What a run said, all minus the value at the origin: points [T, C, H, E], quantiles [T, C, H, Q], targets [T, C, H] (NaN unknown)."""

    points: NDArray[np.float32]
    quantiles: NDArray[np.float32]
    targets: Floats
    spec: ModelSpec

    def mixed(self) -> NDArray[np.float32]:
        """The median, [T, C, H]."""
        return self.quantiles[..., self.spec.median]


def by_horizon(errors: Floats) -> dict[str, float]:
    """Means of errors [..., H] over leads 1 to h, for each h."""
    lead = errors.reshape(-1, errors.shape[-1]).mean(0)
    return {str(h): round(float(lead[:h].mean()), 4) for h in HORIZONS if h <= len(lead)}


def coverage(run: Run, low: int, high: int) -> dict[str, Any]:
    """Of each central interval, over origins [low, high): share inside, least and most in any ``STRETCH`` origins, mean width.

    A target that an interval without width hits counts as the interval's level, as a randomised PIT would have it on the mean (Czado,
    Gneiting and Held 2009): where a series repeats itself exactly, nothing narrower could be said.
    """
    levels = run.spec.levels
    told = {}
    for place in range(run.spec.median):
        lower, upper = run.quantiles[low:high, ..., place], run.quantiles[low:high, ..., -1 - place]
        target = run.targets[low:high]
        level = levels[-1 - place] - levels[place]
        hit = np.where(upper > lower, 1.0, level)
        inside = np.where((target >= lower) & (target <= upper), hit, 0.0).mean((1, 2))
        sums = np.concatenate([[0.0], inside.cumsum()])
        size = min(STRETCH, len(inside))
        stretches = (sums[size:] - sums[:-size]) / size
        told[f"{level:.2g}"] = {
            "share": round(float(inside.mean()), 4),
            "least": round(float(stretches.min()), 4),
            "most": round(float(stretches.max()), 4),
            "width": round(float((upper - lower).mean()), 4),
        }
    return told


def pinball(target: Floats, quantiles: NDArray[Any], levels: tuple[float, ...]) -> float:
    """Mean quantile loss over everything."""
    total = 0.0
    for place, level in enumerate(levels):
        error = target - quantiles[..., place]
        total += float(np.maximum(level * error, (level - 1) * error).mean())
    return round(total / len(levels), 5)


def fixed_intervals(run: Run, first: int, low: int) -> NDArray[Any]:
    """The baseline for intervals: the same median with the residuals' quantiles of origins [first, low), by channel and lead."""
    past = run.targets[first : low - run.spec.horizon] - run.mixed()[first : low - run.spec.horizon]
    offsets = np.moveaxis(np.quantile(past, run.spec.levels, axis=0), 0, -1)  # [C, H, Q]
    return run.mixed()[low:, ..., None] + offsets


def crossings(run: Run, values: Floats, limits: Floats, low: int, high: int) -> dict[str, Any]:
    """Of chances to cross within the horizon, of origins [low, high): Brier score, that of the mean frequency, and the frequency in each of
    ``BINS`` equal bins of the chance. ``values`` are [T, C], ``limits`` [2, C] those above and below.
    """
    channels = values.shape[1]
    chances = Crossings(run.spec.horizon, run.spec.levels)
    chances.resize(channels)
    for row, (above, below) in enumerate(limits.T.tolist()):
        chances.begin(row, above, below)
    each = np.arange(channels)
    told = np.array(
        [
            chances.observe(each, np.full(channels, at), values[at], run.quantiles[at] + values[at][:, None, None])
            for at in range(high)
        ]
    )[low:]
    ahead = run.targets[low:high] + values[low:high, :, None]
    crossed = np.stack(
        [(ahead > chances.limits[:, :1]).any(2), (ahead < chances.limits[:, 1:]).any(2)], axis=2
    )  # [origins, C, sides]
    place = np.minimum((told * BINS).astype(int), BINS - 1)
    share = float(crossed.mean())
    return {
        "brier": round(float(((told - crossed) ** 2).mean()), 4),
        "brier_of_frequency": round(share * (1 - share), 4),
        "reliability": [
            {
                "forecasts": int(inside.sum()),
                "chance": round(float(told[inside].mean()), 3),
                "frequency": round(float(crossed[inside].mean()), 3),
            }
            for inside in (place == number for number in range(BINS))
            if inside.any()
        ],
    }

"""When did the errors change, how sure is that, and what were they before and after: the evidence of a drift alert.

Sizes of errors are taken as exponentially distributed with one mean before the change and one after (both unknown, flat priors on their
logarithms), and every moment as equally likely beforehand: the change's posterior distribution is then known in closed form (Smith 1975).
Real errors are lighter in the tails than that, so the interval is rather too wide than too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
INTERVAL = 0.9
FEWEST = 4
"""Errors that each side of a change has at least."""
SMALLEST = 1e-9
BARS = 12


@dataclass(frozen=True, slots=True)
class Side:
    """Sizes of errors on one side of a change, in typical errors."""

    count: int
    mean: float
    median: float
    high: float
    """Nine of ten are at most this."""
    shares: tuple[float, ...]
    """Share of the errors in each of ``BARS`` bars between 0 and ``Change.top``; larger ones count in the last."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the sizes of n errors: the first error after it (``at``, from 0), the 90 % interval of that, and both sides.

    ``strength`` is the logarithm of how many times likelier the errors are with the change than without, each at its best.
    """

    at: int
    earliest: int
    latest: int
    before: Side
    after: Side
    top: float
    strength: float

    @property
    def evidence(self) -> dict[str, float | int | str]:
        """What an alert can carry of it: both sides, and how many errors ago it was, the newest being 1 ago, with its interval."""
        count = self.before.count + self.after.count
        return {
            "error_before": round(self.before.mean, 4),
            "error_after": round(self.after.mean, 4),
            "error_before_high": round(self.before.high, 4),
            "error_after_high": round(self.after.high, 4),
            "errors_before": self.before.count,
            "errors_after": self.after.count,
            "changed_ago_least": count - self.latest,
            "changed_ago_most": count - self.earliest,
        }


def change_of(sizes: Floats) -> Change:
    """The most likely single change among error sizes [n], n >= 8. Raises ValueError for fewer."""
    count = len(sizes)
    if count < 2 * FEWEST:
        raise ValueError(f"{count} errors tell of no change, at least {2 * FEWEST} are needed")
    likely = posterior(sizes)
    sums = likely.cumsum()
    at = int(np.argmax(likely))
    low, high = (int(np.searchsorted(sums, level)) for level in ((1 - INTERVAL) / 2, (1 + INTERVAL) / 2))
    top = float(np.quantile(sizes, 0.98)) or 1.0
    return Change(
        at=at,
        earliest=min(low, at),
        latest=max(min(high, count - 1), at),
        before=_side(sizes[:at], top),
        after=_side(sizes[at:], top),
        top=top,
        strength=_log_likelihood(sizes[:at]) + _log_likelihood(sizes[at:]) - _log_likelihood(sizes),
    )


def _log_likelihood(sizes: Floats) -> float:
    """Of exponentially distributed sizes at their best mean."""
    return -len(sizes) * float(np.log(max(float(sizes.mean()), SMALLEST)) + 1.0)


def posterior(sizes: Floats) -> Floats:
    """Probability [n] that the first error after the change is each of ``sizes`` [n]; 0 where a side would have too few."""
    count = len(sizes)
    total = np.maximum(sizes, SMALLEST).cumsum()
    split = np.arange(FEWEST, count - FEWEST + 1)
    gammas = np.array([lgamma(number) for number in range(1, count + 1)])
    before, after = total[split - 1], total[-1] - total[split - 1]
    log = gammas[split - 1] - split * np.log(before)
    log += gammas[count - split - 1] - (count - split) * np.log(np.maximum(after, SMALLEST))
    likely = np.zeros(count)
    likely[split] = np.exp(log - log.max())
    likely /= likely.sum()
    return likely


def _side(sizes: Floats, top: float) -> Side:
    counts, _ = np.histogram(np.minimum(sizes, top), BARS, (0.0, top))
    return Side(
        count=len(sizes),
        mean=float(sizes.mean()),
        median=float(np.median(sizes)),
        high=float(np.quantile(sizes, 0.9)),
        shares=tuple((counts / len(sizes)).tolist()),
    )

"""What an engine step brings about, in columns."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from stream.records import Rejected
from workers.alerts import AlertEvent
from workers.series import Place, Rows, Series


@dataclass(slots=True)
class Forecasts:
    """Forecasts in columns, in the order of their observations: everything [n, ...].

    ``series`` are the names of their series and ``row`` the rows, ``index`` each one's observation among the decoded; ``record`` and
    ``item`` say where that stands in the decoded records. quantiles [n, H, Q] are in the series' units, and so are the points of the
    experts [n, H, E], where the engine ``tells_experts``. ``crossings`` [n, 2] are chances to go above and below the series' thresholds, NaN
    where it has none, and None where the feed has none. ``model`` is a number of ``Engine.models``.
    """

    series: list[str]
    index: Rows
    row: Rows
    record: NDArray[np.int32]
    item: NDArray[np.int32]
    cutoff_us: Rows
    step_us: Rows
    value: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    weights: NDArray[np.float64]
    ready: NDArray[np.bool_]
    model: NDArray[np.int32]
    experts: NDArray[np.float64] | None = None
    crossings: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.row)


@dataclass(slots=True)
class Touched:
    """Series that have changed and need saving: their rows, each once, and the first offset that changed each, both [n]."""

    rows: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    offsets: Rows = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(slots=True)
class Effects:
    """What a batch brought about."""

    forecasts: Forecasts | None = None
    alerts: list[tuple[Place, AlertEvent]] = field(default_factory=list)
    touched: Touched = field(default_factory=Touched)
    started: list[Series] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


def in_order(parts: list[Forecasts]) -> Forecasts | None:
    """The forecasts of several rounds as one, in the order of the observations; None for none."""
    if len(parts) <= 1:
        return parts[0] if parts else None
    order = np.argsort(np.concatenate([part.index for part in parts]), kind="stable")
    series = [name for part in parts for name in part.series]
    names = [one.name for one in fields(Forecasts) if isinstance(getattr(parts[0], one.name), np.ndarray)]
    return Forecasts(
        series=[series[place] for place in order.tolist()],
        **{name: np.concatenate([getattr(part, name) for part in parts])[order] for name in names},
    )


def turns(rows: Rows) -> list[Rows]:
    """Indices of ``rows`` in rounds, in each of which every row stands at most once, and every row's in order."""
    if not len(rows):
        return []
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    begins = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sizes = np.diff(np.r_[begins, len(ordered)])
    number = np.arange(len(ordered)) - np.repeat(begins, sizes)
    by_turn = order[np.argsort(number, kind="stable")]
    return [np.sort(turn) for turn in np.split(by_turn, np.bincount(number).cumsum()[:-1])]

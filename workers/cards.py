"""The cards of a feed's series: how each one does. In columns, as a card a second of every series is no small thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from stream.messages import STATES, VERSION, iso, iso_column
from workers.engine import Engine
from workers.series import Place, Rows, Series

NO_ERROR = 1e-9
"""Below this many window spreads the last value is exact, and no ratio to it says anything."""
RECENT = 24
"""Slots whose values a card tells: enough for a sparkline."""


def cards(engine: Engine, chosen: Sequence[Series], now_us: int) -> dict[Place, dict[str, bytes]]:
    """The cards (``stream.messages.SeriesCard``) of those series that have had a forecast, by partition and name."""
    rows = np.array([series.row for series in chosen], np.int64)
    had = (engine.forecaster.windows.newest[rows] >= 0) & (engine.forecaster.scores.arrays["score.count"][rows] > 0)
    rows = rows[had]
    if not len(rows):
        return {}
    shared = {"v": VERSION, "feed": engine.feed.name}
    columns = _columns(engine, rows)
    told = [series for series, is_there in zip(chosen, had.tolist(), strict=True) if is_there]
    updated = iso(now_us)
    by_place: dict[Place, dict[str, bytes]] = {}
    for series, of_series in zip(told, zip(*columns.values(), strict=True), strict=True):
        own = {"series": series.name, "partition": series.place.partition, "updated": updated}
        text = orjson.dumps(shared | own | dict(zip(columns, of_series, strict=True)))
        by_place.setdefault(series.place, {})[series.name] = text
    return by_place


def _columns(engine: Engine, rows: Rows) -> dict[str, Sequence[Any]]:
    table, grid, scores = engine.table, engine.grid, engine.forecaster.scores.arrays
    newest = engine.forecaster.windows.newest[rows]
    state = np.where(table.stale[rows], 2, table.ready[rows])
    spread = _errors(engine, rows, newest)
    judged = scores["score.settled"][rows, 0] > 0
    return {
        "state": [STATES[number] for number in state.tolist()],
        "model": [engine.models[number] for number in table.model[rows].tolist()],
        "step_s": (grid.step_us[rows] / 1e6).tolist(),
        "observations": scores["score.count"][rows].tolist(),
        "gaps": table.gaps[rows].tolist(),
        "late": table.late[rows].tolist(),
        "duplicates": table.duplicates[rows].tolist(),
        "cutoff": iso_column(grid.slot_time_us(rows, newest)),
        **{name: _where(judged, numbers) for name, numbers in spread.items()},
        **_coverage(engine, rows, judged),
        "weights": [
            dict(zip(engine.spec.experts, of_row, strict=True))
            for of_row in engine.forecaster.scores.weights(rows).mean(1).tolist()
        ],
        "value": _newest_values(engine, rows, newest)[:, 0].tolist(),
        "recent": _recent(engine, rows, newest),
        "offset": np.maximum(table.applied[rows], 0).tolist(),
    }


def _newest_values(engine: Engine, rows: Rows, newest: Rows) -> NDArray[np.float64]:
    windows = engine.forecaster.windows
    return windows.values[rows, newest % windows.capacity]


def _recent(engine: Engine, rows: Rows, newest: Rows) -> list[list[float | None]]:
    slots = newest[:, None] + np.arange(1 - RECENT, 1)
    values, seen = engine.forecaster.windows.at(rows, slots)
    began = np.argmax(slots >= 0, axis=1).tolist()
    told = zip(values.tolist(), seen.tolist(), began, strict=True)
    return [
        [number if there else None for number, there in zip(row[first:], was_seen[first:], strict=True)]
        for row, was_seen, first in told
    ]


def _errors(engine: Engine, rows: Rows, newest: Rows) -> dict[str, NDArray[np.float64]]:
    """Recent errors at lead 1 of the forecast and of the last value, in the series' units, and their ratio; NaN where that says nothing."""
    scores = engine.forecaster.scores.arrays
    unit = engine.forecaster.scales.of(rows, _newest_values(engine, rows, newest))[:, 0]
    mixed, naive = scores["score.mixed"][rows, 0], scores["score.errors"][rows, 0, 0]
    ratio = np.divide(mixed, naive, out=np.full(len(rows), np.nan), where=naive > NO_ERROR)
    return {"error": mixed * unit, "error_last_value": naive * unit, "error_ratio": ratio}


def _where(judged: NDArray[np.bool_], numbers: NDArray[np.float64]) -> list[float | None]:
    told = judged & np.isfinite(numbers)
    return [number if is_told else None for number, is_told in zip(numbers.tolist(), told.tolist(), strict=True)]


def _coverage(engine: Engine, rows: Rows, judged: NDArray[np.bool_]) -> dict[str, Sequence[Any]]:
    """Share of recent targets in each central interval, by its nominal share, and the widest of these."""
    levels = engine.spec.levels
    pairs = [(low, high) for low in levels for high in levels if low < 0.5 and abs(low + high - 1.0) < 1e-9]
    share = engine.forecaster.scores.arrays["score.coverage"][rows]
    inside = {
        f"{high - low:.6g}": np.clip(share[:, levels.index(high)] - share[:, levels.index(low)], 0.0, 1.0).tolist()
        for low, high in pairs
    }
    return {
        "coverage": [
            {name: of_pair[index] for name, of_pair in inside.items()} if is_judged else {}
            for index, is_judged in enumerate(judged.tolist())
        ],
        "nominal": [max((round(high - low, 6) for low, high in pairs), default=0.0)] * len(rows),
    }

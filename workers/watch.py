"""Which alerts an observation begins and ends: the detectors' findings against what the feed allows, through the lives of alerts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.detection import IRREGULAR, LASTING, NAMES, REGIME, STATISTICS, WEEK_US, needed
from models.drift import Detection
from models.limits import crossing
from models.observation import Beat, Issued, Settled
from workers.alerts import CALM, AlertEvent, Finding, drift_finding, rare_finding
from workers.lives import ADAPTED, HYSTERESIS, MATTERS, QUALITY, QUIET, SIGNAL, THRESHOLD
from workers.residents import Residents
from workers.series import Place, Rows, Series

Floats = NDArray[np.float64]
CONFIRMED = 1.0
"""A change of the errors that ADWIN or Page-Hinkley finds is told where the mean error is within so many powers of ten of rare enough: they
take errors for independent, and those of a loud hour of the day are not."""
ADAPT_EVERY, ADAPT_FOR = 48, 240
"""After a new regime has been noticed, the models adapt at every so many observations, for so many: lags and seasons reach back that far."""
CLEAR = 0.2
"""A crossing is over when its probability is at least this much below what fires."""


@dataclass(slots=True)
class Seen:
    """What one observation of each of B series brought: the rarity of each statistic [B, S], what was needed [B], detections by index."""

    rare: Floats
    need: Floats
    found: dict[int, Detection]
    errors: Floats
    values: Floats
    odds: Floats
    beyond: Floats
    """Probability of going above and below the limits, [B, 2], of which the larger counts."""


def watch(
    held: Residents, rows: Rows, slots: Rows, values: Floats, beat: Beat, settled: Settled, issued: Issued
) -> list[tuple[Place, AlertEvent]]:
    """Judge one observation of each of ``rows`` [B], unique, in order; ``values`` [B]. Returns the transitions."""
    seen = _look(held, rows, slots, values, beat, settled, issued)
    margins = _margins(held, rows, seen)
    begins, ends = held.lives.step(rows, margins)
    # Who joins an incident that fires already: what is found again, or by other detectors.
    joins = (margins >= 0.0) & ~begins & (held.lives.phase[rows] > QUIET)
    touched = np.flatnonzero((begins | ends | joins).any(1)).tolist()
    made: list[tuple[Place, AlertEvent]] = []
    for index in touched:
        series, at_us = (
            held.at(rows[index : index + 1])[0],
            int(beat.phase_us[index] + slots[index] * beat.step_us[index]),
        )
        for which, matter in enumerate(MATTERS):
            event = None
            if begins[index, which]:
                event = series.alerts.begin(matter, _finding(held, series, seen, index, which, beat), at_us)
            elif ends[index, which]:
                worn = bool(held.lives.phase[series.row, which] == ADAPTED)
                event = series.alerts.end(matter, at_us, worn=worn, now=held.drift.now(series.row))
            elif joins[index, which] and matter in series.alerts.firing:
                series.alerts.join(matter, _finding(held, series, seen, index, which, beat))
            if event is not None:
                made.append((series.place, event))
        _notice_regime(held, series, seen, index)
        series.watch()
    return made


def _notice_regime(held: Residents, series: Series, seen: Seen, index: int) -> None:
    """Once an incident tells of a new regime, and not of a moment, the models begin to adapt."""
    incident = series.alerts.firing.get(MATTERS[SIGNAL])
    if incident is None or incident.adapted or not held.feed.alerts.adapt:
        return
    if index in seen.found or (seen.rare[index, REGIME] >= seen.need[index]).any():
        incident.adapted = True
        held.table.adapting[series.row] = ADAPT_FOR


def adapt(held: Residents, rows: Rows) -> None:
    """Let the models of those that are in a new regime adapt, again and again while their windows still hold the old one.

    Before the next observation: so the state that is saved is the one that made the newest forecast.
    """
    left = held.table.adapting[rows]
    if left.any():
        due = rows[(left > 0) & (left % ADAPT_EVERY == 0)]
        held.table.adapting[rows] = np.maximum(left - 1, 0)
        if len(due):
            held.forecaster.adapt(due)


def _look(
    held: Residents, rows: Rows, slots: Rows, values: Floats, beat: Beat, settled: Settled, issued: Issued
) -> Seen:
    alerts, table, count = held.feed.alerts, held.table, len(rows)
    need, rare = np.full(count, np.inf), np.zeros((count, len(NAMES)))
    if alerts.anomalies:
        irregular = table.gaps[rows] + table.late[rows] + table.duplicates[rows]
        rare = held.detectors.update(rows, slots, values, irregular, issued.quantiles)
        need = needed(beat.step_us, alerts.false_alarms_per_week)
        rare[~issued.ready] = 0.0
    found: dict[int, Detection] = {}
    if alerts.drift:
        judged = np.flatnonzero(settled.known & issued.ready)
        found = {int(judged[place]): one for place, one in held.drift.update(rows[judged], settled.error[judged])}
    beyond = np.zeros((count, 2))
    for side, limit in enumerate((alerts.above, alerts.below)):
        if limit is not None:
            beyond[:, side] = crossing(issued.quantiles, held.spec.levels, limit, above=side == 0)
    beyond[~issued.ready] = 0.0
    return Seen(rare, need, found, settled.error, values, beyond.max(1), beyond)


def _margins(held: Residents, rows: Rows, seen: Seen) -> Floats:
    """How much more than enough there is, [B, M], by matter."""
    margins = np.full((len(rows), len(MATTERS)), -np.inf)
    if held.feed.alerts.anomalies:
        margins[:, SIGNAL] = seen.rare[:, :IRREGULAR].max(1) - seen.need
        margins[:, QUALITY] = seen.rare[:, IRREGULAR] - seen.need
    if held.feed.alerts.above is not None or held.feed.alerts.below is not None:
        margins[:, THRESHOLD] = (seen.odds - held.feed.alerts.crossing_probability) * (HYSTERESIS / CLEAR)
    for index in np.flatnonzero(held.table.drifting[rows]).tolist():
        # It is not over while the errors are not calm.
        series = held.at(rows[index : index + 1])[0]
        if held.drift.now(series.row) > CALM * series.alerts.firing[MATTERS[SIGNAL]].before:
            margins[index, SIGNAL] = max(margins[index, SIGNAL], -HYSTERESIS)
    for index in seen.found:
        if not held.feed.alerts.anomalies or seen.rare[index, LASTING] >= seen.need[index] - CONFIRMED:
            margins[index, SIGNAL] = max(margins[index, SIGNAL], 0.0)
    return margins


def _finding(held: Residents, series: Series, seen: Seen, index: int, which: int, beat: Beat) -> Finding:
    """What is to be said of a matter at this observation."""
    value = float(seen.values[index])
    if which == THRESHOLD:
        side = int(seen.beyond[index].argmax())
        name, limit = (
            ("forecast above", held.feed.alerts.above) if side == 0 else ("forecast below", held.feed.alerts.below)
        )
        odds = float(seen.odds[index])
        evidence: dict[str, float | int | str] = {
            "detector": name,
            "probability": round(odds, 3),
            "limit": float(limit or 0.0),
        }
        title = f"{series.name}: the forecast goes {name.split()[1]} {limit:g} with a probability of {odds:.0%}"
        return Finding(name, "threshold", "critical" if odds >= 0.9 else "warning", title, evidence)
    first, last = (IRREGULAR, len(NAMES)) if which == QUALITY else (0, IRREGULAR)
    most = first + int(seen.rare[index, first:last].argmax())
    rarity, margin = float(seen.rare[index, most]), float(seen.rare[index, most] - seen.need[index])
    if which == SIGNAL and index in seen.found and (margin < 0.0 or most == LASTING):
        return drift_finding(series.name, seen.found[index], float(seen.errors[index]))
    week = WEEK_US / int(beat.step_us[index])
    return rare_finding(series.name, NAMES[most], STATISTICS[NAMES[most]], value, rarity, margin, week)

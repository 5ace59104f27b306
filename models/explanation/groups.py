"""The parts of a window that people speak of: now, the last hours, the same time a season ago, the rest, and the other channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.explanation.attribution import Explanation
from models.explanation.moment import Moment

Floats = NDArray[np.float64]
RECENT = 8
"""The last hours are an eighth of the season, or of the context where there is none."""
SAME_TIME = 24
"""The same time is within a 24th of a season."""


@dataclass(frozen=True, slots=True)
class Group:
    """Some inputs: ``inside`` [H, J, C], as "the same time a season ago" lies at another lag for each lead. ``number`` counts seasons or
    channels."""

    kind: str
    inside: NDArray[np.bool_]
    number: int = 0


@dataclass(frozen=True, slots=True)
class Moved:
    """A part of the window beside what it is measured by: means of channel 0 over ``recent`` lags 0 up to ``slots`` - 1, and of the same
    slots a ``season`` of slots before (of the context before them, where that is 0). ``within`` is newest minus oldest of the part."""

    slots: int
    mean: float
    reference: float
    within: float
    season: int

    @property
    def change(self) -> float:
        """How far the part lies above what it is measured by."""
        return self.mean - self.reference


def recent_slots(moment: Moment) -> int:
    """How many slots, with the newest, are "the last hours"."""
    reach = moment.season or moment.spec.context
    return max(2, min(reach // RECENT, len(moment.line)))


def groups(moment: Moment) -> list[Group]:
    """Every lag and channel in exactly one group."""
    horizon, (length, channels) = moment.spec.horizon, moment.line.shape
    lags, left = np.arange(length), np.ones((horizon, length), bool)
    found = []

    def take(kind: str, which: NDArray[np.bool_], number: int = 0) -> None:
        inside = np.zeros((horizon, length, channels), bool)
        inside[..., 0] = left & which
        left[inside[..., 0]] = False
        found.append(Group(kind, inside, number))

    take("newest", np.broadcast_to(lags == 0, left.shape))
    if moment.season:
        leads = np.arange(1, horizon + 1)[:, None]
        ago = moment.season * -(-leads // moment.season) - leads
        for number in (1, 2):
            away = np.abs(lags - ago - (number - 1) * moment.season)
            take("season", away <= max(1, moment.season // SAME_TIME), number)
    take("recent", np.broadcast_to(lags < recent_slots(moment), left.shape))
    take("earlier", np.ones_like(left))
    for channel in range(1, channels):
        inside = np.zeros((horizon, length, channels), bool)
        inside[..., channel] = True
        found.append(Group("channel", inside, channel))
    return found


def contribution(made: Explanation, group: Group) -> Floats:
    """What a group does to the mixture's forecast, [H]."""
    total: Floats = np.where(group.inside, made.mixture.inputs, 0.0).sum((1, 2))
    return total


def distance(made: Explanation, group: Group, lead: int) -> float | None:
    """How far the group's inputs lie from their usual level, on average, for ``lead`` from 1; None where it has none."""
    inside = group.inside[lead - 1]
    away = (made.moment.line - made.moment.level)[inside]
    return float(away.mean()) if len(away) else None


def moved(moment: Moment) -> Moved | None:
    """What the last hours did; None where there is nothing before them to measure them by."""
    slots, line, season = recent_slots(moment), moment.line[:, 0], moment.season
    seasonal = slots <= season and len(line) >= season + slots
    before = line[season : season + slots] if seasonal else line[slots : moment.spec.context]
    if not len(before):
        return None
    recent = line[:slots]
    return Moved(slots, float(recent.mean()), float(before.mean()), float(recent[0] - recent[-1]), season * seasonal)

"""What changed when a series' errors changed: when, from what to what, and which part of the window moves the forecast otherwise since."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.explanation.attribution import explain
from models.explanation.change import INTERVAL, Side, change_of
from models.explanation.groups import contribution, groups
from stream.messages import AlertMessage, iso, time_us
from workers.explaining.finding import Found
from workers.explaining.message import ErrorChange, ErrorSide
from workers.explaining.naming import channels_of, name_of

SURE = 10.0
"""Logarithm of how many times likelier a change must make the kept errors than none, before it is told of."""
CUTOFFS = 6
"""Forecasts on each side of the change whose attributions are compared."""
NEAR = 64
"""They lie within so many slots of it."""
Rows = NDArray[np.int64]


def error_change(found: Found, fired: AlertMessage, lead: int) -> ErrorChange | None:
    """The change of errors that an alert of drift tells of: from the errors that the state still keeps, else from the alert's evidence."""
    told = _from_errors(found, time_us(fired.at)) or _from_evidence(found, fired)
    return None if told is None else told.model_copy(update={"rose": _rose(found, told, time_us(fired.at), lead)})


def _from_errors(found: Found, until_us: int) -> ErrorChange | None:
    """From the kept errors, where a change of theirs lies before the alert: after a detection tests may begin anew, and keep none of it."""
    row, drift = found.series.row, found.engine.drift
    slots = found.error_slots()
    kept = min(int(drift.counts[row]), len(slots))
    if kept < 32:
        return None
    sizes = drift.errors[row, drift.counts[row] - kept : drift.counts[row]].astype(np.float64)
    change, slots = change_of(sizes), slots[len(slots) - kept :]
    if change.strength < SURE or found.slot_us(int(slots[change.at])) > until_us:
        return None
    at, earliest, latest = (
        iso(found.slot_us(int(slots[place]))) for place in (change.at, change.earliest, change.latest)
    )
    return ErrorChange.model_validate(
        {"at": at, "earliest": earliest, "latest": latest, "sure": INTERVAL, "top": change.top}
        | {"before": _side(change.before), "after": _side(change.after)}
    )


def _from_evidence(found: Found, fired: AlertMessage) -> ErrorChange | None:
    """From what the alert itself carries."""
    evidence = fired.evidence
    sides = [(evidence.get(f"errors_{side}"), evidence.get(f"error_{side}")) for side in ("before", "after")]
    if not all(isinstance(count, int) and isinstance(mean, (int, float)) for count, mean in sides):
        return None
    before, after = (ErrorSide.model_validate({"count": count, "mean": mean}) for count, mean in sides)
    made: dict[str, object] = {"at": iso(_back(found, fired, after.count)), "before": before, "after": after}
    least, most = evidence.get("changed_ago_least"), evidence.get("changed_ago_most")
    if isinstance(least, int) and isinstance(most, int):
        made |= {
            "earliest": iso(_back(found, fired, most)),
            "latest": iso(_back(found, fired, least)),
            "sure": INTERVAL,
        }
    return ErrorChange.model_validate(made)


def _back(found: Found, fired: AlertMessage, errors: int) -> int:
    """The time of the error so many before the alert's, its own being the first; on the grid, as if none were missing, where they are gone."""
    slots, (step_us, phase_us) = found.error_slots(), found.beat
    upto = slots[slots <= (time_us(fired.at) - phase_us) // step_us]
    if 1 <= errors <= len(upto):
        return found.slot_us(int(upto[-errors]))
    return time_us(fired.at) - max(errors - 1, 0) * step_us


def _side(side: Side) -> ErrorSide:
    return ErrorSide(count=side.count, mean=side.mean, median=side.median, high=side.high, shares=list(side.shares))


def _rose(found: Found, change: ErrorChange, until_us: int, lead: int) -> dict[str, tuple[float, float]]:
    """Mean size of what each part adds before and after the change, as the present model sees those windows; empty where they are gone."""
    step_us, phase_us = found.beat
    at, until = ((time - phase_us) // step_us for time in (time_us(change.at), until_us))
    oldest, newest = found.span()
    row, windows = found.series.row, found.engine.forecaster.windows
    kept = np.arange(oldest, newest + 1)
    kept = kept[windows.seen[row, kept % windows.capacity]]
    before, after = kept[(kept >= at - NEAR) & (kept < at)], kept[(kept >= at) & (kept <= max(until, at + 1))][:NEAR]
    if not len(before) or not len(after):
        return {}
    sizes = [_sizes(found, chosen, lead) for chosen in (before, after)]
    return {name: (sizes[0][name], sizes[1][name]) for name in sizes[0] if name in sizes[1]}


def _sizes(found: Found, slots: Rows, lead: int) -> dict[str, float]:
    chosen = slots[np.unique(np.linspace(0, len(slots) - 1, CUTOFFS).astype(int))]
    added: dict[str, list[float]] = {}
    channels = channels_of(found.engine.feed)
    for slot in chosen.tolist():
        made = explain(found.at(slot))
        for group in groups(made.moment):
            if group.inside.any():
                added.setdefault(name_of(group, channels), []).append(abs(float(contribution(made, group)[lead - 1])))
    return {name: float(np.mean(sizes)) for name, sizes in added.items()}

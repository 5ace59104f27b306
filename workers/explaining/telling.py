"""From an explanation of the models to the message, its notes and its sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.explanation.attribution import Explanation as Made
from models.explanation.attribution import explain
from models.explanation.groups import Group, Moved, contribution, distance, groups, moved, recent_slots
from models.explanation.memory import Memory, memory, reach
from models.explanation.parts import Attribution
from stream.errors import InputError
from stream.messages import AlertMessage, iso, time_us
from workers.explaining.drifting import error_change
from workers.explaining.finding import Found
from workers.explaining.message import ErrorChange, Expert, Explanation, Gates, Part, Recent
from workers.explaining.naming import channels_of, name_of
from workers.explaining.words import ago, lasting, sentences

Floats = NDArray[np.float64]
SAME = 1e-3
"""What is computed anew is the published forecast if it is within so many spreads of it."""
DIGITS = 7
ABOUT_ERRORS = ("anomaly", "input-drift", "error-drift", "coverage")
"""Kinds of alerts with which the errors may have changed."""


def told_forecast(found: Found, at_us: int | None, lead: int) -> tuple[Explanation, Floats]:
    """The explanation of the newest forecast, or of that at a time, and the window [J] that it saw. Raises InputError as ``Found`` does."""
    at = found.newest() if at_us is None else found.at(found.slot_at(at_us))
    return tell(found, explain(at), lead), at.line[:, 0]


def told_alert(found: Found, fired: AlertMessage, lead: int) -> tuple[Explanation, Floats]:
    """The same at the time of an alert, or of the newest forecast where the state cannot tell of it any more; what is known of its errors."""
    notes = [
        f"Alert {fired.fingerprint} ({fired.kind}, {fired.severity}) {fired.status} at {iso(time_us(fired.at))}: {fired.title}"
    ]
    try:
        at = found.at(found.slot_at(time_us(fired.at)))
    except InputError:
        at = found.newest()
        notes.append("The saved window no longer reaches back to the alert, so the newest forecast is explained.")
    change = error_change(found, fired, lead) if fired.kind in ABOUT_ERRORS else None
    return tell(found, explain(at), lead, change=change, notes=notes), at.line[:, 0]


def tell(
    found: Found, made: Made, lead: int, *, change: ErrorChange | None = None, notes: Sequence[str] = ()
) -> Explanation:
    """The whole explanation of a forecast, its sentences about ``lead``, from 1."""
    at, feed = made.moment, found.engine.feed
    channels = channels_of(feed)
    issued, median = at.issued, at.spec.median
    parts = [*_grouped(made, channels, lead), *_beside(made.mixture)]
    gates, recent = memory(at), moved(at)
    told = {
        "feed": feed.name,
        "series": found.series.name,
        "cutoff": iso(at.time_us),
        "step_s": at.step_us / 1e6,
        "horizon": at.spec.horizon,
        "lead": lead,
        "value": at.newest,
        "level": made.mixture.level,
        "scale": float(at.scale[0]),
        "forecast": made.mixture.forecast.tolist(),
        "published": None if issued is None else issued.quantiles[:, median].tolist(),
        "quantiles": {}
        if issued is None
        else {
            f"{level:g}": issued.quantiles[:, place].tolist()
            for place, level in enumerate(at.spec.levels)
            if place != median
        },
        "parts": parts,
        "inputs": _inputs(made.mixture, channels),
        "experts": [_expert(made, name, place, channels) for place, name in enumerate(at.spec.experts)],
        "recent": None if recent is None else _recent(recent),
        "gates": None if gates is None else _gates(gates, reach(made.experts["network"], lead)),
        "change": change,
        "notes": [*notes, *_notes(found, made)],
        "sentences": [],
    }
    said = Explanation.model_validate(told)
    return said.model_copy(update={"sentences": sentences(said, at.spec.context * said.step_s)})


def _grouped(made: Made, channels: Sequence[str], lead: int) -> list[Part]:
    at = made.moment
    step_s = at.step_us / 1e6
    words = {
        "newest": "the newest value",
        "recent": f"the {lasting((recent_slots(at) - 1) * step_s)} before it",
        "earlier": "what came earlier",
    }

    def says(group: Group) -> str:
        if group.kind == "season":
            return ago(at.season * step_s, group.number)
        return words.get(group.kind) or f"channel {channels[group.number]}"

    return [
        Part(
            name=name_of(group, channels),
            says=says(group),
            adds=contribution(made, group).tolist(),
            distance=distance(made, group, lead),
        )
        for group in groups(at)
        if group.inside.any()
    ]


def _beside(one: Attribution) -> list[Part]:
    return [
        Part(name=name, says=says, adds=getattr(one, name).tolist())
        for name, says in (
            ("calendar", "the time of day and week"),
            ("constant", "a standing offset"),
            ("memory", "what the network carried from before its window"),
            ("unexplained", "what the attribution leaves open"),
        )
        if np.abs(getattr(one, name)).max() > 0 or name == "unexplained"
    ]


def _inputs(one: Attribution, channels: Sequence[str]) -> dict[str, list[list[float]]]:
    reach = int(np.flatnonzero(np.abs(one.gains).max((0, 2)) > 0).max(initial=0)) + 1
    places = np.maximum(0, DIGITS - 1 - np.floor(np.log10(max(float(np.abs(one.inputs).max()), 1e-12)))).astype(int)
    rounded = np.round(one.inputs[:, :reach], int(places))
    return {name: rounded[:, :, channel].T.tolist() for channel, name in enumerate(channels)}


def _expert(made: Made, name: str, place: int, channels: Sequence[str]) -> Expert:
    one = made.experts[name]
    adds = {
        name_of(group, channels): np.where(group.inside, one.inputs, 0.0).sum((1, 2)).tolist()
        for group in groups(made.moment)
        if group.inside.any()
    }
    adds |= {part.name: part.adds for part in _beside(one)}
    return Expert(
        name=name,
        weight=made.weights[:, place].tolist(),
        error=(made.moment.errors[:, place] * made.moment.scale[0]).tolist(),
        forecast=one.forecast.tolist(),
        adds=adds,
    )


def _recent(recent: Moved) -> Recent:
    return Recent(
        slots=recent.slots,
        mean=recent.mean,
        reference=recent.reference,
        rise_within=recent.within,
        season_slots=recent.season,
    )


def _gates(gates: Memory, reach_slots: int) -> Gates:
    return Gates(
        step_slots=gates.step_slots,
        kept=gates.kept.tolist(),
        let_in=gates.let_in.tolist(),
        retained=gates.retained.tolist(),
        memory_slots=gates.slots,
        beyond=gates.beyond,
        opened_slots_ago=gates.opened,
        reach_slots=reach_slots,
    )


def _notes(found: Found, made: Made) -> list[str]:
    at, notes = made.moment, []
    if at.issued is None:
        notes.append(
            f"What was published at {iso(at.time_us)} is no longer in the state, nor are the models of then: this is what the series'"
            " present model makes of that window."
        )
    else:
        away = float(np.abs(made.mixture.forecast - at.issued.quantiles[:, at.spec.median]).max() / at.scale[0])
        if away <= SAME:
            notes.append("This is the forecast that was published, computed anew.")
        elif at.back:
            notes.append(
                f"The series has learnt from {at.back} slots since: computed with what it knows now, the forecast lies up to"
                f" {away:.2g} spreads from the one that was published."
            )
        else:
            notes.append(
                f"Computed anew, the forecast lies up to {away:.2g} spreads from the one that was published: since then late observations"
                " were filled in or the models were told to adapt, or a carried state was made by earlier weights."
            )
    newest_us = found.slot_us(found.span()[1])
    if found.newest_us is not None and found.newest_us > newest_us:
        behind = lasting((found.newest_us - newest_us) / 1e6)
        notes.append(
            f"A forecast {behind} newer is in Redis already: a worker saves the state that explanations are made from now and then."
        )
    return notes

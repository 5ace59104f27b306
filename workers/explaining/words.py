"""Explanations as sentences."""

from __future__ import annotations

import math
from datetime import timedelta
from html import escape

from stream.messages import Time
from workers.backtest.table import called
from workers.explaining.message import ErrorChange, Expert, Explanation, Gates, Part, Recent

NOTHING = "changes nothing"
MOST_PARTS = 4
"""Parts that a sentence names; the others are summed."""
WORTH_NAMING = 0.05
"""A part is named from this share of the largest on."""
HEARD = 0.1
"""Share of the mixture from which on the network's memory is spoken of."""
LEARNT = 0.67
"""And its gates only where its error is less than this share of the last value's: `make bench NAME=explanations` shows why."""
UNITS = ((604_800, "week"), (86_400, "day"), (3_600, "h"), (60, "min"), (1, "s"))


def printable(text: str) -> str:
    """Series ids come from outside: control characters would steer the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def marked_up(text: str) -> str:
    """The same for HTML and SVG."""
    return escape(printable(text))


def lasting(seconds: float) -> str:
    """A duration in words: 3 h, 2 h 45 min, 90 min, 2 days."""
    if 7_200 < seconds < 86_400 and seconds % 3_600 and not seconds % 60:
        return f"{seconds // 3_600:.0f} h {seconds % 3_600 / 60:.0f} min"
    for size, name in UNITS:
        # 90 min says more than 1.5 h, and 36 h more than 1.5 days.
        if seconds >= size and (abs(seconds / size - round(seconds / size)) < 1e-6 or seconds >= 100 * size):
            many = round(seconds / size)
            return f"{many} {name}{'s' if many > 1 and name in ('week', 'day') else ''}"
    return f"{seconds:g} s"


def last(seconds: float) -> str:
    """The time up to now: last 3 h, last day."""
    text = lasting(seconds)
    return f"last {text.removeprefix('1 ') if text in ('1 day', '1 week') else text}"


def ago(seconds: float, times: int = 1) -> str:
    """The same time one or more seasons of so many seconds before."""
    if seconds == 86_400:
        return "the same time a day before" if times == 1 else f"the same time {times} days before"
    if seconds == 604_800:
        return "the same time a week before" if times == 1 else f"the same time {times} weeks before"
    return f"the same time {lasting(seconds * times)} before"


class Numbers:
    """Writes numbers of a series with as many places as its scale makes sensible."""

    def __init__(self, scale: float) -> None:
        self._places = 1 - math.floor(math.log10(scale)) if scale > 0 else 3

    def plain(self, value: float) -> str:
        """A value."""
        if self._places > 12 or abs(value) >= 1e12:
            return f"{value:.6g}"
        text = f"{round(value, self._places):.{max(self._places, 0)}f}"
        return text.lstrip("-") if float(text) == 0 else text

    def adding(self, value: float) -> str:
        """What it does to a sum."""
        text = self.plain(abs(value))
        return NOTHING if float(text) == 0 else f"adds {text}" if value > 0 else f"takes away {text}"

    def beside(self, value: float) -> str:
        """Where it lies beside something."""
        text = self.plain(abs(value))
        return "level with" if float(text) == 0 else f"{text} {'above' if value > 0 else 'below'}"


def shown_parts(told: Explanation) -> list[Part]:
    """All parts, but what is left open where that is nothing."""
    numbers = Numbers(told.scale)
    return [
        part
        for part in told.parts
        if part.name != "unexplained" or any(numbers.adding(added) != NOTHING for added in part.adds)
    ]


def sentences(told: Explanation, context_s: float) -> list[str]:
    """The explanation in words, the most important first."""
    numbers = Numbers(told.scale)
    made = [_forecast(told, numbers, context_s), _because(told, numbers)]
    if told.recent is not None:
        made.append(_recent(told.recent, told.step_s, numbers))
    made.append(_experts(told.experts, told.lead, numbers))
    if told.gates is not None:
        made += _gates(told.gates, told)
    if told.change is not None:
        made += _change(told.change, told, numbers)
    return made


def lasting_about(seconds: float) -> str:
    """A duration that need not be exact."""
    size, name = next(((size, name) for size, name in UNITS if seconds >= 2 * size), UNITS[-1])
    many = round(seconds / size)
    return f"{many} {name}{'s' if many > 1 and name in ('week', 'day') else ''}"


def _back(slots: int, step_s: float) -> str:
    return (
        "at the newest step"
        if slots == 0
        else f"at the step that ended {lasting_about(slots * step_s)} before the cutoff"
    )


def _at(time: Time) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def _forecast(told: Explanation, numbers: Numbers, context_s: float) -> str:
    value = told.forecast[told.lead - 1]
    when = _at(told.cutoff + timedelta(seconds=told.step_s * told.lead))
    interval = ""
    if told.quantiles:
        low, high = min(told.quantiles, key=float), max(told.quantiles, key=float)
        ends = [numbers.plain(told.quantiles[level][told.lead - 1]) for level in (low, high)]
        interval = f" ({100 * (float(high) - float(low)):.0f} % interval {ends[0]} to {ends[1]})"
    return (
        f"{told.series} is forecast to be {numbers.plain(value)}{interval} at {when}:"
        f" {numbers.beside(value - told.value)} now ({numbers.plain(told.value)}), and"
        f" {numbers.beside(value - told.level)} its usual level of the {last(context_s)} ({numbers.plain(told.level)})."
    )


def _because(told: Explanation, numbers: Numbers) -> str:
    at = told.lead - 1
    ordered = sorted(told.parts, key=lambda part: -abs(part.adds[at]))
    largest = abs(ordered[0].adds[at]) if ordered else 0.0
    worth = [part for part in ordered[:MOST_PARTS] if abs(part.adds[at]) > WORTH_NAMING * largest]
    named = [part for part in worth if numbers.adding(part.adds[at]) != NOTHING]
    if not named:
        return "Because nothing in what it sees lies away from the usual level."
    said = [_part(part, at, numbers) for part in named]
    rest = sum(part.adds[at] for part in told.parts if part not in named)
    return f"Because {'; '.join(said)}; all else together {numbers.adding(rest)}."


def _part(part: Part, at: int, numbers: Numbers) -> str:
    # How far another channel lies from its level is in that channel's units, which are not this series'.
    aside = part.distance is not None and not part.name.startswith("channel:")
    where = f", {numbers.beside(part.distance)} the usual level," if aside and part.distance is not None else ""
    return f"{part.says}{where} {numbers.adding(part.adds[at])}"


def _recent(recent: Recent, step_s: float, numbers: Numbers) -> str:
    span = last(recent.slots * step_s)
    rose = recent.rise_within
    text = numbers.plain(abs(rose))
    moved = "ended where they began" if float(text) == 0 else f"{'rose' if rose > 0 else 'fell'} by {text}"
    other = ago(recent.season_slots * step_s) if recent.season_slots else "the rest of the context"
    return f"The {span} {moved} and lie on average {numbers.beside(recent.mean - recent.reference)} {other}."


def _experts(experts: list[Expert], lead: int, numbers: Numbers) -> str:
    ordered = sorted(experts, key=lambda expert: -expert.weight[lead - 1])
    said = [
        f"{called(expert.name)} {numbers.plain(expert.forecast[lead - 1])} ({expert.weight[lead - 1] * 100:.0f} %)"
        for expert in ordered
    ]
    return f"What the experts say, and their weight: {', '.join(said)}."


def _gates(gates: Gates, told: Explanation) -> list[str]:
    """How far the network looks back; and what its gates say, where it has learnt more than its start: else they say nothing true."""
    network, last = (next(one for one in told.experts if one.name == name) for name in ("network", "last-value"))
    at = told.lead - 1
    if network.weight[at] < HEARD:
        return []
    reach = lasting_about(gates.reach_slots * told.step_s)
    made = [f"Half of what moves the network's forecast lies within the last {reach}."]
    if network.error[at] < LEARNT * last.error[at]:
        kept = lasting_about(gates.memory_slots * told.step_s)
        longer = " or longer" if gates.beyond else ""
        made.append(
            f"Its units keep what they saw for about {kept}{longer}; the gates let in most {_back(gates.opened_slots_ago, told.step_s)}."
        )
    return made


def _change(change: ErrorChange, told: Explanation, numbers: Numbers) -> list[str]:
    between = ""
    if change.earliest is not None and change.latest is not None and change.sure is not None:
        between = f" ({100 * change.sure:.0f} % sure: between {_at(change.earliest)} and {_at(change.latest)})"
    errors = (
        f"The errors changed at {_at(change.at)}{between}: from {change.before.mean:.2f} typical errors on average"
        f" ({change.before.count} errors) to {change.after.mean:.2f} ({change.after.count})."
    )
    if not change.rose:
        return [errors]
    name, (before, after) = max(change.rose.items(), key=lambda item: abs(item[1][1] - item[1][0]))
    says = next((part.says for part in told.parts if part.name == name), name)
    now, then = numbers.plain(after), numbers.plain(before)
    return [
        errors,
        f"What changed most since is what {says} does: it moves the forecast by {now} on average, {then} before.",
    ]

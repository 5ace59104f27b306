"""What is said of an alert: an incident of one matter on one series fires once, keeps its fingerprint, and is resolved once.

When one begins and ends, ``workers/lives.py`` says; here it gets its kind, severity, evidence and title. Several detectors that see the same
matter join one incident, whose kind is that of the first.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from models.drift import Detection
from workers.lives import LONGEST

Severity = Literal["info", "warning", "critical"]
Evidence = dict[str, float | int | str]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
CALM = 1.15
"""A drift of the errors is over when the newest errors are at most this many times those before it."""
MOST_TOLD = 20
STEEP = (1.0, 3.0)
"""How many powers of ten rarer than an alert needs a finding must be to be a warning, and to be critical."""
DAY_US = 86_400_000_000
SAID = {
    "value high": "the value is higher than is usual",
    "value low": "the value is lower than is usual",
    "mean of 12 high": "the values are higher than is usual",
    "mean of 12 low": "the values are lower than is usual",
    "mean of 48 high": "the level is higher than is usual",
    "mean of 48 low": "the level is lower than is usual",
    "spread of 12": "the values vary more than is usual",
    "spread of 48": "the values have begun to vary more than is usual",
    "error": "the value is not what was forecast",
    "mean error of 4": "the values are not what was forecast",
    "mean error of 48": "the forecast errors have grown",
    "standing still": "the value stands still",
    "outside the interval": "too many values lie outside the forecast interval",
    "gaps and repeats": "observations are missing, late or doubled",
    "forecast above": "the forecast goes above the limit",
    "forecast below": "the forecast goes below the limit",
}
"""What a finding is in words; the keys are ``models.detection.NAMES`` and the forecast's."""


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """A transition: an incident began or ended. Times are event times in microseconds, UTC."""

    series: str
    kind: str
    status: Literal["firing", "resolved"]
    severity: Severity
    fingerprint: str
    started_us: int
    at_us: int
    title: str
    evidence: dict[str, float | int | str]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a detector saw at one observation: its name, the kind of alert, how much more than enough, and the numbers."""

    name: str
    kind: str
    severity: Severity
    title: str
    evidence: Evidence
    before: float = 0.0


@dataclass(slots=True)
class Incident:
    """An incident that is firing. ``before`` is the mean error before a drift of the errors, 0 for none; a ``muted`` one is not told; with
    one that has ``adapted`` the models began to adapt to a new regime."""

    kind: str
    fingerprint: str
    started_us: int
    severity: Severity
    before: float = 0.0
    muted: bool = False
    adapted: bool = False
    also: list[str] = field(default_factory=list)
    evidence: Evidence = field(default_factory=dict)


def fingerprint(feed: str, series: str, kind: str, started_us: int) -> str:
    """The incident's name from first to last message: sixteen hex digits, the same in a replay."""
    text = "\x1f".join((feed, series, kind, str(started_us)))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def drift_severity(rise: float) -> Severity:
    """How much worse the errors became, in words."""
    return "critical" if rise >= 4 else "warning" if rise >= 2 else "info"


def _times(rise: float) -> str:
    """A rise in words; from a series that was forecast almost exactly, the number itself says nothing more."""
    return f"{rise:.1f} times" if rise <= MOST_TOLD else f"more than {MOST_TOLD} times"


def drift_finding(series: str, found: Detection, error: float) -> Finding:
    """What ADWIN or Page-Hinkley found; ``error`` is the error at which it did, in typical errors."""
    rise = found.after / max(found.before, 1e-9)
    evidence: Evidence = {
        "detector": found.detector,
        "error_before": round(found.before, 4),
        "error_after": round(found.after, 4),
        "rise": round(rise, 3),
        "errors_before": found.before_count,
        "errors_after": found.after_count,
        "last_error": round(error, 4),
    }
    title = (
        f"{series}: forecast errors are {_times(rise)} what they were"
        f" (found by {found.detector} over the last {found.after_count} observations)"
    )
    return Finding(found.detector, "error-drift", drift_severity(rise), title, evidence, found.before)


def rare_finding(series: str, name: str, kind: str, value: float, rarity: float, margin: float, week: float) -> Finding:
    """A statistic that is rare: ``rarity`` is log10 of the observations from one to the next, ``week`` the observations in a week."""
    steep = sum(margin >= bound for bound in STEEP)
    weeks = 10.0 ** min(rarity, 15.0) / week
    evidence: Evidence = {
        "detector": name,
        "value": value,
        "once_in_weeks": float(f"{weeks:.3g}"),
        "margin": round(margin, 2),
    }
    return Finding(name, kind, SEVERITIES[steep], f"{series}: {SAID[name]} (value {value:g})", evidence)


class SeriesAlerts:
    """The incidents of one series, by matter: one of ``workers.lives.MATTERS`` or "stale"."""

    __slots__ = ("feed", "firing", "most_a_day", "recent", "series")

    def __init__(self, feed: str, series: str, most_a_day: int = 10) -> None:
        """Of more than ``most_a_day`` incidents in a day, the later ones are not told."""
        self.feed, self.series, self.most_a_day = feed, series, most_a_day
        self.firing: dict[str, Incident] = {}
        self.recent: list[int] = []

    def begin(self, matter: str, found: Finding, at_us: int) -> AlertEvent | None:
        """An incident begins to fire with what was found first; None where too many have fired within a day."""
        muted = len(self.recent) >= self.most_a_day and at_us - self.recent[-self.most_a_day] < DAY_US
        if not muted:
            self.recent = [*self.recent, at_us][-self.most_a_day :]
        incident = Incident(
            kind=found.kind,
            fingerprint=fingerprint(self.feed, self.series, found.kind, at_us),
            started_us=at_us,
            severity=found.severity,
            before=found.before,
            muted=muted,
            evidence=dict(found.evidence),
        )
        self.firing[matter] = incident
        return None if muted else self._event("firing", incident, at_us, found.title)

    def join(self, matter: str, found: Finding) -> None:
        """Something more was found while the incident fires: no second alert, but its end will tell."""
        incident = self.firing.get(matter)
        if incident is None:
            return
        if found.kind != incident.kind and found.kind not in incident.also:
            incident.also.append(found.kind)
        if SEVERITIES.index(found.severity) > SEVERITIES.index(incident.severity):
            incident.severity = found.severity
        if found.kind == "error-drift":
            incident.before = incident.before or found.before
            incident.evidence |= {name: number for name, number in found.evidence.items() if name != "detector"}

    def end(self, matter: str, at_us: int, *, worn: bool, now: float) -> AlertEvent | None:
        """The incident is over: calm, or ``worn`` out, since what it tells of has become normal. ``now`` is the mean of the newest errors."""
        incident = self.firing.pop(matter, None)
        if incident is None or incident.muted:
            return None
        if incident.also:
            incident.evidence["also"] = ", ".join(incident.also)
        if incident.before:
            incident.evidence["error_now"] = round(now, 4)
        back = "forecast errors are back to normal" if incident.kind == "error-drift" else "back to normal"
        title = f"{self.series}: " + (
            f"{incident.kind} has lasted for {LONGEST} observations and is now the normal state" if worn else back
        )
        return self._event("resolved", incident, at_us, title)

    def silent(self, newest_us: int, silence_s: float) -> AlertEvent | None:
        """The clock says that nothing has come for too long."""
        if "stale" in self.firing:
            return None
        incident = Incident(
            "stale",
            fingerprint(self.feed, self.series, "stale", newest_us),
            newest_us,
            "warning",
            evidence={"silence_s": round(silence_s, 1)},
        )
        self.firing["stale"] = incident
        return self._event("firing", incident, newest_us, f"{self.series}: no observation for {silence_s:.0f} s")

    def heard(self, at_us: int) -> AlertEvent | None:
        """An observation came: silence, if there was one, is over."""
        incident = self.firing.pop("stale", None)
        if incident is None:
            return None
        return self._event("resolved", incident, at_us, f"{self.series}: observations have come again")

    def _event(self, status: Literal["firing", "resolved"], incident: Incident, at_us: int, title: str) -> AlertEvent:
        return AlertEvent(
            series=self.series,
            kind=incident.kind,
            status=status,
            severity=incident.severity,
            fingerprint=incident.fingerprint,
            started_us=incident.started_us,
            at_us=at_us,
            title=title,
            evidence=dict(incident.evidence),
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON would hold it."""
        firing = {matter: asdict(incident) for matter, incident in self.firing.items()}
        return {"firing": firing, "recent": self.recent}

    def restore(self, entries: dict[str, Any]) -> None:
        """The inverse of ``to_json``."""
        self.firing = {matter: Incident(**entry) for matter, entry in entries["firing"].items()}
        self.recent = list(entries["recent"])

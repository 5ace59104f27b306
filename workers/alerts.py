"""The life of an alert: an incident of one kind on one series fires once, keeps its fingerprint, and resolves once."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from models.drift import NEWEST, Detection

Severity = Literal["info", "warning", "critical"]
CALM = 1.15
"""A drift is over when the newest errors are at most this many times those before it."""
MOST_TOLD = 20
ADAPTED_AFTER = 512
"""Or when this many errors have come without a further change: the new level is then the normal one."""


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


@dataclass(slots=True)
class Incident:
    """An incident that is firing."""

    fingerprint: str
    started_us: int
    severity: Severity
    before: float = 0.0
    seen: int = 0
    evidence: dict[str, float | int | str] = field(default_factory=dict)


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


class SeriesAlerts:
    """The incidents of one series."""

    __slots__ = ("feed", "firing", "series")

    def __init__(self, feed: str, series: str) -> None:
        self.feed, self.series = feed, series
        self.firing: dict[str, Incident] = {}

    def drifted(self, found: Detection, at_us: int, error: float) -> AlertEvent | None:
        """A detector found worse errors. While the same incident fires, it is only brought up to date: no second alert."""
        rise = found.after / max(found.before, 1e-9)
        evidence: dict[str, float | int | str] = {
            "detector": found.detector,
            "error_before": round(found.before, 4),
            "error_after": round(found.after, 4),
            "rise": round(rise, 3),
            "errors_before": found.before_count,
            "errors_after": found.after_count,
            "last_error": round(error, 4),
        }
        if (incident := self.firing.get("error-drift")) is not None:
            incident.seen = 0
            incident.evidence = evidence
            return None
        severity = drift_severity(rise)
        incident = Incident(
            fingerprint(self.feed, self.series, "error-drift", at_us), at_us, severity, found.before, 0, evidence
        )
        self.firing["error-drift"] = incident
        title = (
            f"{self.series}: forecast errors are {_times(rise)} what they were"
            f" (found by {found.detector} over the last {found.after_count} observations)"
        )
        return self._event("error-drift", "firing", incident, at_us, title)

    def observed_error(self, now: float, at_us: int) -> AlertEvent | None:
        """After each error while a drift fires: ``now`` is the mean size of the newest errors. Ends the incident when they are calm."""
        incident = self.firing.get("error-drift")
        if incident is None:
            return None
        incident.seen += 1
        calm = incident.seen >= NEWEST and now <= CALM * incident.before
        if not calm and incident.seen < ADAPTED_AFTER:
            return None
        del self.firing["error-drift"]
        incident.evidence = incident.evidence | {"error_now": round(now, 4), "observations": incident.seen}
        title = (
            f"{self.series}: forecast errors are back to normal"
            if calm
            else f"{self.series}: the new level of forecast errors has lasted {incident.seen} observations and is now the normal one"
        )
        return self._event("error-drift", "resolved", incident, at_us, title)

    def silent(self, newest_us: int, silence_s: float) -> AlertEvent | None:
        """The clock says that nothing has come for too long."""
        if "stale" in self.firing:
            return None
        incident = Incident(
            fingerprint(self.feed, self.series, "stale", newest_us),
            newest_us,
            "warning",
            evidence={"silence_s": round(silence_s, 1)},
        )
        self.firing["stale"] = incident
        title = f"{self.series}: no observation for {silence_s:.0f} s"
        return self._event("stale", "firing", incident, newest_us, title)

    def heard(self, at_us: int) -> AlertEvent | None:
        """An observation came: silence, if there was one, is over."""
        incident = self.firing.pop("stale", None)
        if incident is None:
            return None
        return self._event("stale", "resolved", incident, at_us, f"{self.series}: observations have come again")

    def _event(
        self, kind: str, status: Literal["firing", "resolved"], incident: Incident, at_us: int, title: str
    ) -> AlertEvent:
        return AlertEvent(
            series=self.series,
            kind=kind,
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
        return {kind: asdict(incident) for kind, incident in self.firing.items()}

    def restore(self, entries: dict[str, Any]) -> None:
        """The inverse of ``to_json``."""
        self.firing = {kind: Incident(**entry) for kind, entry in entries.items()}

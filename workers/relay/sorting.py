"""What becomes of a transition that is due: told, kept waiting by a silence, held back by the rate limit, or left out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from stream.messages import AlertMessage
from stream.redis_relay import Known, Settlement
from stream.silences import Silence
from workers.relay.grouping import Item, RateLimit
from workers.relay.notification import HELD_BACK

_SHOWN = 5
_RANK = {"info": 0, "warning": 1, "critical": 2}


@dataclass(slots=True)
class HeldBack:
    """What the rate limit has held back since the last summary."""

    first: str = ""
    """Id of the first message; empty when there is none."""
    count: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    series: list[str] = field(default_factory=list)
    severity: str = "info"
    feed: str = ""

    def add(self, alert: AlertMessage) -> None:
        """Count one more."""
        self.first = self.first or alert.id
        self.feed = self.feed or alert.feed
        self.count += 1
        self.kinds[alert.kind] = self.kinds.get(alert.kind, 0) + 1
        if alert.series not in self.series and len(self.series) < _SHOWN:
            self.series.append(alert.series)
        self.severity = max(self.severity, alert.severity, key=lambda one: _RANK[one])


def held_back_fingerprint(namespace: str, target: str) -> str:
    """Of the relay's own alert about what it holds back: one for each target."""
    return hashlib.blake2b(f"{HELD_BACK}\x1f{namespace}\x1f{target}".encode(), digest_size=8).hexdigest()


def summary(
    held: HeldBack, namespace: str, target: str, limit: str, now: datetime, before: AlertMessage | None
) -> AlertMessage:
    """An alert that says what was held back; ``before``: the one that the target was told before and still holds."""
    fingerprint = held_back_fingerprint(namespace, target)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(held.kinds.items(), key=lambda one: -one[1])[:_SHOWN])
    first = hashlib.blake2b(held.first.encode(), digest_size=6).hexdigest()
    return AlertMessage.model_validate(
        {
            "id": f"{fingerprint}-{first}-{held.count}",
            "fingerprint": fingerprint,
            "feed": held.feed,
            "series": target,
            "kind": HELD_BACK,
            "status": "firing",
            "severity": held.severity,
            "started": before.started if before is not None else now,
            "at": now,
            "issued": now,
            "title": f"{held.count} alerts were held back by the limit of {limit}: {kinds}; see tidecast alerts",
            "evidence": {"held_back": held.count, "series": ", ".join(held.series)},
        }
    )


def resolved(alert: AlertMessage, now: datetime, title: str) -> AlertMessage:
    """The end of an alert that nobody else announces."""
    return alert.model_copy(
        update={
            "id": f"{alert.id}-resolved" if alert.kind == HELD_BACK else f"{alert.fingerprint}-resolved",
            "status": "resolved",
            "at": max(now, alert.started),
            "issued": now,
            "ended": max(now, alert.started),
            "title": title,
        }
    )


@dataclass(slots=True)
class Sorted:
    """``send`` goes out; ``done`` says what became of all others, and ``letter`` are ends of alerts whose firing was lost."""

    send: list[Item] = field(default_factory=list)
    letter: list[Item] = field(default_factory=list)
    done: Settlement = field(default_factory=Settlement)


def sort_out(
    items: Sequence[Item], known: Known, silences: Sequence[Silence], limit: RateLimit, held: HeldBack
) -> Sorted:
    """Decide for each, in order. ``limit`` gives a token for all that is sent, and ``held`` takes what it has none for."""
    found = Sorted()
    paid = False
    told, waiting = set(known.told), set(known.waiting)
    for item in items:
        alert = item.alert
        name = alert.fingerprint
        if alert.status == "resolved":
            if name in told:
                found.send.append(item)
                told.discard(name)
            elif name in known.lost:
                found.letter.append(item)
            else:
                _leave_out(found, item, "silenced" if name in waiting else "untold")
            waiting.discard(name)
        elif any(silence.covers(alert) for silence in silences):
            # Of one that was told before, the end will be told, so it need not wait.
            if name not in told:
                waiting.add(name)
                found.done.waiting[name] = alert
            _leave_out(found, item, "silenced", keep=True)
        elif name not in told and not paid and (held.count or not limit.open):
            held.add(alert)
            _leave_out(found, item, "held_back")
        else:
            if name not in told and not paid:
                limit.spend()
                paid = True
            told.add(name)
            found.send.append(item)
    return found


def _leave_out(found: Sorted, item: Item, counter: str, *, keep: bool = False) -> None:
    found.done.entries.append(item.entry)
    found.done.count(counter)
    if not keep:
        found.done.waiting[item.alert.fingerprint] = None


def held_from(kept: Any) -> HeldBack:
    """The inverse of ``dataclasses.asdict``; nothing for nothing."""
    return HeldBack(**kept) if kept else HeldBack()

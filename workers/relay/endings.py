"""How a notification ends, as one transaction each: delivered, to be tried again, or a dead letter."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from stream.redis_relay import Settlement, dead_letter
from stream.redis_subscription import Entry
from workers.relay.grouping import Item
from workers.relay.notification import Notification, notification_id


def delivered(sending: Notification, at: str) -> Settlement:
    """The target has it: what it was told is remembered, so that the ends of just these alerts reach it."""
    done = _finished(sending)
    for alert in sending.alerts:
        done.told[alert.fingerprint] = alert if alert.status == "firing" else None
        done.waiting[alert.fingerprint] = None
    done.recovered = [alert.fingerprint for alert in sending.alerts]
    done.replay_succeeded = True
    done.count("delivered", len(sending.alerts))
    done.fields |= {"delivered_at": at, "failing": ""}
    return done


def tried_again(sending: Notification, reason: str) -> Settlement:
    """It stays on its way; how often it was tried outlives this process."""
    return Settlement(
        sending=sending.model_dump_json().encode(), fields={"failing": reason}, counts={"failed_attempts": 1}
    )


def given_up(sending: Notification, reason: str, told: Collection[str], at: str) -> Settlement:
    """A dead letter; one that was sent again stays the letter that it was. ``told``: fingerprints the target holds for firing."""
    done = _finished(sending)
    done.fields["failing"] = reason
    done.count("failed_attempts")
    if sending.letter:
        return done
    done.letter = dead_letter(sending.model_dump_json().encode(), reason, sending.attempts + 1, at)
    done.count("letters")
    for alert in sending.alerts:
        done.waiting[alert.fingerprint] = None
        if alert.status == "resolved":
            done.told[alert.fingerprint] = None
        elif alert.fingerprint not in told:
            done.lost.append(alert.fingerprint)
    return done


def bury(done: Settlement, items: Sequence[Item], at: str) -> None:
    """The ends of alerts whose firing is a dead letter: letters too, so that both, sent again, are the whole story."""
    if not items:
        return
    alerts = tuple(item.alert for item in items)
    buried = Notification(id=notification_id(alerts), alerts=alerts, entries=tuple(item.entry_id for item in items))
    done.letter = dead_letter(buried.model_dump_json().encode(), "its firing is a dead letter", 0, at)
    done.count("letters")
    done.entries += [item.entry for item in items]


def _finished(sending: Notification) -> Settlement:
    entries = [Entry(entry, alert) for entry, alert in zip(sending.entries, sending.alerts, strict=False)]
    return Settlement(entries=entries, sending=b"", replayed=sending.letter)

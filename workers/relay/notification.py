"""What is delivered: one or more transitions of alerts, in their order."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict

from stream.messages import AlertMessage

GROUP = "relay."
"""Before the target's name, the name of its subscription."""
HELD_BACK = "held-back"
"""Kind of the alert that the relay itself raises: others were held back by the rate limit."""


class Notification(BaseModel):
    """One delivery to one target. It is kept in Redis while it is on its way, so that a successor repeats it unchanged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """Same notification, same id: receivers drop repeats by it."""
    alerts: tuple[AlertMessage, ...]
    """What has changed, oldest first, at least one."""
    group: dict[str, str] = {}
    """What the alerts have in common, by ``group_by``; empty where they are not grouped."""
    grouped: bool = False
    firing: int = 0
    """How many alerts of the group fire for the target once it has this."""
    held_as: dict[str, Literal["info", "warning", "critical"]] = {}
    """Fingerprint -> severity under which the target holds the alert, where that has changed."""
    entries: tuple[str, ...] = ()
    """Ids of their entries in the stream; empty text for what did not come from there."""
    attempts: int = 0
    """How often delivery was tried in vain."""
    letter: str = ""
    """Id of the dead letter that is sent again; empty for what is sent the first time."""

    @property
    def status(self) -> Literal["firing", "resolved"]:
        """Of the group: firing while one of its alerts is."""
        return "firing" if self.firing or any(one.status == "firing" for one in self.alerts) else "resolved"

    def group_key(self, receiver: str) -> str:
        """Names the group at its receiver, whatever it holds: 32 hex digits."""
        parts = [receiver, *(f"{name}\x1f{value}" for name, value in sorted(self.group.items()))]
        return hashlib.blake2b("\x1e".join(parts).encode(), digest_size=16).hexdigest()


def notification_id(alerts: tuple[AlertMessage, ...]) -> str:
    """The id of its one alert; of several, a digest of theirs."""
    if len(alerts) == 1:
        return alerts[0].id
    return hashlib.blake2b("\x1f".join(one.id for one in alerts).encode(), digest_size=16).hexdigest()

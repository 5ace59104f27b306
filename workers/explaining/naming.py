"""Names of what adds to a forecast, in messages."""

from __future__ import annotations

from collections.abc import Sequence

from models.explanation.groups import Group
from workers.settings import FeedSettings


def channels_of(feed: FeedSettings) -> list[str]:
    """The channels' names: what is forecast is ``value`` whatever its field is called, as with several sensors a record there is no one name."""
    return ["value", *feed.fields.channels]


def name_of(group: Group, channels: Sequence[str]) -> str:
    """A group's name."""
    if group.kind == "channel":
        return f"channel:{channels[group.number]}"
    return f"season-{group.number}" if group.kind == "season" else group.kind

"""Options that several verbs take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from stream.errors import ConfigurationError
from workers.settings import FeedSettings, Settings

Command = Callable[..., Any]

config_option: Callable[[Command], Command] = click.option(
    "--config", "-c", type=click.Path(dir_okay=False), help="Configuration file [default: ./tidecast.yaml]."
)
feed_option: Callable[[Command], Command] = click.option(
    "--feed", "-f", help="The feed, where the configuration has several."
)


def chosen_feed(settings: Settings, name: str | None) -> FeedSettings:
    """The feed called ``name``, or the only one. Raises ConfigurationError naming those there are."""
    names = ", ".join(feed.name for feed in settings.feeds)
    if name is None:
        if len(settings.feeds) == 1:
            return settings.feeds[0]
        raise ConfigurationError(f"the configuration has several feeds ({names}); say which with --feed")
    try:
        return settings.feed(name)
    except KeyError:
        raise ConfigurationError(f"there is no feed {name!r}; there are: {names}") from None

"""``tidecast check``."""

from __future__ import annotations

import click

from workers.commands.options import config_option
from workers.configuration import load
from workers.durations import write_duration


@click.command("check")
@click.argument("file", metavar="[CONFIG]", required=False, type=click.Path(dir_okay=False))
@config_option
def command(file: str | None, config: str | None) -> None:
    """Check CONFIG (default ./tidecast.yaml) without running anything.

    Says what it understood, or which field in which line is wrong and what to write instead. Exit code 2 if wrong.
    """
    settings = load(file or config)
    click.echo(f"ok: namespace {settings.namespace}, {len(settings.feeds)} feed(s)")
    for feed in settings.feeds:
        step = "inferred" if feed.step == "auto" else write_duration(feed.step)
        click.echo(
            f"  {feed.name}: topics {', '.join(feed.topics)}; step {step}, context {feed.context}, horizon {feed.horizon};"
            f" {feed.model.architecture} with {feed.model.hidden} units"
        )
    for target in settings.relay.targets:
        click.echo(f"  relay to {target.name}: {target.type}, {', '.join(target.match) or 'every alert'}")

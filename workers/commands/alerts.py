"""``tidecast alerts``."""

from __future__ import annotations

import time

import click

from workers.commands.options import config_option

COLOURS = {"critical": "red", "warning": "yellow", "info": "cyan"}


@click.command("alerts")
@config_option
@click.option("--follow", is_flag=True, help="Go on with new ones as they come, until Ctrl-C.")
@click.option("--open", "only_open", is_flag=True, help="Only those that are firing now.")
@click.option("--count", default=20, show_default=True, help="How many of the newest.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(config: str | None, follow: bool, only_open: bool, count: int, as_json: bool) -> None:
    """List the newest alerts, or follow them as they come. Each incident fires once and resolves once."""
    from stream.errors import ServiceError
    from stream.messages import AlertMessage
    from stream.redis_connect import connect
    from stream.redis_reader import RedisReader
    from workers.configuration import load

    settings = load(config)
    reader = RedisReader(connect(settings.redis.url.get_secret_value()), settings.namespace)

    def show(alert: AlertMessage) -> None:
        if as_json:
            click.echo(alert.to_json())
            return
        colour = "green" if alert.status == "resolved" else COLOURS[alert.severity]
        status = click.style(f"{alert.status:8} {alert.severity:8}", fg=colour)
        click.echo(f"{alert.at:%Y-%m-%d %H:%M:%S}Z {status} {alert.kind:12} {_printable(alert.title)}")

    if only_open:
        for firing in reader.open_alerts().values():
            show(firing)
        return
    newest = reader.last_alerts(count)
    for _, alert in reversed(newest):
        show(alert)
    last = newest[0][0] if newest else "0-0"
    while follow:
        try:
            for entry, new in reader.alerts(last, count=100, block_ms=2_000):
                last = entry
                show(new)
        except ServiceError as error:
            click.echo(f"tidecast: {error}; trying again", err=True)
            time.sleep(1)


def _printable(text: str) -> str:
    """Series ids come from outside: control characters would steer the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)

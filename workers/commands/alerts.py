"""``tidecast alerts``."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from workers.commands.options import config_option
from workers.commands.terminal import printable

if TYPE_CHECKING:
    from stream.messages import AlertMessage
    from stream.silences import Silence

COLOURS = {"critical": "red", "warning": "yellow", "info": "cyan"}
TITLE_SHOWN = 400


@click.command("alerts")
@config_option
@click.option("--follow", is_flag=True, help="Those that fire now, then new ones as they come, until Ctrl-C.")
@click.option("--open", "only_open", is_flag=True, help="Only those that are firing now.")
@click.option("--count", default=20, show_default=True, help="How many of the newest.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--feed", "-f", "feeds", multiple=True, help="Only of this feed; may be given again.")
@click.option("--kind", "kinds", multiple=True, help="Only of this kind; may be given again.")
@click.option("--series", "series", multiple=True, help="Only of series like this: 'pump-*'; may be given again.")
@click.option(
    "--severity", type=click.Choice(["info", "warning", "critical"]), default="info", help="Only this bad, or worse."
)
def command(
    config: str | None,
    follow: bool,
    only_open: bool,
    count: int,
    as_json: bool,
    feeds: tuple[str, ...],
    kinds: tuple[str, ...],
    series: tuple[str, ...],
    severity: str,
) -> None:
    """List the newest alerts, or follow them as they come. Each incident fires once and resolves once."""
    from datetime import UTC, datetime

    from stream.errors import ServiceError
    from stream.matchers import Matchers
    from stream.redis_connect import connect
    from stream.redis_reader import RedisReader
    from stream.redis_silences import SilenceBook
    from workers.configuration import load

    settings = load(config)
    given = {"feed": feeds, "kind": kinds, "series": series}
    where = Matchers.parse(
        [f"severity>={severity}", *(f"{field}={value}" for field, values in given.items() for value in values)]
    )
    client = connect(settings.redis.url.get_secret_value())
    reader, book = RedisReader(client, settings.namespace), SilenceBook(client, settings.namespace)

    def show(alerts: Iterable[AlertMessage]) -> None:
        chosen = [alert for alert in alerts if where.match(alert)]
        silences = book.active(datetime.now(UTC)) if chosen and not as_json else []
        for alert in chosen:
            click.echo(alert.to_json() if as_json else line(alert, silences))

    # First where the stream ends, then what is open: what fires in between is in one of them, or in both.
    newest = reader.last_alerts(1 if follow else count)
    shown: set[str] = set()
    if only_open or follow:
        firing = sorted(reader.open_alerts().values(), key=lambda alert: alert.started)
        shown = {alert.id for alert in firing}
        if not as_json and follow:
            click.secho(f"{sum(map(where.match, firing))} firing now", bold=True)
        show(firing)
    else:
        show(alert for _, alert in reversed(newest))
    if not follow:
        return
    if not as_json:
        click.secho("as they come:", bold=True)
    last = newest[0][0] if newest else "0-0"
    while True:
        try:
            entries = reader.alerts(last, count=100, block_ms=2_000)
            show(alert for _, alert in entries if alert.id not in shown)
            last = entries[-1][0] if entries else last
        except ServiceError as error:
            click.echo(f"tidecast: {error}; trying again", err=True)
            time.sleep(1)


def line(alert: AlertMessage, silences: Iterable[Silence] = ()) -> str:
    """One alert on a terminal: when, how bad, what it is, whose, and its sentence; no foreign character steers anything."""
    ended = alert.status == "resolved"
    colour = "green" if ended else COLOURS[alert.severity]
    mark = click.style(f"{'resolved' if ended else alert.severity:8}", fg=colour, bold=not ended)
    title = printable(alert.title[:TITLE_SHOWN]) + ("..." if len(alert.title) > TITLE_SHOWN else "")
    silent = next((silence for silence in silences if silence.covers(alert)), None)
    more = click.style(f" [silenced by {silent.id}]", dim=True) if silent is not None else ""
    feed = click.style(printable(alert.feed), dim=True)
    return f"{alert.at:%Y-%m-%d %H:%M:%S}Z {mark} {alert.kind:12} {feed} {title}{more}"

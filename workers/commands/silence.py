"""``tidecast silence``."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from workers.commands.options import config_option
from workers.commands.terminal import printable

if TYPE_CHECKING:
    from stream.redis_reader import RedisReader
    from stream.redis_silences import SilenceBook


@click.group("silence")
def command() -> None:
    """Alerts that nobody needs to be told of for a while. They are kept and shown; the relay does not deliver them."""


@command.command("add")
@click.argument("matchers", nargs=-1, required=True, metavar="MATCHER...")
@click.option("--for", "duration", help="How long: 2h, 30m, 7d.")
@click.option("--until", help="Or to when: ISO 8601, UTC where it names no zone.")
@click.option("--who", help="Who says so [default: the user of this system].")
@click.option("--why", required=True, help="Why: the next on call wants to know.")
@config_option
def add(
    matchers: tuple[str, ...], duration: str | None, until: str | None, who: str | None, why: str, config: str | None
) -> None:
    """Silence the alerts that all MATCHERs mean, from now on: 'series=pump-*', kind=stale, feed=plant, 'severity!=critical'.

    Those with = for one field are alternatives. An alert that still fires when the silence ends is told then. The end of
    an alert that was told before is told all the same, so that nothing stays open where it was told.
    """
    from stream.errors import ConfigurationError

    now = datetime.now(UTC)
    if (duration is None) == (until is None):
        raise click.UsageError("give --for or --until")
    try:
        end = now + _duration(duration) if duration is not None else _moment(str(until))
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(f"silence: {error}") from None
    if end <= now:
        raise ConfigurationError("silence: it would have ended already")
    book, reader = _opened(config)
    made = book.add(matchers, now, end, who or getpass.getuser(), why)
    covered = sum(made.covers(alert) for alert in reader.open_alerts().values())
    click.echo(f"{made.id}: until {made.until:%Y-%m-%d %H:%M:%S}Z; covers {covered} of the alerts that fire now")


@command.command("list")
@click.option("--all", "every", is_flag=True, help="Also those of the last days that have ended.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@config_option
def show(every: bool, as_json: bool, config: str | None) -> None:
    """List silences, and how many of the alerts that fire now each covers."""
    book, reader = _opened(config)
    now = datetime.now(UTC)
    firing = list(reader.open_alerts().values())
    for silence in book.every():
        if not (every or silence.until > now):
            continue
        if as_json:
            click.echo(silence.model_dump_json())
            continue
        state = click.style("active", fg="yellow") if silence.active(now) else "ended "
        covered = sum(silence.covers(alert) for alert in firing) if silence.active(now) else 0
        click.echo(f"{silence.id} {state} until {silence.until:%Y-%m-%d %H:%M:%S}Z, covers {covered} firing")
        click.echo(f"  {printable(' '.join(silence.match))}")
        click.echo(f"  {printable(silence.who)}: {printable(silence.why)}")


@command.command("expire")
@click.argument("silence_id", metavar="ID")
@config_option
def expire(silence_id: str, config: str | None) -> None:
    """End the silence ID now: what still fires is told."""
    book, _ = _opened(config)
    book.expire(silence_id, datetime.now(UTC))
    click.echo(f"{silence_id}: ended")


def _opened(config: str | None) -> tuple[SilenceBook, RedisReader]:
    from stream.redis_connect import connect
    from stream.redis_reader import RedisReader
    from stream.redis_silences import SilenceBook
    from workers.configuration import load

    settings = load(config)
    client = connect(settings.redis.url.get_secret_value())
    return SilenceBook(client, settings.namespace), RedisReader(client, settings.namespace)


def _duration(written: str) -> timedelta:
    from workers.durations import parse_duration

    return timedelta(microseconds=parse_duration(written))


def _moment(written: str) -> datetime:
    moment = datetime.fromisoformat(written)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)

"""``tidecast explain``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream.errors import ConfigurationError, InputError
from workers.commands.options import chosen_feed, config_option, feed_option

if TYPE_CHECKING:
    from workers.explaining.message import Explanation

WIDTH = 110
"""Columns where the output is no terminal."""


@click.command("explain")
@click.argument("series", required=False)
@click.option("--at", metavar="TIME", help="Explain the forecast of this time, ISO 8601 [default: the newest].")
@click.option(
    "--alert", metavar="FINGERPRINT", help="Explain the series of this alert at its time, in place of SERIES."
)
@click.option(
    "--lead", type=click.IntRange(min=1), help="Steps ahead that the sentences are about [default: the last]."
)
@config_option
@feed_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with all numbers.")
@click.option("--html", type=click.Path(dir_okay=False), help="Write a page with a picture to this file.")
@click.option("--svg", type=click.Path(dir_okay=False), help="Write the picture alone to this file.")
def command(
    series: str | None,
    at: str | None,
    alert: str | None,
    lead: int | None,
    config: str | None,
    feed: str | None,
    as_json: bool,
    html: str | None,
    svg: str | None,
) -> None:
    """Say why SERIES is forecast as it is: what each part of its window, each expert and each channel adds.

    The state is read that its worker saved last; nothing is written but the files asked for.

    \b
    Examples:
      tidecast explain pump-3                           in sentences, with a table
      tidecast explain pump-3 --at 2026-11-23T14:00Z    as far back as the saved window reaches
      tidecast explain pump-3 --html why.html           with a picture
      tidecast explain --alert 31ab5c0de49f2277         around the time of an alert
    """
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    if series is None and alert is None:
        raise ConfigurationError("say which: a SERIES, or an alert with --alert FINGERPRINT")
    if alert is not None and series is not None:
        raise ConfigurationError("--alert and SERIES contradict each other: an alert names its own series; give one")
    if alert is not None and at is not None:
        raise ConfigurationError("--alert and --at contradict each other: an alert has its own time; give one")
    from models.threads import single_threaded
    from stream.redis_connect import connect
    from stream.redis_reader import RedisReader
    from workers.configuration import load
    from workers.explaining.finding import find, find_alert, parsed_time
    from workers.explaining.page import render
    from workers.explaining.picture import picture
    from workers.explaining.telling import told_alert, told_forecast

    single_threaded()
    settings = load(config)
    reader = RedisReader(connect(settings.redis.url.get_secret_value()), settings.namespace)
    if alert is not None:
        fired = find_alert(reader, alert)
        found = find(reader, settings, chosen_feed(settings, feed or fired.feed), fired.series)
        told, line = told_alert(found, fired, _lead(lead, found.engine.spec.horizon))
    else:
        at_us = None if at is None else parsed_time(at)
        found = find(reader, settings, chosen_feed(settings, feed), str(series))
        told, line = told_forecast(found, at_us, _lead(lead, found.engine.spec.horizon))
    for option, path, text in (("--html", html, render), ("--svg", svg, picture)):
        if path:
            _write(option, path, text(told, line))
    if as_json:
        click.echo(told.to_json())
        return
    _show(told)
    for path in (html, svg):
        if path:
            click.echo(f"The picture is in {path}.")


def _lead(asked: int | None, horizon: int) -> int:
    if asked is not None and asked > horizon:
        raise InputError(f"--lead {asked}: the feed forecasts {horizon} steps ahead; give 1 to {horizon}")
    return asked or horizon


def _write(option: str, path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{option} {path}: {error.strerror}") from error


def _show(told: Explanation) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from workers.backtest.table import called
    from workers.explaining.page import leads_shown
    from workers.explaining.words import Numbers, printable, shown_parts

    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    numbers, leads = Numbers(told.scale), leads_shown(told, 4)
    for sentence in told.sentences:
        console.print(escape(printable(sentence)))
    table = Table(title=f"What adds up to the forecast of {escape(printable(told.series))}", box=SIMPLE)
    table.add_column("", no_wrap=True)
    for lead in leads:
        table.add_column(f"lead {lead}", justify="right")
    table.add_row("usual level", *(numbers.plain(told.level) for _ in leads))
    for part in shown_parts(told):
        table.add_row(escape(printable(part.says)), *(numbers.plain(part.adds[lead - 1]) for lead in leads))
    table.add_row("forecast", *(numbers.plain(told.forecast[lead - 1]) for lead in leads), style="bold")
    for one in told.experts:
        said = (f"{numbers.plain(one.forecast[lead - 1])} ({100 * one.weight[lead - 1]:.0f} %)" for lead in leads)
        table.add_row(f"{called(one.name)} says", *said, style="dim")
    console.print(table)
    for note in told.notes:
        console.print(escape(printable(note)), style="dim")

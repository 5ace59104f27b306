"""``tidecast forecast``."""

from __future__ import annotations

import click

from workers.commands.options import chosen_feed, config_option, feed_option


@click.command("forecast")
@click.argument("series")
@config_option
@feed_option
@click.option("--json", "as_json", is_flag=True, help="The message as it lies in Redis.")
def command(series: str, config: str | None, feed: str | None, as_json: bool) -> None:
    """Show the latest forecast of SERIES: median and interval for each lead, its state, and what it rests on."""
    from datetime import timedelta

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from stream.errors import InputError
    from stream.redis_connect import connect
    from stream.redis_reader import RedisReader
    from workers.configuration import load

    settings = load(config)
    name = chosen_feed(settings, feed).name
    reader = RedisReader(connect(settings.redis.url.get_secret_value()), settings.namespace)
    latest = reader.latest(name, series)
    if latest is None:
        near = [known for known in reader.series(name) if series.lower() in known.lower()][:5]
        hint = f"; there are: {', '.join(near)}" if near else "; has a worker run, and has the series sent anything?"
        raise InputError(f"feed {name} has no forecast of series {series!r}{hint}")
    if as_json:
        click.echo(latest.to_json())
        return
    levels = sorted(latest.quantiles, key=float)
    low, high = (levels[0], levels[-1]) if levels else ("", "")
    table = Table(
        title=f"{escape(series)}: {latest.state}, model {latest.model}, last value {latest.value:g} at {latest.cutoff:%Y-%m-%d %H:%M:%S} UTC"
    )
    table.add_column("lead", justify="right")
    table.add_column("time (UTC)")
    table.add_column("median", justify="right")
    table.add_column(f"{float(low):.0%} to {float(high):.0%}" if levels else "no interval asked for", justify="right")
    for lead, median in enumerate(latest.median, 1):
        moment = latest.cutoff + timedelta(seconds=latest.step_s * lead)
        interval = f"{latest.quantiles[low][lead - 1]:.5g} … {latest.quantiles[high][lead - 1]:.5g}" if levels else ""
        table.add_row(str(lead), f"{moment:%m-%d %H:%M:%S}", f"{median:.5g}", interval)
    console = Console()
    console.print(table)
    shares = ", ".join(f"{expert} {share:.0%}" for expert, share in latest.weights.items())
    console.print(f"Mixed from: {shares}")
    if (card := reader.card(name, series)) is not None and card.error is not None:
        ratio = f" ({card.error_ratio:.2f} of last value's)" if card.error_ratio is not None else ""
        held = ", ".join(f"{float(level):.0%} interval {share:.1%}" for level, share in card.coverage.items())
        console.print(f"Recent error at lead 1: {card.error:.4g}{ratio}. Realised coverage: {held}.")

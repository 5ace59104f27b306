"""``tidecast dashboard``."""

from __future__ import annotations

import click

from workers.commands.options import config_option


@click.command("dashboard")
@config_option
@click.option("--host", help="Address to listen on [default: dashboard.host, 127.0.0.1].")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Port; 0 takes a free one [default: dashboard.port, 8420]."
)
def command(config: str | None, host: str | None, port: int | None) -> None:
    """Show everything live in a browser: series, forecasts, alerts, workers, models. The same facts under /api.

    Only this machine can reach it, unless --host or dashboard.host says otherwise; then a token is required.
    """
    from workers import logs
    from workers.configuration import load
    from workers.dashboard.serving import serve

    logs.set_up()
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = load(config)
    serve(settings.model_copy(update={"dashboard": settings.dashboard.model_copy(update=given)}))

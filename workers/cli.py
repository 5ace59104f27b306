"""The command line: ``tidecast VERB``. Verbs are loaded when they are called, so that ``--help`` answers at once."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from stream.errors import ConfigurationError, InputError, ServiceError, TidecastError

VERBS = {
    "demo": ("workers.commands.demo", "Watch it work: sensors, forecasts and an alert, with nothing to install."),
    "worker": ("workers.commands.worker", "Forecast the feeds: Kafka in, forecasts and alerts to Redis."),
    "scheduler": ("workers.commands.scheduler", "Retrain on schedule, one leader over all hosts."),
    "retrain": (
        "workers.commands.retrain",
        "Train a feed's starting weights now; they replace the old ones if better.",
    ),
    "backtest": ("workers.commands.backtest", "Run a CSV or JSON lines file through the engine, and score it."),
    "dashboard": ("workers.commands.dashboard", "The live page, and the HTTP API, of what the workers publish."),
    "forecast": ("workers.commands.forecast", "Show the latest forecast of a series."),
    "explain": ("workers.commands.explain", "Say why a series is forecast as it is, or why it raised an alert."),
    "alerts": ("workers.commands.alerts", "List alerts, or follow them as they come."),
    "relay": ("workers.commands.relay", "Deliver alerts to webhooks, PagerDuty, Alertmanager, Kafka."),
    "silence": ("workers.commands.silence", "Keep alerts from being delivered for a while."),
    "check": ("workers.commands.check", "Check a configuration without running anything."),
    "topics": ("workers.commands.topics", "Create the topics that the configuration names."),
}
EXIT_CODES: dict[type[Exception], int] = {ConfigurationError: 2, InputError: 3, ServiceError: 4}
"""Distinct exits for scripts: wrong configuration, unusable input, a service that is away."""


class Verbs(click.Group):
    """A group whose verbs' modules are imported when needed."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """In the order in which a newcomer meets them."""
        return list(VERBS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(VERBS[cmd_name][0]).command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Summaries come from the table, so that help imports nothing."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, summary) for name, (_, summary) in VERBS.items()])


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="tidecast", prog_name="tidecast")
def cli() -> None:
    """Live forecasts for every sensor on your Kafka, with intervals that hold, and alerts that say what drifted.

    \b
    First steps:
      tidecast demo                          see it work, nothing to install
      tidecast backtest FILE.csv             try it on a file of yours
      tidecast check tidecast.yaml           check a configuration
      tidecast topics create                 make the topics it names
      tidecast worker                        forecast; start as many as you like
      tidecast dashboard                     see everything live, in a browser
      tidecast forecast SERIES               look at the result
      tidecast explain SERIES                and at why it is so
      tidecast alerts --follow               hear what drifts

    The configuration is ./tidecast.yaml, or --config FILE, or $TIDECAST_CONFIG; TIDECAST_REDIS__URL=... in the
    environment overrides redis: {url: ...} in the file.

    Exit codes: 0 done, 1 unexpected, 2 configuration or usage, 3 unusable input, 4 Kafka or Redis away.
    """


def main() -> None:
    """The entry point. Errors that are somebody's to mend are said in one line, without a traceback."""
    try:
        cli.main(prog_name="tidecast", standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except TidecastError as error:
        click.echo(f"tidecast: {error}", err=True)
        sys.exit(next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1))


if __name__ == "__main__":
    main()

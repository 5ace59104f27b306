"""``tidecast retrain``."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import click

from workers.commands.options import chosen_feed, config_option, feed_option
from workers.durations import parse_duration

if TYPE_CHECKING:
    from rich.console import Console

    from workers.runs import Outcome
    from workers.settings import FeedSettings, Settings


def _duration(ctx: click.Context, param: click.Parameter, written: str | None) -> int | None:
    """A duration as in the configuration, in microseconds."""
    try:
        return None if written is None else parse_duration(written)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


@click.command("retrain")
@config_option
@feed_option
@click.option(
    "--history",
    callback=_duration,
    metavar="DURATION",
    help="How far back to read, for example 7d [default: retrain.history].",
)
@click.option("--dry-run", is_flag=True, help="Train and compare, but store and promote nothing.")
@click.option("--fence", type=int, hidden=True, help="Number of the scheduler's lease.")
def command(config: str | None, feed: str | None, history: int | None, dry_run: bool, fence: int | None) -> None:
    """Train a feed's starting weights now on what Kafka still holds; they replace the old ones if better.

    Trained and compared on different rows: the newest tenth decides. Running workers take up a new champion between two
    batches. Exit code 0 also where the old weights stay, or where there is too little history; the text says which.
    """
    from workers.configuration import load

    settings = load(config)
    chosen = chosen_feed(settings, feed)
    # Forecasting comes first: training takes what the machine has left.
    os.nice(10)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    from rich.console import Console

    from models.threads import single_threaded
    from workers import logs

    console = Console()
    # On a terminal the table says what the log would.
    logs.set_up("warning" if console.is_terminal else "info")
    single_threaded()
    show(console, _retrain(console, settings, chosen, history, dry_run, fence))


def _retrain(
    console: Console, settings: Settings, feed: FeedSettings, history: int | None, dry_run: bool, fence: int | None
) -> Outcome:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from stream.kafka_admin import read_history
    from stream.redis_connect import connect
    from stream.redis_models import ModelRegistry
    from workers.history import everything
    from workers.retraining import retrain

    registry = ModelRegistry(connect(settings.redis.url.get_secret_value()), settings.namespace)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None, note="")

        def advance(done: float, detail: dict[str, Any]) -> None:
            stage = detail["stage"]
            if stage == "reading":
                bar.update(task, note=f"{detail['records']} records")
            elif stage == "training":
                note = f"epoch {detail['epoch']}, loss {detail['loss']:.4f}, best so far {detail['validation']:.4f}"
                bar.update(task, description=stage, total=1.0, completed=done, note=note)
            else:
                bar.update(task, description=stage, completed=done)

        return retrain(
            settings,
            feed,
            registry=registry,
            read=everything(
                lambda since, until, most: read_history(settings.kafka.connection(), feed.topics, since, until, most)
            ),
            clock=lambda: time.time_ns() // 1000,
            progress=advance,
            history_us=history,
            fence=fence,
            dry_run=dry_run,
        )


def show(console: Console, outcome: Outcome) -> None:
    """Print what a run found."""
    from rich.table import Table

    from stream.messages import iso

    if outcome.observations:
        console.print(
            f"{outcome.feed}: {outcome.observations} observations of {outcome.series} series in {outcome.records}"
            f" records ({outcome.rejected} rejected), {iso(outcome.from_us)} to {iso(outcome.until_us)};"
            f" {outcome.windows} windows",
            highlight=False,
            soft_wrap=True,
        )
    if outcome.scores:
        table = Table("held-out windows", "pinball", "MAE", "coverage", box=None, pad_edge=False)
        for name, score in sorted(outcome.scores.items(), key=lambda item: item[1]["pinball"]):
            title = f"champion {outcome.champion}" if name == "champion" else name
            table.add_row(title, *(f"{score[measure]:.4f}" for measure in ("pinball", "mae", "coverage")))
        console.print(table)
    words = outcome.ending.value.replace("-", " ")
    would = "would be " if outcome.dry_run and outcome.scores else ""
    version = f" version {outcome.version}" if outcome.version else ""
    console.print(
        f"{would}{words}{version}: {outcome.reason} ({outcome.seconds:.1f} s)",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )

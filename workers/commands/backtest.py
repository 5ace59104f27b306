"""``tidecast backtest``."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from stream.errors import ConfigurationError
from workers.commands.options import chosen_feed, feed_option

if TYPE_CHECKING:
    from workers.backtest.running import Backtest, Options
    from workers.settings import FeedSettings


@click.command("backtest")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--horizon", type=int, help="Steps to forecast ahead [default: 24].")
@click.option("--context", type=int, help="Steps to look back [default: 96].")
@click.option("--step", help="Spacing of the observations, such as 15m [default: found out].")
@click.option("--architecture", type=click.Choice(["gru", "lstm"]), help="The network [default: gru].")
@click.option(
    "--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Any setting of a feed, such as model.hidden=64."
)
@click.option("--config", "-c", type=click.Path(dir_okay=False), help="Take fields and settings from this file's feed.")
@feed_option
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many records.")
@click.option("--train-rows", type=click.IntRange(min=1), help="Train on the first so many rows before the start.")
@click.option("--validation-rows", type=click.IntRange(min=1), help="Stop training by so many rows after those.")
@click.option("--no-rivals", is_flag=True, help="Leave river's SNARIMAX and Holt-Winters out.")
@click.option(
    "--rivals-every",
    type=click.IntRange(min=1),
    help="Let them forecast at every Kth origin [default: as time allows].",
)
@click.option("--seed", type=int, default=0, help="Seed of the networks' first weights [default: 0].")
@click.option("--html", type=click.Path(dir_okay=False), help="Write a page with pictures to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option("--output", type=click.Path(dir_okay=False), help="Write every forecast to this file, as JSON lines.")
@click.option(
    "--dead-letters", type=click.Path(dir_okay=False), help="Write rejected records to this file, as JSON lines."
)
def command(
    file: str,
    horizon: int | None,
    context: int | None,
    step: str | None,
    architecture: str | None,
    assignments: tuple[str, ...],
    config: str | None,
    feed: str | None,
    limit: int | None,
    train_rows: int | None,
    validation_rows: int | None,
    no_rivals: bool,
    rivals_every: int | None,
    seed: int,
    html: str | None,
    as_json: bool,
    output: str | None,
    dead_letters: str | None,
) -> None:
    """Run FILE through the very engine that works live, and score every forecast on what came after it.

    FILE is a CSV (columns and spacing are found out), JSON lines (.jsonl, .ndjson, also .gz), or - for JSON lines on
    standard input. No forecast sees anything after its cutoff. Beside the mixture, each of its experts is scored on the
    same targets, and so are last value, seasonal naive, and river's SNARIMAX and Holt-Winters.

    \b
    Examples:
      tidecast backtest sensors.csv                      scores as a table
      tidecast backtest sensors.csv --html report.html   with pictures
      tidecast backtest sensors.csv --json               for scripts
      tidecast backtest ETTh2.csv --train-rows 2880 --validation-rows 720 --limit 14400
                                                         a published protocol

    Without --train-rows nothing is trained beforehand, all rows are scored, and errors are in the series' own units.
    With it, and --validation-rows, the network's first weights are trained on the first rows of all series, and scores
    are of the rest only, in standard deviations of the training rows.
    """
    # One thread: a batch of small matrices is slower, many times, when threads share it.
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    from models.threads import single_threaded
    from workers.backtest.choosing import feed_for
    from workers.backtest.running import Options
    from workers.backtest.summary import summary
    from workers.configuration import load

    single_threaded()
    if feed is not None and config is None and "TIDECAST_CONFIG" not in os.environ:
        raise ConfigurationError("--feed names a feed of a configuration: give it with --config FILE")
    if (train_rows is None) != (validation_rows is None):
        raise ConfigurationError("--train-rows and --validation-rows need each other: give both")
    if no_rivals and rivals_every is not None:
        raise ConfigurationError("--no-rivals and --rivals-every contradict each other: give one")
    base = chosen_feed(load(config), feed) if config is not None or feed is not None else None
    changes = {"step": step, "horizon": horizon, "context": context, "model.architecture": architecture}
    chosen = feed_for(file, base, changes, assignments)
    options = Options(limit, 0 if no_rivals else rivals_every, train_rows or 0, validation_rows or 0, seed)
    with ExitStack() as stack:
        page = stack.enter_context(_created("--html", html)) if html else None
        result = _run(file, chosen, options, output, dead_letters)
        told = summary(result)
        if page is not None:
            from workers.backtest.page import render

            page.write(render(result, told).encode())
    if as_json:
        import orjson

        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode())
        return
    from workers.backtest.table import show

    show(result, told)
    for written, what in ((output, "Forecasts"), (html, "Pictures")):
        if written:
            click.echo(f"{what} are in {written}.")


def _run(file: str, feed: FeedSettings, options: Options, output: str | None, dead_letters: str | None) -> Backtest:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from stream.deadletters import JsonLinesDeadLetters
    from workers.backtest.running import backtest_file

    columns = (TextColumn("[cyan]{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with ExitStack() as stack:
        into = stack.enter_context(_created("--output", output)) if output else None
        sink: JsonLinesDeadLetters | None = None
        if dead_letters:
            sink = JsonLinesDeadLetters(Path(dead_letters))
            stack.callback(sink.close)
        bar = stack.enter_context(
            Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        )
        name = "standard input" if file == "-" else Path(file).name
        task = bar.add_task(name, total=1.0)

        def told(what: str, share: float | None) -> None:
            bar.update(task, description=f"{name}: {what}", completed=share or 0.0)

        return backtest_file(file, feed, options, output=into, dead_letters=sink, progress=told)


def _created(option: str, path: str) -> BinaryIO:
    try:
        return Path(path).open("wb")
    except OSError as error:
        raise ConfigurationError(f"{option} {path}: {error.strerror}") from error

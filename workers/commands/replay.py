"""``tidecast replay``."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from stream.errors import ConfigurationError
from workers.commands.options import chosen_feed, feed_option

if TYPE_CHECKING:
    from rich.console import Console

    from stream.sources.csv_file import CsvSource
    from stream.sources.json_lines import JsonLinesSource
    from workers.replaying import Replay
    from workers.settings import FeedSettings

MOST_ROWS = 40
MOST_ALERTS = 20


@click.command("replay")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--config", "-c", type=click.Path(dir_okay=False), help="Take fields and settings from this file's feed.")
@feed_option
@click.option("--step", help="Spacing of the observations, such as 15m [default: inferred].")
@click.option("--horizon", type=int, help="Steps to forecast ahead [default: 24].")
@click.option("--context", type=int, help="Steps to look back [default: 96].")
@click.option("--architecture", type=click.Choice(["gru", "lstm"]), help="The network [default: gru].")
@click.option("--learn-every", type=int, help="Fine-tune at every Kth observation [default: 1].")
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many records.")
@click.option("--output", type=click.Path(dir_okay=False), help="Write every forecast to this file, as JSON lines.")
@click.option(
    "--dead-letters", type=click.Path(dir_okay=False), help="Write rejected records to this file, as JSON lines."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def command(
    file: str,
    config: str | None,
    feed: str | None,
    step: str | None,
    horizon: int | None,
    context: int | None,
    architecture: str | None,
    learn_every: int | None,
    limit: int | None,
    output: str | None,
    dead_letters: str | None,
    as_json: bool,
) -> None:
    """Run FILE through the very engine that works live, and score every forecast as its targets arrive.

    FILE is a CSV (its columns are found out), JSON lines (.jsonl, .ndjson, also .gz), or - for JSON lines on standard
    input. No forecast sees anything after its cutoff. Errors are compared with "as now" and "as a season ago" on the
    same targets; those of the time of warming up count too. Your own fields and settings come from --config and --feed.
    """
    # One thread: a batch of small matrices is slower, many times, when threads share it.
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    from models.threads import single_threaded
    from workers.configuration import load
    from workers.replaying import feed_for, open_source, summary

    single_threaded()
    if feed is not None and config is None and "TIDECAST_CONFIG" not in os.environ:
        raise ConfigurationError("--feed names a feed of a configuration: give it with --config FILE")
    base = chosen_feed(load(config), feed) if config is not None or feed is not None else None
    chosen = feed_for(
        file,
        base,
        {"step": step, "horizon": horizon, "context": context},
        {"architecture": architecture, "learn_every": learn_every},
    )
    source = open_source(file, chosen.fields)
    try:
        result = _run(source, chosen, file, limit, output, dead_letters)
    finally:
        source.close()
    if as_json:
        import orjson

        click.echo(orjson.dumps(summary(result), option=orjson.OPT_INDENT_2).decode())
    else:
        _print(result, summary(result), chosen, output)


def _run(
    source: CsvSource | JsonLinesSource,
    feed: FeedSettings,
    file: str,
    limit: int | None,
    output: str | None,
    dead_letters: str | None,
) -> Replay:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from stream.deadletters import JsonLinesDeadLetters
    from workers.replaying import replay

    console = Console(stderr=True)
    columns = (TextColumn("[cyan]{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with ExitStack() as stack:
        into: BinaryIO | None = stack.enter_context(_created(output)) if output else None
        sink: JsonLinesDeadLetters | None = None
        if dead_letters:
            sink = JsonLinesDeadLetters(Path(dead_letters))
            stack.callback(sink.close)
        bar = stack.enter_context(Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()))
        task = bar.add_task(Path(file).name if file != "-" else "standard input", total=source.bytes_total)
        return replay(
            source,
            feed,
            name=file,
            limit=limit,
            output=into,
            dead_letters=sink,
            progress=lambda: bar.update(task, completed=source.bytes_read),
        )


def _created(path: str) -> BinaryIO:
    try:
        return Path(path).open("wb")
    except OSError as error:
        raise ConfigurationError(f"--output {path}: {error.strerror}") from error


def _print(result: Replay, told: dict[str, Any], feed: FeedSettings, output: str | None) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 110)
    name = "standard input" if result.name == "-" else Path(result.name).name
    console.print(
        f"[bold]{name}[/]: {result.observations:,} observations of {told['overall']['series']} series,"
        f" {result.forecasts:,} forecasts of {feed.horizon} steps by {feed.model.architecture} and its fellow experts",
        highlight=False,
    )
    if not result.observations:
        console.print(
            "Nothing to forecast: see the rejected records below." if result.rejected else "The file is empty."
        )
    elif not any(row["targets"] for row in told["series"]):
        console.print("Too short to score: no target came after a forecast.")
    else:
        _print_scores(console, told)
    _print_alerts(console, told["alerts"])
    _print_refused(console, result)
    if output:
        console.print(f"Forecasts are in {output}.", highlight=False)


def _print_scores(console: Console, told: dict[str, Any]) -> None:
    from rich.table import Table

    overall = told["overall"]
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("series", overflow="ellipsis", max_width=28, no_wrap=True)
    for title in ("obs.", "MAE", "last value", "season ago", "vs last", "vs season", "in interval", "alerts"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in told["series"][:MOST_ROWS]:
        table.add_row(
            row["series"],
            f"{row['observations']:,}",
            *(_number(row[key]) for key in ("mae", "mae_last_value", "mae_seasonal")),
            *(_ratio(row[key]) for key in ("ratio_last_value", "ratio_seasonal")),
            _share(row["coverage"]),
            str(row["alerts"] or "·"),
        )
    if len(told["series"]) > 1:
        ratios = (_ratio(overall[key]) for key in ("ratio_last_value", "ratio_seasonal"))
        table.add_section()
        count = f"{told['observations']:,}"
        table.add_row(
            "[bold]all[/]", count, "", "", "", *ratios, _share(overall["coverage"]), str(overall["alerts"] or "·")
        )
    console.print(table)
    if (more := len(told["series"]) - MOST_ROWS) > 0:
        console.print(f"[dim]... and {more} more series; --json lists all[/]")
    console.print(
        f"[dim]Mean absolute errors over all leads. Below 1.00 is better than the naive forecast."
        f" The interval is to hold {_share(overall['nominal'])}.[/]",
        highlight=False,
    )


def _print_alerts(console: Console, alerts: list[dict[str, Any]]) -> None:
    if not alerts:
        return
    console.print("\n[bold]Alerts[/]")
    colours = {"firing": "red", "resolved": "green"}
    for alert in alerts[:MOST_ALERTS]:
        colour = colours[alert["status"]]
        console.print(f"  [{colour}]{alert['status']:8}[/] {alert['at']}  ", end="", highlight=False)
        console.print(alert["title"], highlight=False, markup=False)
    if (more := len(alerts) - MOST_ALERTS) > 0:
        console.print(f"  [dim]... and {more} more; --json lists all[/]")


def _print_refused(console: Console, result: Replay) -> None:
    if result.passed_over:
        counts = ", ".join(f"{count:,} {name}" for name, count in result.passed_over.items())
        console.print(f"\nNot on time: {counts}.", highlight=False)
    if not result.rejected:
        return
    total = sum(result.rejected.values())
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in result.rejected.most_common())
    console.print(f"\n[yellow]Rejected {total:,}[/]: {reasons}. The first:", highlight=False)
    for one in result.first_rejected:
        console.print(f"  record {one.record.offset}: {one.reason.value}: {one.detail}", highlight=False, markup=False)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _ratio(value: float | None) -> str:
    if value is None:
        return "-"
    return f"[{'green' if value < 1 else 'yellow'}]{value:.3f}[/]"

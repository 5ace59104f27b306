"""A backtest as tables for people."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from workers.backtest.running import Backtest

MOST_ROWS = 40
MOST_ALERTS = 20
WIDTH = 110
"""Columns where the output is no terminal."""
NAMES = {
    "mixture": "mixture",
    "last-value": "last value",
    "seasonal-naive": "seasonal naive",
    "least-squares": "least squares",
    "snarimax": "SNARIMAX (river)",
    "holt-winters": "Holt-Winters (river)",
}
"""What forecasters are called; the others by their own names."""


def show(result: Backtest, told: dict[str, Any]) -> None:
    """Print scores, alerts, and what was refused."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    name = "standard input" if result.name == "-" else Path(result.name).name
    console.print(
        f"[bold]{name}[/]: {result.observations:,} observations of {told['overall']['series']} series,"
        f" {result.forecasts:,} forecasts of {result.feed.horizon} steps by"
        f" {result.feed.model.architecture} and its fellow experts"
    )
    if told["protocol"]:
        protocol = told["protocol"]
        console.print(
            f"Trained on {protocol['train_rows']:,} rows, stopped by {protocol['validation_rows']:,};"
            f" scored from {protocol['scored_from']} on."
        )
    if not result.observations:
        nothing = "Nothing to forecast: see the rejected records below." if result.rejected else "The file is empty."
        console.print(nothing)
    elif not told["overall"]["targets"]:
        console.print("Too short to score: no target came after a forecast.")
    else:
        _print_forecasters(console, result, told)
        _print_coverage(console, told)
        _print_crossings(console, told)
        if len(told["series"]) > 1:
            _print_series(console, told)
    _print_alerts(console, told["alerts"])
    _print_refused(console, result)


def called(name: str) -> str:
    """A forecaster's name for people."""
    return NAMES.get(name, name)


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first, overflow="ellipsis", max_width=28, no_wrap=True)
    for title in others:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _print_forecasters(console: Console, result: Backtest, told: dict[str, Any]) -> None:
    alone = len(told["series"]) == 1
    rows = told["series"][0]["forecasters"] if alone else told["overall"]["forecasters"]
    table = _table("forecaster", "MSE", "MAE", "MASE", "CRPS", "vs last", "vs mixture", "targets")
    for name, row in rows.items():
        table.add_row(
            f"[bold]{called(name)}[/]" if name == "mixture" else called(name),
            *(number(row[key]) for key in ("mse", "mae", "mase", "crps")),
            _ratio(row["ratio_last_value"]),
            number(row["ratio_mixture"], ".3f"),
            f"{row['targets']:,}",
        )
    console.print()
    console.print(table)
    console.print(f"[dim]{explained(told, alone)}[/]")
    if result.rivals is not None:
        console.print(f"[dim]{rivals_explained(told)}[/]")


def explained(told: dict[str, Any], alone: bool) -> str:
    """In what units the errors are."""
    if told["protocol"]:
        units = "in standard deviations of the training rows"
    else:
        units = "in the series' own units" if alone else "in standard deviations of each series, each counts the same"
    return (
        f"Mean errors over all leads, {units}. vs last: MAE over that of the last value on the same targets, below 1 is"
        " better; vs mixture: MAE over that of the mixture on the same targets, above 1 is worse."
    )


def rivals_explained(told: dict[str, Any]) -> str:
    """How often the rivals forecast, in a sentence."""
    rivals = told["rivals"]
    every = f"one origin in {rivals['every_at_most']}" if rivals["every_at_most"] > 1 else "every origin"
    if rivals["chosen"] == "given":
        return f"River's forecasters learn every row and forecast at {every}."
    return (
        f"River's forecasters learn every row; they forecast at {every}, or at times more often, so that they take no"
        " more than their share of the run time."
    )


def _print_coverage(console: Console, told: dict[str, Any]) -> None:
    rows = [row["coverage"]["intervals"] for row in told["series"] if row["coverage"]]
    if not rows or not rows[0]:
        return
    parts = []
    for at, interval in enumerate(rows[0]):
        mean = sum(row[at]["realised"] for row in rows) / len(rows)
        parts.append(f"{percent(interval['nominal'])} interval holds {percent(mean)}")
    console.print(f"\n[bold]Intervals[/]  {'; '.join(parts)}")
    stretches = [row["coverage_of_stretches"] for row in told["series"] if row["coverage_of_stretches"]]
    if stretches:
        low, high = min(one["lowest"] for one in stretches), max(one["highest"] for one in stretches)
        console.print(
            f"           the widest, in any {stretches[0]['origins']:,} origins in a row: {percent(low)} to {percent(high)}"
        )


def _print_crossings(console: Console, told: dict[str, Any]) -> None:
    for side, one in (told["crossings"] or {}).items():
        console.print(
            f"[bold]Crossing[/]   {side} the threshold within the horizon: Brier score {number(one['brier'])}"
            f" ({number(one['brier_of_frequency'])} for always saying {percent(one['frequency'])}); of chances about"
            f" {_reliabilities(one['reliability'])} came true"
        )


def _reliabilities(bins: list[dict[str, Any]]) -> str:
    chosen = (bins[0], bins[len(bins) // 2], bins[-1])
    return ", ".join(f"{percent(one['chance'])}: {percent(one['frequency'])}" for one in chosen)


def _print_series(console: Console, told: dict[str, Any]) -> None:
    table = _table("series", "obs.", "MSE", "MAE", "MASE", "vs last", "best other", "in interval", "alerts")
    for row in told["series"][:MOST_ROWS]:
        mine = row["forecasters"]["mixture"]
        table.add_row(
            row["series"],
            f"{row['observations']:,}",
            *(number(mine[key]) for key in ("mse", "mae", "mase")),
            _ratio(mine["ratio_last_value"]),
            _best_other(row["forecasters"]),
            percent(row["coverage"]["intervals"][0]["realised"]) if _has_interval(row) else "-",
            str(row["alerts"] or "·"),
        )
    console.print()
    console.print(table)
    if (more := len(told["series"]) - MOST_ROWS) > 0:
        console.print(f"[dim]... and {more} more series; --json lists all[/]")
    units = "" if told["protocol"] else " MSE and MAE in the series' own units."
    console.print(f"[dim]Of the mixture. best other: whose MAE is lowest, over the mixture's.{units}[/]")


def _has_interval(row: dict[str, Any]) -> bool:
    return bool(row["coverage"] and row["coverage"]["intervals"])


def _best_other(rows: dict[str, dict[str, Any]]) -> str:
    others = {name: row["ratio_mixture"] for name, row in rows.items() if name != "mixture" and row["ratio_mixture"]}
    if not others:
        return "-"
    best = min(others, key=lambda name: others[name])
    return f"{called(best)} {others[best]:.3f}"


def _print_alerts(console: Console, alerts: list[dict[str, Any]]) -> None:
    if not alerts:
        return
    console.print("\n[bold]Alerts[/]")
    colours = {"firing": "red", "resolved": "green"}
    for alert in alerts[:MOST_ALERTS]:
        colour = colours[alert["status"]]
        console.print(f"  [{colour}]{alert['status']:8}[/] {alert['at']}  ", end="")
        console.print(alert["title"], markup=False, soft_wrap=True)
    if (more := len(alerts) - MOST_ALERTS) > 0:
        console.print(f"  [dim]... and {more} more; --json lists all[/]")


def _print_refused(console: Console, result: Backtest) -> None:
    if result.backwards:
        console.print("\nThe file begins with the newest record; it was taken from its end.")
    if result.passed_over:
        counts = ", ".join(f"{count:,} {name}" for name, count in result.passed_over.items())
        console.print(f"\nNot on time: {counts}.")
    if not result.rejected:
        return
    total = sum(result.rejected.values())
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in result.rejected.most_common())
    console.print(f"\n[yellow]Rejected {total:,}[/]: {reasons}. The first:")
    for one in result.first_rejected:
        console.print(f"  record {one.record.offset}: {one.reason.value}: {one.detail}", markup=False)


def number(value: float | None, form: str = ".4g") -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None else format(value, form)


def percent(value: float | None) -> str:
    """A share as per cent."""
    return "-" if value is None else f"{100 * value:.1f} %"


def _ratio(value: float | None) -> str:
    if value is None:
        return "-"
    return f"[{'green' if value < 1 else 'yellow'}]{value:.3f}[/]"

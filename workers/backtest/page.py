"""A backtest as one HTML page with pictures: nothing is loaded from elsewhere, and no script runs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from workers.backtest.fans import fans
from workers.backtest.pictures import coverage_over_time, error_by_lead, error_over_time, pit, weights_over_time
from workers.backtest.running import Backtest
from workers.backtest.table import called, explained, number, percent, rivals_explained

MOST_SERIES = 12
"""Series that have pictures of their own."""
FORECASTER_COLUMNS = ("MSE", "MAE", "MASE", "pinball", "CRPS", "vs last", "vs mixture", "targets")
SERIES_COLUMNS = ("observations", "MSE", "MAE", "MASE", "vs last", "in interval", "alerts")


def render(result: Backtest, told: dict[str, Any]) -> str:
    """The page as text."""
    name = "standard input" if result.name == "-" else Path(result.name).name
    style = (files("workers.backtest") / "page.css").read_text(encoding="utf-8")
    body = "".join(_body(result, told))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Backtest: {escape(name)}</title><style>{style}</style></head>"
        f"<body><header><h1>Backtest: {escape(name)}</h1>{_intro(told)}</header><main>{body}</main></body></html>\n"
    )


def _intro(told: dict[str, Any]) -> str:
    settings = told["settings"]
    ran = (
        f"{told['observations']:,} observations of {told['overall']['series']} series, every one forecast"
        f" {settings['horizon']} steps ahead (step {settings['step']}, {settings['context']} steps back,"
        f" {settings['architecture']}). No forecast saw anything after its cutoff."
    )
    lines = [ran]
    if protocol := told["protocol"]:
        lines.append(
            f"Weights trained on the first {protocol['train_rows']:,} rows and validated on the next"
            f" {protocol['validation_rows']:,}; scored from {protocol['scored_from']} on."
        )
    if told["rejected"]:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in told["rejected"].items())
        lines.append(f"Rejected records: {reasons}.")
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _body(result: Backtest, told: dict[str, Any]) -> list[str]:
    rows = [row for row in told["series"] if row["targets"]]
    if not rows:
        return ["<p>Nothing was scored: no target came after a forecast.</p>"]
    alone = len(told["series"]) == 1
    shown = rows[0] if alone else told["overall"]
    parts = [_scores(shown, told, alone)]
    if alone:
        parts.append(fans(result, rows[0]["series"]))
    parts += _pictures(shown, told)
    if not alone:
        parts.append(_series_table(rows, told))
        parts += [_one_series(result, row, told) for row in rows[:MOST_SERIES]]
        if (more := len(rows) - MOST_SERIES) > 0:
            parts.append(f'<p class="dim">{more} more series have no pictures here.</p>')
    return parts


def _scores(shown: dict[str, Any], told: dict[str, Any], alone: bool) -> str:
    lines = []
    for name, row in shown["forecasters"].items():
        cells = [number(row[key]) for key in ("mse", "mae", "mase", "pinball", "crps")]
        cells += [number(row[key], ".3f") for key in ("ratio_last_value", "ratio_mixture")]
        lines.append((called(name), [*cells, f"{row['targets']:,}"]))
    note = f"<p class='dim'>{escape(rivals_explained(told))}</p>" if told["rivals"] else ""
    return f"<h2>Scores</h2>{table('forecaster', FORECASTER_COLUMNS, lines, explained(told, alone))}{note}"


def _pictures(shown: dict[str, Any], told: dict[str, Any]) -> list[str]:
    units = "standard deviations" if told["protocol"] or shown is told["overall"] else "the series' own units"
    return [
        error_over_time(shown, units),
        coverage_over_time(shown, told["overall"]["nominal"]),
        error_by_lead(shown, units),
        pit(shown, told["settings"]["levels"]),
        weights_over_time(shown),
    ]


def _series_table(rows: list[dict[str, Any]], told: dict[str, Any]) -> str:
    lines = []
    for row in rows:
        mine = row["forecasters"]["mixture"]
        held = row["coverage"]["intervals"][0]["realised"] if row["coverage"]["intervals"] else None
        cells = [f"{row['observations']:,}", *(number(mine[key]) for key in ("mse", "mae", "mase"))]
        cells += [number(mine["ratio_last_value"], ".3f"), percent(held), str(row["alerts"])]
        lines.append((row["series"], cells))
    units = "standard deviations of the training rows" if told["protocol"] else "the series' own units"
    return f"<h2>Series</h2>{table('series', SERIES_COLUMNS, lines, f'The mixture on each series, errors in {units}.')}"


def _one_series(result: Backtest, row: dict[str, Any], told: dict[str, Any]) -> str:
    pictures = "".join(_pictures(row, told))
    inner = f"<details><summary>Its errors, coverage and weights</summary>{pictures}</details>"
    return f"<section><h2>{escape(row['series'])}</h2>{fans(result, row['series'])}{inner}</section>"


def table(first: str, columns: Sequence[str], lines: Sequence[tuple[str, Sequence[str]]], caption: str) -> str:
    """An HTML table whose rows begin with their heading."""
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in (first, *columns))
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
        for name, cells in lines
    )
    return (
        f'<div class="scroll" role="region" aria-label="{escape(first)} table" tabindex="0"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )

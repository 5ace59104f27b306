"""An explanation as one HTML page: nothing is loaded from elsewhere, and no script runs."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from workers.backtest.page import table
from workers.backtest.table import called
from workers.explaining.message import ErrorChange, Explanation
from workers.explaining.picture import picture
from workers.explaining.words import Numbers, marked_up, shown_parts

MOST_LEADS = 8


def render(told: Explanation, line: NDArray[np.float64]) -> str:
    """The page as text; ``line`` [J] is the window of channel 0 by lag, newest first."""
    style = (files("workers.explaining") / "page.css").read_text(encoding="utf-8")
    first, *more = told.sentences
    said = f'<p class="first">{marked_up(first)}</p>' + "".join(f"<p>{marked_up(line_)}</p>" for line_ in more)
    notes = "".join(f'<p class="dim">{marked_up(note)}</p>' for note in told.notes)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Why: {marked_up(told.series)}</title><style>{style}</style></head><body>"
        f"<h1>Why {marked_up(told.series)} is forecast so</h1>{said}{picture(told, line)}"
        f"{_parts(told)}{_experts(told)}{_errors(told.change)}{notes}</body></html>\n"
    )


def leads_shown(told: Explanation, most: int = MOST_LEADS) -> list[int]:
    """A few leads, from 1: the first, the last, that of the sentences, and some between."""
    spread = np.unique(np.linspace(1, told.horizon, min(most - 1, told.horizon)).round().astype(int)).tolist()
    return sorted({*spread, told.lead})


def _parts(told: Explanation) -> str:
    numbers, leads = Numbers(told.scale), leads_shown(told)
    lines = [("usual level", [numbers.plain(told.level) for _ in leads])]
    lines += [(part.says, [numbers.plain(part.adds[lead - 1]) for lead in leads]) for part in shown_parts(told)]
    lines.append(("forecast", [numbers.plain(told.forecast[lead - 1]) for lead in leads]))
    return table("part", [f"lead {lead}" for lead in leads], lines, "What adds up to the forecast.")


def _experts(told: Explanation) -> str:
    numbers, leads = Numbers(told.scale), leads_shown(told)
    lines = [
        (
            called(one.name),
            [f"{numbers.plain(one.forecast[lead - 1])} ({100 * one.weight[lead - 1]:.0f} %)" for lead in leads],
        )
        for one in told.experts
    ]
    return table("expert", [f"lead {lead}" for lead in leads], lines, "What each expert says, and its weight.")


def _errors(change: ErrorChange | None) -> str:
    if change is None:
        return ""
    lines = [
        (
            name,
            [
                f"{side.count:,}",
                f"{side.mean:.2f}",
                *("" if one is None else f"{one:.2f}" for one in (side.median, side.high)),
            ],
        )
        for name, side in (("before", change.before), ("after", change.after))
    ]
    caption = "Sizes of the errors one step ahead on both sides of the change, in typical errors."
    return table("errors", ("count", "mean", "median", "9 of 10 below"), lines, caption)

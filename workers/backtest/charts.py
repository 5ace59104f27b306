"""Small charts as inline SVG: lines, bands, bars. Colours and type are the page's style sheet's (``page.css``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from itertools import groupby

LEFT, RIGHT, TOP, BOTTOM = 56, 12, 10, 28
DAY_S = 86_400.0
Points = Sequence[tuple[float, float | None]]


@dataclass(slots=True)
class Chart:
    """A picture of ``width`` x ``height`` with axes; marks are drawn in the order in which they are added.

    ``x`` and ``y`` are the ranges shown; what lies beyond them is cut off. ``style`` names a class of the style sheet.
    """

    title: str
    says: str
    x: tuple[float, float]
    y: tuple[float, float]
    width: int = 720
    height: int = 250
    times: bool = False
    percent: bool = False
    marks: list[str] = field(default_factory=list)

    def _x(self, value: float) -> float:
        low, high = self.x
        return LEFT + (value - low) / ((high - low) or 1.0) * (self.width - LEFT - RIGHT)

    def _y(self, value: float) -> float:
        low, high = self.y
        # Far outside is as far as just outside: renderers choke on huge coordinates.
        share = min(max((value - low) / ((high - low) or 1.0), -1.0), 2.0)
        return self.height - BOTTOM - share * (self.height - TOP - BOTTOM)

    def _path(self, points: Sequence[tuple[float, float]]) -> str:
        return "L".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in points)

    def line(self, points: Points, style: str) -> None:
        """A line, broken where a value is None."""
        for there, run in groupby(points, key=lambda point: point[1] is not None):
            found = [(x, y) for x, y in run if y is not None]
            if there and len(found) == 1:
                x, y = found[0]
                self.marks.append(f'<circle class="{style} dot" cx="{self._x(x):.1f}" cy="{self._y(y):.1f}" r="1.5"/>')
            elif there:
                self.marks.append(f'<path class="{style} line" d="M{self._path(found)}"/>')

    def band(self, lower: Sequence[tuple[float, float]], upper: Sequence[tuple[float, float]], style: str) -> None:
        """The area between two lines."""
        around = [*lower, *reversed(upper)]
        self.marks.append(f'<path class="{style} area" d="M{self._path(around)}Z"/>')

    def bar(self, left: float, right: float, value: float, style: str, says: str) -> None:
        """A bar from zero to ``value``."""
        top, bottom = self._y(max(value, 0.0)), self._y(0.0)
        self.marks.append(
            f'<rect class="{style} area" x="{self._x(left) + 0.5:.1f}" y="{top:.1f}"'
            f' width="{max(self._x(right) - self._x(left) - 1, 0.5):.1f}" height="{max(bottom - top, 0):.1f}">'
            f"<title>{escape(says)}</title></rect>"
        )

    def level(self, value: float, style: str = "mark") -> None:
        """A line across, at a value."""
        self.line([(self.x[0], value), (self.x[1], value)], style)

    def upright(self, at: float, style: str = "mark") -> None:
        """A line up and down, at a place."""
        self.line([(at, self.y[0]), (at, self.y[1])], style)

    def svg(self) -> str:
        """The picture, with its title and what it says for those who do not see it."""
        inner = f'x="{LEFT}" y="{TOP}" width="{self.width - LEFT - RIGHT}" height="{self.height - TOP - BOTTOM}"'
        return (
            f'<svg role="img" viewBox="0 0 {self.width} {self.height}" preserveAspectRatio="xMidYMid meet">'
            f"<title>{escape(self.title)}</title><desc>{escape(self.says)}</desc>{self._axes()}"
            f'<svg {inner} viewBox="{LEFT} {TOP} {self.width - LEFT - RIGHT} {self.height - TOP - BOTTOM}">'
            f"{''.join(self.marks)}</svg></svg>"
        )

    def _axes(self) -> str:
        parts = []
        for value in ticks(*self.y):
            at = self._y(value)
            text = f"{100 * value:.3g} %" if self.percent else f"{value:.4g}"
            parts.append(f'<path class="grid" d="M{LEFT},{at:.1f}H{self.width - RIGHT}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{text}</text>')
        places = time_ticks(*self.x, self.width // 150) if self.times else [(x, f"{x:.4g}") for x in ticks(*self.x)]
        for place, text in places:
            parts.append(
                f'<text x="{self._x(place):.1f}" y="{self.height - 8}" text-anchor="middle">{escape(text)}</text>'
            )
        return "".join(parts)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two, at most ``most`` + 1 of them."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def time_ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """Evenly spread moments (seconds since 1970) and how to write them, UTC."""
    if not high > low:
        return [(low, _written(low, DAY_S))]
    inset = (high - low) / (2 * count)
    places = [low + inset + (high - low) * number / count for number in range(count)]
    return [(place, _written(place, (high - low) / count)) for place in places]


def _written(at: float, spacing: float) -> str:
    form = "%Y-%m-%d" if spacing > 2 * DAY_S else "%m-%d %H:%M" if spacing > 60 else "%H:%M:%S"
    return datetime.fromtimestamp(at, UTC).strftime(form)


def span(values: Sequence[float | None], *, zero: bool = False) -> tuple[float, float]:
    """The range of the values that are there, a little widened; from 0 with ``zero``."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return 0.0, 1.0
    low, high = (0.0 if zero else min(known)), max(known)
    room = 0.06 * (high - low) or max(abs(high) * 0.06, 1e-9)
    return (low if zero else low - room), high + room

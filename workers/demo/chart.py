"""A chart of characters: braille dots for what was and what is expected, shading for the interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.style import Style
from rich.text import Text

DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of a braille character, by column and by row from the top."""
BRAILLE = 0x2800
TRUTH, MEDIAN = "#7fd7ff", "#ffd75f"
SHADE, PAST_SHADE = "#5f4a1f", "#26323a"
NOW = Style(color="#6c6c6c")


@dataclass(slots=True)
class Lines:
    """What a chart shows, in order of time. Bands are ``(low, high)`` pairs, None where there is none.

    ``past`` ends with the newest observation; ``past_bands`` are the intervals once forecast for these same moments.
    """

    past: Sequence[float]
    past_bands: Sequence[tuple[float, float] | None]
    median: Sequence[float]
    bands: Sequence[tuple[float, float] | None]


def chart(lines: Lines, width: int, height: int) -> list[Text]:
    """``height`` lines of ``width`` cells: the past, a rule at "now", the forecast. Two moments stand in one cell."""
    ahead = min(-(-len(lines.median) // 2), max(0, (width - 1) // 2)) if lines.median else 0
    behind = width - ahead - (1 if ahead else 0)
    past = list(lines.past)[-2 * behind :]
    bands = list(lines.past_bands)[-2 * behind :]
    median, ahead_bands = list(lines.median)[: 2 * ahead], list(lines.bands)[: 2 * ahead]
    # Bands of the past are not counted: wide ones, from before anything was learnt, would make the line flat.
    low, high = _range(past, median, ahead_bands)
    scale = _Scale(low, high, 4 * height)
    blank: list[None] = [None] * (2 * behind - len(past))
    left = _Field(behind, height, scale, Style(color=TRUTH), PAST_SHADE)
    left.draw([*blank, *past], [*blank, *bands])
    rows = left.rows()
    if ahead:
        right = _Field(ahead, height, scale, Style(color=MEDIAN, bold=True), SHADE)
        right.draw(median, ahead_bands)
        rows = [row + Text("│", style=NOW) + other for row, other in zip(rows, right.rows(), strict=True)]
    return rows


def _range(past: list[float], median: list[float], bands: list[tuple[float, float] | None]) -> tuple[float, float]:
    points = past + median + [end for band in bands if band is not None for end in band]
    points = [point for point in points if math.isfinite(point)]
    if not points:
        return 0.0, 1.0
    low, high = min(points), max(points)
    # A constant series is a line in the middle, not one along an edge.
    room = 0.02 * (high - low) or max(abs(high), 1.0) * 0.01
    return low - room, high + room


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    dots: int

    def shows(self, band: tuple[float, float]) -> bool:
        return band[0] <= self.high and band[1] >= self.low

    def row(self, value: float) -> int:
        """The row of dots of a value, 0 at the top."""
        share = (value - self.low) / (self.high - self.low)
        return min(max(round((1 - share) * (self.dots - 1)), 0), self.dots - 1)


class _Field:
    """A rectangle of cells with one line and one band in it."""

    def __init__(self, width: int, height: int, scale: _Scale, line: Style, shade: str) -> None:
        self._width, self._height, self._scale = width, height, scale
        self._line, self._shade = line, shade
        self._dots = [[0] * width for _ in range(height)]
        self._bands: list[tuple[int, int] | None] = [None] * width

    def draw(self, points: Sequence[float | None], bands: Sequence[tuple[float, float] | None]) -> None:
        before: int | None = None
        for at, point in enumerate(points):
            if point is None or not math.isfinite(point):
                before = None
                continue
            row = self._scale.row(point)
            # Joined to the dot before, so that a jump is a line and not two specks.
            first = row if before is None or before == row else before + (1 if row > before else -1)
            for dot in range(min(first, row), max(first, row) + 1):
                self._dots[dot // 4][at // 2] |= DOTS[at % 2][dot % 4]
            before = row
        for at, band in enumerate(bands):
            if band is not None and self._scale.shows(band):
                top, bottom = self._scale.row(band[1]), self._scale.row(band[0])
                old = self._bands[at // 2]
                self._bands[at // 2] = (top, bottom) if old is None else (min(top, old[0]), max(bottom, old[1]))

    def rows(self) -> list[Text]:
        shaded = Style(bgcolor=self._shade)
        edge = Style(color=self._shade)
        made = []
        for row in range(self._height):
            text = Text(no_wrap=True)
            for column in range(self._width):
                dots = self._dots[row][column]
                upper, lower = self._shading(row, column)
                if dots:
                    text.append(chr(BRAILLE + dots), self._line + shaded if upper or lower else self._line)
                elif upper and lower:
                    text.append(" ", shaded)
                elif upper or lower:
                    text.append("▀" if upper else "▄", edge)
                else:
                    text.append(" ")
            made.append(text)
        return made

    def _shading(self, row: int, column: int) -> tuple[bool, bool]:
        """Whether the band reaches into the upper and the lower half of a cell."""
        band = self._bands[column]
        if band is None:
            return False, False
        top, bottom = band
        return top <= 4 * row + 1 and bottom >= 4 * row, top <= 4 * row + 3 and bottom >= 4 * row + 2

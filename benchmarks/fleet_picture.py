"""Draws throughput against the number of series, as SVG, on logarithmic axes."""

from __future__ import annotations

import math
from pathlib import Path

WIDE, HIGH, LEFT, TOP, BOTTOM, RIGHT = 900, 480, 90, 40, 60, 230
COLOURS = ("#0b6e4f", "#2a9d8f", "#74c69d", "#7b2cbf", "#c77dff", "#e85d04", "#d62828", "#6c757d")


def draw(table: dict[str, dict[int, float]], file: Path, cell: str = "gru") -> None:
    """One line for each way of ``cell``; ``table`` holds events a CPU-second by "cell way" and number of series."""
    lines = {name.removeprefix(f"{cell} "): row for name, row in table.items() if name.startswith(cell)}
    counts = sorted({count for row in lines.values() for count in row})
    values = [rate for row in lines.values() for rate in row.values()]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    across, up = (WIDE - LEFT - RIGHT) / max(math.log10(counts[-1]), 1), (HIGH - TOP - BOTTOM) / (high - low)

    def place(count: int, rate: float) -> tuple[float, float]:
        return LEFT + math.log10(count) * across, HIGH - BOTTOM - (math.log10(rate) - low) * up

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {HIGH}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDE}" height="{HIGH}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="16">{cell.upper()}, 32 units: events a CPU-second (forecast and fine-tuning)</text>',
        f'<text x="{LEFT + 180}" y="{HIGH - 14}">series, each with weights of its own</text>',
    ]
    for power in range(low, high + 1):
        _, y = place(1, 10**power)
        parts.append(f'<line x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10**power:,}</text>')
    for count in counts:
        x, _ = place(count, 10**low)
        parts.append(f'<text x="{x:.1f}" y="{HIGH - BOTTOM + 20}" text-anchor="middle">{count:,}</text>')
    ordered = sorted(lines.items(), key=lambda line: -line[1][max(line[1])])
    for number, (name, row) in enumerate(ordered):
        colour = COLOURS[number % len(COLOURS)]
        points = [place(count, row[count]) for count in sorted(row)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
        y = TOP + 22 * number + 12
        parts.append(f'<rect x="{WIDE - RIGHT + 20}" y="{y - 9}" width="14" height="8" fill="{colour}"/>')
        parts.append(f'<text x="{WIDE - RIGHT + 42}" y="{y}">{name}</text>')
    file.write_text("\n".join([*parts, "</svg>", ""]))

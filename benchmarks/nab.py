"""The Numenta Anomaly Benchmark's scoring, from its published description (Lavin and Ahmad 2015), and its files."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

PROBATION, LONGEST_PROBATION = 0.15, 750
"""Share of a file's first rows, and the most of them, in which nothing counts."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a true detection, a false one and a missed window weigh."""

    found: float
    false: float
    missed: float


PROFILES = {
    "standard": Profile(1.0, 0.11, 1.0),
    "low_fp": Profile(1.0, 0.22, 1.0),
    "low_fn": Profile(1.0, 0.11, 2.0),
}


@dataclass(frozen=True, slots=True)
class File:
    """Seconds since 1970 (times taken as UTC) and values of the rows, and the labelled windows as first and last row."""

    name: str
    seconds: list[int]
    values: list[float]
    windows: list[tuple[int, int]]

    @property
    def probation(self) -> int:
        """Rows at the beginning that do not count."""
        return int(min(PROBATION * len(self.seconds), LONGEST_PROBATION))


@dataclass(frozen=True, slots=True)
class Score:
    """A file's raw score, windows found, the delay of each in rows from its window's begin, and false detections."""

    raw: float
    found: int
    places: list[float]
    false: int


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def files(folder: Path) -> list[File]:
    """All files under a folder with ``windows.json``, by name."""
    labels = json.loads((folder / "windows.json").read_text())
    made = []
    for path in sorted(folder.glob("*/*.csv")):
        name = path.relative_to(folder).as_posix()
        with path.open() as opened:
            rows = list(csv.reader(opened))[1:]
        seconds = [int(_seconds(row[0])) for row in rows]
        windows = []
        for begin, end in labels.get(name, []):
            inside = [place for place, at in enumerate(seconds) if _seconds(begin) <= at <= _seconds(end)]
            windows.append((inside[0], inside[-1]))
        made.append(File(name, seconds, [float(row[1]) for row in rows], windows))
    return made


def sigmoid(place: float) -> float:
    """The weight of a detection at a place relative to its window: -1 at the window's begin, 0 at its end, above 0 behind it."""
    return -1.0 if place > 3.0 else 2.0 / (1.0 + math.exp(5.0 * place)) - 1.0


def score(file: File, detections: Sequence[int], profile: Profile) -> Score:
    """Score the rows at which something was detected, ascending. Of those inside a window the first counts."""
    raw, false = 0.0, 0
    found: dict[int, float] = {}
    for row in detections:
        if row < file.probation:
            continue
        inside = next((place for place, (low, high) in enumerate(file.windows) if low <= row <= high), None)
        if inside is not None:
            low, high = file.windows[inside]
            if inside not in found:
                found[inside] = (row - low) / (high - low)
                raw += profile.found * sigmoid(-(high - row + 1) / (high - low + 1)) / sigmoid(-1.0)
            continue
        false += 1
        before = [(low, high) for low, high in file.windows if high < row]
        place = (row - before[-1][1]) / max(before[-1][1] - before[-1][0], 1) if before else 4.0
        raw += profile.false * sigmoid(place)
    raw -= profile.missed * (len(file.windows) - len(found))
    return Score(raw, len(found), list(found.values()), false)


def normalised(raw: float, windows: int, profile: Profile) -> float:
    """0 for a detector that says nothing, 100 for one that finds every window at once."""
    return 100.0 * (raw + profile.missed * windows) / ((profile.found + profile.missed) * windows)

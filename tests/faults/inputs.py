"""What the campaign feeds: real series where there are any, counters, disorder, and poison of every kind."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from stream.records import Reason

SHARED = Path(os.environ.get("SHARED_FOLDER") or Path(__file__).parents[3] / "shared")
"""Where real series lie, if anywhere: ``data/nab/*/*.csv`` and ``data/ett/*.csv`` below it."""
START = 1_794_268_800
"""A Tuesday in November 2026; event times are minutes after it."""
RECORD_BYTES, ITEMS, FUTURE_S = 4_000, 12, 10 * 366 * 86_400
LIMITS = {"record_bytes": RECORD_BYTES, "items_per_record": ITEMS, "future_s": FUTURE_S}
COUNTER = "counter-"


@dataclass(frozen=True, slots=True)
class Sent:
    """A record to be sent to a partition; ``poison`` is why it, or some item of it, is to be refused."""

    partition: int
    key: bytes
    value: bytes | None
    poison: Reason | None = None


@dataclass(slots=True)
class Input:
    """All records in the order of sending, and the most series that a partition may know."""

    records: list[Sent] = field(default_factory=list)
    known_series: int = 100
    real: bool = False


@cache
def real_series() -> list[list[float]]:
    """The columns of all files below ``SHARED``, in the order of their names; empty where there are none."""
    found = [[float(row[1]) for row in _rows(file)] for file in sorted(SHARED.glob("data/nab/*/*.csv"))]
    for file in sorted(SHARED.glob("data/ett/*.csv")):
        rows = _rows(file)[:4_000]
        found += [[float(row[column]) for row in rows] for column in range(1, len(rows[0]))]
    return [values for values in found if len(values) >= 500]


def _rows(file: Path) -> list[list[str]]:
    with file.open(newline="") as text:
        return list(csv.reader(text))[1:]


def make(rng: Random, partitions: int, series: int, length: int, poison: int) -> Input:
    """``series`` series of about ``length`` minutes, spread over the partitions, every third a counter, with ``poison`` bad records."""
    homes = {name: number % partitions for number, name in enumerate(_names(series))}
    curves = {name: _curve(rng, name, length) for name in homes}
    made = Input(real=bool(real_series()))
    made.known_series = max(list(homes.values()).count(partition) for partition in range(partitions))
    for minute in range(length):
        for name, partition in homes.items():
            made.records += _sent(rng, name, partition, curves[name], minute)
    full = [p for p in range(partitions) if list(homes.values()).count(p) == made.known_series]
    # Not before every series of its partition is there: one too many must be the bad one.
    for number in range(poison):
        at = rng.randrange(4 * series, len(made.records))
        made.records.insert(at, _poison(rng, number, partitions, full[0], next(iter(homes))))
    return made


def _names(series: int) -> Iterator[str]:
    for number in range(series):
        yield f"{COUNTER}{number}" if number % 3 == 2 else f"s:{number} *é"


def _curve(rng: Random, name: str, length: int) -> list[float]:
    if name.startswith(COUNTER):
        return [float(minute) for minute in range(length)]
    known = real_series()
    if known:
        values = rng.choice(known)
        first = rng.randrange(len(values) - length)
        curve = values[first : first + length]
    else:
        level, curve = 0.0, []
        for minute in range(length):
            level += rng.gauss(0, 0.1)
            curve.append(level + (minute % 24) / 12)
    # From a moment on it is another series: something for the drift tests to find.
    moment, size = rng.randrange(length // 2, length), 4 * (max(curve) - min(curve) + 1)
    return [value + (size * rng.gauss(0, 1) if minute >= moment else 0.0) for minute, value in enumerate(curve)]


def _sent(rng: Random, name: str, partition: int, curve: list[float], minute: int) -> list[Sent]:
    """Most often one record with one observation; a counter is never missing, late or twice."""
    key, items = name.encode(), [_item(name, minute, curve[minute])]
    if name.startswith(COUNTER):
        return [Sent(partition, key, json.dumps(items[0]).encode())]
    odd = rng.random()
    if minute < 3:
        odd = 1.0  # every series shows itself at once
    if odd < 0.03:
        return []  # a gap
    if odd < 0.05:
        items.append(items[0])  # twice
    elif odd < 0.08:
        late = max(0, minute - rng.randrange(1, 15))
        items.append(_item(name, late, curve[late]))
    several = len(items) > 1
    if several and rng.random() < 0.5:
        return [Sent(partition, key, json.dumps(items).encode())]
    return [Sent(partition, key, json.dumps(item).encode()) for item in items]


def _item(name: str, minute: int, value: float) -> dict[str, Any]:
    return {"series": name, "time": START + 60 * minute, "value": value}


def _poison(rng: Random, number: int, partitions: int, full: int, name: str) -> Sent:
    """One of every reason in turn; a few are an array with one bad item, or have no key."""
    reasons = list(Reason)
    reason = reasons[number % len(reasons)]
    partition = full if reason is Reason.SERIES_LIMIT else rng.randrange(partitions)
    good = _item(name, 0, 1.0)
    values: dict[Reason, Any] = {
        Reason.EMPTY: None,
        Reason.TOO_LARGE: good | {"padding": "x" * (RECORD_BYTES + rng.randrange(200_000))},
        Reason.NOT_JSON: b'\xff\x00{"series": ',
        Reason.MISSING_FIELD: {"series": name, "time": START},
        Reason.WRONG_TYPE: good | {"value": {"is": 12}},
        Reason.NOT_FINITE: b'{"series": "%d", "time": 1794268800, "value": 1e999}' % number,
        Reason.SERIES_ID: good | {"series": "a\x00b"},
        Reason.SERIES_LIMIT: good | {"series": f"one-too-many-{number}"},
        Reason.TIME_FORMAT: good | {"time": "yesterday"},
        Reason.TIME_RANGE: good | {"time": "1969-12-31T23:59:59Z"},
        Reason.TIME_FUTURE: good | {"time": START + 20 * 366 * 86_400},
        Reason.TOO_MANY_ITEMS: [good] * (ITEMS + 1),
    }
    value = values[reason]
    if isinstance(value, dict) and rng.random() < 0.3:
        value = [value, value]
    if isinstance(value, (dict, list)):
        value = json.dumps(value).encode()
    return Sent(partition, b"" if value and rng.random() < 0.3 else b"poison", value, reason)

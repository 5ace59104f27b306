"""Durations as people write them in configuration: ``15m``, ``2 h``, ``90``."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

UNITS_US = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_WRITTEN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*")


def parse_duration(written: object) -> int:
    """Microseconds of ``15m``, ``1.5h``, ``500ms`` or a number of seconds. Raises ValueError with the accepted forms."""
    match = _WRITTEN.fullmatch(str(written)) if not isinstance(written, bool) else None
    unit = UNITS_US.get(match[2] or "s") if match else None
    if match is None or unit is None:
        raise ValueError(
            f"{written!r} is no duration; write a number and one of {', '.join(UNITS_US)}, for example 15m"
        )
    return round(float(match[1]) * unit)


def write_duration(duration_us: int) -> str:
    """The shortest exact form: 900000000 -> ``15m``."""
    for name in ("w", "d", "h", "m", "s", "ms"):
        if duration_us and duration_us % UNITS_US[name] == 0:
            return f"{duration_us // UNITS_US[name]}{name}"
    return f"{duration_us}us"


Duration = Annotated[int, BeforeValidator(parse_duration), PlainSerializer(write_duration, return_type=str)]
"""A duration field: written as people do, held in microseconds."""

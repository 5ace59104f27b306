"""What is told about a retraining run: to its caller, and as JSON in the registry's log of runs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from stream.messages import iso


class Ending(StrEnum):
    """How a run ended. The values are public: they stand in the log of runs."""

    PROMOTED = "promoted"
    """The challenger is better and has become champion."""
    KEPT = "kept"
    """The challenger is no better, or another run was faster: the champion stays."""
    TOO_LITTLE_DATA = "too-little-data"
    """Not enough history to train on; nothing was stored."""
    FAILED = "failed"
    """An error, or the time limit, ended the run."""


@dataclass(slots=True)
class Outcome:
    """One run. ``scores`` are of the held-out windows: name of a forecaster -> measure -> value. Times in microseconds
    since 1970.
    """

    feed: str
    started_us: int
    ending: Ending = Ending.FAILED
    reason: str = ""
    version: str | None = None
    champion: str | None = None
    """The champion that the challenger was measured against."""
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    records: int = 0
    rejected: int = 0
    observations: int = 0
    series: int = 0
    windows: int = 0
    epochs: int = 0
    from_us: int = 0
    until_us: int = 0
    seconds: float = 0.0
    fence: int | None = None
    dry_run: bool = False

    def to_json(self) -> bytes:
        """As the log of runs holds it: times as ISO 8601, no NaN."""
        return dumps(
            {name: value for name, value in asdict(self).items() if not name.endswith("_us")}
            | {"started": iso(self.started_us)}
            | ({"from": iso(self.from_us), "until": iso(self.until_us)} if self.observations else {})
        )


def dumps(entries: dict[str, Any]) -> bytes:
    """JSON with None in the place of numbers that JSON has no word for."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return None if isinstance(value, float) and value - value != 0 else value

    return json.dumps(plain(entries), allow_nan=False).encode()

"""Architectures by name: those that installed packages, ours first, offer under the entry point group ``tidecast.architectures``."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.recurrent import Architecture

GROUP = "tidecast.architectures"
OURS = {
    "lstm": EntryPoint("lstm", "models.recurrent:LSTM", GROUP),
    "gru": EntryPoint("gru", "models.recurrent:GRU", GROUP),
}
"""The same as in pyproject.toml, so that a source tree that is not installed works too. Names cost no import of torch."""


def _offered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)} | OURS


def names() -> list[str]:
    """Every architecture that can be asked for."""
    return sorted(_offered())


@cache
def architecture(name: str) -> Architecture:
    """The architecture of that name. Raises ValueError, naming those there are."""
    offered = _offered()
    if name not in offered:
        raise ValueError(f"no architecture is called {name!r}; there are: {', '.join(sorted(offered))}")
    made: Architecture = offered[name].load()()
    return made

"""Foreign text on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Series ids come from outside: control characters, and those that turn the direction of text, would steer the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)

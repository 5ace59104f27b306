"""Which alerts are meant: ``series=pump-*``, ``kind!=stale``, ``severity>=warning``. One grammar for readers, targets and silences."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase, translate
from typing import Literal, cast

from stream.errors import ConfigurationError
from stream.messages import AlertMessage

SEVERITIES = ("info", "warning", "critical")
FIELDS = ("kind", "severity", "feed", "series", "status")
PATTERN_MAX = 512
"""Longest pattern, in characters."""

Operator = Literal["=", "!=", ">="]
_WRITTEN = re.compile(r"\s*([a-z]+)\s*(!=|>=|=)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition. ``value`` is a pattern as shells have them, ``*``, ``?`` and ``[...]``, that case matters to."""

    field: str
    operator: Operator
    value: str

    @classmethod
    def parse(cls, text: str) -> Matcher:
        """From ``FIELD=PATTERN``, ``FIELD!=PATTERN`` or ``severity>=WORD``; ConfigurationError with what may stand there.

        The pattern is all that follows the operator, as it stands: a series id may hold blanks, quotes and commas.
        """
        written = _WRITTEN.fullmatch(text)
        if written is None:
            raise ConfigurationError(f"matcher {text[:80]!r}: write FIELD=PATTERN, FIELD!=PATTERN or severity>=warning")
        field, operator, value = written.groups()
        return cls(field, cast("Operator", operator), value)

    def __post_init__(self) -> None:
        if self.field not in FIELDS:
            raise ConfigurationError(f"matcher: there is no field {self.field[:40]!r}; there are: {', '.join(FIELDS)}")
        if self.operator == ">=" and (self.field != "severity" or self.value not in SEVERITIES):
            raise ConfigurationError(f"matcher: '>=' is for severity, and one of {', '.join(SEVERITIES)} follows it")
        if not 1 <= len(self.value) <= PATTERN_MAX:
            raise ConfigurationError(f"matcher {self.field}: a pattern has 1 to {PATTERN_MAX} characters")
        try:
            re.compile(translate(self.value))
        except re.error as error:
            raise ConfigurationError(f"matcher {self.field}: pattern {self.value[:80]!r}: {error}") from None

    def holds(self, alert: AlertMessage) -> bool:
        """Whether the alert meets this condition."""
        found = str(getattr(alert, self.field))
        if self.operator == ">=":
            return SEVERITIES.index(found) >= SEVERITIES.index(self.value)
        return fnmatchcase(found, self.value) == (self.operator == "=")

    def __str__(self) -> str:
        return f"{self.field}{self.operator}{self.value}"


@dataclass(frozen=True, slots=True)
class Matchers:
    """Several conditions. Those with ``=`` for one field are alternatives; all others must hold, each. None: every alert."""

    every: tuple[Matcher, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Matchers:
        """Each as ``Matcher.parse``, which raises ConfigurationError."""
        return cls(tuple(Matcher.parse(text) for text in texts))

    def match(self, alert: AlertMessage) -> bool:
        """Whether the alert is meant."""
        alternatives: dict[str, bool] = {}
        for matcher in self.every:
            if matcher.operator == "=":
                alternatives[matcher.field] = alternatives.get(matcher.field, False) or matcher.holds(alert)
            elif not matcher.holds(alert):
                return False
        return all(alternatives.values())

    def texts(self) -> list[str]:
        """What ``parse`` takes."""
        return [str(matcher) for matcher in self.every]

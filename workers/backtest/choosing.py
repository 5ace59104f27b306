"""The feed that a file is run as: columns from the file or a configuration, settings from options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from stream.errors import ConfigurationError
from workers.backtest.files import fields_of
from workers.settings import FeedSettings


def feed_for(
    path: str, base: FeedSettings | None, changes: Mapping[str, Any], assignments: Sequence[str] = ()
) -> FeedSettings:
    """``base``, or a feed for the columns found in the file, with ``changes`` (None: none) and then ``assignments``.

    An assignment reads ``model.hidden=64``; names are those of a feed in the configuration, values YAML. Raises
    ConfigurationError where they do not fit together, InputError where the file has no usable columns.
    """
    entries = base.model_dump() if base else _entries_of(path)
    for name, value in changes.items():
        if value is not None:
            _set(entries, name, value)
    for assignment in assignments:
        name, separator, written = assignment.partition("=")
        if not separator:
            raise ConfigurationError(f"--set {assignment}: write NAME=VALUE, for example model.hidden=64")
        try:
            _set(entries, name.strip(), yaml.safe_load(written))
        except yaml.YAMLError as error:
            raise ConfigurationError(f"--set {assignment}: {' '.join(str(error).split())}") from error
    try:
        return FeedSettings.model_validate(entries)
    except ValidationError as error:
        raise ConfigurationError("; ".join(map(_said, error.errors(include_url=False)))) from None


def _entries_of(path: str) -> dict[str, Any]:
    return {"name": "backtest", "topics": ["backtest"], "fields": fields_of(path).model_dump()}


def _set(entries: dict[str, Any], name: str, value: Any) -> None:
    *outer, last = name.split(".")
    for part in outer:
        inner = entries.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigurationError(f"{name}: {part} is a single value and has no {last}")
        entries = inner
    entries[last] = value


def _said(fault: Any) -> str:
    """A fault of the settings, after the name of the one that it is about, where it is about one."""
    where = ".".join(str(part) for part in fault["loc"] if str(part).isidentifier())
    if fault["type"] == "extra_forbidden":
        return f"{where}: there is no such setting; docs/configuration.md lists those of a feed"
    said = str(fault["msg"]).removeprefix("Value error, ")
    return f"{where}: {said}" if where else said

"""Reading the configuration: which file, what the environment overrides, and errors that name file, line, field and remedy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from stream.errors import ConfigurationError
from workers.settings import Settings

PREFIX = "TIDECAST_"
DEFAULT_FILE = "tidecast.yaml"
SECRET_NAMES = {
    "url",
    "sasl_plain_password",
    "ssl_password",
    "signing_key",
    "read_token",
    "operate_token",
    "routing_key",
    "hmac_key",
    "authorization",
}
RESERVED = {"TIDECAST_CONFIG", "TIDECAST_LOG", "TIDECAST_TEST_CACHE", "TIDECAST_WHEEL"}
"""Variables with the prefix that are not settings."""


def load(path: str | os.PathLike[str] | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of ``path``, or ``$TIDECAST_CONFIG``, or ./tidecast.yaml, with ``TIDECAST_A__B`` set over ``a: {b: ...}``.

    Raises ConfigurationError naming file, line, field and what to do.
    """
    file = Path(path or environment.get("TIDECAST_CONFIG") or DEFAULT_FILE)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{file}: {error.strerror or error}. Give the file with --config, set TIDECAST_CONFIG, or begin from tidecast.example.yaml"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        entries = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{file}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(entries, dict):
        raise ConfigurationError(f"{file}: line 1: the configuration must be a mapping such as 'namespace: plant'")
    overridden = override(entries, environment)
    try:
        return Settings.model_validate(entries)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_explain(error, file, tree, overridden))) from None


def override(entries: dict[str, Any], environment: Mapping[str, str]) -> dict[tuple[str, ...], str]:
    """Set ``TIDECAST_REDIS__URL`` over ``redis: {url: ...}`` in place; a number names an item: ``TIDECAST_FEEDS__0__STEP``.

    Values are read as YAML, so that numbers, lists and null can be given. Returns which path came from which variable.
    """
    changed = {}
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name in RESERVED:
            continue
        path = tuple(part.lower() for part in name[len(PREFIX) :].split("__"))
        try:
            # A secret is taken as it stands: YAML would make a number of it, or cut it at a '#'.
            value = environment[name] if path[-1] in SECRET_NAMES else yaml.safe_load(environment[name])
        except yaml.YAMLError:
            value = environment[name]
        _set(entries, path, value, name)
        changed[path] = name
    return changed


def _set(entries: Any, path: tuple[str, ...], value: Any, variable: str) -> None:
    inside = entries
    for at, part in enumerate(path):
        key: Any = part
        if isinstance(inside, list):
            if not part.isdigit() or int(part) >= len(inside):
                raise ConfigurationError(
                    f"{variable}: {'.'.join(path[:at])} is a list of {len(inside)}; name an item by its number from 0"
                )
            key = int(part)
        elif not isinstance(inside, dict):
            raise ConfigurationError(f"{variable}: {'.'.join(path[:at])} is a single value and has no {part}")
        if at == len(path) - 1:
            inside[key] = value
        else:
            if isinstance(inside, dict) and inside.get(key) is None:
                inside[key] = {}
            inside = inside[key]


def _explain(
    error: ValidationError, file: Path, tree: yaml.Node | None, overridden: Mapping[tuple[str, ...], str]
) -> list[str]:
    lines = []
    for fault in error.errors(include_url=False, include_input=False):
        where = [part for part in fault["loc"] if not _is_tag(part)]
        path = tuple(str(part) for part in where)
        variable = next((name for set_path, name in overridden.items() if path[: len(set_path)] == set_path), None)
        place = f"environment variable {variable}" if variable else f"{file}: line {_line(tree, where)}"
        name = ".".join(path) or "the file"
        lines.append(f"{place}: {name}: {_remedy(fault, path)}")
    return list(dict.fromkeys(lines))


def _is_tag(part: int | str) -> bool:
    # Pydantic names the branch of a union in the path; a person did not write it.
    return isinstance(part, str) and ("[" in part or "(" in part or part in ("int", "str", "float", "none"))


def _remedy(fault: Mapping[str, Any], path: tuple[str, ...]) -> str:
    if fault["type"] == "extra_forbidden":
        from difflib import get_close_matches

        near = get_close_matches(path[-1], _field_names(path[:-1]), 1)
        meant = (
            f"; did you mean {near[0]}?"
            if near
            else "; remove it, or see docs/configuration.md for the names there are"
        )
        return f"there is no such setting{meant}"
    if fault["type"] == "missing":
        return "is required; add it"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _field_names(path: tuple[str, ...]) -> list[str]:
    """The fields of the model at a path."""
    model: Any = Settings
    for part in path:
        if part.isdigit():
            continue
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return []
        model = field.annotation
        for inner in getattr(model, "__args__", ()):
            if hasattr(inner, "model_fields"):
                model = inner
    return list(getattr(model, "model_fields", {}))


def _line(tree: yaml.Node | None, path: list[Any]) -> int:
    """The line of the deepest part of a path that the file has."""
    line = 1 if tree is None else tree.start_mark.line + 1
    for part in path:
        if isinstance(tree, yaml.MappingNode):
            found = next(((key, value) for key, value in tree.value if key.value == str(part)), None)
            if found is None:
                break
            line, tree = found[0].start_mark.line + 1, found[1]
        elif isinstance(tree, yaml.SequenceNode) and isinstance(part, int) and part < len(tree.value):
            tree = tree.value[part]
            line = tree.start_mark.line + 1
        else:
            break
    return line

"""Models by version, from the registry: fetched, verified, and only then used."""

from __future__ import annotations

import json
from typing import Any

from numpy.typing import NDArray
from pydantic import SecretStr

from models.checkpoint import unpack, verify
from stream.redis_models import ModelRegistry
from workers.settings import FeedSettings


def load_model(
    registry: ModelRegistry, feed: FeedSettings, version: str, key: SecretStr | None
) -> dict[str, NDArray[Any]]:
    """The starting weights of a version. Raises ValueError, with the reason, where it is missing, damaged or of another shape."""
    found = registry.get_model(feed.name, version)
    if found is None:
        raise ValueError(f"model {version} of feed {feed.name} is not in the registry")
    blob, manifest_json = found
    manifest = json.loads(manifest_json)
    verify(blob, str(manifest.get("digest")), key.get_secret_value().encode() if key else None)
    arrays, header = unpack(blob)
    if header.get("architecture") != feed.model.architecture:
        raise ValueError(f"model {version} is a {header.get('architecture')}, the feed runs {feed.model.architecture}")
    return arrays

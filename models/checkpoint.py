"""State and models as bytes: safetensors with a JSON header. Data, never code: nothing here can run what it reads."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

FORMAT = "tidecast-1"
"""Format of arrays and header. A reader of another format refuses, naming both."""


def pack(arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> bytes:
    """Arrays and a JSON-serialisable header as one safetensors file."""
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    # One entry: safetensors writes several in no fixed order, and the same state should be the same bytes.
    return save(contiguous, metadata={"tidecast": json.dumps({"format": FORMAT, "header": header})})


def unpack(blob: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The inverse of ``pack``. Raises ValueError, saying what is wrong, for anything that ``pack`` did not write."""
    try:
        length = int.from_bytes(blob[:8], "little")
        outer = json.loads(json.loads(blob[8 : 8 + length])["__metadata__"]["tidecast"])
        found = outer.get("format")
        if found != FORMAT:
            raise ValueError(f"format {found!r}, this version reads {FORMAT!r}")
        return load(blob), outer["header"]
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a state or model of Tidecast, or damaged: {error}") from error


def digest(blob: bytes, key: bytes | None) -> str:
    """What proves that a blob is whole (``sha256:``), or with a key also whose it is (``hmac-sha256:``)."""
    if key:
        return "hmac-sha256:" + hmac.new(key, blob, hashlib.sha256).hexdigest()
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def verify(blob: bytes, stated: str, key: bytes | None) -> None:
    """Raises ValueError unless ``stated`` is the digest of ``blob``, under the key if one is set: an unsigned model is then refused too."""
    if not hmac.compare_digest(digest(blob, key), stated):
        kind = "the configured signing key" if key else "the checksum in its manifest"
        raise ValueError(f"the bytes do not match {kind}: damaged, tampered with, or signed by somebody else")

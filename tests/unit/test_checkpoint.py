from __future__ import annotations

import pickle

import numpy as np
import pytest

from models.checkpoint import digest, pack, unpack, verify


def test_arrays_and_header_come_back_exactly() -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([2**63 - 1]), "c": np.zeros((0, 3))}
    back, header = unpack(pack(arrays, {"x": [1, 2.5, None], "ü": "é"}))
    assert header == {"x": [1, 2.5, None], "ü": "é"}
    assert pack(arrays, header) == pack(arrays, {"x": [1, 2.5, None], "ü": "é"})
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


@pytest.mark.parametrize(
    "blob", [b"", b"\x00" * 8, b"not a checkpoint at all", pickle.dumps({"a": 1}), pack({"a": np.zeros(4)}, {})[:-3]]
)
def test_anything_else_is_refused_with_a_reason(blob: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a state or model|format"):
        unpack(blob)


def test_a_changed_byte_a_wrong_key_and_a_missing_signature_are_refused() -> None:
    blob = pack({"a": np.zeros(4)}, {})
    signed = digest(blob, b"key")
    verify(blob, signed, b"key")
    for changed, stated, key in (
        (blob[:-1] + b"\x01", signed, b"key"),
        (blob, signed, b"other"),
        (blob, digest(blob, None), b"key"),
        (blob, "None", None),
    ):
        with pytest.raises(ValueError, match="do not match"):
            verify(changed, stated, key)

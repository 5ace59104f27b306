"""The arena: everything numeric of a series in one contiguous record, all records of a fleet in one buffer.

A record holds what one observation touches, so a series' step walks one stretch of memory, and taking a series out or putting it in is
a copy of its record. The parts of the forecaster see their fields stacked over series, ``[N, ...]``, as strided views without copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

LINE = 64
"""Bytes of a cache line: records and their fields begin on one, so that vector loads of one series never touch its neighbour."""

Arrays = dict[str, NDArray[Any]]


class Field(NamedTuple):
    """A field of the record: the array that one series has under this name."""

    name: str
    dtype: DTypeLike
    shape: tuple[int, ...] = ()


class Part(Protocol):
    """What keeps state in an arena. ``arrays`` is given by the arena: its fields, stacked, [N, *shape] each."""

    arrays: Arrays

    def fields(self) -> Iterable[Field]:
        """The fields of one series."""
        ...


class Arena:
    """N records of the fields of all ``parts``. Raises ValueError where two fields have one name."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self.arrays: Arrays = {}
        self._fields: list[tuple[Field, int]] = []
        at = 0
        for part in parts:
            part.arrays = self.arrays
            for field in part.fields():
                if any(field.name == other.name for other, _ in self._fields):
                    raise ValueError(f"two fields of the arena are named {field.name}")
                self._fields.append((field, at))
                size = int(np.prod(field.shape, dtype=np.int64)) * np.dtype(field.dtype).itemsize
                at += -(-size // LINE) * LINE
        self.stride = at
        """Bytes from one record to the next."""
        self.records: NDArray[np.uint8] = np.zeros((0, at), np.uint8)
        """The buffer, [N, stride]."""
        self._view()

    def offset(self, name: str) -> int:
        """Bytes from the start of a record to this field. Raises KeyError for a name that no field has."""
        for field, at in self._fields:
            if field.name == name:
                return at
        raise KeyError(name)

    def resize(self, rows: int) -> None:
        """Make room for ``rows`` series; what is there stays. The views in ``arrays`` are new ones then."""
        have = len(self.records)
        if rows <= have:
            return
        # Fresh pages are zero without being written, so room costs memory only once it is used.
        flat = np.zeros(rows * self.stride + LINE, np.uint8)
        start = -flat.ctypes.data % LINE
        records = flat[start : start + rows * self.stride].reshape(rows, self.stride)
        records[:have] = self.records
        self.records = records
        self._view()

    def _view(self) -> None:
        for field, at in self._fields:
            dtype = np.dtype(field.dtype)
            size = int(np.prod(field.shape, dtype=np.int64)) * dtype.itemsize
            columns = self.records[:, at : at + size].view(dtype)
            self.arrays[field.name] = columns.reshape(len(self.records), *field.shape, copy=False)

    def snapshot(self, row: int) -> Arrays:
        """One series as plain arrays; ``restore`` is the exact inverse, into any row of any arena with the same fields."""
        return {field.name: np.array(self.arrays[field.name][row]) for field, _ in self._fields}

    def restore(self, row: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Put a snapshot into a row. Raises ValueError where a field is absent or of another shape; the row is then as it was."""
        for field, _ in self._fields:
            if field.name not in arrays:
                raise ValueError(f"state lacks {field.name}")
            if arrays[field.name].shape != field.shape:
                raise ValueError(
                    f"state {field.name} has shape {arrays[field.name].shape}, this configuration needs {field.shape}"
                )
        for field, _ in self._fields:
            self.arrays[field.name][row] = arrays[field.name]

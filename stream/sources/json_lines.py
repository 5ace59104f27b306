"""Records from JSON lines: a file, a file packed with gzip, or standard input."""

from __future__ import annotations

import gzip
import os
import select
import sys
import time
from pathlib import Path
from typing import BinaryIO, cast

from stream.errors import InputError
from stream.records import Record

_CHUNK = 1 << 18
_GZIP = b"\x1f\x8b"


class JsonLinesSource:
    """One record a line; the offset is the line's number, from 0. Blank lines are passed over.

    Lines beyond ``longest_line`` bytes are cut one byte after it, so that the decoder can say that they are too large
    without the whole line in memory.
    """

    def __init__(self, path: Path | None, *, longest_line: int = 1_048_576) -> None:
        """``path``: None for standard input. InputError when the file cannot be opened."""
        self._topic = path.name if path is not None else "stdin"
        self._longest = longest_line
        self._pending = bytearray()
        self._searched = 0
        self._skipping = False
        self._line = 0
        self._ended = False
        self._live = path is None
        self._raw: BinaryIO = sys.stdin.buffer if path is None else _opened(path)
        self._lines: BinaryIO = self._raw
        self.bytes_total: int | None = None
        """Size of the file as it lies on disk; None for standard input."""
        self.bytes_read = 0
        """How much of it has been read so far."""
        if path is not None:
            self.bytes_total = path.stat().st_size
            packed = self._raw.read(len(_GZIP)) == _GZIP
            self._raw.seek(0)
            if packed:
                self._lines = cast(BinaryIO, gzip.GzipFile(fileobj=self._raw))

    @property
    def exhausted(self) -> bool:
        """True at the end of the file."""
        return self._ended and not self._pending

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """The next lines. Only standard input is ever waited for."""
        deadline = time.monotonic() + timeout_s
        records: list[Record] = []
        while len(records) < max_records:
            line = self._next_line()
            if line is not None:
                if line.strip():
                    records.append(Record(self._topic, 0, self._line, None, line))
                self._line += 1
            elif self._ended or not self._fill(0.0 if records else max(0.0, deadline - time.monotonic())):
                break
        return records

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if not self._live:
            self._lines.close()
            self._raw.close()
        self._ended = True
        self._pending.clear()

    def _next_line(self) -> bytes | None:
        while True:
            end = self._pending.find(b"\n", self._searched)
            if end < 0:
                if self._skipping:
                    self._pending.clear()
                elif len(self._pending) > self._longest:
                    return self._cut(self._longest + 1, then_skip=True)
                elif self._ended and self._pending:
                    return self._cut(len(self._pending), then_skip=False)
                self._searched = len(self._pending)
                return None
            self._searched = 0
            if not self._skipping:
                line = bytes(self._pending[: min(end, self._longest + 1)])
                del self._pending[: end + 1]
                return line.removesuffix(b"\r")
            # The rest of a line that was cut: it counts no further.
            del self._pending[: end + 1]
            self._skipping = False

    def _cut(self, length: int, *, then_skip: bool) -> bytes:
        line = bytes(self._pending[:length])
        self._pending.clear()
        self._searched = 0
        self._skipping = then_skip
        return line

    def _fill(self, timeout_s: float) -> bool:
        """Read on; False when nothing came in time."""
        if self._live:
            # The buffer of sys.stdin would hide from select what it has already read.
            source = self._raw.fileno()
            if not select.select([source], [], [], timeout_s)[0]:
                return False
            chunk = os.read(source, _CHUNK)
            self.bytes_read += len(chunk)
        else:
            try:
                chunk = self._lines.read(_CHUNK)
            except (OSError, EOFError) as error:
                raise InputError(f"{self._topic}: cannot be read on after line {self._line}: {error}") from error
            self.bytes_read = self._raw.tell()
        self._pending += chunk
        self._ended = not chunk
        return True


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}") from error

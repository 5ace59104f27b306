"""What every source of records can do."""

from __future__ import annotations

from typing import Protocol

from stream.records import Record


class Source(Protocol):
    """Yields records in the order of their offsets, partition by partition."""

    @property
    def exhausted(self) -> bool:
        """True once no record will ever come again; a live source never says so."""
        ...

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """At most ``max_records``, as soon as there are any; none after ``timeout_s`` seconds.

        InputError where the input cannot be read at all, ServiceError where it may be possible later.
        """
        ...

    def close(self) -> None:
        """Give up what is held open. May be called twice."""
        ...

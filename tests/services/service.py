"""What a test may know about the server it talks to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import pytest

Kind = Literal["given", "apache", "server", "embedded"]


class Unavailable(Exception):
    """There is no such server here, and the message says why."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running server.

    ``kind``: ``given`` by the environment, an Apache Kafka (``apache``) or a redis-server (``server``) that the tests
    started, or ``embedded``. ``address``: bootstrap servers of Kafka, URL of Redis. ``detail``: what exactly it is, and
    why it is nothing better.
    """

    name: str
    kind: Kind
    address: str
    detail: str

    def require_real(self, ability: str) -> None:
        """Skip the test if the server is an embedded one, which lacks ``ability``."""
        if self.kind == "embedded":
            pytest.skip(f"the embedded {self.name} lacks this: {ability}")


def embedded_only() -> bool:
    """Whether TEST_SERVICES=embedded asks for the embedded servers even where real ones could be had."""
    return os.environ.get("TEST_SERVICES") == "embedded"

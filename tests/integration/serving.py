"""The page and its API on a real HTTP server, in a thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.integration.running import until
from workers.dashboard.app import create_app
from workers.dashboard.serving import Server
from workers.settings import Settings


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """The address of a server for these settings."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = Server(create_app(settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            until(lambda: server.started, "the server answers")
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)

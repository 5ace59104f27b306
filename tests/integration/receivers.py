"""HTTP servers that take notifications, or refuse, drop, delay or drip them."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Received:
    """A request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """What the server does with one request."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    after_s: float = 0.0
    drop: bool = False
    """Close the connection without an answer."""
    drip_s: float = 0.0
    """Send the answer a byte at a time, so far apart."""


class Receiver:
    """A server on a port of its own. ``answer`` decides on each request, which is kept in ``received`` before that."""

    def __init__(
        self,
        answer: Callable[[Received], Answer] = lambda _: Answer(),
        *,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        """With ``certificate`` and ``key`` it speaks TLS."""
        self.received: list[Received] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    # Whoever sent it was killed in the middle of it.
                    self.close_connection = True
                    return
                one = Received(self.path, dict(self.headers.items()), body)
                receiver.received.append(one)
                receiver._answer(self, answer(one))

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.port}"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True)

    def _answer(self, handler: BaseHTTPRequestHandler, how: Answer) -> None:
        time.sleep(how.after_s)
        if how.drop:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        try:
            if how.drip_s:
                for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000:
                    handler.wfile.write(bytes([byte]))
                    time.sleep(how.drip_s)
            handler.send_response(how.status)
            for name, value in how.headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(how.body)))
            handler.end_headers()
            handler.wfile.write(how.body)
        except OSError:
            handler.close_connection = True

    def ids(self) -> list[str]:
        """The ids of the notifications, in the order in which they came."""
        return [one.headers["Tidecast-Id"] for one in list(self.received)]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

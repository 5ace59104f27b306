"""Sending a body to one address by HTTP: no redirects, no waiting without end, no secrets in errors."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from stream.errors import ConfigurationError, ServiceError

_ANSWER_MAX = 2048
_RETRY_AFTER_MAX_S = 3600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    status: int
    retry_after_s: float | None
    """Seconds that it asked to wait; None where it did not say."""

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300

    @property
    def worth_retrying(self) -> bool:
        """Too much, too slow, or the server's own fault. Anything else comes out the same next time."""
        return self.status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS) or (
            self.status >= 500 and self.status != HTTPStatus.NOT_IMPLEMENTED
        )


class HttpPost:
    """POSTs to one URL over one connection, which is kept. Only http and https; what the URL names is all that is reached:
    redirects are answers like others. Not for several threads at once."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """``timeout_s`` bounds a whole request. ConfigurationError for a URL that cannot be; it is not shown."""
        try:
            parts = urlsplit(url)
            place = urllib3.util.parse_url(url)
            port = f":{parts.port}" if parts.port else ""
        except (ValueError, HTTPError):
            raise ConfigurationError(
                "the URL of a target cannot be read: write http:// or https://, host and path"
            ) from None
        if place.scheme not in ("http", "https") or not place.host:
            raise ConfigurationError("the URL of a target must begin with http:// or https:// and name a host")
        if place.auth:
            raise ConfigurationError("the URL of a target holds a user or password: use authorization instead")
        self.where = f"{place.scheme}://{place.host}{port}"
        """Scheme, host and port, fit for logs: a path or query may be a secret."""
        self._path = place.request_uri
        self._timeout_s = timeout_s
        self._socket: Any = None
        kind = urllib3.HTTPSConnectionPool if place.scheme == "https" else urllib3.HTTPConnectionPool
        self._pool: Any = kind(place.host, place.port, maxsize=1, retries=False)
        self._pool.ConnectionCls = self._watched(self._pool.ConnectionCls)

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send it. ServiceError, without the path, where there was no answer within the time."""
        # Its own timeout is for each wait: a server that drips its answer would never reach it.
        timer = threading.Timer(self._timeout_s, self._hang_up)
        timer.daemon = True
        timer.start()
        try:
            response = self._pool.urlopen(
                "POST",
                self._path,
                body=body,
                headers=dict(headers),
                redirect=False,
                timeout=urllib3.Timeout(total=self._timeout_s),
                preload_content=False,
            )
            # Read to its end a connection can be used again; one that says more than an answer needs is closed.
            if len(response.read(_ANSWER_MAX, decode_content=False)) < _ANSWER_MAX:
                response.release_conn()
            else:
                response.close()
            return Answer(response.status, _seconds(response.headers.get("Retry-After")))
        except (HTTPError, OSError, ValueError) as error:
            # The text of the error would show the path.
            raise ServiceError(f"{self.where}: no answer ({type(error).__name__})") from None
        finally:
            timer.cancel()

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()

    def _watched(self, base: type[Any]) -> type[Any]:
        post = self

        class Watched(base):  # type: ignore[misc]
            def connect(self) -> None:
                super().connect()
                post._socket = self.sock

        return Watched

    def _hang_up(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def _seconds(header: str | None) -> float | None:
    """A Retry-After header, in seconds or as a date (RFC 9110, section 10.2.3)."""
    if header is None:
        return None
    try:
        wait = float(header) if header.strip().isdigit() else parsedate_to_datetime(header).timestamp() - time()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, wait), _RETRY_AFTER_MAX_S)

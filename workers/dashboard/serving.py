"""Serving the page: refuses to be reachable without a token, says where it is, ends in order."""

from __future__ import annotations

import socket

import click
import uvicorn
from fastapi import FastAPI

from stream.errors import ConfigurationError, ServiceError
from workers.dashboard.access import is_loopback
from workers.dashboard.app import create_app
from workers.dashboard.hub import Hub
from workers.settings import Settings

LONGEST_END_S = 3


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM. Raises ConfigurationError where everybody could reach it, ServiceError where it cannot listen."""
    chosen = settings.dashboard
    if not is_loopback(chosen.host) and chosen.read_token is None and chosen.operate_token is None:
        raise ConfigurationError(
            f"dashboard.host {chosen.host} can be reached from other machines, so a token is needed: set"
            " TIDECAST_DASHBOARD__READ_TOKEN (may look) or TIDECAST_DASHBOARD__OPERATE_TOKEN (may change), or listen on 127.0.0.1"
        )
    app = create_app(settings)
    with _listening(chosen.host, chosen.port) as listening:
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"The page is at http://{shown}:{port}/  (Ctrl-C ends it)")
        Server(app).run(sockets=[listening])


class Server(uvicorn.Server):
    """A server that ends the pages' live streams when it is to end."""

    def __init__(self, app: FastAPI) -> None:
        self._hub: Hub = app.state.hub
        super().__init__(
            uvicorn.Config(
                app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=LONGEST_END_S
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        self._hub.close()
        await super().shutdown(sockets)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        raise ServiceError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port or dashboard.port"
        ) from error
    return listening

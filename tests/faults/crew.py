"""The processes under test: real ones, forked from a server that has imported everything, so that a start costs milliseconds."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.faults.preload"])
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Be killed when the process that started us ends, however that ends, where the system can do that (prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _run(verb: str, arguments: tuple[str, ...], log: str) -> None:
    """In the new process: what the command line does."""
    from workers import cli

    end_with_parent()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(output, number)
    os.environ["TIDECAST_LOG"] = "json"
    os.nice(5)
    sys.argv = ["tidecast", verb, *arguments]
    cli.main()


class Member:
    """A worker or a scheduler."""

    def __init__(self, name: str, verb: str, config: Path, *more: str) -> None:
        self.name, self.verb = name, verb
        self.log = config.parent / f"{name}.log"
        self.process: ForkServerProcess = _CONTEXT.Process(
            target=_run, args=(verb, ("--config", str(config), *more), str(self.log)), name=name
        )
        self.process.start()
        self.stopped = self.told = self.gone = False
        self.started = time.monotonic()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.is_alive()

    @property
    def free(self) -> bool:
        """Alive, and nothing has befallen it that has yet to end."""
        return self.alive and not self.stopped and not self.told

    def kill(self) -> None:
        """As kill -9 does it."""
        self.gone = True
        self.process.kill()
        self.process.join()

    def freeze(self) -> None:
        """SIGSTOP."""
        self.stopped = True
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.stopped = False
        self._signal(signal.SIGCONT)

    def tell(self) -> None:
        """SIGTERM."""
        self.told = True
        self._signal(signal.SIGTERM)

    def wait(self, limit_s: float) -> int | None:
        """The exit code, minus the signal that ended it; None if it has not ended."""
        self.process.join(limit_s)
        return self.process.exitcode

    def usage(self) -> tuple[int, int]:
        """Kilobytes of memory of its own, and open files (proc(5)); zeros where that cannot be told."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
            files = len(list(Path(f"/proc/{self.pid}/fd").iterdir()))
        except OSError:
            return 0, 0
        lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        return int(lines.get("RssAnon", "0 kB").split()[0]), files

    def _signal(self, number: int) -> None:
        if self.alive:
            os.kill(self.pid, number)


def children(pids: Iterator[int] | list[int]) -> set[int]:
    """Processes below these (proc(5)); empty where that cannot be told."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents[int(entry.parent.name)] = int(fields[1])
    found, frontier = set[int](), set(pids)
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier} - found
        found |= frontier
    return found

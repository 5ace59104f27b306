"""Run a command that ends when whoever asked for it ends: ``python guard.py SCRATCH COMMAND ...``.

A server that we start must not outlive us, not even when we are killed. Asking the kernel for a signal at the parent's
death is Linux only, follows the thread and not the process that forked, and has to be asked for between fork and exec
in a process full of threads. So this small process stands between: it holds nothing but the reading end of a pipe, and
ends the command when the pipe closes, when its parent changes, or when it is told to (SIGTERM). SCRATCH, if not empty,
is a folder of the command's that is removed then; it stays when the command ends by itself, as its log tells why.

It is run by path, by itself, and so imports nothing but the standard library. It prints the command's process id as its
one line of output, and exits with 0 or the command's own exit status.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
from types import FrameType

_LOOK_EVERY_S = 0.25
_PR_SET_PDEATHSIG = 1


def _die_with_guard() -> None:
    """On Linux, let the command end even if this process is killed: here there is one thread, so this is safe."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _asker_is_gone(asker: int) -> bool:
    if os.getppid() != asker:
        return True
    readable, _, _ = select.select([0], [], [], _LOOK_EVERY_S)
    return bool(readable) and not os.read(0, 1)


def main(scratch: str, command: list[str], grace_s: float = 10.0) -> int:
    asker = os.getppid()
    told_to_stop = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal told_to_stop
        told_to_stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        preexec_fn=_die_with_guard if sys.platform == "linux" else None,  # noqa: PLW1509 - this process has one thread
    )
    with contextlib.suppress(BrokenPipeError):  # the asker is gone already: the loop below finds out
        os.write(1, f"{server.pid}\n".encode())
    while server.poll() is None and not told_to_stop and not _asker_is_gone(asker):
        pass
    ended_by_itself = server.poll() is not None
    if not ended_by_itself:
        server.terminate()
        try:
            server.wait(grace_s)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)
    return abs(server.returncode) if ended_by_itself else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

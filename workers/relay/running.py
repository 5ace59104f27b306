"""The relay process: one leads by a lease, with a thread for each target; others stand by."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Sequence

import structlog

from stream.errors import ServiceError
from stream.redis_lease import Lease
from workers.leading import keep
from workers.relay.lane import Lane

log = structlog.get_logger()

_LOOK_S = 0.1


class Relay:
    """Runs lanes while it holds the lease. ``run`` returns after ``stop``."""

    def __init__(self, lease: Lease, lanes: Callable[[], Sequence[Lane]]) -> None:
        """``lanes`` makes them anew each time that this process comes to lead."""
        self.lease, self.lanes = lease, lanes
        self._stopping = threading.Event()

    @property
    def stopping(self) -> bool:
        """Whether ``stop`` was called."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Let each lane end its attempt, then give the lease back. Safe to call from a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Lead when the lease is free, wait for it otherwise. Raises what ended a lane, if that was a fault of ours."""
        log.info("relay started")
        while not self._stopping.is_set():
            try:
                if self.lease.acquire() is not None:
                    self._lead()
                    continue
            except ServiceError as error:
                log.error("a service does not answer, trying again", reason=str(error))
            self._stopping.wait(self.lease.ttl_s / 3 * random.uniform(0.8, 1.0))  # noqa: S311 - spreads the asking, hides nothing
        log.info("relay stopped")

    def _lead(self) -> None:
        lanes = self.lanes()
        log.info("leading", targets=[lane.target.name for lane in lanes])
        deposed = threading.Event()
        faults: list[Exception] = []

        def run(lane: Lane) -> None:
            try:
                lane.run(deposed, lambda: self.lease.held)
            except Exception as error:  # noqa: BLE001 - handed to the main thread, which raises it
                faults.append(error)

        threads = [threading.Thread(target=run, args=[lane], name=lane.target.name, daemon=True) for lane in lanes]
        for thread in threads:
            thread.start()
        try:
            self._renew(faults)
        finally:
            deposed.set()
            for lane, thread in zip(lanes, threads, strict=True):
                thread.join(lane.target.timeout / 1e6 + 30.0)
            with contextlib.suppress(ServiceError):
                self.lease.release()
        if faults:
            raise faults[0]

    def _renew(self, faults: Sequence[Exception]) -> None:
        keep(self.lease, self._stopping, _LOOK_S, lambda: bool(faults), "the lease is lost, another relay may lead")

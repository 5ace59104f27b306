"""Keeping the lease under which one of several processes leads."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

import structlog

from stream.errors import ServiceError
from stream.redis_lease import Lease

log = structlog.get_logger()


def keep(lease: Lease, stopping: Event, look_s: float, done: Callable[[], bool], lost: str) -> None:
    """Renew three times in the lease's life, looking every ``look_s``, until ``stopping`` or ``done()``.

    Returns too when the lease is gone, which the log tells as ``lost``.
    """
    renewed = time.monotonic()
    while not stopping.is_set() and not done():
        stopping.wait(look_s)
        if time.monotonic() - renewed < lease.ttl_s / 3:
            continue
        renewed = time.monotonic()
        try:
            lease.renew()
        except ServiceError as error:
            log.error("the lease could not be renewed", reason=str(error))
        if not lease.held:
            log.warning(lost)
            return

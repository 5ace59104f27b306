"""A lease: among several processes at most one leads, and if it dies another takes over."""

from __future__ import annotations

import secrets
import time
from typing import Any

import redis

from stream.errors import ConfigurationError
from stream.keys import Keys
from stream.redis_connect import service_errors

_ACQUIRE = """
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return tonumber(redis.call('GET', KEYS[2]))
end
if holder then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return redis.call('INCR', KEYS[2])
"""
_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class Lease:
    """The lease ``name`` of a namespace, asked for by ``owner``; lasts ``ttl_s`` seconds from each renewal.

    A holder that was asleep may still believe in a lease that has passed on. So every acquisition has a number, higher
    than all before (``fence``): give it along with a write, and the store can refuse those of an earlier holder.
    All methods raise ServiceError when Redis fails.
    """

    def __init__(self, client: redis.Redis, namespace: str, name: str, owner: str, *, ttl_s: float = 30.0) -> None:
        if not ttl_s > 0:
            raise ConfigurationError(f"lease {name}: ttl_s is {ttl_s}, must be above 0")
        keys = Keys(namespace)
        self.name = name
        self.ttl_s = ttl_s
        self._client: Any = client  # redis-py cannot type that all replies are bytes
        self._key, self._fence_key = keys.lease(name), keys.lease_fence(name)
        self._token = f"{owner}/{secrets.token_hex(16)}"
        self._fence: int | None = None
        self._until = 0.0

    @property
    def fence(self) -> int | None:
        """Number of this acquisition; None when not ``held``."""
        return self._fence if self.held else None

    @property
    def held(self) -> bool:
        """Whether the lease is surely still ours, by the local monotonic clock; asks nobody."""
        return self._fence is not None and time.monotonic() < self._until

    def acquire(self) -> int | None:
        """The fence if the lease is ours now (also if it was before), None if another holds it."""
        asked = time.monotonic()
        with service_errors(f"acquiring lease {self.name}"):
            fence = int(self._client.eval(_ACQUIRE, 2, self._key, self._fence_key, self._token, self._ttl_ms()))
        self._fence = fence or None
        self._until = asked + self.ttl_s
        return self._fence

    def renew(self) -> bool:
        """Hold it for another ``ttl_s``; False, and the lease is lost, when it has run out."""
        asked = time.monotonic()
        with service_errors(f"renewing lease {self.name}"):
            renewed = bool(self._client.eval(_RENEW, 1, self._key, self._token, self._ttl_ms()))
        if renewed:
            self._until = asked + self.ttl_s
        else:
            self._fence = None
        return renewed

    def release(self) -> bool:
        """Give it back so that another may have it at once; False when it was not ours any more."""
        self._fence = None
        with service_errors(f"releasing lease {self.name}"):
            return bool(self._client.eval(_RELEASE, 1, self._key, self._token))

    def holder(self) -> str | None:
        """Owner of the lease now."""
        with service_errors(f"reading lease {self.name}"):
            token = self._client.get(self._key)
        return None if token is None else token.decode().rpartition("/")[0]

    def _ttl_ms(self) -> int:
        return max(1, round(self.ttl_s * 1e3))

"""The registry of models in Redis: immutable versions, a pointer to the champion, the log of retraining runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from stream.errors import InputError
from stream.keys import Keys, check_version
from stream.redis_connect import service_errors

_PUT = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""
_SET_CHAMPION = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return -1 end
if ARGV[2] ~= '' then
  if tonumber(ARGV[2]) < tonumber(redis.call('GET', KEYS[3]) or '0') then return 0 end
  redis.call('SET', KEYS[3], ARGV[2])
end
redis.call('SET', KEYS[2], ARGV[1])
return 1
"""


class ModelRegistry:
    """Versions of each feed's model. A version never changes. All methods raise ServiceError when Redis fails."""

    def __init__(self, client: redis.Redis, namespace: str, *, runs_maxlen: int = 1_000) -> None:
        self.keys = Keys(namespace)
        self._client: Any = client  # redis-py cannot type that all replies are bytes
        self._runs_maxlen = runs_maxlen

    def next_version(self, feed: str) -> int:
        """A number not given out before, from 1 on; numbers may be left out."""
        with service_errors(f"counting models of feed {feed}"):
            return int(self._client.incr(self.keys.model_counter(feed)))

    def put_model(self, feed: str, version: str, blob: bytes, manifest_json: bytes) -> None:
        """Store a model; InputError when the version exists with other content.

        The same content again is no error: when an answer gets lost, the call is made twice.
        """
        keys = self.keys.models(feed), self.keys.model(feed, version)
        with service_errors(f"storing model {version} of feed {feed}"):
            stored = self._client.eval(_PUT, 2, *keys, version, blob, manifest_json)
        if not stored and self.get_model(feed, version) != (blob, manifest_json):
            raise InputError(f"model {version} of feed {feed} exists: a version never changes, take the next one")

    def get_model(self, feed: str, version: str) -> tuple[bytes, bytes] | None:
        """The model's bytes and its manifest."""
        with service_errors(f"loading model {version} of feed {feed}"), self._client.pipeline(transaction=True) as pipe:
            pipe.get(self.keys.model(feed, version))
            pipe.hget(self.keys.models(feed), version)
            blob, manifest = pipe.execute()
        return None if blob is None or manifest is None else (blob, manifest)

    def list_models(self, feed: str) -> dict[str, bytes]:
        """Version -> manifest, in no order."""
        with service_errors(f"listing models of feed {feed}"):
            manifests = self._client.hgetall(self.keys.models(feed))
        return {version.decode(): manifest for version, manifest in manifests.items()}

    def set_champion(self, feed: str, version: str, *, fence: int | None = None) -> bool:
        """Make a stored version the one that workers run; InputError when there is no such version.

        ``fence`` is the number of the lease under which the caller acts. False, and nothing changed, when a holder of
        a later lease has set the champion before.
        """
        keys = self.keys.models(feed), self.keys.champion(feed), self.keys.champion_fence(feed)
        with service_errors(f"setting the champion of feed {feed}"):
            outcome = self._client.eval(
                _SET_CHAMPION, 3, *keys, check_version(version), "" if fence is None else str(fence)
            )
        if outcome == -1:
            raise InputError(f"feed {feed} has no model {version}")
        return bool(outcome)

    def champion(self, feed: str) -> str | None:
        with service_errors(f"reading the champion of feed {feed}"):
            version = self._client.get(self.keys.champion(feed))
        return None if version is None else version.decode()

    def add_run(self, feed: str, run_json: bytes) -> str:
        """Log a retraining run; the entry's id."""
        with service_errors(f"logging a retraining run of feed {feed}"):
            entry = self._client.xadd(self.keys.retrains(feed), {"run": run_json}, maxlen=self._runs_maxlen)
        return str(entry.decode())

    def runs(self, feed: str, count: int = 20) -> Sequence[tuple[str, bytes]]:
        """Entry ids and the last ``count`` runs, newest first."""
        with service_errors(f"reading retraining runs of feed {feed}"):
            entries = self._client.xrevrange(self.keys.retrains(feed), count=count)
        return [(entry.decode(), fields[b"run"]) for entry, fields in entries]

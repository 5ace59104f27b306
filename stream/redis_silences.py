"""Silences in Redis: one hash, read by every relay and shown by the command line."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from pydantic import ValidationError

from stream.errors import ConfigurationError, InputError
from stream.keys import Keys
from stream.redis_connect import service_errors
from stream.silences import Silence

KEPT = timedelta(days=7)
"""So long an ended silence can still be looked up."""
MOST = 1_000
_log = logging.getLogger(__name__)


class SilenceBook:
    """The silences of a namespace. All methods raise ServiceError when Redis fails."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self._client: Any = client  # redis-py cannot type that all replies are bytes
        self._key = Keys(namespace).silences

    def add(self, match: Sequence[str], starts: datetime, until: datetime, who: str, why: str) -> Silence:
        """A new silence. ConfigurationError for what cannot be, or when there are a thousand already."""
        try:
            silence = Silence(id=secrets.token_hex(4), match=tuple(match), starts=starts, until=until, who=who, why=why)
        except ValidationError as error:
            faults = "; ".join(str(fault["msg"]).removeprefix("Value error, ") for fault in error.errors())
            raise ConfigurationError(f"silence: {faults}") from None
        known = self.every()
        old = [one.id for one in known if one.until < datetime.now(UTC) - KEPT]
        if len(known) - len(old) >= MOST:
            raise ConfigurationError(f"silence: there are {MOST} already; expire some, or match more with one")
        with service_errors("adding a silence"), self._client.pipeline(transaction=True) as pipe:
            pipe.hset(self._key, silence.id, silence.model_dump_json())
            if old:
                pipe.hdel(self._key, *old)
            pipe.execute()
        return silence

    def every(self) -> list[Silence]:
        """All that are known, the last to end first; what this release cannot read is left out, with a warning."""
        with service_errors("reading silences"):
            kept = self._client.hgetall(self._key)
        found = []
        for name, text in kept.items():
            try:
                found.append(Silence.model_validate_json(text))
            except ValidationError:
                _log.warning("silence %r cannot be read by this release: it silences nothing", name)
        return sorted(found, key=lambda one: (one.until, one.id), reverse=True)

    def active(self, now: datetime) -> list[Silence]:
        """Those that hold now."""
        return [one for one in self.every() if one.active(now)]

    def expire(self, silence_id: str, now: datetime) -> Silence:
        """End it now. InputError where there is none of that id that has not ended."""
        found = next((one for one in self.every() if one.id == silence_id and one.until > now), None)
        if found is None:
            raise InputError(f"there is no silence {silence_id[:40]!r} that has not ended: see tidecast silence list")
        ended = found.model_copy(update={"until": now, "starts": min(found.starts, now)})
        with service_errors("ending a silence"):
            self._client.hset(self._key, found.id, ended.model_dump_json())
        return ended

"""The live channel of alerts: nothing is kept, so a screen begins with what is open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import redis
from pydantic import ValidationError

from stream.keys import Keys
from stream.messages import AlertMessage
from stream.redis_connect import service_errors
from stream.redis_reader import RedisReader


def live_alerts(client: redis.Redis, namespace: str) -> Iterator[AlertMessage]:
    """The alerts that are firing, then all that are published, without end. ServiceError when Redis fails.

    What this release cannot read is left out.
    """
    keys = Keys(namespace)
    untyped: Any = client
    with closing(untyped.pubsub(ignore_subscribe_messages=True)) as channel:
        # First listen, then read: what is published in between is heard, if only a second time.
        with service_errors("listening to alerts"):
            channel.subscribe(keys.alerts_live)
            channel.get_message(timeout=5.0)
        yield from RedisReader(client, namespace).open_alerts().values()
        while True:
            with service_errors("listening to alerts"):
                heard: dict[str, Any] | None = channel.get_message(timeout=1.0)
            if heard is None:
                continue
            try:
                alert = AlertMessage.model_validate_json(heard["data"])
            except ValidationError:
                continue
            yield alert

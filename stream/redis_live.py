"""The live channel of a feed, for screens: who wants every forecast reads the stream instead."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import redis.asyncio

from stream.messages import LiveNotice
from stream.redis_connect import service_errors


async def notices(url: str, channel: str) -> AsyncIterator[LiveNotice]:
    """Notices as they come, from now on; what comes while the connection is broken is missed. Raises ServiceError when it breaks."""
    with service_errors(f"listening on {channel}"):
        client: Any = redis.asyncio.Redis.from_url(url, client_name="tidecast-live", health_check_interval=15)
        try:
            async with client.pubsub(ignore_subscribe_messages=True) as listening:
                await listening.subscribe(channel)
                while True:
                    if message := await listening.get_message(timeout=10.0):
                        yield LiveNotice.model_validate_json(message["data"])
        finally:
            await client.aclose()

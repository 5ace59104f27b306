"""Connecting: what is refused, what is warned of, and that no password gets out."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from stream.errors import ConfigurationError, ServiceError, TidecastError
from stream.redis_connect import check_server, connect, redact

PASSWORD = "s3cr3t"
NOBODY: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "socket_connect_timeout": 0.2}


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{PASSWORD}@localhost:1/0",
        f"redis://user:{PASSWORD}@localhost:1",
        f"rediss://user:{PASSWORD}@localhost:1/0",
        f"redis://localhost:1/0?password={PASSWORD}",
        f"redis://localhost:1/0?password=a@{PASSWORD}",
        f"redis://:a/{PASSWORD}@localhost:1",
        f"redis://:a@{PASSWORD}@localhost:1",
        f"redis://:a?{PASSWORD}@localhost:1",
        f"redis://:a#{PASSWORD}@localhost:1",
        f"redis://:1?{PASSWORD}@localhost:1",
        f"redis://:{PASSWORD}",
        f"redis://user:{PASSWORD}@localhost:port",
        f"redis://:{PASSWORD}\n@localhost:1",
        f"redis://localhost:1?socket_timeout={PASSWORD}",
        f"redis+cluster://:{PASSWORD}@localhost:1",
        f"http://:{PASSWORD}@localhost:1",
        f"unix://user:{PASSWORD}@/nowhere/redis.sock",
        f":{PASSWORD}@localhost",
    ],
)
def test_a_password_is_in_no_error_and_no_repr(url: str) -> None:
    assert PASSWORD not in redact(url)
    with pytest.raises(TidecastError) as caught:
        connect(url, **NOBODY)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))
    try:
        client = redis.Redis.from_url(url)
    except ValueError:
        return
    assert PASSWORD not in repr(client) + repr(client.connection_pool)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:pw@db.example:6379/2", "redis://db.example:6379/2"),
        ("rediss://[::1]:6379", "rediss://[::1]:6379"),
        ("unix:///run/redis/redis.sock?db=1", "unix:///run/redis/redis.sock"),
        ("redis://pw?x@db", "redis://***"),
    ],
)
def test_a_redacted_url_still_tells_the_server(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_a_cluster_url_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Redis Cluster cannot serve"):
        connect("redis+cluster://localhost:6379")


@pytest.mark.redis
def test_replies_stay_bytes(redis_url: str) -> None:
    with pytest.raises(ConfigurationError, match="decode_responses"):
        connect(redis_url, decode_responses=True)


@pytest.mark.redis
def test_an_unknown_option_is_a_wrong_setting(redis_url: str) -> None:
    with pytest.raises(ConfigurationError, match="options"):
        connect(redis_url, no_such_option=1)


def test_an_absent_server_is_a_service_error_that_names_it() -> None:
    with pytest.raises(ServiceError, match="redis://localhost:1"):
        connect("redis://localhost:1", **NOBODY)


@pytest.mark.redis
def test_the_server_answers_and_knows_us(redis_url: str) -> None:
    with connect(redis_url) as client:
        assert client.client_getname() in ("tidecast", b"tidecast")
        assert all(isinstance(warning, str) for warning in check_server(client))


class Server:
    """A server of which only INFO and CONFIG GET are known."""

    def __init__(self, save: str, info: dict[str, Any]) -> None:
        self.save, self.known = save, info

    def info(self) -> dict[str, Any]:
        return self.known

    def config_get(self, name: str) -> dict[str, str]:
        return {name: self.save}


def warnings_of(save: str, info: dict[str, Any]) -> list[str]:
    client: Any = Server(save, info)
    return check_server(client)


SOUND: dict[str, Any] = {
    "redis_version": "7.0.1",
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
    "role": "master",
}


def test_a_sound_server_gives_no_warning() -> None:
    assert warnings_of("", SOUND) == []
    assert warnings_of("3600 1", SOUND | {"aof_enabled": 0}) == []


@pytest.mark.parametrize(
    ("found", "warning"),
    [
        ({"redis_version": "6.0.16"}, "too old"),
        ({"maxmemory_policy": "allkeys-lru"}, "evicted"),
        ({"aof_enabled": 0}, "loses all state"),
        ({"role": "slave"}, "replica"),
        ({"maxmemory": 100, "used_memory": 100}, "maxmemory of 100 bytes is reached"),
        ({"aof_last_write_status": "err"}, "append-only file cannot be written"),
        ({"rdb_last_bgsave_status": "err"}, "last snapshot failed"),
    ],
)
def test_a_server_that_could_lose_state_or_takes_no_writes_is_warned_of(found: dict[str, Any], warning: str) -> None:
    [sentence] = warnings_of("", SOUND | found)
    assert warning in sentence

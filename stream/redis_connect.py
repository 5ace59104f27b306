"""Connecting to Redis, and saying what is wrong with the server before it hurts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from stream.errors import ConfigurationError, ServiceError

_SCHEMES = ("redis", "rediss", "unix")
_SHOWN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:[^?#]*@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*)(?P<port>:[0-9]{1,5})?"
    r"(?P<path>/[A-Za-z0-9._/-]*)?(?:[?#][^@]*)?"
)
_DEFAULTS: dict[str, Any] = {
    "client_name": "tidecast",
    "health_check_interval": 15,
    "socket_connect_timeout": 5.0,
    "socket_timeout": 10.0,
}


def redact(url: str) -> str:
    """``url`` fit for logs: scheme, host, port and path; never the user, the password or the query.

    What cannot be told apart for sure (a password that holds ``?``, or one in the place of the port) loses all but its
    scheme.
    """
    shown = _SHOWN.fullmatch(url)
    if shown is None:
        scheme = url.partition("://")[0]
        return f"{scheme}://***" if scheme in _SCHEMES else "***"
    return f"{shown['scheme']}://{shown['host']}{shown['port'] or ''}{shown['path'] or ''}"


@contextmanager
def service_errors(action: str) -> Iterator[None]:
    """Turn redis-py's errors into ServiceError: ``{action}: {reason}``."""
    try:
        yield
    except RedisError as error:
        raise ServiceError(f"Redis: {action}: {str(error) or type(error).__name__}") from error


def connect(url: str, **options: Any) -> redis.Redis:
    """A client for ``url`` (``redis://``, ``rediss://`` or ``unix://``) that has answered a PING.

    A command whose connection breaks is sent again up to 5 times, 0.05 to 2 s apart with jitter. Whatever Tidecast
    sends may be sent twice: see ``RedisStore.publish``. ``options`` go to ``redis.Redis.from_url`` and win over the
    defaults: timeouts 5 s (connect) and 10 s (answer), health check after 15 s of silence.

    ConfigurationError for a URL or server that cannot serve (Redis Cluster), ServiceError when there is no answer.
    """
    scheme = url.partition("://")[0]
    if "cluster" in scheme:
        raise ConfigurationError(
            f"{redact(url)}: Redis Cluster cannot serve: a publication is one transaction over many keys. "
            "Use one server, with replicas and Sentinel or a managed failover if it must be available"
        )
    if scheme not in _SCHEMES:
        raise ConfigurationError(f"Redis URL {redact(url)}: begin with redis://, rediss:// or unix://")
    if options.get("decode_responses"):
        raise ConfigurationError("decode_responses: states and models are bytes, leave it off")
    settings = _DEFAULTS | {"retry": Retry(ExponentialWithJitterBackoff(base=0.05, cap=2.0), retries=5)} | options
    if scheme != "unix":
        settings.setdefault("socket_keepalive", True)
    try:
        client = redis.Redis.from_url(url, **settings)
        clustered = _greet(client, redact(url))
    except (ValueError, TypeError) as error:
        # Not chained and not quoted: the parser's own message may hold a piece of the password.
        raise ConfigurationError(
            f"Redis URL {redact(url)} cannot be read ({type(error).__name__}): percent-encode ':', '/', '@', '?' and "
            "'#' in the password, and check host, port, database number and options"
        ) from None
    if clustered:
        client.close()
        raise ConfigurationError(f"{redact(url)} is a node of a Redis Cluster: use a server with cluster-enabled no")
    return client


def check_server(client: redis.Redis) -> list[str]:
    """What could lose state or refuse writes, one sentence each; empty when all is well.

    What the server does not let us see (an ACL, a managed service) is passed over. ServiceError when there is no
    answer.
    """
    with service_errors("checking the server"):
        info = _info(client)
        save = _setting(client, "save")
    warnings: list[str] = []
    version = str(info.get("redis_version", ""))
    numbers = [int(part) for part in re.findall(r"\d+", version)[:2]]
    if numbers and numbers < [6, 2]:
        warnings.append(f"Redis {version} is too old: 6.2 or newer is needed")
    policy = info.get("maxmemory_policy")
    if policy is not None and policy != "noeviction":
        warnings.append(f"maxmemory-policy is {policy}: state and models could be evicted, set noeviction")
    if info.get("aof_enabled") == 0 and save == "":
        warnings.append("nothing is written to disk (appendonly no, save ''): a restart of Redis loses all state")
    if info.get("role") in ("slave", "replica"):
        warnings.append("the server is a replica: writes are refused or lost, use the primary's address")
    warnings += _refusals(info)
    return warnings


def _refusals(info: dict[str, Any]) -> list[str]:
    """Why the server takes no writes now; until it does, workers wait and nothing is lost."""
    found: list[str] = []
    if 0 < info.get("maxmemory", 0) <= info.get("used_memory", 0):
        found.append(f"maxmemory of {info['maxmemory']} bytes is reached: writes are refused, give it more")
    if info.get("aof_enabled") == 1 and info.get("aof_last_write_status", "ok") != "ok":
        found.append("the append-only file cannot be written: writes are refused, check the disk")
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        found.append("the last snapshot failed: writes may be refused (stop-writes-on-bgsave-error), check the disk")
    return found


def _greet(client: redis.Redis, shown_url: str) -> bool:
    """Whether the server, which must answer, is part of a cluster."""
    try:
        with service_errors(f"connecting to {shown_url}"):
            client.ping()
            return _info(client, "cluster").get("cluster_enabled") == 1
    except BaseException:
        client.close()
        raise


def _info(client: redis.Redis, section: str | None = None) -> dict[str, Any]:
    try:
        return dict(client.info(section) if section else client.info())
    except redis.ResponseError:
        return {}


def _setting(client: redis.Redis, name: str) -> str | None:
    try:
        return dict(client.config_get(name)).get(name)
    except redis.ResponseError:
        return None

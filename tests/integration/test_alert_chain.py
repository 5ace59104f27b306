"""The whole way of an alert on real parts: Kafka, worker, Redis, relay, receiver, and a program that subscribes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.integration.receivers import Receiver
from tests.integration.running import Process, produce, until, write_config
from tests.integration.test_subscribe import start_reader
from tests.integration.test_worker import _feed, _wave
from tests.services.redis import RedisServer

pytestmark = [pytest.mark.kafka, pytest.mark.redis]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_everything_is_killed_between_firing_and_resolving_and_each_transition_is_seen_once(
    own_redis: RedisServer, bootstrap_servers: str, topic: Callable[..., str], tmp_path: Path
) -> None:
    """Worker, relay, subscriber and Redis: all of them by kill -9, while two series are silent."""
    name, seen = topic(1), tmp_path / "seen"
    seen.touch()
    client = redis.Redis.from_url(own_redis.url)
    client.config_set("appendfsync", "always")
    with Receiver() as there:
        config = write_config(
            tmp_path,
            bootstrap_servers,
            own_redis.url,
            "chain",
            [_feed(name, alerts={"stale_after": "2s", "drift": False})],
            relay={"takeover": "1s", "targets": [{"name": "ops", "type": "webhook", "url": there.url}]},
        )

        def started() -> tuple[Process, Process, subprocess.Popen[bytes]]:
            return Process(config, "worker"), Process(config, "relay"), start_reader(own_redis.url, "chain", seen)

        def transitions() -> list[tuple[str, str]]:
            return [(one["fingerprint"], one["status"]) for got in there.received for one in got.json["alerts"]]

        parts = started()
        try:
            produce(bootstrap_servers, name, _wave(2, 10))
            until(lambda: len(transitions()) == 2 and len(seen.read_text().split()) == 2, "both fire, and are told")
            for group in ("pager", "relay.ops"):
                until(lambda group=group: not client.xpending("chain:alerts", group)["pending"], "and done with")  # type: ignore[misc]
        finally:
            for part in parts:
                part.kill()
        parts[2].wait()
        own_redis.kill9()
        own_redis.start()
        # They speak again, and it is over.
        parts = started()
        try:
            produce(bootstrap_servers, name, _wave(2, 3, first=10))
            until(
                lambda: len(transitions()) >= 4 and len(seen.read_text().split()) >= 4, "both have ended, and are told"
            )
        finally:
            for part in parts:
                part.kill()
        parts[2].wait()
    fingerprints = {name for name, _ in transitions()[:2]}
    assert len(fingerprints) == 2
    assert sorted(transitions()[:4]) == sorted(
        (name, status) for name in fingerprints for status in ("firing", "resolved")
    )
    assert sorted(seen.read_text().split()[:4]) == sorted(
        f"{name}-{status}" for name in fingerprints for status in ("firing", "resolved")
    )

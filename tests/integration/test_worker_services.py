"""What a worker does while Redis takes nothing, or does not answer at all."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stream.redis_connect import connect
from stream.redis_reader import RedisReader
from tests.integration.running import (
    ROOT,
    Process,
    count_forecasts,
    forecasts,
    produce,
    repeated,
    until,
    write_config,
)
from tests.services.proxy import Wire
from tests.services.redis import RedisServer
from tests.unit.engines import SMALL, observation

pytestmark = [pytest.mark.kafka, pytest.mark.redis]


def _health(config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workers.cli", "worker", "--health", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_a_full_redis_pauses_the_stream_loses_nothing_and_health_says_why(
    tmp_path: Path, bootstrap_servers: str, own_redis: RedisServer, namespace: str, topic: Callable[..., str]
) -> None:
    name = topic(1)
    config = write_config(
        tmp_path,
        bootstrap_servers,
        own_redis.url,
        namespace,
        [SMALL | {"topics": [name]}],
        worker={"heartbeat": "200ms"},
    )
    client = connect(own_redis.url)
    reader = RedisReader(client, namespace)
    with Process(config, "worker") as worker:
        produce(bootstrap_servers, name, [("s", observation("s", n, n)) for n in range(10)])
        until(lambda: count_forecasts(client, reader, "small") == 10, "10 forecasts")
        client.config_set("maxmemory", 1)
        produce(bootstrap_servers, name, [("s", observation("s", n, n)) for n in range(10, 20)])
        until(lambda: "command not allowed when used memory" in worker.log.read_text(), "the refusal")
        # Its last heartbeat counts for a second yet.
        until(lambda: _health(config).returncode == 1, "the worker counts as gone")
        assert "maxmemory of 1 bytes is reached" in _health(config).stdout
        assert count_forecasts(client, reader, "small") == 10
        client.config_set("maxmemory", 0)
        until(lambda: count_forecasts(client, reader, "small") == 20, "20 forecasts")
        assert worker.stop() == 0
    assert not repeated(forecasts(reader, "small"))


def test_a_worker_that_gets_no_answer_ends_within_its_time_and_nothing_is_lost(
    tmp_path: Path, bootstrap_servers: str, own_redis: RedisServer, namespace: str, topic: Callable[..., str]
) -> None:
    name = topic(1)
    client = connect(own_redis.url)
    reader = RedisReader(client, namespace)
    with Wire(own_redis.port) as wire:
        url = f"redis://127.0.0.1:{wire.port}/0"
        config = write_config(
            tmp_path, bootstrap_servers, url, namespace, [SMALL | {"topics": [name]}], worker={"stop_within": "2s"}
        )
        with Process(config, "worker") as worker:
            produce(bootstrap_servers, name, [("s", observation("s", n, n)) for n in range(10)])
            until(lambda: count_forecasts(client, reader, "small") == 10, "10 forecasts")
            wire.silence()
            produce(bootstrap_servers, name, [("s", observation("s", n, n)) for n in range(10, 20)])
            began = time.monotonic()
            assert worker.stop() == 143
            assert time.monotonic() - began < 6
        # What it had sent before it ended arrives only now.
        wire.heal()
        with Process(config, "worker") as worker:
            until(lambda: count_forecasts(client, reader, "small") == 20, "20 forecasts")
            assert worker.stop() == 0
    assert [one.value for one in forecasts(reader, "small")] == list(range(20))

"""Retraining by command and by schedule, with a real Kafka and a real Redis."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import yaml

from stream.redis_connect import connect
from stream.redis_lease import Lease
from stream.redis_models import ModelRegistry
from stream.redis_schedule import ScheduleTimes
from tests.integration.histories import Site, sines
from workers.scheduler import Scheduler
from workers.settings import Settings

pytestmark = [pytest.mark.kafka, pytest.mark.redis]


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url) as client:
        yield client


@pytest.fixture
def registry(client: redis.Redis, namespace: str) -> ModelRegistry:
    return ModelRegistry(client, namespace)


@pytest.fixture
def site(bootstrap_servers: str, redis_url: str, namespace: str) -> Site:
    return Site(bootstrap_servers, redis_url, namespace)


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIDECAST_")}
    return subprocess.run(
        [sys.executable, "-m", "workers.cli", *arguments],
        env=environment | {"TIDECAST_LOG": "json"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_the_schedule_retrains_once_and_the_command_tells_what_it_found(
    topic: Callable[..., str], site: Site, registry: ModelRegistry, tmp_path: Path
) -> None:
    name = topic()
    site.produce(name, sines(500))
    file = tmp_path / "tidecast.yaml"
    file.write_text(yaml.safe_dump(site.written(name, every="1h")), encoding="utf-8")
    for _ in range(2):
        done = cli("scheduler", "--once", "--config", str(file))
        assert done.returncode == 0, done.stderr
        assert len(registry.runs("small")) == 1, done.stderr
    assert json.loads(registry.runs("small")[0][1])["fence"] == 1
    assert registry.champion("small") == "1"
    shown = cli("retrain", "--config", str(file), "--dry-run", "--history", "2h")
    assert shown.returncode == 0, shown.stderr
    assert "1500 observations of 3 series" in shown.stdout
    assert "champion 1" in shown.stdout
    assert "would be" in shown.stdout
    wrong = cli("retrain", "--config", str(file), "--history", "soon")
    assert wrong.returncode == 2
    assert "'soon' is no duration" in wrong.stderr


def scheduler_of(client: redis.Redis, settings: Settings, owner: str, notes: Path) -> Scheduler:
    text = f"import time; print({owner!r}, file=open({str(notes)!r}, 'a'), flush=True); time.sleep(0.2)"
    return Scheduler(
        settings.feeds,
        Lease(client, settings.namespace, "scheduler", owner, ttl_s=1.0),
        ScheduleTimes(client, settings.namespace),
        ModelRegistry(client, settings.namespace),
        lambda *_: [sys.executable, "-c", text],
    )


def until(condition: Callable[[], bool], what: str, limit_s: float = 20.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def test_of_two_schedulers_one_leads_and_the_other_takes_over(client: redis.Redis, site: Site, tmp_path: Path) -> None:
    settings = site.settings("t", every="1s")
    notes = tmp_path / "notes"
    notes.touch()
    both = [scheduler_of(client, settings, owner, notes) for owner in ("a", "b")]
    threads = [threading.Thread(target=one.run) for one in both]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(notes.read_text().split()) >= 3, "nothing ran")
        leaders = set(notes.read_text().split())
        assert len(leaders) == 1
        first = both[0] if leaders == {"a"} else both[1]
        (second,) = {"a", "b"} - leaders
        first.stop()
        until(lambda: second in notes.read_text().split(), "the other did not take over")
    finally:
        for one, thread in zip(both, threads, strict=True):
            one.stop()
            thread.join(20)
    order = notes.read_text().split()
    assert order == sorted(order, reverse=order[0] == "b"), "each led for one spell"


def test_a_scheduler_ends_with_its_retraining_on_sigterm(
    topic: Callable[..., str], site: Site, registry: ModelRegistry, tmp_path: Path
) -> None:
    name = topic()
    site.produce(name, sines(3000))
    file = tmp_path / "tidecast.yaml"
    file.write_text(yaml.safe_dump(site.written(name, every="1h", epochs=1000)), encoding="utf-8")
    command = [sys.executable, "-m", "workers.cli", "scheduler", "--config", str(file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"TIDECAST_LOG": "json"}) as one:
        assert one.stderr is not None
        try:
            seen = next(line for line in iter(one.stderr.readline, "") if "retraining started" in line)
        finally:
            one.send_signal(signal.SIGTERM)
        _, rest = one.communicate(timeout=30)
    assert seen
    assert one.returncode == 0
    assert "retraining interrupted" in rest
    assert registry.runs("small") == []

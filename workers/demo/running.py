"""Everything at once on this machine: broker, Redis, a feed and a worker, in processes that end with this one."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import yaml

from stream.embedded import EmbeddedBroker, EmbeddedRedis, GuardedProcess
from stream.errors import ServiceError
from stream.kafka_admin import TopicSpec, create_topics
from stream.kafka_sender import KafkaSender
from stream.redis_connect import connect
from stream.redis_reader import RedisReader
from stream.sources.synthetic import KINDS, SyntheticSource
from workers.demo import stage
from workers.demo.feeder import Feeder
from workers.demo.scene import Scene, Sensor
from workers.demo.watcher import Watcher
from workers.scoring import Scorer
from workers.settings import Settings

CONFIG = "tidecast.yaml"
Show = Callable[[Scene], None]
Say = Callable[[str], None]


def play(scene: Scene, show: Show, say: Say, *, every_s: float, seconds: float | None, config_out: Path | None) -> None:
    """Run it for ``seconds`` (None: until KeyboardInterrupt or an error), showing the scene every ``every_s``.

    Whatever ends it, all processes that were started end before this returns.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        say("Starting a broker and Redis ...")
        broker = stack.enter_context(EmbeddedBroker())
        redis = stack.enter_context(EmbeddedRedis())
        entries = stage.configuration(broker.bootstrap_servers, redis.url)
        settings = Settings.model_validate(entries)
        kafka = settings.kafka.connection()
        feed = settings.feed(stage.FEED)
        create_topics(kafka, [TopicSpec(topic, feed.partitions, 1) for topic in [*feed.topics, settings.dead_letters]])

        say("Starting a worker and a feed ...")
        folder = Path(tempfile.mkdtemp(prefix="tidecast-demo-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        worker = _start_worker(entries, folder, config_out)
        stack.callback(worker.stop)
        sender = KafkaSender(kafka, feed.topics[0])
        stack.callback(sender.close)
        source = SyntheticSource(
            stage.SENSORS, seed=stage.SEED, start_us=stage.START_US, step_us=stage.STEP_US, faults=stage.faults()
        )
        feeder = stack.enter_context(Feeder(source, sender))
        client = connect(redis.url)
        stack.callback(client.close)

        scene.sensors = [Sensor(name, KINDS[number % len(KINDS)].unit) for number, name in enumerate(source.series)]
        scene.horizon_text = f"{stage.HORIZON * stage.STEP_US // 3_600_000_000} h"
        scene.where = f"redis-cli -p {redis.port} get {stage.NAMESPACE}:forecast:{stage.FEED}:{source.series[0]}"
        reader, scorer = RedisReader(client, settings.namespace), Scorer(feed.horizon, feed.levels, block=1)
        season = feed.spec().season_slots(stage.STEP_US)
        watcher = Watcher(reader, stage.FEED, scene, feeder.sent_ms, scorer, season)
        stack.callback(say, "Ending ...")
        page: GuardedProcess | None = None
        while seconds is None or time.monotonic() - began < seconds:
            watcher.look()
            scene.elapsed_s, scene.observations = time.monotonic() - began, feeder.observations
            if page is None and scene.forecasts:
                # Not before: starting it would hold up the first forecasts.
                page = _start(["dashboard", "--port", "0"], folder)
                stack.callback(page.stop)
            if page is not None and not scene.page:
                scene.page = _address(page)
            show(scene)
            feeder.check()
            if not worker.running:
                raise ServiceError(f"the worker ended. The end of its log:\n{worker.log_tail()}")
            time.sleep(every_s)


def _start_worker(entries: dict[str, object], folder: Path, config_out: Path | None) -> GuardedProcess:
    text = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)
    (folder / CONFIG).write_text(text, encoding="utf-8")
    if config_out is not None:
        config_out.write_text(text, encoding="utf-8")
    return _start(["worker"], folder)


def _start(verb: list[str], folder: Path) -> GuardedProcess:
    # A TIDECAST_REDIS__URL of the user's would override the file, and send all this to a Redis that is in earnest.
    env = {name: value for name, value in os.environ.items() if not name.startswith("TIDECAST_")}
    command = [sys.executable, "-m", "workers.cli", *verb, "--config", str(folder / CONFIG)]
    return GuardedProcess(command, folder / f"{verb[0]}.log", env | {"TIDECAST_LOG": "json", "PYTHONUNBUFFERED": "1"})


def _address(page: GuardedProcess) -> str:
    """Where the page is, once it has said so."""
    said = re.search(r"http://\S+", page.log_tail())
    return said.group() if said else ""

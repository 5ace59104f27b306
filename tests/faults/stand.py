"""A scenario as it runs: its topics, its Redis, its processes, what has been sent, and what happened when."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson
import redis
import yaml
from numpy.typing import NDArray

from models.batch import sizes_of
from models.checkpoint import digest, pack
from models.fleet import Fleet
from stream.errors import InputError, ServiceError
from stream.keys import Keys
from stream.redis_models import ModelRegistry
from tests.faults.crew import Member
from tests.faults.inputs import Sent
from tests.faults.scenario import SESSION_MS, Scenario
from tests.faults.site import Memory, Site
from tests.faults.verdict import Seen
from workers.series import Place
from workers.settings import FeedSettings, Settings

NAMESPACE = "faults"
SERVICE_AWAY = 4
MOST_RESTARTS = 12
PATIENCE = "socket_timeout=1.5&socket_connect_timeout=1"


@dataclass(slots=True)
class Recovery:
    """How long after a fault all that had been sent until then was published."""

    kind: str
    since: float
    goal: Mapping[int, int]
    """Partition -> the offset that is to be published."""
    took_s: float | None = None


@dataclass(slots=True)
class Ended:
    """How a process ended that was asked to: exit code, and seconds from the asking."""

    name: str
    code: int | None
    took_s: float
    undisturbed: bool
    """Whether all services were there."""


@dataclass(slots=True)
class Notes:
    """What a run leaves beside Redis and Kafka."""

    began: float = field(default_factory=time.monotonic)
    timeline: list[tuple[float, str]] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    usage: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """Enter in the timeline."""
        self.timeline.append((round(time.monotonic() - self.began, 2), text))


class Stand:
    """One scenario on a site. Leaves its logs in ``folder`` if told to ``keep`` them."""

    def __init__(self, site: Site, scenario: Scenario) -> None:
        self.site, self.scenario = site, scenario
        self.folder = site.folder / f"seed-{scenario.seed}"
        self.topic, self.dead = f"feed-{scenario.seed}-{time.time_ns()}", f"dead-{scenario.seed}-{time.time_ns()}"
        self.notes = Notes()
        self.members: list[Member] = []
        self.models: dict[str, dict[str, NDArray[Any]]] = {}
        self.sent = [0] * scenario.partitions
        self.poison: dict[tuple[int, int], Any] = {}
        self.measured = 0.0
        self.away = self.disturbances = 0
        """How many faults of services or wires are going on, and how many have begun."""
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.folder.mkdir()
        self.site.heal()
        try:
            self.memory = self._stack.enter_context(Memory(self.site.redis_wire))
            self.site.create_topics({self.topic: self.scenario.partitions, self.dead: 1})
            self._stack.callback(self.site.delete_topics, [self.topic, self.dead])
            self.producer = self.site.producer()
            self._stack.callback(lambda: self.producer.close(timeout=1))
            self._stack.callback(self._end_all)
            self.settings = self._configure()
            # The way into the scenario is not what is measured.
            self.notes.began = time.monotonic()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    @property
    def feed(self) -> FeedSettings:
        return self.settings.feeds[0]

    def _configure(self) -> Settings:
        scenario = self.scenario
        written = {
            "namespace": NAMESPACE,
            "kafka": {
                "client": self._client(),
                "bootstrap_servers": self.site.proxied_servers,
                "group_id": self.topic,
                "session_timeout_ms": SESSION_MS,
                "heartbeat_interval_ms": 300,
                # Half a minute is what kafka-python waits on a dead connection else; faults here last seconds.
                "request_timeout_ms": 4_000,
                "reconnect_backoff_max_ms": 500,
                "max_request_size": 8_000_000,
                # Many workers wait side by side here: they need not ask forty times a second.
                "fetch_max_wait_ms": 150,
            },
            "redis": {
                "url": f"redis://127.0.0.1:{self.site.redis_wire.port}/0?{PATIENCE}",
                "forecast_maxlen": 1_000_000,
            },
            "feeds": [scenario.feed | {"topics": [self.topic]} | self._retraining()],
            "worker": scenario.worker,
            "dead_letters": self.dead,
        }
        self.config = self.folder / "tidecast.yaml"
        self.config.write_text(yaml.safe_dump(written))
        return Settings.model_validate(written)

    def _client(self) -> str:
        """Each of the two for every second seed, where both are installed."""
        both = find_spec("confluent_kafka") is not None
        return "confluent" if both and self.scenario.seed % 2 else "kafka-python"

    def _retraining(self) -> dict[str, Any]:
        if not self.scenario.retrains:
            return {}
        return {"retrain": {"every": "2s", "epochs": 1, "max_records": 2_000, "history": "1h"}}

    # Processes

    def start(self, verb: str = "worker") -> Member:
        """One more."""
        name = f"{verb}-{len(self.members) + 1}"
        member = Member(name, verb, self.config, *(["--name", name] if verb == "worker" else []))
        self.members.append(member)
        self.notes.say(f"{name} starts as process {member.pid}")
        return member

    def supervise(self) -> None:
        """Start anew what has ended by itself, as whatever runs it would; a worker may end so only where a service was away at its start."""
        for member in self.members:
            if member.alive or member.told or member.gone:
                continue
            member.gone = True
            code = member.process.exitcode
            self.notes.say(f"{member.name} ended by itself with {code}")
            self.notes.ended.append(Ended(member.name, code, 0.0, undisturbed=code != SERVICE_AWAY))
            if len([one for one in self.members if one.gone]) <= MOST_RESTARTS:
                self.start(member.verb)

    def free(self, verb: str = "worker") -> list[Member]:
        """Those that live and that nothing is happening to."""
        return [member for member in self.members if member.verb == verb and member.free]

    def log_of(self, name: str) -> str:
        """What a process has logged."""
        file = self.folder / f"{name}.log"
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""

    def note_end(self, member: Member, since: float, limit_s: float, *, undisturbed: bool) -> None:
        """Wait for a process that was asked to end."""
        code = member.wait(limit_s)
        took_s = time.monotonic() - since
        self.notes.ended.append(Ended(member.name, code, took_s, undisturbed))
        self.notes.say(f"{member.name} ended with {code} after {took_s:.2f} s")

    def _end_all(self) -> None:
        for member in self.members:
            if member.alive:
                member.thaw()
                member.kill()

    # Records

    def send(self, one: Sent) -> None:
        """To its partition; the log takes it in this order."""
        if one.poison is not None:
            self.poison[one.partition, self.sent[one.partition]] = one.poison
        self.producer.send(self.topic, value=one.value, key=one.key or None, partition=one.partition)
        self.sent[one.partition] += 1

    def published(self) -> dict[int, int]:
        """Partition -> the offset up to which Redis has effects; empty while it cannot be asked."""
        keys = Keys(NAMESPACE)
        try:
            with self.memory.client.pipeline(transaction=False) as pipe:
                for partition in range(self.scenario.partitions):
                    pipe.hget(keys.partition(self.topic, partition), "offset")
                found = pipe.execute()
        except redis.RedisError:
            return {}
        return {partition: -1 if offset is None else int(offset) for partition, offset in enumerate(found)}

    def look(self) -> None:
        """What is to be noted all along: recoveries, the append-only file."""
        self.memory.look()
        waiting = [one for one in self.notes.recoveries if one.took_s is None]
        if not waiting or not (offsets := self.published()):
            return
        for one in waiting:
            if all(offsets[partition] >= offset for partition, offset in one.goal.items()):
                one.took_s = time.monotonic() - one.since

    def recovers(self, kind: str) -> None:
        """From now on the time counts until all that was sent is published."""
        goal = {partition: count - 1 for partition, count in enumerate(self.sent)}
        self.notes.recoveries.append(Recovery(kind, time.monotonic(), goal))

    # Models

    def crown(self, draw: float) -> None:
        """Make a model with weights of its own the champion."""
        version = f"m{len(self.models) + 1}"
        shapes = Fleet(self.feed.spec(), seed=0).net.shapes(sizes_of(self.feed.spec()))
        rng = np.random.default_rng(int(draw * 2**32))
        weights = {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
        blob = pack(weights, {"architecture": self.feed.model.architecture})
        registry = ModelRegistry(self.memory.client, NAMESPACE)
        manifest = {"version": version, "digest": digest(blob, None)}
        self.models[version] = weights
        with suppress(InputError, ServiceError):  # Redis may be away, or have forgotten the model
            registry.put_model(self.feed.name, version, blob, orjson.dumps(manifest))
            registry.set_champion(self.feed.name, version)

    # What came out

    def seen(self) -> Seen:
        """What stands in Redis and among the dead letters now."""
        keys = Keys(NAMESPACE)
        client: Any = self.memory.client  # redis-py cannot type that all replies are bytes
        seen = Seen()
        for _, entry in client.xrange(keys.forecasts(self.feed.name)):
            seen.forecasts += orjson.loads(entry[b"forecasts"])
        seen.alerts = [orjson.loads(entry[b"alert"]) for _, entry in client.xrange(keys.alerts)]
        for partition in range(self.scenario.partitions):
            found = client.hgetall(keys.state(self.topic, partition, self.feed.name))
            seen.states[Place(self.topic, partition)] = {name.decode(): blob for name, blob in found.items()}
        names = [name.decode() for name in client.hkeys(keys.series(self.feed.name))]
        for name in names:
            text = client.get(keys.forecast(self.feed.name, name))
            seen.latest[name] = {} if text is None else orjson.loads(text)
        for letter in self.site.read(self.dead, 1)[Place(self.dead, 0)]:
            headers = dict(letter.headers)
            seen.letters.append(
                (
                    int(headers["tidecast-partition"]),
                    int(headers["tidecast-offset"]),
                    headers["tidecast-reason"].decode(),
                    letter.value,
                )
            )
        return seen

    def keep(self, folder: Path) -> Path:
        """Copy what tells how it went: configuration, logs of all processes, timeline."""
        kept = folder / self.folder.name
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self.folder, kept)
        lines = [f"{at:8.2f} s  {text}" for at, text in self.notes.timeline]
        (kept / "timeline.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return kept

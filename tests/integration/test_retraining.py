"""Retraining from a real Kafka into a real Redis."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from models.checkpoint import digest, pack, unpack
from models.training import untrained
from stream.errors import ServiceError
from stream.kafka_admin import read_history
from stream.redis_connect import connect
from stream.redis_models import ModelRegistry
from tests.integration.histories import BEGIN_S, KEY, STEP_S, Site, sines
from workers.adoption import load_model
from workers.engine import Engine
from workers.history import everything, gather
from workers.retraining import retrain
from workers.runs import Ending, Outcome
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


def run(settings: Settings, registry: ModelRegistry, **more: Any) -> Outcome:
    kafka, (feed,) = settings.kafka.connection(), settings.feeds
    return retrain(
        settings,
        feed,
        registry=registry,
        read=everything(lambda since, until, most: read_history(kafka, feed.topics, since, until, most)),
        clock=lambda: time.time_ns() // 1000,
        progress=lambda *_: None,
        **more,
    )


def test_a_better_model_is_stored_and_promoted(topic: Callable[..., str], site: Site, registry: ModelRegistry) -> None:
    name = topic(2)
    site.produce(name, [("old", minute, 1e6) for minute in range(500)], age_s=3 * 86_400)
    site.produce(name, sines(500))
    settings = site.settings(name)
    outcome = run(settings, registry)
    assert (outcome.ending, outcome.version, outcome.champion) == (Ending.PROMOTED, "1", None), outcome.reason
    assert (outcome.observations, outcome.series) == (1500, 3), "what the log took before the history is not read"
    assert set(outcome.scores) == {"challenger", "untrained", "last-value", "seasonal-naive"}
    best = min(outcome.scores, key=lambda forecaster: outcome.scores[forecaster]["pinball"])
    assert best == "challenger"
    assert registry.champion("small") == "1"
    found = registry.get_model("small", "1")
    assert found is not None
    blob, manifest = found[0], json.loads(found[1])
    assert manifest["digest"] == digest(blob, KEY.encode())
    assert manifest["scores"] == outcome.scores
    assert (manifest["version"], manifest["parent"], manifest["series"]) == ("1", None, 3)
    assert manifest["spec"] == unpack(blob)[1]["spec"] == settings.feeds[0].spec().to_dict()
    engine = Engine(settings.feeds[0], seed=0)
    engine.adopt("1", load_model(registry, settings.feeds[0], "1", settings.signing_key))
    assert engine.model == "gru:1"
    ((_, logged),) = registry.runs("small")
    assert json.loads(logged)["ending"] == "promoted"
    assert json.loads(logged)["from"] == "2026-11-10T00:00:00Z"


def test_a_worse_challenger_is_refused(topic: Callable[..., str], site: Site, registry: ModelRegistry) -> None:
    name = topic()
    site.produce(name, sines(500))
    run(site.settings(name), registry)
    lazy = site.settings(name, time_limit="1us")  # no time to train: the challenger is the champion again
    outcome = run(lazy, registry)
    assert (outcome.ending, outcome.version, outcome.champion) == (Ending.KEPT, "2", "1")
    assert "not better than champion 1" in outcome.reason
    assert registry.champion("small") == "1"
    assert set(registry.list_models("small")) == {"1", "2"}
    assert [json.loads(logged)["ending"] for _, logged in registry.runs("small")] == ["kept", "promoted"]


def test_a_champion_of_another_configuration_defends_nothing(
    topic: Callable[..., str], site: Site, registry: ModelRegistry
) -> None:
    name = topic()
    site.produce(name, sines(500))
    entries = site.written(name)
    other = Settings.model_validate(entries | {"feeds": [entries["feeds"][0] | {"model": {"hidden": 4, "patch": 4}}]})
    blob = pack(untrained(other.feeds[0].spec(), 0), {"architecture": "gru"})
    registry.put_model("small", "old", blob, json.dumps({"digest": digest(blob, KEY.encode())}).encode())
    registry.set_champion("small", "old")
    outcome = run(Settings.model_validate(entries), registry)
    assert (outcome.ending, outcome.champion) == (Ending.PROMOTED, "old")
    assert "untrained" in outcome.scores
    assert registry.champion("small") == "1"


def test_a_holder_of_an_earlier_lease_promotes_nothing(
    topic: Callable[..., str], site: Site, registry: ModelRegistry
) -> None:
    name = topic()
    site.produce(name, sines(500))
    settings = site.settings(name)
    blob = pack(untrained(settings.feeds[0].spec(), 1), {"architecture": "gru"})
    registry.put_model("small", "rival", blob, json.dumps({"digest": digest(blob, KEY.encode())}).encode())
    registry.set_champion("small", "rival", fence=9)
    outcome = run(settings, registry, fence=8)
    assert outcome.ending is Ending.KEPT
    assert "a later leader" in outcome.reason
    assert registry.champion("small") == "rival"
    assert run(settings, registry, fence=9).ending is Ending.PROMOTED


def test_a_dry_run_leaves_nothing(topic: Callable[..., str], site: Site, registry: ModelRegistry) -> None:
    name = topic()
    site.produce(name, sines(500))
    outcome = run(site.settings(name), registry, dry_run=True)
    assert (outcome.ending, outcome.version) == (Ending.PROMOTED, None)
    assert registry.champion("small") is None
    assert registry.list_models("small") == {}
    assert registry.runs("small") == []


@pytest.mark.parametrize("length", [0, 30])
def test_too_little_history_is_an_outcome(
    topic: Callable[..., str], site: Site, registry: ModelRegistry, length: int
) -> None:
    name = topic()
    site.produce(name, sines(length))
    outcome = run(site.settings(name), registry)
    assert outcome.ending is Ending.TOO_LITTLE_DATA
    assert f"{3 * length} observations" in outcome.reason
    assert registry.list_models("small") == {}
    ((_, logged),) = registry.runs("small")
    assert json.loads(logged)["ending"] == "too-little-data"


def test_a_run_without_kafka_is_logged_as_failed(site: Site, registry: ModelRegistry) -> None:
    settings = site.settings("t")

    def away(since_ms: int, until_ms: int) -> list[Any]:
        raise ServiceError("Kafka is away")

    with pytest.raises(ServiceError, match="Kafka is away"):
        retrain(settings, settings.feeds[0], registry=registry, read=away, clock=lambda: 0, progress=lambda *_: None)
    ((_, logged),) = registry.runs("small")
    assert (json.loads(logged)["ending"], json.loads(logged)["reason"]) == ("failed", "ServiceError: Kafka is away")


def test_of_a_long_history_the_newest_is_kept(topic: Callable[..., str], site: Site) -> None:
    name = topic(2)
    site.produce(name, sines(3000))
    settings = site.settings(name, max_records=600)
    records = read_history(settings.kafka.connection(), [name], 0, int(time.time() * 1000) + 1000, sys.maxsize)
    gathered = gather(settings.feeds[0], records, lambda _: None)
    assert (gathered.records, gathered.observations, gathered.series) == (9000, 600, 3)
    assert gathered.until_us == (BEGIN_S + STEP_S * 2999) * 1_000_000
    assert gathered.from_us == (BEGIN_S + STEP_S * 2800) * 1_000_000
    assert [len(one.seen) for one in gathered.stretches] == [200] * 3

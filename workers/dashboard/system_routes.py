"""The API of the system: feeds, workers, partitions, models and retraining runs."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, HTTPException
from pydantic import BaseModel

from stream.redis_models import ModelRegistry
from stream.redis_reader import RedisReader
from workers.settings import FeedSettings, Settings

SHOWN_RUNS = 20


class FeedFacts(BaseModel):
    """How a feed is configured, as far as a reader of forecasts needs it."""

    name: str
    topics: list[str]
    horizon: int
    context: int
    levels: list[float]
    architecture: str


class Partition(BaseModel):
    """Who holds a partition, and how far forecasts are published."""

    topic: str
    partition: int
    owner: str | None
    epoch: int
    offset: int | None
    updated: str | None


class Models(BaseModel):
    """A feed's champion, its versions with their manifests, and its newest retraining runs."""

    feed: str
    champion: str | None
    versions: dict[str, dict[str, Any]]
    runs: list[dict[str, Any]]


def system_routes(settings: Settings, reader: RedisReader, registry: ModelRegistry) -> APIRouter:
    """Routes under /api/."""
    router = APIRouter(prefix="/api", tags=["system"])

    @router.get("/feeds")
    def _feeds() -> list[FeedFacts]:
        """The feeds of the configuration."""
        return [_facts(feed) for feed in settings.feeds]

    @router.get("/workers")
    def _workers() -> dict[str, dict[str, Any]]:
        """Worker -> its last heartbeat."""
        return reader.workers()

    @router.get("/partitions")
    def _partitions() -> list[Partition]:
        """Every partition that has been claimed."""
        most: dict[str, int] = {}
        for feed in settings.feeds:
            for topic in feed.topics:
                most[topic] = max(most.get(topic, 0), feed.partitions)
        places = [(topic, number) for topic in sorted(most) for number in range(most[topic])]
        held = [(topic, number, reader.partition(topic, number)) for topic, number in places]
        return [_partition(topic, number, fields) for topic, number, fields in held if fields]

    @router.get("/models/{feed}")
    def _models(feed: str) -> Models:
        """What the registry holds of a feed."""
        if feed not in {one.name for one in settings.feeds}:
            raise HTTPException(404, "there is no such feed")
        manifests = registry.list_models(feed)
        return Models(
            feed=feed,
            champion=registry.champion(feed),
            versions={version: orjson.loads(text) for version, text in sorted(manifests.items())},
            runs=[orjson.loads(run) for _, run in registry.runs(feed, SHOWN_RUNS)],
        )

    return router


def _facts(feed: FeedSettings) -> FeedFacts:
    return FeedFacts(
        name=feed.name,
        topics=feed.topics,
        horizon=feed.horizon,
        context=feed.context,
        levels=list(feed.levels),
        architecture=feed.model.architecture,
    )


def _partition(topic: str, number: int, held: dict[str, str]) -> Partition:
    return Partition(
        topic=topic,
        partition=number,
        owner=held.get("owner"),
        epoch=int(held.get("epoch", 0)),
        offset=int(held["offset"]) if "offset" in held else None,
        updated=held.get("updated"),
    )

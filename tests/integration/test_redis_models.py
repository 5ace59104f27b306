"""The registry of models on a real Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from stream.errors import ConfigurationError, InputError
from stream.redis_connect import connect
from stream.redis_models import ModelRegistry
from stream.redis_store import PartitionPublication, RedisStore

pytestmark = pytest.mark.redis

BLOB = bytes(range(256)) * 100


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url) as client:
        yield client


@pytest.fixture
def registry(client: redis.Redis, namespace: str) -> ModelRegistry:
    return ModelRegistry(client, namespace)


def test_a_model_comes_back_as_it_went(registry: ModelRegistry) -> None:
    registry.put_model("temps", "gru:1", BLOB, b'{"cell":"gru"}')
    assert registry.get_model("temps", "gru:1") == (BLOB, b'{"cell":"gru"}')
    assert registry.get_model("temps", "gru:2") is None
    assert registry.list_models("temps") == {"gru:1": b'{"cell":"gru"}'}
    assert registry.list_models("other") == {}


def test_a_version_never_changes(registry: ModelRegistry) -> None:
    registry.put_model("temps", "1", BLOB, b"{}")
    registry.put_model("temps", "1", BLOB, b"{}")
    for blob, manifest in ((b"other", b"{}"), (BLOB, b'{"other":1}')):
        with pytest.raises(InputError, match="model 1 of feed temps exists"):
            registry.put_model("temps", "1", blob, manifest)
    assert registry.get_model("temps", "1") == (BLOB, b"{}")


def test_numbers_are_given_out_once(registry: ModelRegistry) -> None:
    assert [registry.next_version("temps") for _ in range(3)] == [1, 2, 3]
    assert registry.next_version("other") == 1


def test_only_a_stored_version_can_be_champion(registry: ModelRegistry) -> None:
    with pytest.raises(InputError, match="no model 1"):
        registry.set_champion("temps", "1")
    assert registry.champion("temps") is None
    registry.put_model("temps", "1", BLOB, b"{}")
    assert registry.set_champion("temps", "1")
    assert registry.champion("temps") == "1"


def test_a_holder_of_an_earlier_lease_cannot_change_the_champion(registry: ModelRegistry) -> None:
    for version in ("1", "2", "3"):
        registry.put_model("temps", version, BLOB, b"{}")
    assert registry.set_champion("temps", "2", fence=10)
    assert not registry.set_champion("temps", "1", fence=9)
    assert registry.champion("temps") == "2"
    assert registry.set_champion("temps", "3", fence=10)
    assert registry.set_champion("temps", "1"), "a person, without a lease, may always"


def test_publishing_tells_who_is_champion(client: redis.Redis, namespace: str, registry: ModelRegistry) -> None:
    store = RedisStore(client, namespace)
    claim = store.claim("sensors", 0, "a")
    registry.put_model("temps", "1", BLOB, b"{}")
    registry.set_champion("temps", "1")
    feeds = [PartitionPublication(claim, feed, 0, 0) for feed in ("temps", "other")]
    assert store.publish(feeds).champions == {"temps": "1", "other": None}


def test_runs_are_listed_newest_first(registry: ModelRegistry) -> None:
    ids = [registry.add_run("temps", b'{"run":%d}' % number) for number in range(3)]
    assert registry.runs("temps", count=2) == [(ids[2], b'{"run":2}'), (ids[1], b'{"run":1}')]


@pytest.mark.parametrize("version", ["", "a b", "a/b", "-1", "1\n"])
def test_versions_are_plain_names(registry: ModelRegistry, version: str) -> None:
    with pytest.raises(ConfigurationError, match="model version"):
        registry.put_model("temps", version, BLOB, b"{}")

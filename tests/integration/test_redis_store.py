"""What is published to a real Redis can be read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from stream.errors import ServiceError
from stream.messages import AlertMessage, LiveNotice
from stream.redis_connect import connect
from stream.redis_reader import RedisReader
from stream.redis_store import Claim, RedisStore
from tests.integration.publications import FEED, TOPIC, alert, forecast, publication

pytestmark = pytest.mark.redis

HOSTILE = ["a:b", "{x}:*", "alerts:open", "x" * 256, "\0\r\n$5", "Ω度😀", " ", '"},{"', "%b%s"]


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url) as client:
        yield client


@pytest.fixture
def store(client: redis.Redis, namespace: str) -> RedisStore:
    return RedisStore(client, namespace)


@pytest.fixture
def reader(client: redis.Redis, namespace: str) -> RedisReader:
    return RedisReader(client, namespace)


def test_a_publication_can_be_read_by_every_way(store: RedisStore, reader: RedisReader) -> None:
    claim = store.claim(TOPIC, 3, "worker-a")
    assert claim == Claim(TOPIC, 3, 1, None, token=claim.token)
    twice = [("hall-7", forecast("hall-7", 1)), ("hall-8", forecast("hall-8", 5)), ("hall-7", forecast("hall-7", 2))]
    outcome = store.publish([publication(claim, 12, first_offset=10, forecasts=twice)])
    assert (outcome.fenced, outcome.champions) == (frozenset(), {FEED: None})

    latest = reader.latest(FEED, "hall-7")
    assert latest is not None
    assert latest.value == 2
    assert set(reader.latest_many(FEED, ["hall-8", "nobody"])) == {"hall-8"}
    assert reader.latest(FEED, "nobody") is None
    seen = reader.card(FEED, "hall-7")
    assert seen is not None
    assert seen.offset == 12
    assert set(reader.cards(FEED, ["hall-7", "nobody"])) == {"hall-7"}
    assert list(reader.places(FEED)) == [("hall-7", "sensors/3")]
    [(entry, batch)] = reader.forecasts(FEED)
    assert (batch.topic, batch.partition, batch.first_offset, batch.last_offset, batch.n) == (TOPIC, 3, 10, 12, 3)
    assert [item.value for item in batch.forecasts] == [1, 5, 2]
    assert reader.forecasts(FEED, after_id=entry) == []
    assert [message for _, message in reader.alerts()] == [alert("hall-7")]
    assert reader.last_alerts() == reader.alerts()
    assert dict(store.load_states(TOPIC, 3, FEED)) == {"hall-7": b"state at 12"}
    assert store.load_state(TOPIC, 3, FEED, "hall-7") == b"state at 12"
    assert store.load_state(TOPIC, 3, FEED, "nobody") is None
    assert store.count_states(TOPIC, 3, FEED) == 1
    place = reader.partition(TOPIC, 3)
    assert (place["epoch"], place["offset"], place["owner"]) == ("1", "12", "worker-a")
    later = store.claim(TOPIC, 3, "worker-b")
    assert later == Claim(TOPIC, 3, 2, 12, token=later.token)


def test_an_alert_is_open_from_firing_to_resolved(store: RedisStore, reader: RedisReader) -> None:
    claim = store.claim(TOPIC, 0, "a")
    store.publish([publication(claim, 1)])
    assert reader.open_alerts() == {"print of hall-7": alert("hall-7")}
    store.publish([publication(claim, 2, alerts=[alert("hall-7", "resolved")])])
    assert reader.open_alerts() == {}
    assert [message.status for _, message in reader.alerts()] == ["firing", "resolved"]


def test_hostile_series_ids_come_back_as_they_went(store: RedisStore, reader: RedisReader) -> None:
    claim = store.claim(TOPIC, 0, "a")
    publications = [publication(claim, offset, series) for offset, series in enumerate(HOSTILE)]
    store.publish(publications)
    assert set(reader.series(FEED)) == set(HOSTILE)
    assert set(dict(store.load_states(TOPIC, 0, FEED))) == set(HOSTILE)
    for series in HOSTILE:
        latest, seen = reader.latest(FEED, series), reader.card(FEED, series)
        assert latest is not None
        assert seen is not None
        assert latest.series == seen.series == series
    assert [message.series for _, message in reader.alerts()] == HOSTILE
    assert [batch.forecasts[0].series for _, batch in reader.forecasts(FEED, count=99)] == HOSTILE


def test_many_states_are_loaded_in_chunks_each_once(store: RedisStore) -> None:
    claim = store.claim(TOPIC, 0, "a")
    states = {f"s{number}": b"%d" % number * 50 for number in range(3000)}
    store.publish([publication(claim, 0, states=states)])
    loaded = list(store.load_states(TOPIC, 0, FEED, chunk=100))
    assert len(loaded) == 3000
    assert dict(loaded) == states


def test_two_feeds_of_one_partition_are_published_together(store: RedisStore, reader: RedisReader) -> None:
    claim = store.claim(TOPIC, 0, "a")
    store.publish([publication(claim, 4), publication(claim, 7, feed="other")])
    assert list(reader.series(FEED)) == list(reader.series("other")) == ["hall-7"]
    assert store.claim(TOPIC, 0, "b").offset == 7


def test_subscribers_are_told_whose_forecast_changed_and_get_alerts(client: Any, store: RedisStore) -> None:
    claim = store.claim(TOPIC, 0, "a")
    with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(store.keys.live(FEED), store.keys.alerts_live)
        # Until both are confirmed, a message could be missed.
        for _ in range(2):
            pubsub.get_message(timeout=5)
        store.publish([publication(claim, 8, "Ω:1")])
        heard: dict[bytes, bytes] = {}
        end = time.monotonic() + 5
        while len(heard) < 2 and time.monotonic() < end:
            message = pubsub.get_message(timeout=1)
            if message:
                heard[message["channel"]] = message["data"]
    notice = LiveNotice.model_validate_json(heard[store.keys.live(FEED).encode()])
    assert (notice.series, notice.last_offset) == (["Ω:1"], 8)
    assert AlertMessage.model_validate_json(heard[store.keys.alerts_live.encode()]) == alert("Ω:1")


def test_streams_do_not_grow_for_ever(client: Any, namespace: str) -> None:
    store = RedisStore(client, namespace, forecast_maxlen=10, alert_maxlen=10)
    claim = store.claim(TOPIC, 0, "a")
    for offset in range(500):
        store.publish([publication(claim, offset)])
    assert client.xlen(store.keys.forecasts(FEED)) <= 110
    assert client.xlen(store.keys.alerts) <= 110


def test_without_a_forecast_stream_the_rest_is_published(client: Any, namespace: str, reader: RedisReader) -> None:
    store = RedisStore(client, namespace, forecast_maxlen=0)
    store.publish([publication(store.claim(TOPIC, 0, "a"), 0)])
    assert reader.forecasts(FEED) == []
    assert reader.latest(FEED, "hall-7") is not None


def test_waiting_for_alerts_ends_with_the_first(store: RedisStore, reader: RedisReader) -> None:
    claim = store.claim(TOPIC, 0, "a")
    assert reader.alerts("$", block_ms=10) == []
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(reader.alerts, "0-0", 10, 4_000)
        store.publish([publication(claim, 0)])
        assert len(waiting.result()) == 1


def test_a_wait_longer_than_the_sockets_timeout_ends_quietly(redis_url: str, namespace: str) -> None:
    with connect(redis_url, socket_timeout=0.2) as client:
        assert RedisReader(client, namespace).alerts("$", block_ms=60_000) == []


def test_a_worker_is_listed_until_its_heartbeat_expires(client: Any, store: RedisStore, reader: RedisReader) -> None:
    assert reader.workers() == {}
    store.beat("host:1", {"partitions": 3}, ttl_s=60)
    store.beat("host:2", {"partitions": 4}, ttl_s=0.02)
    time.sleep(0.05)
    assert reader.workers() == {"host:1": {"partitions": 3}}
    assert client.smembers(store.keys.workers) == {b"host:1"}


def test_nothing_to_publish_needs_no_redis() -> None:
    store = RedisStore(redis.Redis(port=1), "none")
    assert store.publish([]).fenced == frozenset()


def test_a_server_that_is_gone_is_a_service_error() -> None:
    store = RedisStore(redis.Redis(port=1, retry=Retry(NoBackoff(), 0)), "none")
    for call in (lambda: store.claim(TOPIC, 0, "a"), lambda: list(store.load_states(TOPIC, 0, FEED))):
        with pytest.raises(ServiceError, match="sensors/0"):
            call()
    with pytest.raises(ServiceError, match="publishing"):
        store.publish([publication(Claim(TOPIC, 0, 1, None), 0)])


def test_the_stored_text_is_plain_json(client: Any, store: RedisStore) -> None:
    store.publish([publication(store.claim(TOPIC, 0, "a"), 0)])
    [(_, fields)] = client.xrange(store.keys.forecasts(FEED))
    assert orjson.loads(fields[b"forecasts"])[0] == orjson.loads(client.get(store.keys.forecast(FEED, "hall-7")))

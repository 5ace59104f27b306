"""The whole way on real parts: Kafka, worker processes, Redis."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kafka import KafkaConsumer

from models.batch import sizes_of
from models.checkpoint import digest, pack
from models.fleet import Fleet
from stream.redis_connect import connect
from stream.redis_models import ModelRegistry
from stream.redis_reader import RedisReader
from tests.integration.running import Process, count_forecasts, forecasts, produce, repeated, until, write_config
from tests.services.service import Service
from workers.settings import FeedSettings

pytestmark = [pytest.mark.kafka, pytest.mark.redis]
START = 1_794_268_800
SMALL = {
    "name": "plant",
    "step": "1m",
    "context": 16,
    "horizon": 4,
    "season": 8,
    "model": {"hidden": 8, "patch": 4},
}


def _feed(topic: str, **changes: Any) -> dict[str, Any]:
    return SMALL | {"topics": [topic]} | changes


def _wave(series: int, length: int, first: int = 0) -> list[tuple[str, dict[str, Any]]]:
    return [
        (
            f"s{number}",
            {"series": f"s{number}", "time": START + 60 * minute, "value": number + math.sin(minute / (3 + number))},
        )
        for minute in range(first, first + length)
        for number in range(series)
    ]


def _expect_whole(reader: RedisReader, series: int, length: int) -> None:
    """Exactly one forecast for each series and cutoff, in the order of time."""
    found = forecasts(reader, "plant")
    assert not repeated(found)
    for number in range(series):
        cutoffs = [one.cutoff.timestamp() for one in found if one.series == f"s{number}"]
        assert cutoffs == [START + 60 * minute for minute in range(length)], f"s{number}"


def test_two_workers_forecast_every_observation_once_and_leave_cards(
    kafka_client: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    bootstrap_servers: str,
    redis_url: str,
    namespace: str,
    topic: Callable[..., str],
) -> None:
    monkeypatch.setenv("TIDECAST_KAFKA__CLIENT", kafka_client)
    name = topic(4)
    config = write_config(tmp_path, bootstrap_servers, redis_url, namespace, [_feed(name)])
    client = connect(redis_url)
    reader = RedisReader(client, namespace)
    produce(bootstrap_servers, name, _wave(6, 40))
    with Process(config, "worker") as one, Process(config, "worker") as other:
        until(lambda: count_forecasts(client, reader, "plant") == 240, "240 forecasts")
        produce(bootstrap_servers, name, _wave(6, 20, first=40))
        until(lambda: count_forecasts(client, reader, "plant") == 360, "360 forecasts")
        assert one.stop() == 0
        assert other.stop() == 0
    _expect_whole(reader, 6, 60)
    latest = reader.latest("plant", "s3")
    assert latest is not None
    assert latest.state == "ready"
    assert latest.cutoff.timestamp() == START + 60 * 59
    assert len(latest.median) == 4
    card = reader.card("plant", "s3")
    assert card is not None
    assert card.observations == 60
    assert card.error is not None
    assert sorted(reader.series("plant")) == [f"s{number}" for number in range(6)]


def test_a_killed_worker_loses_nothing_and_repeats_nothing(
    kafka_client: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    bootstrap_servers: str,
    redis_url: str,
    namespace: str,
    topic: Callable[..., str],
) -> None:
    monkeypatch.setenv("TIDECAST_KAFKA__CLIENT", kafka_client)
    name = topic(2)
    settings = {"worker": {"checkpoint": "300ms", "checkpoint_batch": 2, "batch_records": 20}}
    config = write_config(tmp_path, bootstrap_servers, redis_url, namespace, [_feed(name)], **settings)
    client = connect(redis_url)
    reader = RedisReader(client, namespace)
    produce(bootstrap_servers, name, _wave(4, 150))
    for goal in (80, 250, 420):
        with Process(config, "worker") as worker:
            until(lambda goal=goal: count_forecasts(client, reader, "plant") >= goal, f"{goal} forecasts")  # type: ignore[misc]
            worker.kill()
    with Process(config, "worker") as worker:
        # The one before may have done it all, and one that has not begun yet cannot end in order.
        until(lambda: "worker started" in worker.log.read_text(), "the last worker")
        until(lambda: count_forecasts(client, reader, "plant") >= 600, "600 forecasts")
        assert worker.stop() == 0
    _expect_whole(reader, 4, 150)
    # The same stream without a kill gives the same forecasts, to the bit.
    quiet = write_config(tmp_path, bootstrap_servers, redis_url, f"{namespace}-quiet", [_feed(name)])
    calm = RedisReader(client, f"{namespace}-quiet")
    with Process(quiet, "worker") as worker:
        until(lambda: count_forecasts(client, calm, "plant") >= 600, "600 forecasts")
        worker.stop()
    told = {(one.series, one.cutoff): (one.median, one.quantiles, one.state) for one in forecasts(reader, "plant")}
    assert told == {
        (one.series, one.cutoff): (one.median, one.quantiles, one.state) for one in forecasts(calm, "plant")
    }


def test_bad_records_end_in_the_dead_letters_and_the_stream_goes_on(
    tmp_path: Path,
    bootstrap_servers: str,
    redis_url: str,
    namespace: str,
    topic: Callable[..., str],
    kafka_service: Service,
) -> None:
    name, dead = topic(1, max_message_bytes="4000000"), topic(1, max_message_bytes="4000000")
    feed = _feed(name, known_series=3)
    config = write_config(tmp_path, bootstrap_servers, redis_url, namespace, [feed], dead_letters=dead)
    client = connect(redis_url)
    reader = RedisReader(client, namespace)
    poison = [
        (b"this is not JSON", "not-json"),
        (b'{"series": "s0", "value": 1}', "missing-field"),
        (b'{"series": "s0", "time": 1794268800, "value": NaN}', None),
        (b'{"series": "s0", "time": 1794268800, "value": 1e400}', "not-finite"),
        (b'{"series": "s0", "time": "9999-01-01T00:00:00Z", "value": 1}', None),
        (b'{"series": "s0", "time": 1794268800, "value": 1, "padding": "' + b"x" * 2_000_000 + b'"}', "too-large"),
        (b'{"series": "one too many", "time": 1794268800, "value": 1}', "series-limit"),
    ]
    records: list[tuple[str, Any]] = list(_wave(3, 10))
    for number, (value, _) in enumerate(poison):
        records.insert(5 + 4 * number, ("s0", value))
    produce(bootstrap_servers, name, records)
    with Process(config, "worker") as worker:
        until(lambda: count_forecasts(client, reader, "plant") >= 30, "30 forecasts")
        assert worker.stop() == 0
    _expect_whole(reader, 3, 10)
    consumer = KafkaConsumer(
        dead, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest", consumer_timeout_ms=3000
    )
    letters = list(consumer)
    consumer.close()
    assert [letter.value for letter in letters] == [value for value, _ in poison]
    for letter, (_, reason) in zip(letters, poison, strict=True):
        headers = {key: value.decode() for key, value in letter.headers}
        assert headers["tidecast-topic"] == name
        assert json.loads(headers["tidecast-offset"]) >= 0
        if reason:
            assert headers["tidecast-reason"] == reason


def test_more_series_than_fit_in_memory_are_kept_in_redis_and_come_back(
    tmp_path: Path, bootstrap_servers: str, redis_url: str, namespace: str, topic: Callable[..., str]
) -> None:
    name = topic(1)
    worker_settings = {"worker": {"resident_series": 2, "batch_records": 7}}
    tight = write_config(tmp_path, bootstrap_servers, redis_url, namespace, [_feed(name)], **worker_settings)
    client = connect(redis_url)
    reader = RedisReader(client, namespace)
    produce(bootstrap_servers, name, _wave(5, 30))
    with Process(tight, "worker") as worker:
        until(lambda: count_forecasts(client, reader, "plant") >= 150, "150 forecasts")
        assert worker.stop() == 0
    _expect_whole(reader, 5, 30)
    roomy = write_config(tmp_path, bootstrap_servers, redis_url, f"{namespace}-roomy", [_feed(name)])
    calm = RedisReader(client, f"{namespace}-roomy")
    with Process(roomy, "worker") as worker:
        until(lambda: count_forecasts(client, calm, "plant") >= 150, "150 forecasts")
        worker.stop()
    told = {(one.series, one.cutoff): one.median for one in forecasts(reader, "plant")}
    assert told == {(one.series, one.cutoff): one.median for one in forecasts(calm, "plant")}


def test_a_silent_series_becomes_stale_and_the_alert_ends_when_it_speaks_again(
    tmp_path: Path, bootstrap_servers: str, redis_url: str, namespace: str, topic: Callable[..., str]
) -> None:
    name = topic(1)
    config = write_config(
        tmp_path, bootstrap_servers, redis_url, namespace, [_feed(name, alerts={"stale_after": "2s"})]
    )
    reader = RedisReader(connect(redis_url), namespace)
    produce(bootstrap_servers, name, _wave(1, 10))
    with Process(config, "worker") as worker:
        until(lambda: len(reader.alerts()) == 1, "the alert")
        card = reader.card("plant", "s0")
        assert card is not None
        assert card.state == "stale"
        latest = reader.latest("plant", "s0")
        assert latest is not None
        assert latest.state == "stale"
        produce(bootstrap_servers, name, _wave(1, 2, first=10))
        until(lambda: len(reader.alerts()) >= 2, "its end")
        worker.stop()
    spoken = reader.latest("plant", "s0")
    assert spoken is not None
    assert spoken.state != "stale"
    (_, fired), (_, ended) = reader.alerts()[:2]
    assert (fired.kind, fired.status, ended.status) == ("stale", "firing", "resolved")
    assert fired.fingerprint == ended.fingerprint


def test_a_new_champion_is_taken_up_between_batches_without_a_missing_or_doubled_forecast(
    tmp_path: Path, bootstrap_servers: str, redis_url: str, namespace: str, topic: Callable[..., str]
) -> None:
    name = topic(2)
    settings = {"worker": {"batch_records": 10}}
    config = write_config(tmp_path, bootstrap_servers, redis_url, namespace, [_feed(name)], **settings)
    client = connect(redis_url)
    reader, registry = RedisReader(client, namespace), ModelRegistry(client, namespace)
    with Process(config, "worker") as worker:
        produce(bootstrap_servers, name, _wave(3, 40))
        until(lambda: count_forecasts(client, reader, "plant") >= 30, "the first forecasts")
        _store(registry, "good", 0.01)
        registry.set_champion("plant", "good")
        until(lambda: count_forecasts(client, reader, "plant") >= 120, "120 forecasts")
        until(lambda: "model taken up" in worker.log.read_text(), "the champion to be taken up")
        produce(bootstrap_servers, name, _wave(3, 10, first=40))
        until(lambda: count_forecasts(client, reader, "plant") >= 150, "150 forecasts")
        # One that was changed after it was signed off is refused, and the good one goes on.
        _store(registry, "tampered", 0.5, stated_for=0.01)
        registry.set_champion("plant", "tampered")
        until(lambda: "model refused" in worker.log.read_text(), "the refusal")
        produce(bootstrap_servers, name, _wave(3, 10, first=50))
        until(lambda: count_forecasts(client, reader, "plant") >= 180, "180 forecasts")
        assert worker.stop() == 0
    _expect_whole(reader, 3, 60)
    models = [one.model for one in forecasts(reader, "plant")]
    assert models[0] == "gru:untrained"
    assert set(models[120:]) == {"gru:good"}


def _store(registry: ModelRegistry, version: str, weight: float, stated_for: float | None = None) -> None:
    """A model of the test feed's shape in which every weight is ``weight``."""
    spec = FeedSettings.model_validate(SMALL | {"topics": ["t"]}).spec()
    shapes = Fleet(spec, seed=0).net.shapes(sizes_of(spec))

    def blob(value: float) -> bytes:
        return pack({n: np.full(s, value, np.float32) for n, s in shapes.items()}, {"architecture": "gru"})

    manifest = {"version": version, "digest": digest(blob(weight if stated_for is None else stated_for), None)}
    registry.put_model("plant", version, blob(weight), json.dumps(manifest).encode())


def test_two_feeds_of_one_topic_survive_a_kill_each_with_its_own_series(
    tmp_path: Path, bootstrap_servers: str, redis_url: str, namespace: str, topic: Callable[..., str]
) -> None:
    name = topic(1)
    feeds = [_feed(name), _feed(name, name="twin", horizon=3)]
    client = connect(redis_url)
    produce(bootstrap_servers, name, _wave(4, 60))
    told = {}
    for space, kills in ((namespace, (60, 150)), (f"{namespace}-quiet", ())):
        hurried = {"worker": {"checkpoint": "100ms", "checkpoint_batch": 1, "batch_records": 20}}
        config = write_config(tmp_path, bootstrap_servers, redis_url, space, feeds, **hurried)
        reader = RedisReader(client, space)
        for goal in (*kills, 240):
            with Process(config, "worker") as worker:
                for feed in ("plant", "twin"):
                    until(lambda r=reader, f=feed, g=goal: count_forecasts(client, r, f) >= g, f"{goal} forecasts")  # type: ignore[misc]
                worker.kill()
        told[space] = [
            [(one.series, one.cutoff, one.median) for one in forecasts(reader, f)] for f in ("plant", "twin")
        ]
        assert [len(found) for found in told[space]] == [240, 240]
    for killed, quiet in zip(*told.values(), strict=True):
        assert sorted(killed) == sorted(quiet)

"""What a worker does when a batch is broken off, on a real Redis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream.deadletters import JsonLinesDeadLetters
from stream.errors import ServiceError
from stream.kafka_source import TopicPartition
from stream.records import Record
from stream.redis_connect import connect
from stream.redis_models import ModelRegistry
from stream.redis_reader import RedisReader
from stream.redis_store import RedisStore
from tests.integration.running import Process, count_forecasts, forecasts, produce, repeated, until, write_config
from tests.unit.engines import SMALL, observation, record
from workers.settings import Settings
from workers.worker import Worker

pytestmark = pytest.mark.redis
HOME = TopicPartition("t", 0)


class Unreachable(JsonLinesDeadLetters):
    """A sink that cannot deliver."""

    def flush(self) -> None:
        raise ServiceError("Kafka: away")


def _worker(redis_url: str, namespace: str, letters: JsonLinesDeadLetters, **feed: Any) -> Worker:
    settings = Settings.model_validate({"namespace": namespace, "feeds": [SMALL | feed]})
    client = connect(redis_url)
    worker = Worker(settings, RedisStore(client, namespace), ModelRegistry(client, namespace), letters, "w")
    worker.assigned([HOME])
    return worker


def _observed(offsets: range) -> list[Record]:
    return [record(offset, observation("s", offset, float(offset))) for offset in offsets]


def test_a_batch_that_is_broken_off_is_run_again_whole(tmp_path: Path, redis_url: str, namespace: str) -> None:
    reader = RedisReader(connect(redis_url), namespace)
    worker = _worker(redis_url, namespace, Unreachable(tmp_path / "a"))
    worker.batch(_observed(range(5)))
    worker.stop()
    broken = [*_observed(range(5, 7)), Record("t", 0, 7, None, b"bad"), *_observed(range(8, 10))]
    with pytest.raises(ServiceError):
        worker.batch(broken)
    # What a leaving worker would save now is ahead of what was published.
    worker.save(worker.ledger.all_unsaved())
    again = _worker(redis_url, namespace, JsonLinesDeadLetters(tmp_path / "b"))
    assert again.ledger.holdings
    again.batch([*_observed(range(5)), *broken])
    again.dead_letters.close()
    found = forecasts(reader, "small")
    assert not repeated(found)
    assert [one.value for one in found] == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert len((tmp_path / "b").read_text().splitlines()) == 1


def test_a_stale_alert_is_resolved_by_the_worker_that_comes_after(
    tmp_path: Path, redis_url: str, namespace: str
) -> None:
    reader = RedisReader(connect(redis_url), namespace)
    letters = JsonLinesDeadLetters(tmp_path / "a")
    worker = _worker(redis_url, namespace, letters, alerts={"stale_after": "1s"})
    worker.batch(_observed(range(5)))
    worker.clock = lambda: 4_000_000_000_000_000
    worker.tick()
    assert len(reader.open_alerts()) == 1
    # Killed here: nothing more is saved.
    again = _worker(redis_url, namespace, letters, alerts={"stale_after": "1s"})
    again.batch(_observed(range(5, 6)))
    assert not reader.open_alerts()
    assert [alert.status for _, alert in reader.alerts()] == ["firing", "resolved"]
    letters.close()


def test_a_worker_claims_again_what_redis_has_forgotten(
    tmp_path: Path, bootstrap_servers: str, redis_url: str, namespace: str, topic: Callable[..., str]
) -> None:
    name = topic(1)
    config = write_config(tmp_path, bootstrap_servers, redis_url, namespace, [SMALL | {"topics": [name]}])
    client = connect(redis_url)
    reader = RedisReader(client, namespace)
    with Process(config, "worker") as worker:
        produce(bootstrap_servers, name, [("s", observation("s", n, n)) for n in range(20)])
        until(lambda: count_forecasts(client, reader, "small") == 20, "20 forecasts")
        for key in client.scan_iter(match=f"{namespace}:*"):
            client.delete(key)
        produce(bootstrap_servers, name, [("s", observation("s", n, n)) for n in range(20, 25)])
        # Nothing is known of what was published, so the log is run again from its beginning.
        until(lambda: count_forecasts(client, reader, "small") == 25, "all forecasts again", 90)
        assert worker.stop() == 0
    assert not repeated(forecasts(reader, "small"))

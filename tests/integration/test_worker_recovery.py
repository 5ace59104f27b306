"""What a worker does when a batch is broken off, on a real Redis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.deadletters import JsonLinesDeadLetters
from stream.errors import ServiceError
from stream.kafka_config import TopicPartition
from stream.records import Record
from stream.redis_connect import connect
from stream.redis_models import ModelRegistry
from stream.redis_reader import RedisReader
from stream.redis_store import RedisStore
from tests.integration.running import Process, count_forecasts, forecasts, produce, repeated, until, write_config
from tests.services.redis import RedisServer
from tests.unit.engines import SMALL, observation, record
from workers.series import Place
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


def _states(worker: Worker) -> dict[str, dict[str, Any]]:
    (lane,) = worker.lanes.values()
    return {series.name: lane.engine.snapshot(series)[0] for series in lane.engine.series}


def test_records_that_are_run_again_are_learnt_from_as_they_were_the_first_time(
    tmp_path: Path, redis_url: str, namespace: str
) -> None:
    letters = JsonLinesDeadLetters(tmp_path / "a")
    calm, killed = (_worker(redis_url, name, letters) for name in (f"{namespace}-calm", namespace))
    for number, thin in enumerate([1, 4, 4, 2, 1, 8]):
        for worker in (calm, killed):
            worker.backlog.thin = thin
            worker.batch(_observed(range(30 * number, 30 * (number + 1))))
            if number == 1:
                worker.save(worker.ledger.all_unsaved())
    # Killed here, with the states of the second batch saved. The next owner has no backlog, and other batches.
    again = _worker(redis_url, namespace, letters)
    for first in range(60, 200, 70):
        again.batch(_observed(range(first, min(first + 70, 200))))
    assert again.ledger.holdings[Place("t", 0)].thinning == ((30, 4), (90, 2), (120, 1), (150, 8), (180, 1))
    calm.backlog.thin = 1
    calm.batch(_observed(range(180, 200)))
    told, expected = _states(again), _states(calm)
    assert told.keys() == expected.keys()
    for name, arrays in expected.items():
        for field, array in arrays.items():
            np.testing.assert_array_equal(told[name][field], array, err_msg=f"{name} {field}")
    letters.close()


def test_records_that_retention_took_before_they_were_read_are_told_counted_and_passed_over(
    tmp_path: Path, redis_url: str, namespace: str
) -> None:
    reader = RedisReader(connect(redis_url), namespace)
    letters = JsonLinesDeadLetters(tmp_path / "a")
    worker = _worker(redis_url, namespace, letters)
    worker.batch(_observed(range(5)))
    worker.broken(HOME, 5, 9)
    worker.batch(_observed(range(9, 12)))
    assert [one.value for one in forecasts(reader, "small")] == [0, 1, 2, 3, 4, 9, 10, 11]
    assert worker.counts["missed"] == 4
    told = [(alert.kind, alert.status, alert.series, alert.evidence) for _, alert in reader.alerts()]
    evidence = {"wanted": 5, "actual": 9}
    assert told == [("log-gap", status, "t/0", evidence) for status in ("firing", "resolved")]
    assert not reader.open_alerts()
    letters.close()


def test_a_replay_that_finds_only_published_records_gone_has_missed_none(
    tmp_path: Path, redis_url: str, namespace: str
) -> None:
    letters = JsonLinesDeadLetters(tmp_path / "a")
    _worker(redis_url, namespace, letters).batch(_observed(range(8)))
    again = _worker(redis_url, namespace, letters)
    again.broken(HOME, 0, 4)
    again.batch(_observed(range(4, 10)))
    assert again.counts["missed"] == 0
    reader = RedisReader(connect(redis_url), namespace)
    assert [one.value for one in forecasts(reader, "small")] == list(range(10))
    assert not reader.alerts()
    letters.close()


@pytest.mark.parametrize("told", [True, False])
def test_a_topic_made_anew_is_read_from_its_beginning_by_series_that_keep_what_they_learnt(
    tmp_path: Path, redis_url: str, namespace: str, told: bool
) -> None:
    reader = RedisReader(connect(redis_url), namespace)
    letters = JsonLinesDeadLetters(tmp_path / "a")
    worker = _worker(redis_url, namespace, letters)
    worker.settings = worker.settings.model_copy(
        update={"worker": worker.settings.worker.model_copy(update={"checkpoint_batch": 1})}
    )

    def both(offsets: range, first_minute: int) -> list[Record]:
        return [record(n, observation("ab"[n % 2], first_minute + n // 2, float(n))) for n in offsets]

    worker.batch(both(range(40), 0))
    worker.save(worker.ledger.all_unsaved())
    (lane,) = worker.lanes.values()
    lane.engine.drop([series for series in lane.engine.series if series.name == "b"])
    if told:
        worker.broken(HOME, 40, 0)
    worker.batch(both(range(6), 20))
    # Killed here: what comes after begins where the new log was left.
    again = _worker(redis_url, namespace, letters)
    assert again.ledger.holdings[Place("t", 0)].published == 5
    again.batch(both(range(10), 20))
    again.save(again.ledger.all_unsaved())
    assert [one.value for one in forecasts(reader, "small")] == [*range(40), *range(10)]
    assert [card.observations for card in reader.cards("small", ["a", "b"]).values()] == [25, 25]
    assert [(alert.kind, alert.status) for _, alert in reader.alerts()] == [
        ("log-anew", "firing"),
        ("log-anew", "resolved"),
    ]
    letters.close()


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


def test_what_redis_lost_is_published_again_and_goes_on_as_if_nothing_had_been(
    tmp_path: Path, bootstrap_servers: str, own_redis: RedisServer, namespace: str, topic: Callable[..., str]
) -> None:
    name = topic(1)
    config = write_config(
        tmp_path,
        bootstrap_servers,
        own_redis.url,
        namespace,
        [SMALL | {"topics": [name]}],
        worker={"checkpoint": "100ms"},
    )
    client = connect(own_redis.url)
    reader = RedisReader(client, namespace)
    file = own_redis.folder / "appendonlydir" / "appendonly.aof.1.incr.aof"
    with Process(config, "worker") as worker:
        produce(bootstrap_servers, name, [("s", observation("s", n, n)) for n in range(20)])
        until(lambda: count_forecasts(client, reader, "small") == 20, "20 forecasts")
        kept = file.stat().st_size
        before = forecasts(reader, "small")
        produce(bootstrap_servers, name, [("s", observation("s", n, n)) for n in range(20, 30)])
        until(lambda: count_forecasts(client, reader, "small") == 30, "30 forecasts")
        told = forecasts(reader, "small")
        own_redis.kill9()
        with file.open("r+b") as lost:
            lost.truncate(kept)
        own_redis.start()
        # No further record comes: who is idle must notice as well.
        until(lambda: count_forecasts(client, reader, "small") == 30, "the forecasts that were lost", 30)
        again = forecasts(reader, "small")
        assert worker.stop() == 0
        assert "Redis has lost what it had confirmed" in worker.log.read_text()
    assert again[:20] == before
    assert [one.model_copy(update={"issued": None}) for one in again] == [
        one.model_copy(update={"issued": None}) for one in told
    ]


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
        until(lambda: count_forecasts(client, reader, "small") == 25, "all forecasts again", 15)
        assert worker.stop() == 0
    assert not repeated(forecasts(reader, "small"))

"""The servers that tests talk to, started once a run and only if asked for, and room of one's own on them."""

from __future__ import annotations

import contextlib
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.services import Service, Unavailable
from tests.services import kafka as kafka_services
from tests.services import redis as redis_services

_USED = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_USED] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Fetch Apache Kafka before the first test and not in it: a download must not count against a test's time."""
    wanted = any("kafka_service" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly and not kafka_services.embedded_or_given():
        with contextlib.suppress(Unavailable):
            kafka_services.fetch()


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the servers that were used and every test that was skipped, with its reason."""
    used = config.stash[_USED]
    skipped = terminalreporter.stats.get("skipped", [])
    if used or skipped:
        terminalreporter.section("servers and skipped tests")
    for name, detail in sorted(used.items()):
        terminalreporter.write_line(f"{name}: {detail}")
    for report in skipped:
        where = report.longrepr
        reason = where[2] if isinstance(where, tuple) else str(where)
        terminalreporter.write_line(f"skipped {report.nodeid}: {reason.removeprefix('Skipped: ')}")


def _opened(request: pytest.FixtureRequest, open_service: Callable[[ExitStack], Service]) -> Iterator[Service]:
    with ExitStack() as stack:
        try:
            service = open_service(stack)
        except Unavailable as error:
            pytest.skip(str(error))
        request.config.stash[_USED][service.name] = service.detail
        yield service


@pytest.fixture(scope="session")
def kafka_service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """The Kafka of this run; ``kafka_service.require_real("...")`` skips on the embedded broker."""
    yield from _opened(request, kafka_services.open_kafka)


@pytest.fixture(scope="session")
def redis_service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """The Redis of this run."""
    yield from _opened(request, redis_services.open_redis)


@pytest.fixture
def bootstrap_servers(kafka_service: Service) -> str:
    """``bootstrap_servers`` for kafka-python's clients."""
    return kafka_service.address


@pytest.fixture(params=["kafka-python", "confluent"])
def kafka_client(request: pytest.FixtureRequest) -> str:
    """Each client that records are read with, as ``kafka.client`` names it; skips what is not installed."""
    if request.param == "confluent":
        kafka_services.require_confluent()
    return str(request.param)


@pytest.fixture
def redis_url(redis_service: Service) -> str:
    """The URL of the run's Redis. Write below ``namespace`` only."""
    return redis_service.address


@pytest.fixture
def topic(bootstrap_servers: str) -> Iterator[Callable[..., str]]:
    """``topic(partitions=1, **configs)`` makes a topic with a name of its own; it goes when the test is over.

    ``configs`` are the topic's settings with ``_`` for ``.``: ``topic(3, cleanup_policy="compact")``.
    """
    from kafka import KafkaAdminClient
    from kafka.admin import NewTopic
    from kafka.errors import KafkaError

    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=15_000)
    made: list[str] = []

    def make(partitions: int = 1, **configs: str) -> str:
        name = f"tidecast-test-{uuid.uuid4().hex[:12]}"
        settings = {key.replace("_", "."): str(value) for key, value in configs.items()}
        made.append(name)
        admin.create_topics(
            [NewTopic(name, num_partitions=partitions, replication_factor=1, topic_configs=settings)],
            wait_for_metadata=True,
        )
        return name

    try:
        yield make
    finally:
        # A test may have ended the broker or deleted the topic itself.
        with contextlib.suppress(KafkaError, OSError):
            if made:
                admin.delete_topics(made, raise_errors=False)
        admin.close()


@pytest.fixture
def namespace(redis_url: str) -> Iterator[str]:
    """A namespace of one's own: what lies under ``{namespace}:`` is deleted after the test, and nothing else."""
    import redis

    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=f"{name}:*", count=1000):
            client.unlink(key)


@pytest.fixture
def own_redis() -> Iterator[redis_services.RedisServer]:
    """A redis-server that only this test talks to, with an append-only file: it may stop, kill9 and restart it."""
    try:
        server = redis_services.RedisServer(appendonly=True)
    except Unavailable as error:
        pytest.skip(str(error))
    with server:
        yield server


@pytest.fixture
def own_kafka() -> Iterator[kafka_services.ApacheKafka]:
    """An Apache Kafka that only this test talks to: it may stop, kill9 and restart it. Takes some 5 s to start."""
    try:
        broker = kafka_services.ApacheKafka()
    except (Unavailable, subprocess.TimeoutExpired) as error:
        pytest.skip(str(error))
    with broker:
        yield broker

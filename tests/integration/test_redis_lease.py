"""The lease on a real Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from stream.errors import ConfigurationError, ServiceError
from stream.keys import Keys
from stream.redis_connect import connect
from stream.redis_lease import Lease
from workers.leading import keep

pytestmark = pytest.mark.redis


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url) as client:
        yield client


def wait_until_free(lease: Lease, limit_s: float = 5.0) -> None:
    end = time.monotonic() + limit_s
    while lease.holder() is not None:
        assert time.monotonic() < end, "the lease did not run out"
        time.sleep(0.01)


def test_of_many_only_one_gets_the_lease(client: redis.Redis, namespace: str) -> None:
    leases = [Lease(client, namespace, "scheduler", f"worker-{number}") for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        fences = list(pool.map(Lease.acquire, leases))
    assert [fence for fence in fences if fence is not None] == [1]
    assert [lease.held for lease in leases].count(True) == 1


def test_the_lease_passes_on_after_its_time_with_a_higher_fence(client: redis.Redis, namespace: str) -> None:
    first = Lease(client, namespace, "scheduler", "a", ttl_s=0.1)
    second = Lease(client, namespace, "scheduler", "b")
    assert first.acquire() == 1
    assert second.acquire() is None
    wait_until_free(first)
    assert not first.held
    assert first.fence is None
    assert second.acquire() == 2
    assert second.holder() == "b"


def test_a_late_holder_can_neither_renew_nor_release_the_lease_of_another(client: redis.Redis, namespace: str) -> None:
    first = Lease(client, namespace, "scheduler", "a", ttl_s=0.05)
    second = Lease(client, namespace, "scheduler", "b")
    first.acquire()
    wait_until_free(first)
    second.acquire()
    assert not first.renew()
    assert not first.release()
    assert second.renew()
    assert second.holder() == "b"


def test_renewing_keeps_the_lease_and_its_fence(client: redis.Redis, namespace: str) -> None:
    lease = Lease(client, namespace, "scheduler", "a", ttl_s=0.5)
    assert lease.acquire() == 1
    for _ in range(4):
        time.sleep(0.2)
        assert lease.renew()
    assert (lease.held, lease.fence) == (True, 1)


def test_asking_again_for_a_lease_that_is_held_gives_the_same_fence(client: redis.Redis, namespace: str) -> None:
    lease = Lease(client, namespace, "scheduler", "a")
    assert lease.acquire() == lease.acquire() == 1


def test_a_released_lease_is_free_at_once(client: redis.Redis, namespace: str) -> None:
    first = Lease(client, namespace, "scheduler", "a/b")
    first.acquire()
    assert first.holder() == "a/b"
    assert first.release()
    assert not first.held
    assert Lease(client, namespace, "scheduler", "b").acquire() == 2


def test_leases_of_different_names_do_not_meet(client: redis.Redis, namespace: str) -> None:
    assert Lease(client, namespace, "scheduler", "a").acquire() == 1
    assert Lease(client, namespace, "retrain", "b").acquire() == 1


def test_a_lease_without_duration_is_refused(client: redis.Redis, namespace: str) -> None:
    with pytest.raises(ConfigurationError, match="ttl_s"):
        Lease(client, namespace, "scheduler", "a", ttl_s=0)


def test_without_redis_the_lease_says_so() -> None:
    client = redis.Redis(port=1, retry=Retry(NoBackoff(), 0))
    with pytest.raises(ServiceError, match="acquiring lease scheduler"):
        Lease(client, "none", "scheduler", "a").acquire()


def test_a_lease_that_is_kept_outlives_its_time_and_one_that_is_gone_is_not_kept(
    client: redis.Redis, namespace: str
) -> None:
    lease, other = Lease(client, namespace, "scheduler", "a", ttl_s=1.0), Lease(client, namespace, "scheduler", "b")
    assert lease.acquire() == 1
    stopping = Event()
    with ThreadPoolExecutor(1) as pool:
        keeping = pool.submit(keep, lease, stopping, 0.05, lambda: False, "lost")
        assert not stopping.wait(2.5)
        assert lease.held
        assert other.acquire() is None
        # Somebody deletes it: there is nothing to keep, and nobody has to say stop.
        client.delete(Keys(namespace).lease("scheduler"))
        keeping.result(5.0)
    assert not lease.held

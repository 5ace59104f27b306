"""Publishing to a real Redis: all or nothing, once, and only by the owner of the partition."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, UnixDomainSocketConnection
from redis.retry import Retry

from stream.errors import ServiceError
from stream.redis_connect import connect
from stream.redis_reader import RedisReader
from stream.redis_store import Claim, PartitionPublication, RedisStore
from tests.integration.publications import FEED, TOPIC, alert, contents, publication

pytestmark = pytest.mark.redis
NO_RETRY = {"retry": Retry(NoBackoff(), 0)}


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


def test_a_fenced_worker_writes_nothing_at_all(client: redis.Redis, namespace: str, store: RedisStore) -> None:
    old = store.claim(TOPIC, 0, "a")
    store.publish([publication(old, 5)])
    store.claim(TOPIC, 0, "b")
    before = contents(client, namespace)
    assert store.publish([publication(old, 6), publication(old, 7, "hall-9")]).fenced == {old}
    assert contents(client, namespace) == before


def test_a_lost_partition_does_not_hold_up_the_others(store: RedisStore, reader: RedisReader) -> None:
    lost, kept = store.claim(TOPIC, 0, "a"), store.claim(TOPIC, 1, "a")
    store.claim(TOPIC, 0, "b")
    assert store.publish([publication(lost, 0, "lost"), publication(kept, 0, "kept")]).fenced == {lost}
    assert list(reader.series(FEED)) == ["kept"]


def test_a_claim_that_nobody_made_is_fenced(store: RedisStore) -> None:
    invented = Claim(TOPIC, 9, 1, None)
    assert store.publish([publication(invented, 0)]).fenced == {invented}


@pytest.mark.parametrize("offset", [3, 5])
def test_a_replayed_publication_writes_states_only(
    client: redis.Redis, namespace: str, store: RedisStore, offset: int
) -> None:
    claim = store.claim(TOPIC, 0, "a")
    store.publish([publication(claim, 5)])
    client.hdel(store.keys.partition(TOPIC, 0), "written")  # the number of the write, which is another one
    before = contents(client, namespace, leaving_out=":state:")
    client.hset(store.keys.partition(TOPIC, 0), "written", 1)
    replayed = publication(claim, offset, "hall-9", states={"hall-7": b"again"})
    assert store.publish([replayed]).fenced == frozenset()
    client.hdel(store.keys.partition(TOPIC, 0), "written")
    assert contents(client, namespace, leaving_out=":state:") == before
    assert dict(store.load_states(TOPIC, 0, FEED)) == {"hall-7": b"again"}


class ClaimsMeanwhile(dict[str, bytes]):
    """States that make another worker claim while the transaction is put together, so after the epochs were read."""

    def __init__(self, states: dict[str, bytes], claim: Callable[[], Claim], times: int = 1) -> None:
        super().__init__(states)
        self.claim, self.left = claim, times

    def items(self) -> Any:
        if self.left:
            self.left -= 1
            self.claim()
        return super().items()


def test_a_claim_between_reading_and_writing_fences(client: redis.Redis, namespace: str, store: RedisStore) -> None:
    old = store.claim(TOPIC, 0, "a")
    states = ClaimsMeanwhile({"hall-7": b"late"}, lambda: store.claim(TOPIC, 0, "b"))
    assert store.publish([publication(old, 0, states=states)]).fenced == {old}
    assert set(contents(client, namespace)) == {f"{namespace}:partition:{TOPIC}:0".encode()}


def test_a_partition_that_keeps_changing_hands_does_not_hold_up_the_publisher_for_ever(store: RedisStore) -> None:
    lost, kept = store.claim(TOPIC, 0, "a"), store.claim(TOPIC, 1, "a")
    states = ClaimsMeanwhile({"hall-7": b"late"}, lambda: store.claim(TOPIC, 0, "b"), times=10**6)
    # The endless claims come while the partition that is kept is written, so they disturb each attempt.
    with pytest.raises(ServiceError, match="changed hands"):
        store.publish([publication(lost, 0), publication(kept, 0, states=states)])


def test_racing_claims_get_different_epochs_and_only_the_last_may_publish(store: RedisStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda number: store.claim(TOPIC, 0, f"w{number}"), range(64)))
    assert sorted(claim.epoch for claim in claims) == list(range(1, 65))
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda claim: store.publish([publication(claim, claim.epoch)]), claims))
    assert {claim.epoch for claim, outcome in zip(claims, outcomes, strict=True) if not outcome.fenced} == {64}


def test_what_a_new_owner_was_told_is_all_that_the_old_one_wrote(store: RedisStore, reader: RedisReader) -> None:
    old = store.claim(TOPIC, 0, "a")
    fenced = threading.Event()

    def publish_until_fenced() -> int:
        for offset in range(100_000):
            if store.publish([publication(old, offset)]).fenced:
                fenced.set()
                return offset - 1
        raise AssertionError("never fenced")

    with ThreadPoolExecutor(1) as pool:
        last = pool.submit(publish_until_fenced)
        time.sleep(0.1)
        new = store.claim(TOPIC, 0, "b")
        assert fenced.wait(10)
    assert new.offset == last.result()
    batches = [batch for _, batch in reader.forecasts(FEED, count=200_000)]
    assert batches[-1].last_offset == new.offset


def breaking(monkeypatch: pytest.MonkeyPatch, send: Callable[[Any, bytes], None]) -> threading.Event:
    """From now on the first transaction meets ``send``, which gets connection and bytes, and then a dead connection."""
    broken = threading.Event()
    for kind in (Connection, UnixDomainSocketConnection):
        whole = kind.send_packed_command

        def wrapped(self: Any, command: Any, *args: Any, whole: Any = whole, **options: Any) -> None:
            text = command if isinstance(command, bytes) else b"".join(command)
            if b"\r\nEXEC\r\n" not in text or broken.is_set():
                whole(self, command, *args, **options)
                return
            broken.set()
            try:
                send(self, text)
            finally:
                self.disconnect()
            raise redis.ConnectionError("cut by the test")

        monkeypatch.setattr(kind, "send_packed_command", wrapped)
    return broken


def test_a_worker_that_dies_before_exec_leaves_nothing(
    client: redis.Redis, namespace: str, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = store.claim(TOPIC, 0, "a")
    before = contents(client, namespace)

    class Died(BaseException):
        pass

    def all_but_exec(connection: Any, text: bytes) -> None:
        connection._sock.sendall(text[: text.rindex(b"*1\r\n$4\r\nEXEC")])
        raise Died

    breaking(monkeypatch, all_but_exec)
    with pytest.raises(Died):
        store.publish([publication(claim, 0)])
    assert contents(client, namespace) == before


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_a_connection_lost_at_exec_neither_loses_nor_doubles_effects(
    store: RedisStore, reader: RedisReader, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    claim = store.claim(TOPIC, 0, "a")

    def send(connection: Any, text: bytes) -> None:
        if lost == "answer":
            connection._sock.sendall(text)
            while "offset" not in reader.partition(TOPIC, 0):
                time.sleep(0.005)

    broken = breaking(monkeypatch, send)
    assert store.publish([publication(claim, 0)]).fenced == frozenset()
    assert broken.is_set()
    assert len(reader.forecasts(FEED)) == len(reader.alerts()) == 1
    assert dict(store.load_states(TOPIC, 0, FEED)) == {"hall-7": b"state at 0"}


def test_an_alert_of_the_clock_whose_answer_was_lost_is_not_raised_twice(
    client: redis.Redis, store: RedisStore, reader: RedisReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = store.claim(TOPIC, 0, "a")
    clocked = [PartitionPublication(claim, FEED, 0, -1, alerts=[alert("hall-7")], by_clock=True)]

    def send_and_wait(connection: Any, text: bytes) -> None:
        connection._sock.sendall(text)
        while reader.partition(TOPIC, 0)["written"] != "1":
            time.sleep(0.005)
        raise redis.ConnectionError("and the next call meets it too")

    monkeypatch.setattr(
        client.connection_pool, "connection_kwargs", client.connection_pool.connection_kwargs | NO_RETRY
    )
    breaking(monkeypatch, send_and_wait)
    try:
        store.publish(clocked)
    except ServiceError:
        store.publish(clocked)
    assert len(reader.alerts()) == 1
    assert store.publish(list(clocked)).forgotten == frozenset()
    assert len(reader.alerts()) == 2, "another list is another write"


@pytest.mark.parametrize("lost", ["effects", "states", "claim", "everything"])
def test_a_redis_that_lost_what_it_had_confirmed_is_noticed_before_anything_is_built_upon_it(
    client: redis.Redis, namespace: str, store: RedisStore, lost: str
) -> None:
    claim = store.claim(TOPIC, 0, "a") if lost != "claim" else None
    if claim is not None:
        store.publish([publication(claim, 0)])
    before: Any = {key: client.dump(key) for key in client.scan_iter(match=f"{namespace}:*")}
    if claim is None:
        claim = store.claim(TOPIC, 0, "a")
    elif lost == "effects":
        store.publish([publication(claim, 1)])
    else:
        store.publish([publication(claim, 0, states={"hall-7": b"later"})])
    assert store.standing([claim]).forgotten == frozenset()
    # As after a restart that lost the last second of the append-only file.
    for key in client.scan_iter(match=f"{namespace}:*"):
        client.delete(key)
    for key, content in before.items() if lost != "everything" else ():
        client.restore(key, 0, content)
    as_found = contents(client, namespace)
    assert store.standing([claim]).forgotten == {claim}
    done = store.publish([publication(claim, 2)])
    assert (set(done.forgotten), set(done.fenced)) == ({claim}, set())
    assert contents(client, namespace) == as_found
    again = store.claim(TOPIC, 0, "a")
    assert again.offset == (0 if lost in ("effects", "states") else None)
    assert store.publish([publication(again, 2)]).forgotten == frozenset()


def test_an_epoch_that_was_given_out_twice_belongs_to_the_later_claim(client: redis.Redis, namespace: str) -> None:
    one, other = RedisStore(client, namespace), RedisStore(client, namespace)
    early = one.claim(TOPIC, 0, "a")
    client.delete(one.keys.partition(TOPIC, 0))
    late = other.claim(TOPIC, 0, "b")
    assert early.epoch == late.epoch
    assert one.publish([publication(early, 0)]).fenced == {early}
    assert other.publish([publication(late, 0)]).fenced == frozenset()

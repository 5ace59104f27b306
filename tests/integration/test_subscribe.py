"""Subscriptions: every alert once, in order, through kills of the reader and restarts of Redis."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from stream.errors import ConfigurationError
from stream.messages import AlertMessage
from stream.redis_subscription import Missed
from stream.subscribe import Subscription, live, subscribe
from tests.integration.incidents import Raiser, alert
from tests.integration.running import ROOT, until
from tests.services.redis import RedisServer

pytestmark = pytest.mark.redis


@pytest.fixture
def raised(redis_url: str, namespace: str) -> Raiser:
    return Raiser(redis_url, namespace)


def ids(found: list[AlertMessage]) -> list[str]:
    return [one.id.removeprefix("print-") for one in found]


def reading(redis_url: str, namespace: str, name: str = "pager", **options: Any) -> Subscription:
    return subscribe(name, redis_url, namespace=namespace, **({"wait_s": 0.3} | options))


def test_alerts_come_in_order_and_typed(redis_url: str, namespace: str, raised: Raiser) -> None:
    sent = [alert("a"), alert("b", kind="a-later-kind"), alert("a", "resolved")]
    raised(*sent)
    with reading(redis_url, namespace) as subscription:
        assert list(subscription) == sent


def test_a_subscription_goes_on_where_it_was_left(redis_url: str, namespace: str, raised: Raiser) -> None:
    raised(alert("a"), alert("b"), alert("c"))
    with reading(redis_url, namespace) as first:
        assert first.next() == alert("a")
        assert first.next() == alert("b")  # which acknowledges a, and leaves b open
    with reading(redis_url, namespace, claim_after_s=0.0) as second:
        assert ids(list(second)) == ["b-firing", "c-firing"]
    with reading(redis_url, namespace, claim_after_s=0.0) as third:
        assert list(third) == []
    with reading(redis_url, namespace, "another") as other:
        assert len(list(other)) == 3


def test_with_manual_acknowledgement_only_what_is_acknowledged_is_done_with(
    redis_url: str, namespace: str, raised: Raiser
) -> None:
    sent = [alert(f"s{number}") for number in range(350)]
    raised(*sent)
    with reading(redis_url, namespace, ack="manual", consumer="one") as first:
        assert list(first) == sent
        first.ack(sent[1])
        with pytest.raises(KeyError):
            first.ack(sent[1])
    raised(alert("later"))
    with reading(redis_url, namespace, ack="manual", consumer="one") as again:
        assert list(again) == [sent[0], *sent[2:], alert("later")]


def test_repeats_are_dropped_by_message_id(redis_url: str, namespace: str, raised: Raiser) -> None:
    raised(alert("a"), alert("a"))
    with reading(redis_url, namespace) as first:
        assert ids(list(first)) == ["a-firing"]
        raised(alert("a"), alert("a", "resolved"))
        assert ids(list(first)) == ["a-resolved"]
    raised(alert("a"), alert("b"))
    with reading(redis_url, namespace) as second:
        assert ids(list(second)) == ["b-firing"]


def test_readers_of_one_subscription_share_the_alerts(redis_url: str, namespace: str, raised: Raiser) -> None:
    sent = [alert(f"s{number}") for number in range(400)]
    raised(*sent)
    with reading(redis_url, namespace) as one, reading(redis_url, namespace) as two:
        found, both = [], [one, two]
        for number in range(400):
            got = both[number % 2].next()
            if got is not None:
                found.append(got)
        found += [*one, *two]
    assert sorted(ids(found)) == sorted(ids(sent))


def test_what_is_filtered_out_is_passed_over(redis_url: str, namespace: str, raised: Raiser) -> None:
    raised(alert("a", severity="info"), alert("pump-1"), alert("pump-2", feed="other"), alert("pump-3", kind="stale"))
    where = ["series=pump-*", "severity>=warning", "feed!=other", "kind=stale", "kind=error-*"]
    with reading(redis_url, namespace, where=where) as some:
        assert ids(list(some)) == ["pump-1-firing", "pump-3-firing"]
        assert {one.series for one in some.firing()} == {"pump-1", "pump-3"}
    client = redis.Redis.from_url(redis_url)
    assert client.xpending(f"{namespace}:alerts", "pager")["pending"] == 0


def test_readers_that_were_killed_are_struck_off_and_those_that_owe_something_are_not(
    redis_url: str, namespace: str, raised: Raiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised(alert("a"))
    assert reading(redis_url, namespace, consumer="killed-owing").next() == alert("a")
    assert reading(redis_url, namespace, consumer="killed").next() is None
    monkeypatch.setattr("stream.redis_subscription._DEAD_MS", -1)
    assert reading(redis_url, namespace, consumer="living").next() is None
    consumers = redis.Redis.from_url(redis_url).xinfo_consumers(f"{namespace}:alerts", "pager")
    assert {one["name"] for one in consumers} == {b"killed-owing", b"living"}


def test_a_new_name_may_begin_with_what_is_to_come(redis_url: str, namespace: str, raised: Raiser) -> None:
    raised(alert("a"))
    with reading(redis_url, namespace, start="now") as subscription:
        assert list(subscription) == []
        raised(alert("b"))
        assert ids(list(subscription)) == ["b-firing"]


def test_what_was_cut_off_is_told_with_its_number(
    redis_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    raised = Raiser(redis_url, namespace)
    client = redis.Redis.from_url(redis_url)
    raised(alert("a"))
    with reading(redis_url, namespace) as subscription:
        assert len(list(subscription)) == 1
    raised(*(alert(f"s{number}") for number in range(10)))
    client.xtrim(f"{namespace}:alerts", maxlen=3, approximate=False)
    told: list[Missed] = []
    with caplog.at_level(logging.WARNING), reading(redis_url, namespace, on_missed=told.append) as subscription:
        assert ids(list(subscription)) == ["s7-firing", "s8-firing", "s9-firing"]
        assert subscription.missed == told[0]
    assert [one.count for one in told] == [7]
    assert "7 alerts between" in caplog.text
    raised(*(alert(f"t{number}") for number in range(4)))
    client.xtrim(f"{namespace}:alerts", maxlen=2, approximate=False)
    with reading(redis_url, namespace, on_missed=told.append) as subscription:
        assert ids(list(subscription)) == ["t2-firing", "t3-firing"]
    assert [one.count for one in told] == [7, 2]


def test_what_was_cut_off_before_it_was_acknowledged_is_told_too(
    redis_url: str, namespace: str, raised: Raiser
) -> None:
    raised(alert("a"), alert("b"), alert("c"))
    with reading(redis_url, namespace, ack="manual", consumer="desk") as subscription:
        assert len(list(subscription)) == 3
    redis.Redis.from_url(redis_url).xtrim(f"{namespace}:alerts", maxlen=1, approximate=False)
    with reading(redis_url, namespace, ack="manual", consumer="desk") as subscription:
        assert ids(list(subscription)) == ["c-firing"]
        assert subscription.missed is not None
        assert subscription.missed.count == 2


def test_trimming_what_was_read_is_no_loss(redis_url: str, namespace: str, raised: Raiser) -> None:
    raised(*(alert(f"s{number}") for number in range(10)))
    with reading(redis_url, namespace) as subscription:
        list(subscription)
        redis.Redis.from_url(redis_url).xtrim(f"{namespace}:alerts", maxlen=0, approximate=False)
        raised(alert("t"))
        assert ids(list(subscription)) == ["t-firing"]
        assert subscription.missed is None


def test_a_message_of_a_later_release_holds_nothing_up(
    redis_url: str, namespace: str, raised: Raiser, caplog: pytest.LogCaptureFixture
) -> None:
    client = redis.Redis.from_url(redis_url)
    client.xadd(f"{namespace}:alerts", {"v": 9, "alert": b'{"v": 9, "secret": "s3cr3t"}'})
    client.xadd(f"{namespace}:alerts", {"nothing": 1})
    raised(alert("a"))
    with reading(redis_url, namespace) as subscription:
        assert ids(list(subscription)) == ["a-firing"]
    assert client.xpending(f"{namespace}:alerts", "pager")["pending"] == 0
    assert "cannot be read by this release" in caplog.text
    assert "s3cr3t" not in caplog.text


def test_an_async_reader_gets_the_same(redis_url: str, namespace: str, raised: Raiser) -> None:
    async def read() -> list[AlertMessage]:
        with reading(redis_url, namespace) as subscription:
            return [one async for one in subscription]

    raised(alert("a"), alert("b"))
    assert ids(asyncio.run(read())) == ["a-firing", "b-firing"]


def test_a_cancelled_async_wait_loses_nothing(redis_url: str, namespace: str, raised: Raiser) -> None:
    async def read() -> list[AlertMessage]:
        found: list[AlertMessage] = []
        with reading(redis_url, namespace, wait_s=None) as subscription:
            for series in ("a", "b", "c"):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.15):
                        async for one in subscription:
                            found.append(one)  # noqa: PERF401 - what came before the cancelling is kept
                raised(alert(series))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(3):
                    async for one in subscription:
                        found.append(one)
                        if len(found) == 3:
                            break
        return found

    assert ids(asyncio.run(read())) == ["a-firing", "b-firing", "c-firing"]


def test_a_program_that_ends_does_not_wait_for_an_alert(redis_url: str, namespace: str) -> None:
    program = f"""
import asyncio
from stream.subscribe import subscribe
async def read():
    async for alert in subscribe("pager", {redis_url!r}, namespace={namespace!r}):
        pass
try:
    asyncio.run(asyncio.wait_for(read(), 0.5))
except TimeoutError:
    print("given up", flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "given up\n"


def test_close_ends_a_wait_in_another_thread(redis_url: str, namespace: str) -> None:
    subscription = reading(redis_url, namespace, wait_s=None)
    ended = threading.Thread(target=lambda: list(subscription))
    ended.start()
    time.sleep(0.2)
    subscription.close()
    ended.join(5)
    assert not ended.is_alive()


def test_the_live_channel_begins_with_what_fires(redis_url: str, namespace: str, raised: Raiser) -> None:
    raised(alert("a"), alert("b"), alert("b", "resolved"), alert("c", severity="info"))
    screen = live(redis_url, namespace=namespace, where=["severity>=warning"])
    assert next(screen) == alert("a")
    raised(alert("a", "resolved"))
    assert next(screen) == alert("a", "resolved")


@pytest.mark.parametrize("wrong", [{"where": ["colour=red"]}, {"name": "Not A Name"}, {"name": "relay.ops"}])
def test_what_cannot_be_is_refused(redis_url: str, namespace: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        reading(redis_url, namespace, **wrong)


READER = """
import sys, time
from stream.subscribe import subscribe
for alert in subscribe("pager", sys.argv[1], namespace=sys.argv[2], consumer="desk"):
    with open(sys.argv[3], "a") as file:
        print(alert.id, file=file, flush=True)
"""


def test_the_reader_in_the_docs_reads(redis_url: str, namespace: str, raised: Raiser, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "alerts.md").read_text()
    snippet = page.split("```python\n")[1].split("```")[0]
    assert len(snippet.splitlines()) == 4
    snippet = snippet.replace("redis://127.0.0.1:6379/0", redis_url).replace('"tidecast"', repr(namespace))
    raised(alert("pump-3"), alert("quiet", severity="info"), alert("pump-3", "resolved"))
    seen = tmp_path / "seen"
    with seen.open("wb") as output:
        reader = subprocess.Popen(
            [sys.executable, "-u", "-c", snippet], env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=output
        )
    try:
        until(lambda: seen.read_text().count("\n") == 2, "it has read")
    finally:
        reader.kill()
        reader.wait()
    assert [line.split()[:2] for line in seen.read_text().splitlines()] == [
        ["firing", "pump-3"],
        ["resolved", "pump-3"],
    ]


def start_reader(url: str, namespace: str, seen: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", READER, url, namespace, str(seen)], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )


def test_through_kill_9_of_the_reader_and_a_crash_of_redis_each_transition_is_seen_once(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    """The reader dies between firing and resolving, Redis too, and the resolving comes while there is no reader."""
    namespace, seen = "life", tmp_path / "seen"
    seen.touch()
    raised = Raiser(own_redis.url, namespace)
    # Each write on disk before it is confirmed: what the reader acknowledged survives the crash.
    redis.Redis.from_url(own_redis.url).config_set("appendfsync", "always")

    def lines() -> list[str]:
        return seen.read_text().split()

    reader = start_reader(own_redis.url, namespace, seen)
    try:
        raised(alert("a"), alert("b"))
        until(lambda: len(lines()) == 2, "both have fired")
        client = redis.Redis.from_url(own_redis.url)
        # Asking for the next acknowledges the one before: the kill comes after that.
        until(lambda: client.xpending(f"{namespace}:alerts", "pager")["pending"] == 0, "both are acknowledged")
        reader.kill()
        reader.wait()
        raised(alert("a", "resolved"))
        own_redis.kill9()
        own_redis.start()
        reader = start_reader(own_redis.url, namespace, seen)
        until(lambda: len(lines()) == 3, "one has resolved")
        own_redis.restart()
        Raiser(own_redis.url, namespace)(alert("b", "resolved"), alert("c"))
        until(lambda: len(lines()) == 5, "the reader has found Redis again")
    finally:
        reader.kill()
        reader.wait()
    assert lines() == [f"print-{one}" for one in ("a-firing", "b-firing", "a-resolved", "b-resolved", "c-firing")]

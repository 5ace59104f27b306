"""The relay process, with real receivers: each transition reaches each target, whatever dies meanwhile."""

from __future__ import annotations

import dataclasses
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner

from stream.signature import verify
from tests.integration.incidents import Raiser, alert
from tests.integration.receivers import Answer, Received, Receiver
from tests.integration.running import Process, until, write_config
from tests.services.redis import RedisServer
from workers.cli import cli

pytestmark = pytest.mark.redis

QUICK: dict[str, Any] = {"retry_first": "50ms", "retry_longest": "200ms", "timeout": "1s"}


class Setting:
    """A Redis, a configuration, and whoever publishes alerts."""

    def __init__(self, folder: Path, redis_url: str, namespace: str, targets: list[dict[str, Any]]) -> None:
        feeds = [{"name": "plant", "topics": ["plant"]}]
        relay = {"targets": [QUICK | target for target in targets], "takeover": "1s"}
        self.config = write_config(folder, "127.0.0.1:1", redis_url, namespace, feeds, relay=relay)
        self.raised = Raiser(redis_url, namespace)
        self.client = redis.Redis.from_url(redis_url)
        self.redis_url, self.namespace = redis_url, namespace

    def relay(self) -> Process:
        return Process(self.config, "relay")

    def tidecast(self, *arguments: str) -> str:
        result = CliRunner().invoke(cli, [*arguments, "--config", str(self.config)])
        assert result.exit_code == 0, result.output
        return result.stdout

    def started(self, target: str = "ops") -> bool:
        """Whether the target's subscription is there, so that what is raised now is its to deliver."""
        return bool(self.client.hget(f"{self.namespace}:relay:{target}", "caught_up"))


@pytest.fixture
def setting(redis_url: str, namespace: str, tmp_path: Path) -> Callable[..., Setting]:
    return lambda *targets: Setting(tmp_path, redis_url, namespace, list(targets))


@pytest.fixture
def receiver() -> Iterator[Callable[..., Receiver]]:
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(Receiver(*arguments))


def cloud(receiver: Receiver, name: str = "ops", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "cloudevents", "url": f"{receiver.url}/hook", **more}


def test_each_transition_is_delivered_once_in_order_signed_and_with_its_id(
    setting: Callable[..., Setting], receiver: Callable[..., Receiver]
) -> None:
    there = receiver()
    place = setting(cloud(there, hmac_key="s3cr3t", authorization="Bearer t0ken"))
    place.raised(alert("before"))
    with place.relay() as relay:
        until(lambda: len(there.received) == 1, "what fired before the target was new is told")
        place.raised(alert("a"), alert("b"), alert("a"), alert("a", "resolved"))
        until(lambda: len(there.received) == 4, "four notifications")
        assert relay.stop() == 0
        log = relay.log.read_text()
    assert there.ids() == ["print-before-firing", "print-a-firing", "print-b-firing", "print-a-resolved"]
    for one in there.received:
        assert one.path == "/hook"
        assert one.headers["Idempotency-Key"] == one.headers["Tidecast-Id"] == one.json["id"]
        assert one.headers["Authorization"] == "Bearer t0ken"
        verify("s3cr3t", one.body, one.headers["Tidecast-Signature"], time.time())
        assert one.json["specversion"] == "1.0"
    assert there.received[1].json["data"] == json.loads(alert("a").to_json())
    assert "s3cr3t" not in log
    assert "t0ken" not in log


def test_a_target_that_is_down_holds_up_no_other(
    setting: Callable[..., Setting], receiver: Callable[..., Receiver]
) -> None:
    good = receiver()
    slow = receiver(lambda _: Answer(after_s=30))
    dropping = receiver(lambda _: Answer(drop=True))
    dripping = receiver(lambda _: Answer(drip_s=0.1))
    dead = {"name": "dead", "type": "webhook", "url": "http://127.0.0.1:1/"}
    place = setting(cloud(slow, "slow"), cloud(dropping, "dropping"), cloud(dripping, "dripping"), dead, cloud(good))
    with place.relay() as relay:
        for name in ("slow", "dropping", "dripping", "dead", "ops"):
            until(lambda name=name: place.started(name), name)  # type: ignore[misc]
        place.raised(*(alert(f"s{number}") for number in range(20)))
        until(lambda: len(good.received) == 20, "the good one has them all", 10)
        until(lambda: len(dripping.ids()) >= 2, "a dripping answer is cut off, and tried again", 10)
        assert set(dripping.ids()) == {"print-s0-firing"}
        assert relay.stop() == 0
    shown = place.tidecast("relay", "status")
    assert "ops (cloudevents): ok" in shown
    assert "dead (webhook): failing, http://127.0.0.1:1: no answer" in shown


def test_failures_that_pass_are_retried_until_they_have_passed(
    setting: Callable[..., Setting], receiver: Callable[..., Receiver]
) -> None:
    answers = iter([Answer(503), Answer(429, {"Retry-After": "1"}), Answer(drop=True), Answer(408)])
    there = receiver(lambda _: next(answers, Answer(body=b"x" * 100_000)))
    place = setting(cloud(there))
    with place.relay() as relay:
        until(place.started, "started")
        place.raised(alert("a"), alert("b"))
        until(lambda: len(there.received) == 6, "both")
        assert relay.stop() == 0
    assert there.ids() == ["print-a-firing"] * 5 + ["print-b-firing"]
    assert len({one.body for one in there.received[:5]}) == 1


@pytest.mark.parametrize("status", [400, 302])
def test_what_is_refused_is_a_letter_at_once_and_can_be_sent_again_with_its_end(
    setting: Callable[..., Setting], receiver: Callable[..., Receiver], status: int
) -> None:
    elsewhere = receiver()
    mended = False
    there = receiver(lambda _: Answer() if mended else Answer(status, {"Location": elsewhere.url}))
    place = setting(cloud(there))
    with place.relay() as relay:
        until(place.started, "started")
        place.raised(alert("a"))
        until(lambda: "letters 1" in place.tidecast("relay", "status"), "a letter")
        assert there.ids() == ["print-a-firing"]
        mended = True
        # Its end is no use without its beginning, so it waits with it.
        place.raised(alert("a", "resolved"), alert("b"))
        until(lambda: there.ids()[-1] == "print-b-firing", "what comes after goes on")
        letters = place.tidecast("relay", "letters")
        assert letters.count("ops ") == 2
        assert f"status {status}" in letters
        assert "its firing is a dead letter" in letters
        assert "2 letters" in place.tidecast("relay", "replay", "ops", "--all")
        until(lambda: len(there.received) == 4, "both again")
        assert place.tidecast("relay", "letters") == ""
        assert relay.stop() == 0
    assert there.ids() == ["print-a-firing", "print-b-firing", "print-a-firing", "print-a-resolved"]
    assert not elsewhere.received


def test_after_so_many_attempts_it_is_a_letter(
    setting: Callable[..., Setting], receiver: Callable[..., Receiver]
) -> None:
    there = receiver(lambda one: Answer(500 if b"print-a" in one.body else 200))
    place = setting(cloud(there, attempts=3))
    with place.relay() as relay:
        until(place.started, "started")
        place.raised(alert("a"), alert("b"))
        until(lambda: "print-b-firing" in there.ids(), "the next")
        assert relay.stop() == 0
    assert there.ids() == ["print-a-firing"] * 3 + ["print-b-firing"]
    assert "after 3 attempts" in place.tidecast("relay", "letters", "ops")
    letter = place.tidecast("relay", "letters", "ops").split()[1]
    place.tidecast("relay", "drop", "ops", letter)
    assert place.tidecast("relay", "letters") == ""


def unique(found: list[str]) -> list[str]:
    """As a receiver sees it that drops repeats by id."""
    return list(dict.fromkeys(found))


def test_through_kill_9_of_the_relay_and_crashes_of_redis_each_transition_is_seen_once(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    """The relay is killed between firing and resolving, in the middle of an attempt, and Redis is killed as well."""
    slow = [False]

    def answer(_: Received) -> Answer:
        return Answer(after_s=2.0 if slow[0] else 0.0)

    with Receiver(answer) as there:
        place = Setting(tmp_path, own_redis.url, "life", [cloud(there, timeout="5s")])
        place.client.config_set("appendfsync", "always")
        relay = place.relay()
        until(place.started, "started")
        place.raised(alert("a"), alert("b"))
        until(lambda: len(there.received) == 2, "both fire")
        until(lambda: place.client.xpending("life:alerts", "relay.ops")["pending"] == 0, "and that is written down")
        relay.kill()
        place.raised(alert("a", "resolved"))
        own_redis.kill9()
        own_redis.start()
        slow[0] = True
        with place.relay():
            until(lambda: len(there.received) == 3, "one resolves")
        # It was killed before it had the answer: the successor sends the same again, under the same id.
        slow[0] = False
        with place.relay() as last:
            until(lambda: len(there.received) == 4, "the attempt that was cut off is repeated")
            own_redis.restart()
            Raiser(own_redis.url, "life")(alert("b", "resolved"), alert("c"))
            until(lambda: len(there.received) == 6, "and it goes on, through a restart of Redis")
            assert last.stop() == 0
    assert there.received[2].body == there.received[3].body
    assert unique(there.ids()) == [
        f"print-{one}" for one in ("a-firing", "b-firing", "a-resolved", "b-resolved", "c-firing")
    ]
    assert len(there.ids()) == 6


def test_when_redis_has_lost_everything_it_begins_anew_with_what_fires(
    setting: Callable[..., Setting], receiver: Callable[..., Receiver]
) -> None:
    there = receiver()
    place = setting(cloud(there))
    with place.relay() as relay:
        until(place.started, "started")
        place.raised(alert("a"))
        until(lambda: len(there.received) == 1, "it delivers")
        place.client.delete(*place.client.keys(f"{place.namespace}:*"))
        again = Raiser(place.redis_url, place.namespace)
        again(alert("b"))
        until(lambda: "print-b-firing" in there.ids(), "it goes on")
        again(alert("b", "resolved"))
        until(lambda: "print-b-resolved" in there.ids(), "to the end")
        assert relay.stop() == 0


def test_a_second_relay_stands_by_and_takes_over(
    setting: Callable[..., Setting], receiver: Callable[..., Receiver]
) -> None:
    there = receiver()
    place = setting(cloud(there))
    with place.relay() as first:
        until(place.started, "started")
        with place.relay() as second:
            place.raised(*(alert(f"s{number}") for number in range(30)))
            until(lambda: len(there.received) == 30, "one delivers")
            first.kill()
            place.raised(alert("s0", "resolved"))
            until(lambda: len(there.received) == 31, "the other takes over", 100)
            assert second.stop() == 0
    assert len(set(there.ids())) == 31


def test_many_series_that_drift_together_are_one_notification(
    setting: Callable[..., Setting], receiver: Callable[..., Receiver]
) -> None:
    there = receiver()
    grouped = {"group_by": ["feed", "kind"], "group_wait": "500ms", "group_interval": "1s"}
    place = setting({"name": "ops", "type": "webhook", "url": there.url, **grouped})
    with place.relay() as relay:
        until(place.started, "started")
        place.raised(*(alert(f"s{number}") for number in range(50)), alert("quiet", kind="stale"))
        until(lambda: len(there.received) == 2, "one for each kind")
        place.raised(*(alert(f"s{number}", "resolved") for number in range(50)), alert("s50"))
        until(lambda: len(there.received) == 3, "the changes")
        place.raised(alert("s50", "resolved"))
        until(lambda: len(there.received) == 4, "the end")
        assert relay.stop() == 0
    sizes = sorted(len(one.json["alerts"]) for one in there.received[:2])
    assert sizes == [1, 50]
    one = next(one.json for one in there.received if len(one.json["alerts"]) == 50)
    assert one["groupLabels"] == {"feed": "plant", "alertname": "error-drift"}
    assert one["version"] == "4"
    changes, end = (one.json for one in there.received[2:])
    assert (changes["status"], len(changes["alerts"])) == ("firing", 51)
    assert (end["status"], len(end["alerts"])) == ("resolved", 1)
    assert one["groupKey"] == changes["groupKey"] == end["groupKey"]


def test_what_is_silenced_is_kept_and_told_when_the_silence_ends(
    setting: Callable[..., Setting], receiver: Callable[..., Receiver]
) -> None:
    there = receiver()
    place = setting(cloud(there))
    with place.relay() as relay:
        until(place.started, "started")
        place.raised(alert("pump-0"))
        until(lambda: len(there.received) == 1, "told before there is a silence")
        options = ["--for", "1h", "--who", "anna", "--why", "work on the pumps"]
        silence = place.tidecast("silence", "add", "series=pump-*", *options).split(":")[0]
        place.raised(alert("pump-1"), alert("pump-2"), alert("hall"), alert("pump-2", "resolved"))
        until(lambda: len(there.received) == 2, "the others are told")
        place.raised(alert("pump-0", "resolved"))
        until(lambda: len(there.received) == 3, "the end of what was told is told")
        assert there.ids() == ["print-pump-0-firing", "print-hall-firing", "print-pump-0-resolved"]
        assert f"[silenced by {silence}]" in place.tidecast("alerts", "--open")
        assert "covers 1 firing" in place.tidecast("silence", "list")
        assert "anna: work on the pumps" in place.tidecast("silence", "list")
        place.tidecast("silence", "expire", silence)
        until(lambda: len(there.received) == 4, "what still fires is told")
        assert there.ids()[-1] == "print-pump-1-firing"
        assert relay.stop() == 0
    assert place.tidecast("silence", "list") == ""
    assert "ended" in place.tidecast("silence", "list", "--all")


def test_beyond_the_rate_limit_a_summary_says_what_was_held_back(
    setting: Callable[..., Setting], receiver: Callable[..., Receiver]
) -> None:
    there = receiver()
    place = setting(cloud(there, rate_limit=2, rate_period="6s"))
    with place.relay() as relay:
        until(place.started, "started")
        place.raised(*(alert(f"s{number}", severity="critical" if number == 7 else "info") for number in range(10)))
        until(lambda: len(there.received) == 3, "two, and a summary")
        place.raised(alert("s0", "resolved"), alert("s5", "resolved"))
        until(lambda: len(there.received) == 5, "the end of what was told, and of the holding back")
        assert relay.stop() == 0
    events = [one.json for one in there.received]
    assert there.ids()[:2] == ["print-s0-firing", "print-s1-firing"]
    about = events[2]["data"]
    assert (about["kind"], about["severity"], about["evidence"]["held_back"]) == ("held-back", "critical", 8)
    assert about["title"].startswith("8 alerts were held back by the limit of 2 notifications in 6s: 8 error-drift")
    assert there.ids()[3] == "print-s0-resolved"
    assert (events[4]["type"], events[4]["data"]["fingerprint"]) == ("tidecast.alert.resolved", about["fingerprint"])
    assert '"held_back":8' in place.tidecast("relay", "status", "--json")


def test_what_was_cut_from_the_stream_is_made_up_for_from_what_is_open(
    setting: Callable[..., Setting], receiver: Callable[..., Receiver]
) -> None:
    there = receiver()
    place = setting(cloud(there))
    with place.relay() as relay:
        until(place.started, "started")
        place.raised(alert("a"), alert("b"))
        until(lambda: len(there.received) == 2, "both")
        assert relay.stop() == 0
    place.raised(alert("a", "resolved"), alert("c"), alert("d"), alert("d", "resolved"))
    place.client.xtrim(f"{place.namespace}:alerts", maxlen=0, approximate=False)
    with place.relay() as relay:
        place.raised(alert("e"))
        until(lambda: len(there.received) == 5, "c, e, and the end of a")
        assert relay.stop() == 0
    assert set(there.ids()[2:]) == {"print-a-resolved", "print-c-firing", "print-e-firing"}


def test_what_was_read_and_cut_before_it_was_delivered_is_made_up_for_too(
    setting: Callable[..., Setting], receiver: Callable[..., Receiver]
) -> None:
    down = True
    there = receiver(lambda one: Answer(503 if down and b"print-first" not in one.body else 200))
    place = setting(cloud(there, attempts=1000))
    with place.relay() as relay:
        until(place.started, "started")
        place.raised(alert("first"))
        until(lambda: len(there.received) == 1, "one is delivered")
        place.raised(alert("a"), alert("b"), alert("c"), alert("c", "resolved"), alert("first", "resolved"))
        until(lambda: len(there.received) > 2, "it is tried")
        until(lambda: place.client.xpending(f"{place.namespace}:alerts", "relay.ops")["pending"] == 5, "all are read")
        relay.kill()
    place.client.xtrim(f"{place.namespace}:alerts", maxlen=0, approximate=False)
    down = False
    with place.relay() as relay:
        until(lambda: {"print-a-firing", "print-b-firing", "print-first-resolved"} <= set(there.ids()), "what matters")
        until(lambda: "behind 0, firing there 2" in place.tidecast("relay", "status"), "all is settled")
        assert relay.stop() == 0


def test_only_what_a_target_wants_reaches_it(
    setting: Callable[..., Setting], receiver: Callable[..., Receiver]
) -> None:
    there = receiver()
    place = setting(cloud(there, match=["severity>=critical", "series!=test-*"]))
    with place.relay() as relay:
        until(place.started, "started")
        place.raised(alert("a"), alert("test-1", severity="critical"), alert("b", severity="critical"))
        place.raised(alert("a", "resolved"), alert("b", "resolved", severity="info"))
        until(lambda: len(there.received) == 2, "one, and its end, though it is less severe by now")
        assert relay.stop() == 0
    assert there.ids() == ["print-b-firing", "print-b-resolved"]


@pytest.mark.slow
def test_killed_at_random_moments_it_loses_nothing_and_repeats_only_under_the_same_id(
    setting: Callable[..., Setting], receiver: Callable[..., Receiver]
) -> None:
    """Two targets, one alone and one grouped, that fail now and then; 80 incidents begin and end while relays are killed."""
    chance = random.Random(7)

    def answer(_: Received) -> Answer:
        return Answer(drop=True) if chance.random() < 0.1 else Answer(503 if chance.random() < 0.1 else 200)

    def slow_answer(one: Received) -> Answer:
        # Most kills come while an attempt waits for its answer.
        return dataclasses.replace(answer(one), after_s=0.3)

    alone, together = receiver(answer), receiver(slow_answer)
    grouped = {"group_by": ["kind"], "group_wait": "100ms", "group_interval": "200ms", "attempts": 100}
    place = setting(cloud(alone, attempts=100), {"name": "web", "type": "webhook", "url": together.url, **grouped})
    sent = []
    with place.relay():
        until(place.started, "started")
        until(lambda: place.started("web"), "started")
    for number in range(80):
        sent += [
            alert(f"s{number}", kind=f"kind-{number % 3}"),
            alert(f"s{number}", "resolved", kind=f"kind-{number % 3}"),
        ]
    # Each incident's end comes after its beginning, with others in between.
    order = sorted(range(160), key=lambda place: (place // 2 + (chance.random() * 20 if place % 2 else 0), place))
    queue = [sent[place] for place in order]
    for _ in range(4):
        before = len(alone.received)
        with place.relay() as relay:
            for _ in range(40):
                place.raised(queue.pop(0))
                time.sleep(chance.random() * 0.03)
            until(lambda before=before: len(alone.received) > before + chance.randint(1, 30), "it delivers")  # type: ignore[misc]
            relay.kill()
    every = {one.id for one in sent}

    def web() -> list[str]:
        first = {one.headers["Tidecast-Id"]: one for one in list(together.received)}
        return [found["annotations"]["id"] for one in first.values() for found in one.json["alerts"]]

    with place.relay() as relay:
        until(lambda: set(alone.ids()) == every and set(web()) == every, "everything has arrived")
        until(
            lambda: (
                not place.client.exists(f"{place.namespace}:relay-sending:ops", f"{place.namespace}:relay-sending:web")
            ),
            "and is written down",
        )
        assert relay.stop() == 0
    assert sorted(web()) == sorted(every), "no transition is in two notifications"
    for found in (unique(alone.ids()), web()):
        for number in range(80):
            assert found.index(f"print-s{number}-firing") < found.index(f"print-s{number}-resolved")
    for seen in (alone, together):
        bodies: dict[str, set[bytes]] = {}
        for one in seen.received:
            bodies.setdefault(one.headers["Tidecast-Id"], set()).add(one.body)
        assert not [same for same in bodies.values() if len(same) > 1]
    for name in ("ops", "web"):
        assert place.client.xpending(f"{place.namespace}:alerts", f"relay.{name}")["pending"] == 0
    assert place.tidecast("relay", "letters") == ""

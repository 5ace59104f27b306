"""The HTTP API tells what the workers have published to a real Redis, to those who may know it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from stream.messages import SeriesCard
from stream.redis_connect import connect
from stream.redis_store import RedisStore
from tests.integration.publications import FEED, TOPIC, alert, card, forecast, publication
from tests.integration.serving import served
from workers.settings import Settings

pytestmark = pytest.mark.redis

HOSTILE = [
    "a/b",
    "../../etc/passwd",
    "<img src=x onerror=alert(1)>",
    "%2e%2e",
    "a?b#c&d=e",
    "Ω度😀",
    "x" * 256,
    "\0\r\n$5",
    '"},{"',
    "a b+c",
]
READ, OPERATE = "reading-is-all-i-may", "i-may-change-things"


def settings(redis_url: str, namespace: str, **dashboard: Any) -> Settings:
    feeds = [{"name": FEED, "topics": [TOPIC]}]
    return Settings.model_validate(
        {"namespace": namespace, "redis": {"url": redis_url}, "feeds": feeds, "dashboard": dashboard}
    )


@pytest.fixture
def store(redis_url: str, namespace: str) -> Iterator[RedisStore]:
    with connect(redis_url) as client:
        yield RedisStore(client, namespace)


@pytest.fixture
def api(redis_url: str, namespace: str) -> Iterator[httpx.Client]:
    with served(settings(redis_url, namespace)) as address, httpx.Client(base_url=address) as client:
        yield client


@pytest.fixture
def guarded(redis_url: str, namespace: str) -> Iterator[httpx.Client]:
    told = settings(redis_url, namespace, host="0.0.0.0", read_token=READ, operate_token=OPERATE)  # noqa: S104 - not bound here
    with served(told) as address, httpx.Client(base_url=address) as client:
        yield client


def publish(store: RedisStore, *names: str, **of_card: Any) -> None:
    claim = store.claim(TOPIC, 0, "worker-a")
    offset = (claim.offset or 0) + 9
    cards = {name: SeriesCard.model_validate(json.loads(card(name)) | of_card).to_json() for name in names}
    made = publication(claim, offset, forecasts=[(name, forecast(name)) for name in names])
    store.publish([replace(made, cards=cards, new_series=list(names), alerts=[alert(names[0])])])


def test_a_series_can_be_asked_for_its_forecast_card_and_history(store: RedisStore, api: httpx.Client) -> None:
    publish(store, "hall-7")
    assert api.get("/api/series/hall-7/forecast").json() == json.loads(forecast("hall-7"))
    assert api.get("/api/series/hall-7/card").json()["observations"] == 1
    [told] = api.get(f"/api/series/hall-7/history?feed={FEED}").json()
    assert told["id"] == "hall-7/1.0"
    unknown = api.get("/api/series/nobody/forecast")
    assert (unknown.status_code, unknown.json()["detail"]) == (
        404,
        "this series is not known, or has had no forecast yet",
    )
    assert api.get("/api/series/hall-7/forecast?feed=another").status_code == 404


@pytest.mark.parametrize("name", HOSTILE)
def test_any_series_id_can_be_asked_for(store: RedisStore, api: httpx.Client, name: str) -> None:
    publish(store, name)
    quoted = quote(name, safe="")
    assert api.get(f"/api/series/-/forecast?series={quoted}").json()["series"] == name
    if "\n" not in name:
        assert api.get(f"/api/series/{quoted}/forecast").json()["series"] == name
    assert api.get("/api/series").json()["rows"][0]["series"] == name


def test_the_list_is_searched_filtered_sorted_and_paged(store: RedisStore, api: httpx.Client) -> None:
    publish(store, *[f"plant/Pump-{number:03d}" for number in range(30)], value=2.0, error_ratio=0.5)
    publish(store, "plant/valve-1", value=1.0, state="stale")
    page = api.get("/api/series?search=pump%20plant&limit=5&offset=10&sort=series&descending=false").json()
    assert page["total"] == 30
    assert [row["series"] for row in page["rows"]] == [f"plant/Pump-{number:03d}" for number in range(10, 15)]
    assert page["counts"] == {"all": 31, "firing": 2, "ready": 30, "stale": 1}
    assert [row["series"] for row in api.get("/api/series?state=stale").json()["rows"]] == ["plant/valve-1"]
    assert {row["series"] for row in api.get("/api/series?state=firing").json()["rows"]} == {
        "plant/Pump-000",
        "plant/valve-1",
    }
    # What has no error yet stands last, whichever way the list is sorted.
    for way in ("true", "false"):
        rows = api.get(f"/api/series?sort=error_ratio&descending={way}").json()["rows"]
        assert rows[-1]["series"] == "plant/valve-1"
    assert api.get("/api/series?limit=100000").status_code == 422


def test_alerts_workers_and_partitions_are_told(store: RedisStore, api: httpx.Client) -> None:
    publish(store, "hall-7")
    store.beat("worker-a", {"forecasts": 3}, 60)
    assert [one["series"] for one in api.get("/api/alerts/open").json()] == ["hall-7"]
    assert api.get("/api/alerts?series=hall-8").json() == []
    assert api.get("/api/workers").json()["worker-a"]["forecasts"] == 3
    [held] = api.get("/api/partitions").json()
    assert (held["topic"], held["partition"], held["owner"], held["offset"]) == (TOPIC, 0, "worker-a", 9)
    assert api.get(f"/api/models/{FEED}").json() == {"feed": FEED, "champion": None, "versions": {}, "runs": []}
    assert api.get("/api/models/nothing").status_code == 404
    assert api.get("/readyz").json() == {"status": "ok"}


def test_the_description_names_every_path_and_the_messages(api: httpx.Client) -> None:
    told = api.get("/api/openapi.json").json()
    assert {"/api/series", "/api/series/{path}/forecast", "/api/alerts/open", "/api/workers"} <= set(told["paths"])
    assert {"ForecastMessage", "SeriesCard", "AlertMessage"} <= set(told["components"]["schemas"])


def test_without_a_token_nothing_is_told_but_that_one_is_needed(store: RedisStore, guarded: httpx.Client) -> None:
    publish(store, "hall-7")
    for path in ("/api/series", "/api/series/hall-7/forecast", "/api/alerts", "/api/workers", "/api/openapi.json"):
        assert guarded.get(path).status_code == 401
        assert guarded.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert guarded.get(path, headers={"Authorization": f"Bearer {READ}"}).status_code == 200
    assert guarded.get("/").status_code == 200
    assert guarded.get("/livez").status_code == 200


def test_a_token_is_traded_for_a_cookie_that_ends_when_one_signs_out(guarded: httpx.Client) -> None:
    mine = {"X-Tidecast": "1"}
    assert guarded.post("/api/session", json={"token": "wrong"}, headers=mine).status_code == 401
    signed_in = guarded.post("/api/session", json={"token": READ}, headers=mine)
    cookie = signed_in.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict"} <= set(cookie.split("; "))
    assert READ not in cookie
    assert guarded.get("/api/session").json() == {"role": "read", "needs_token": True}
    assert guarded.get("/api/series").status_code == 200
    # A reader may end its own session, and that is all it may change.
    assert guarded.delete("/api/series", headers=mine).status_code == 403
    assert guarded.delete("/api/session", headers=mine).status_code == 204
    assert guarded.get("/api/series").status_code == 401


def test_another_site_can_neither_read_nor_change(api: httpx.Client) -> None:
    # A page elsewhere whose name was made to point here (DNS rebinding), and a form or script that sends without the header.
    assert api.get("/api/series", headers={"Host": "evil.example:8420"}).status_code == 421
    assert api.post("/api/session", json={"token": "x"}).status_code == 403
    policy = api.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_requests_are_bounded(api: httpx.Client) -> None:
    large = api.post("/api/session", json={"token": "x" * 100_000}, headers={"X-Tidecast": "1"})
    assert large.status_code == 413
    assert api.get(f"/api/series/{'x' * 257}/forecast").status_code == 400


def test_tokens_never_show() -> None:
    guarded = settings("redis://:hidden-password@127.0.0.1:1/0", "ns", read_token=READ, operate_token=OPERATE)
    shown = f"{guarded!r}{guarded}{guarded.model_dump_json()}"
    for secret in (READ, OPERATE, "hidden-password"):
        assert secret not in shown


def test_a_live_stream_tells_each_new_forecast(store: RedisStore, redis_url: str, namespace: str) -> None:
    import asyncio

    from stream.redis_reader import RedisReader
    from workers.dashboard.hub import Hub
    from workers.dashboard.series_routes import events

    publish(store, "hall-7")

    async def watch() -> list[str]:
        with connect(redis_url) as client:
            reader = RedisReader(client, namespace)
            told, seen = events(reader, Hub(redis_url, reader.keys.live), FEED, "hall-7"), []
            async for event in told:
                seen.append(event)
                if len(seen) == 2:
                    # The subscription stands once the first change has been asked for.
                    asyncio.get_running_loop().call_later(0.5, publish, store, "hall-7")
                if len(seen) == 3:
                    break
            await told.aclose()
            return seen

    first, now, later = asyncio.run(asyncio.wait_for(watch(), 20))
    assert first.startswith(": ")
    assert json.loads(now.removeprefix("data: "))["series"] == "hall-7"
    assert later.startswith("data: ")

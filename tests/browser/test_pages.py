"""What a person sees and clicks, in a real Chromium."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from stream.messages import ForecastMessage, SeriesCard
from stream.redis_connect import connect
from stream.redis_store import RedisStore
from tests.integration.publications import FEED, TOPIC, alert, card, forecast, publication
from tests.integration.serving import served
from workers.settings import Settings

pytestmark = [pytest.mark.redis, pytest.mark.timeout(180)]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MANY = 10_000
HOSTILE = "<img src=x onerror=document.title='taken'>/../\u202e😀"
TOKEN = "sixteen-characters-and-more"
SIZES = {"desk": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here (Debian's package is called chromium)")
    with sync_playwright() as playwright:
        # As root, which containers run as, Chromium will not start its sandbox; the pages are our own.
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield made
        made.close()


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What the browser's console says; nothing may stand there at the end."""
    said: list[str] = []
    yield said
    assert said == []


@pytest.fixture
def page(browser: Browser, complaints: list[str], address: str) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        made = context.new_page()
        made.on("console", lambda message: complaints.append(message.text))
        made.on("pageerror", lambda error: complaints.append(str(error)))
        yield made


@pytest.fixture
def store(redis_url: str, namespace: str) -> Iterator[RedisStore]:
    with connect(redis_url) as client:
        yield RedisStore(client, namespace)


@pytest.fixture
def address(redis_url: str, namespace: str) -> Iterator[str]:
    with served(settings(redis_url, namespace)) as where:
        yield where


def settings(redis_url: str, namespace: str, **dashboard: Any) -> Settings:
    feeds = [{"name": FEED, "topics": [TOPIC]}]
    return Settings.model_validate(
        {"namespace": namespace, "redis": {"url": redis_url}, "feeds": feeds, "dashboard": dashboard}
    )


def publish(store: RedisStore, names: list[str], minute: int = 0, alerts: list[str] | None = None) -> None:
    """A forecast and a card of each, after this many minutes."""
    claim = store.claim(TOPIC, 0, "worker-a")
    cutoff = f"2026-01-01T{minute // 60:02d}:{minute % 60:02d}:00Z"
    value = 10 + math.sin(minute / 9)
    cards = json.loads(card(names[0])) | {"value": value, "cutoff": cutoff, "recent": [value - 1, None, value, value]}
    cards |= {"error": 0.5, "error_last_value": 1.0, "error_ratio": 0.5, "coverage": {"0.9": 0.913}}
    ahead = json.loads(forecast(names[0])) | {"cutoff": cutoff, "value": value, "median": [value, value + 1]}
    ahead |= {"quantiles": {"0.05": [value - 1, value - 2], "0.95": [value + 1, value + 3]}}
    made = publication(
        claim,
        (claim.offset or 0) + 1,
        forecasts=[
            (name, ForecastMessage.model_validate(ahead | {"series": name, "id": f"{name}/{minute}"}).to_json())
            for name in names
        ],
    )
    told = {name: SeriesCard.model_validate(cards | {"series": name}).to_json() for name in names}
    store.publish([replace(made, cards=told, new_series=names, alerts=[alert(name) for name in alerts or []])])


def test_ten_thousand_series_are_searched_filtered_and_opened(page: Page, address: str, store: RedisStore) -> None:
    names = [f"plant/line-{number % 7}/sensor-{number:05d}" for number in range(MANY)]
    publish(store, names, alerts=[names[77]])
    page.goto(address)
    expect(page.get_by_role("status")).to_have_text("10,000 of 10,000 series")
    expect(page.locator("tbody tr").first).to_contain_text(names[77])
    page.keyboard.press("/")
    page.keyboard.type("line-3 sensor-0012")
    expect(page.get_by_role("status")).to_have_text("2 of 10,000 series")
    page.get_by_label("Search series").fill("")
    page.get_by_role("button", name="firing 1").click()
    expect(page.get_by_role("status")).to_have_text("1 of 10,000 series")
    page.get_by_role("button", name="all 10,000").click()
    page.get_by_role("button", name="Series").click()
    expect(page.locator("tbody tr").first).to_contain_text("sensor-00000")
    page.mouse.wheel(0, 9_000)
    expect(page.locator("tbody tr")).to_have_count(120)
    page.get_by_role("link", name=names[7]).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(names[7])


def test_a_series_page_draws_the_fan_and_moves_with_new_forecasts(page: Page, address: str, store: RedisStore) -> None:
    for minute in range(30):
        publish(store, ["hall-7"], minute)
    page.goto(f"{address}/#/series/{FEED}/hall-7")
    expect(page.get_by_text("after 2026-01-01 00:29:00")).to_be_visible()
    expect(page.locator("canvas")).to_be_visible()
    expect(page.get_by_text("91.3 %")).to_be_visible()
    expect(page.locator("meter")).to_have_attribute("value", "1")
    publish(store, ["hall-7"], 30)
    expect(page.get_by_text("after 2026-01-01 00:30:00")).to_be_visible()
    # Back to a forecast as it was issued; what comes meanwhile does not move it.
    page.get_by_label("Forecast issued at").fill("10")
    expect(page.get_by_text("after 2026-01-01 00:10:00")).to_be_visible()
    publish(store, ["hall-7"], 31)
    page.wait_for_timeout(700)
    expect(page.get_by_text("after 2026-01-01 00:10:00")).to_be_visible()
    page.get_by_role("button", name="Live").click()
    expect(page.get_by_text("after 2026-01-01 00:31:00")).to_be_visible()


def test_alerts_are_listed_filtered_and_lead_to_their_series(page: Page, address: str, store: RedisStore) -> None:
    publish(store, ["hall-7", "hall-8"], alerts=["hall-7", "hall-8"])
    page.goto(address)
    expect(page.get_by_label("2 firing")).to_be_visible()
    page.get_by_role("link", name="Alerts").click()
    expect(page.get_by_role("row")).to_have_count(6)
    page.get_by_label("Filter alerts").fill("hall-8")
    expect(page.get_by_role("row")).to_have_count(4)
    page.get_by_role("link", name="Errors of hall-8").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("hall-8")


def test_the_system_page_tells_workers_and_partitions(page: Page, address: str, store: RedisStore) -> None:
    publish(store, ["hall-7"])
    store.beat("worker-a", {"host": "here", "forecasts": 12_345, "series": 1, "partitions": 1, "waiting": 0}, 60)
    page.goto(f"{address}/#/system")
    expect(page.get_by_role("row", name="worker-a here 1 1 12,345")).to_be_visible()
    expect(page.get_by_role("rowheader", name=f"{TOPIC}/0")).to_be_visible()


def test_a_hostile_name_is_text_on_every_page(page: Page, address: str, store: RedisStore) -> None:
    publish(store, [HOSTILE], alerts=[HOSTILE])
    page.goto(address)
    page.get_by_role("link", name=HOSTILE).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    expect(page.get_by_text("after 2026-01-01 00:00:00")).to_be_visible()
    page.get_by_role("link", name="Alerts").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text(HOSTILE)
    assert page.locator("img[src=x]").count() == 0
    assert page.title() == "Alerts · Tidecast"


def test_a_token_is_asked_for_once(browser: Browser, redis_url: str, namespace: str, store: RedisStore) -> None:
    publish(store, ["hall-7"])
    with (
        served(settings(redis_url, namespace, read_token=TOKEN)) as where,
        browser.new_context() as context,
    ):
        page = context.new_page()
        page.goto(where)
        page.get_by_label("This page needs a token").fill("wrong-but-long-enough")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert").filter(has_text="not known here")).to_be_visible()
        page.get_by_label("This page needs a token").fill(TOKEN)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("link", name="hall-7")).to_be_visible()
        page.reload()
        expect(page.get_by_role("link", name="hall-7")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_fits_and_can_be_read(
    browser: Browser, address: str, store: RedisStore, tmp_path: Path, scheme: Any, size: str
) -> None:
    for minute in range(40):
        publish(store, ["hall-7", "hall-8"], minute, alerts=["hall-7"] if minute == 20 else [])
    width, height = SIZES[size]
    with browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height}) as context:
        page = context.new_page()
        for path in ("", f"series/{FEED}/hall-7", "alerts", "system"):
            page.goto(f"{address}/#/{path}")
            page.wait_for_timeout(400)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            page.screenshot(path=tmp_path / f"{size}-{scheme}-{path.partition('/')[0] or 'list'}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            ink, paper = page.evaluate(
                "[getComputedStyle(document.documentElement).color, getComputedStyle(document.documentElement).backgroundColor]"
            )
            assert abs(_brightness(ink) - _brightness(paper)) > 150
            assert (_brightness(paper) < 128) == (scheme == "dark")
        page.get_by_label("Change between light and dark").click()
        paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert (_brightness(paper) < 128) == (scheme == "light")


def _brightness(colour: str) -> float:
    red, green, blue = (float(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")[:3])
    return 0.299 * red + 0.587 * green + 0.114 * blue

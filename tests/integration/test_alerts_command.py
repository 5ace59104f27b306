"""``tidecast alerts`` and ``tidecast silence`` as a person sees them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stream.messages import AlertMessage
from tests.integration.incidents import Raiser, alert
from tests.integration.running import ROOT, until, write_config
from tests.unit.hostile import HOSTILE, LONG
from workers.cli import cli

pytestmark = pytest.mark.redis

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def config(redis_url: str, namespace: str, tmp_path: Path) -> Path:
    return write_config(tmp_path, "127.0.0.1:1", redis_url, namespace, [{"name": "plant", "topics": ["plant"]}])


@pytest.fixture
def raised(redis_url: str, namespace: str) -> Raiser:
    return Raiser(redis_url, namespace)


@pytest.fixture
def tidecast(config: Path) -> Callable[..., Result]:
    def run(*arguments: str, colour: bool = False) -> Result:
        return CliRunner().invoke(cli, [*arguments, "--config", str(config)], color=colour, standalone_mode=False)

    return run


def test_the_newest_are_listed_oldest_first_and_filtered(raised: Raiser, tidecast: Callable[..., Result]) -> None:
    raised(alert("a"), alert("pump-1", kind="stale"), alert("pump-2", severity="critical"), alert("a", "resolved"))
    lines = tidecast("alerts").output.splitlines()
    assert [line.split()[2] for line in lines] == ["warning", "warning", "critical", "resolved"]
    assert len(tidecast("alerts", "--series", "pump-*", "--severity", "critical").output.splitlines()) == 1
    assert len(tidecast("alerts", "--kind", "stale", "--kind", "error-*").output.splitlines()) == 4
    assert tidecast("alerts", "--feed", "other").output == ""
    assert len(tidecast("alerts", "--open").output.splitlines()) == 2
    found = [AlertMessage.model_validate_json(line) for line in tidecast("alerts", "--json").output.splitlines()]
    assert found[-1] == alert("a", "resolved")


def test_colours_say_how_bad_it_is(raised: Raiser, tidecast: Callable[..., Result]) -> None:
    raised(alert("a", severity="critical"), alert("b"), alert("b", "resolved"))
    worst, bad, over = tidecast("alerts", colour=True).output.splitlines()
    assert "\x1b[31m" in worst
    assert "\x1b[33m" in bad
    assert "\x1b[32m" in over
    assert "\x1b" not in tidecast("alerts").output


@pytest.mark.parametrize("series", HOSTILE)
def test_no_series_steers_the_terminal(series: str, raised: Raiser, tidecast: Callable[..., Result]) -> None:
    raised(alert(series, title=series + LONG, feed=series[:40], evidence={"x": series}))
    tidecast("silence", "add", "series=*", f"feed!={series[:20]}*", "--for", "1h", "--who", series, "--why", series)
    for arguments in (["alerts"], ["alerts", "--open"], ["silence", "list"]):
        text = COLOUR.sub("", tidecast(*arguments, colour=True).output)
        assert all(character.isprintable() or character == "\n" for character in text)
        assert max(map(len, text.splitlines()), default=0) < 1000
        assert len(text.splitlines()) <= 3
    assert json.loads(tidecast("alerts", "--json").output)["series"] == series


def test_following_begins_with_what_fires_and_goes_on(raised: Raiser, config: Path, tmp_path: Path) -> None:
    raised(alert("a"), alert("b"), alert("b", "resolved"))
    seen = tmp_path / "seen"
    with seen.open("wb") as output:
        follower = subprocess.Popen(
            [sys.executable, "-m", "workers.cli", "alerts", "--follow", "--config", str(config)],
            stdout=output,
            cwd=ROOT,
        )
    try:
        until(lambda: "as they come" in seen.read_text(), "it has begun")
        raised(alert("c"), alert("a", "resolved"))
        until(lambda: seen.read_text().count("\n") == 5, "it goes on")
    finally:
        follower.kill()
        follower.wait()
    lines = seen.read_text().splitlines()
    assert [lines[0], lines[2]] == ["1 firing now", "as they come:"]
    assert [("a:" in lines[1]), ("c:" in lines[3]), ("resolved" in lines[4])] == [True] * 3


@pytest.mark.parametrize(
    "wrong",
    [
        ["series=x"],
        ["series=x", "--for", "1h", "--until", "2030-01-01"],
        ["series=x", "--for", "soon"],
        ["series=x", "--until", "2020-01-01"],
        ["series=x", "--until", "tomorrow"],
        ["colour=red", "--for", "1h"],
        ["status=resolved", "--for", "1h"],
        ["--for", "1h"],
    ],
)
def test_a_silence_that_cannot_be_is_refused(wrong: list[str], tidecast: Callable[..., Result]) -> None:
    result = tidecast("silence", "add", *wrong, "--why", "because")
    assert result.exception is not None
    assert tidecast("silence", "list").output == ""


def test_a_silence_says_what_it_covers_and_ends_when_told(raised: Raiser, tidecast: Callable[..., Result]) -> None:
    raised(alert("pump-1"), alert("pump-2"), alert("hall"))
    made = tidecast("silence", "add", "series=pump-*", "--until", "2100-01-01T00:00:00", "--why", "new pumps")
    assert made.output.endswith("until 2100-01-01 00:00:00Z; covers 2 of the alerts that fire now\n")
    name = made.output.split(":")[0]
    assert tidecast("silence", "expire", name).exception is None
    assert tidecast("silence", "expire", name).exception is not None
    assert tidecast("silence", "list").output == ""
    kept = json.loads(tidecast("silence", "list", "--all", "--json").output)
    assert (kept["id"], kept["match"], kept["why"]) == (name, ["series=pump-*"], "new pumps")

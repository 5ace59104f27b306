"""``tidecast explain`` on the state that stands in a real Redis."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from models.checkpoint import pack
from stream.messages import AlertMessage, iso
from stream.redis_connect import connect
from stream.redis_store import PartitionPublication, RedisStore
from tests.integration.running import write_config
from tests.unit.engines import HOME, SMALL, Run, feed, observation, record
from workers.cli import cli
from workers.explaining.message import Explanation
from workers.publishing import alert_message

pytestmark = pytest.mark.redis
HOSTILE = "pump<b>'[red]"
QUICK: dict[str, Any] = {"alerts": {"anomalies": False}}
"""Without the detectors of rarities, which want to have seen more, the tests of the errors tell all that they find."""


@pytest.fixture
def config(tmp_path: Path, redis_url: str, namespace: str) -> Path:
    """A configuration of the feed that ``save`` writes for."""
    return write_config(tmp_path, "127.0.0.1:1", redis_url, namespace, [SMALL | QUICK])


def save(
    redis_url: str, namespace: str, names: Sequence[str], saved: Sequence[str], length: int = 120
) -> list[AlertMessage]:
    """Run series through an engine, and publish the states of those ``saved`` and the alerts, as a worker does."""
    rng = np.random.default_rng(0)
    run = Run(feed(**QUICK))
    for minute in range(length):
        noise = 0.1 if minute < length // 2 else 3.0
        items = [observation(name, minute, float(np.sin(minute / 3) + noise * rng.normal())) for name in names]
        run.feed([record(minute, items)])
    alerts = [alert_message("small", event, 0) for event in run.alerts]
    store = RedisStore(connect(redis_url), namespace)
    claim = store.claim(HOME.topic, HOME.partition, "test")
    states = {name: pack(*run.engine.snapshot(run.engine.resident[HOME][name])) for name in saved}
    store.publish([PartitionPublication(claim, "small", 0, length - 1, states=states, new_series=names, alerts=alerts)])
    return alerts


def said(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["explain", *arguments, "--config", str(config)])


def refused(config: Path, *arguments: str) -> str:
    result = said(config, *arguments)
    assert result.exception is not None
    assert not isinstance(result.exception, AssertionError)
    return str(result.exception)


def test_a_series_is_explained_from_what_its_worker_saved(config: Path, redis_url: str, namespace: str) -> None:
    save(redis_url, namespace, ["pump-3"], ["pump-3"])
    result = said(config, "pump-3")
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert "pump-3 is forecast to be" in text
    assert "Because" in text
    assert "the newest value" in text
    assert "This is the forecast that was published, computed anew." in text


def test_json_holds_all_numbers_and_nothing_else(config: Path, redis_url: str, namespace: str) -> None:
    save(redis_url, namespace, ["pump-3"], ["pump-3"])
    told = Explanation.model_validate_json(said(config, "pump-3", "--json").output)
    assert told.series == "pump-3"
    assert told.lead == told.horizon == 4
    total = told.level + np.sum([part.adds for part in told.parts], axis=0)
    assert total == pytest.approx(told.forecast)


def test_an_older_time_is_explained_and_one_out_of_reach_refused(config: Path, redis_url: str, namespace: str) -> None:
    save(redis_url, namespace, ["pump-3"], ["pump-3"])
    newest = json.loads(said(config, "pump-3", "--json").output)["cutoff"]
    earlier = iso((1_794_268_800 + 60 * 100) * 1_000_000)
    older = json.loads(said(config, "pump-3", "--at", earlier, "--json", "--lead", "2").output)
    assert older["cutoff"] == earlier < newest
    assert older["lead"] == 2
    assert "can tell of cutoffs from" in refused(config, "pump-3", "--at", "2020-01-01")


def test_the_page_and_the_picture_are_written_with_a_hostile_name_escaped(
    config: Path, redis_url: str, namespace: str, tmp_path: Path
) -> None:
    save(redis_url, namespace, [HOSTILE], [HOSTILE])
    page, drawn = tmp_path / "why.html", tmp_path / "why.svg"
    result = said(config, HOSTILE, "--html", str(page), "--svg", str(drawn))
    assert result.exit_code == 0, result.output
    assert "pump<b>'[red] is forecast" in result.output
    for file in (page, drawn):
        text = file.read_text(encoding="utf-8")
        assert "<b>" not in text
        assert "pump&lt;b&gt;" in text
    assert "--html" in refused(config, HOSTILE, "--html", str(tmp_path / "no" / "why.html"))


def test_an_alert_is_explained_by_its_fingerprint(config: Path, redis_url: str, namespace: str) -> None:
    alerts = save(redis_url, namespace, ["a", "b"], ["a", "b"], length=400)
    fired = next(alert for alert in alerts if alert.status == "firing")
    told = json.loads(said(config, "--alert", fired.fingerprint, "--json").output)
    assert told["series"] == fired.series
    assert fired.fingerprint in told["notes"][0]
    assert told["change"]["after"]["mean"] > told["change"]["before"]["mean"]
    assert "there is no alert 'feed'" in refused(config, "--alert", "feed")


def test_what_cannot_be_explained_says_why_and_what_to_do(config: Path, redis_url: str, namespace: str) -> None:
    save(redis_url, namespace, ["pump-3", "pump-4"], ["pump-3"])
    assert "there are: pump-3, pump-4" in refused(config, "pump").replace("pump-4, pump-3", "pump-3, pump-4")
    assert "has no saved state" in refused(config, "pump-4")
    assert "give 1 to 4" in refused(config, "pump-3", "--lead", "5")
    assert "say which" in refused(config)
    assert "contradict" in refused(config, "pump-3", "--alert", "x")
    config.write_text(config.read_text().replace("context: 16", "context: 32"))
    assert "does not fit this configuration" in refused(config, "pump-3")
    store = RedisStore(connect(redis_url), namespace)
    claim = store.claim(HOME.topic, HOME.partition, "test")
    store.publish([PartitionPublication(claim, "small", 0, 500, states={"pump-3": b"of another release"})])
    assert "not a state" in refused(config, "pump-3")


def test_explaining_writes_nothing(config: Path, redis_url: str, namespace: str) -> None:
    save(redis_url, namespace, ["pump-3"], ["pump-3"])
    client: Any = connect(redis_url)

    def everything() -> dict[bytes, bytes]:
        return {key: client.dump(key) for key in sorted(client.scan_iter(match=f"{namespace}:*"))}

    before = everything()
    assert said(config, "pump-3").exit_code == 0
    assert everything() == before

"""Targets as they are configured: what cannot be is refused at once, and secrets stay where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.errors import ConfigurationError
from workers.configuration import load

SECRET = "s3cr3t-0f-all"


def loaded(folder: Path, *targets: dict[str, Any], **environment: str) -> Any:
    file = folder / "tidecast.yaml"
    file.write_text(yaml.safe_dump({"feeds": [{"name": "p", "topics": ["p"]}], "relay": {"targets": list(targets)}}))
    return load(file, environment)


def webhook(**more: Any) -> dict[str, Any]:
    return {"name": "ops", "type": "webhook", "url": "https://example.test/hook"} | more


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (webhook(url=None), "needs url"),
        (webhook(url="ftp://example.test/"), "must begin with http"),
        (webhook(url=f"https://user:{SECRET}@example.test/"), "user or password"),
        (webhook(url=f"https://[{SECRET}/"), "cannot be read"),
        (webhook(url=f"https://example.test:{SECRET}/"), "cannot be read"),
        (webhook(topic="t"), "topic is for"),
        (webhook(routing_key="k"), "routing_key is for"),
        (webhook(match=["colour=red"]), "there is no field"),
        (webhook(match=["status=firing"]), "told its end"),
        (webhook(group_by=["series"]), "input should be"),
        (webhook(authorization=f"Bearer {SECRET}\nX-Other: 1"), "characters that cannot be sent"),
        (webhook(hmac_key={"file": "/nowhere/at/all"}), "file of the secret cannot be read"),
        (webhook(hmac_key={"env": "TIDECAST_NOT_THERE"}), "environment has no"),
        (webhook(hmac_key={"vault": "x"}), "a secret is text"),
        (webhook(colour="red"), "no such setting"),
        (webhook(attempts=0), "greater than"),
        ({"name": "pd", "type": "pagerduty"}, "need"),
        ({"name": "t", "type": "kafka"}, "needs topic"),
        ({"name": "am", "type": "alertmanager", "url": "http://x/", "group_by": ["kind"]}, "not for type alertmanager"),
        ({"name": "Not A Name", "type": "kafka", "topic": "t"}, "match pattern"),
    ],
)
def test_what_cannot_be_is_refused_without_showing_a_secret(target: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, target)
    assert said in str(caught.value).lower() or said in str(caught.value)
    assert "relay" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_two_targets_need_two_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="stands twice"):
        loaded(tmp_path, webhook(), webhook())


@pytest.mark.parametrize("topic", ["p", "tidecast.dead-letters"])
def test_alerts_do_not_go_where_a_feed_reads(topic: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="must not go to a topic"):
        loaded(tmp_path, {"name": "bus", "type": "kafka", "topic": topic})


def test_secrets_come_from_a_file_or_the_environment_and_are_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text(SECRET + "\n")
    monkeypatch.setenv("HOOK_URL", f"https://example.test/{SECRET}")
    settings = loaded(
        tmp_path,
        webhook(hmac_key={"file": str(file)}, url={"env": "HOOK_URL"}),
        webhook(name="other"),
        TIDECAST_RELAY__TARGETS__1__AUTHORIZATION=f"Bearer {SECRET}",
    )
    first, second = settings.relay.targets
    assert first.hmac_key.get_secret_value() == SECRET
    assert first.address == f"https://example.test/{SECRET}"
    assert second.authorization.get_secret_value() == f"Bearer {SECRET}"
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()

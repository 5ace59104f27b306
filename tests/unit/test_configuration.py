from __future__ import annotations

from pathlib import Path

import pytest

from stream.errors import ConfigurationError
from workers.configuration import load

GOOD = """\
namespace: plant
redis:
  url: redis://:secret-word@127.0.0.1:6379/0
feeds:
  - name: pumps
    topics: [pumps]
    step: 15m
    horizon: 12
"""


def _file(folder: Path, text: str) -> Path:
    file = folder / "tidecast.yaml"
    file.write_text(text)
    return file


def test_the_example_is_a_good_configuration() -> None:
    settings = load(Path(__file__).parents[2] / "tidecast.example.yaml", {})
    assert settings.feeds[0].step_us == 60_000_000


def test_the_environment_overrides_the_file_down_to_an_item_of_a_list(tmp_path: Path) -> None:
    environment = {
        "TIDECAST_REDIS__URL": "redis://elsewhere:6379/1",
        "TIDECAST_FEEDS__0__HORIZON": "6",
        "TIDECAST_FEEDS__0__TOPICS": "[a, b]",
        "TIDECAST_KAFKA__BOOTSTRAP_SERVERS": "k1:9092",
        "TIDECAST_KAFKA__CLIENT": "confluent",
        "TIDECAST_LOG": "json",
    }
    settings = load(_file(tmp_path, GOOD), environment)
    assert settings.redis.url.get_secret_value() == "redis://elsewhere:6379/1"
    assert settings.feeds[0].horizon == 6
    assert settings.feeds[0].topics == ["a", "b"]
    assert settings.kafka.connection()["bootstrap_servers"] == "k1:9092"
    assert settings.kafka.client == "confluent"


@pytest.mark.parametrize(
    ("change", "to", "line", "field", "remedy"),
    [
        ("horizon: 12", "horizont: 12", 8, "feeds.0.horizont", "did you mean horizon?"),
        ("step: 15m", "step: fortnight", 7, "feeds.0.step", "for example 15m"),
        ("horizon: 12", "horizon: 0", 8, "feeds.0.horizon", "greater than or equal to 1"),
        ("horizon: 12", "context: 97", 5, "feeds.0", "context = 97: must be a multiple of patch (8)"),
        ("horizon: 12", "model: {architecture: arima}", 5, "feeds.0", "there are: gru, lstm"),
        ("namespace: plant", "namespace: Plant One", 1, "namespace", "pattern"),
        ("namespace: plant", "kafka: {client: librdkafka}", 1, "kafka.client", "'kafka-python' or 'confluent'"),
        ("topics: [pumps]", "topics: []", 6, "feeds.0.topics", "at least 1 item"),
        ("horizon: 12", "retrain: {cron: '61 * * * *'}", 8, "feeds.0.retrain.cron", "for example '0 3 * * *'"),
        ("horizon: 12", "levels: [0.1, 0.9]", 5, "feeds.0", "must ascend, without repeats, and hold 0.5"),
        ("horizon: 12", "fields: {sensors: [t], value: v}", 8, "feeds.0.fields", "either value or sensors"),
    ],
)
def test_a_fault_names_file_line_field_and_remedy(
    tmp_path: Path, change: str, to: str, line: int, field: str, remedy: str
) -> None:
    file = _file(tmp_path, GOOD.replace(change, to))
    with pytest.raises(ConfigurationError) as caught:
        load(file, {})
    said = str(caught.value)
    assert said.startswith(f"{file}: line {line}: {field}: ")
    assert remedy in said


def test_a_fault_from_the_environment_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"environment variable TIDECAST_FEEDS__0__HORIZON: feeds\.0\.horizon"):
        load(_file(tmp_path, GOOD), {"TIDECAST_FEEDS__0__HORIZON": "many"})


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(_file(tmp_path, GOOD.replace("horizon: 12", "horizon: 0").replace("15m", "x")), {})
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("text", ["feeds: [", "- a", "\tfeeds: 1"])
def test_what_is_no_mapping_of_yaml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"tidecast\.yaml"):
        load(_file(tmp_path, text), {})


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"tidecast\.example\.yaml"):
        load(tmp_path / "none.yaml", {})


def test_secrets_show_in_no_repr_and_no_error(tmp_path: Path) -> None:
    settings = load(_file(tmp_path, GOOD + "signing_key: another-secret\n"), {})
    assert "secret-word" not in repr(settings)
    assert "another-secret" not in repr(settings)
    with pytest.raises(ConfigurationError) as caught:
        load(_file(tmp_path, GOOD.replace("url: redis", "urls: redis")), {})
    assert "secret-word" not in str(caught.value)


def test_a_carried_policy_needs_no_other_setting(tmp_path: Path) -> None:
    text = "feeds:\n  - name: a\n    topics: [a]\n    model:\n      policy: carried\n"
    spec = load(_file(tmp_path, text), {}).feeds[0].spec()
    assert (spec.policy, spec.patch, spec.replay) == ("carried", 1, 0)

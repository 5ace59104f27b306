"""The containers: nobody from outside gets in, nobody is root, and everything waits for what it needs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
OURS = ("topics", "worker", "scheduler", "dashboard", "relay")


def test_the_services_are_all_there() -> None:
    assert set(SERVICES) == {"kafka", "redis", *OURS}
    assert SERVICES["worker"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("service", SERVICES)
def test_only_this_host_reaches_the_ports(service: str) -> None:
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in SERVICES[service].get("ports", []))
    assert SERVICES[service].get("network_mode") is None


@pytest.mark.parametrize("service", SERVICES)
def test_nobody_is_root_or_may_become_it(service: str) -> None:
    user = str(SERVICES[service]["user"]).partition(":")[0]
    assert user not in {"", "0", "root"}
    assert SERVICES[service]["cap_drop"] == ["ALL"]
    assert SERVICES[service]["security_opt"] == ["no-new-privileges:true"]
    assert not SERVICES[service].get("privileged")


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "kafka"])
def test_the_file_system_is_read_only(service: str) -> None:
    assert SERVICES[service]["read_only"] is True


@pytest.mark.parametrize("service", ["kafka", "redis", "worker", "dashboard"])
def test_health_is_checked(service: str) -> None:
    assert SERVICES[service]["healthcheck"]["test"][0] == "CMD"


def test_whoever_waits_waits_for_the_right_thing() -> None:
    for service in OURS:
        for needed, how in SERVICES[service]["depends_on"].items():
            once = needed == "topics"
            assert how["condition"] == ("service_completed_successfully" if once else "service_healthy")
            assert once == (SERVICES[needed].get("restart") == "no")
            assert once or "test" in SERVICES[needed]["healthcheck"]


def test_the_verbs_are_verbs_of_the_command_line() -> None:
    from workers.cli import VERBS

    assert {SERVICES[service]["command"][0] for service in OURS} <= set(VERBS)


def test_redis_keeps_and_never_evicts() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--appendfsync everysec" in command
    assert "--maxmemory-policy noeviction" in command


def test_the_image_is_not_root_and_knows_its_health() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["10001:10001"]
    assert 'ENTRYPOINT ["tidecast"]' in lines
    assert any(line.startswith("HEALTHCHECK ") and '"tidecast", "worker", "--health"' in line for line in lines)
    assert sum(line.startswith("FROM ") for line in lines) == 2


def test_compose_accepts_the_file() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("there is no docker client with compose here")
    done = subprocess.run(
        [docker, "compose", "-f", str(COMPOSE), "config", "--quiet"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_page_waits_to_be_asked_for_and_takes_a_token() -> None:
    page = SERVICES["dashboard"]
    assert page["profiles"] == ["page"]
    assert page["environment"]["TIDECAST_DASHBOARD__HOST"] == "0.0.0.0"  # noqa: S104 - inside the container
    assert page["environment"]["TIDECAST_DASHBOARD__OPERATE_TOKEN"] == "${TIDECAST_DASHBOARD__OPERATE_TOKEN:-}"

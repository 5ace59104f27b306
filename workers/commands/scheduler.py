"""``tidecast scheduler``."""

from __future__ import annotations

import os
import signal
import socket
import sys

import click

from workers.commands.options import config_option


@click.command("scheduler")
@config_option
@click.option("--once", is_flag=True, help="Run what is due, then exit.")
def command(config: str | None, once: bool) -> None:
    """Retrain feeds by schedule: retrain.every or retrain.cron of each feed, in UTC.

    Start several, on any hosts, if it must not fail: one leads, by a lock in Redis, and another takes over within a
    minute if it dies. SIGTERM (or Ctrl-C) ends a running retraining, which stays due, and passes the lead on at once.
    """
    from stream.redis_connect import connect
    from stream.redis_lease import Lease
    from stream.redis_models import ModelRegistry
    from stream.redis_schedule import ScheduleTimes
    from workers import logs
    from workers.configuration import load
    from workers.scheduler import Scheduler, log
    from workers.settings import FeedSettings

    settings = load(config)
    logs.set_up()
    client = connect(settings.redis.url.get_secret_value())
    given = ["--config", config] if config else []

    def retraining(feed: FeedSettings, fence: int) -> list[str]:
        return [sys.executable, "-m", "workers.cli", "retrain", "--feed", feed.name, "--fence", str(fence), *given]

    scheduler = Scheduler(
        settings.feeds,
        Lease(client, settings.namespace, "scheduler", f"{socket.gethostname()}-{os.getpid()}"),
        ScheduleTimes(client, settings.namespace),
        ModelRegistry(client, settings.namespace),
        retraining,
    )
    if not scheduler.feeds:
        log.warning("no feed has retrain.every or retrain.cron: nothing to do")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: scheduler.stop())
    scheduler.run(once)

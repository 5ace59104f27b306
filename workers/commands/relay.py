"""``tidecast relay``."""

from __future__ import annotations

import os
import signal
import socket
from types import FrameType
from typing import TYPE_CHECKING

import click

from workers.commands.options import config_option
from workers.commands.terminal import printable

if TYPE_CHECKING:
    from stream.redis_relay import TargetState
    from workers.settings import Settings


@click.group("relay", invoke_without_command=True)
@config_option
@click.pass_context
def command(context: click.Context, config: str | None) -> None:
    """Deliver alerts to the targets that relay.targets names: webhooks, CloudEvents, PagerDuty, Alertmanager, Kafka.

    Start several, on any hosts, if it must not fail: one leads, by a lock in Redis, and another takes over if it dies.
    Without a verb it runs until SIGTERM (or Ctrl-C), which lets it end the attempt that it is at; a second one ends it at
    once, which is safe too.
    """
    if context.invoked_subcommand is not None:
        return
    from stream.kafka_alerts import AlertTopic
    from stream.redis_connect import connect
    from stream.redis_lease import Lease
    from stream.redis_reader import RedisReader
    from stream.redis_relay import TargetState
    from stream.redis_silences import SilenceBook
    from stream.redis_subscription import AlertGroup
    from workers import logs
    from workers.configuration import load
    from workers.relay.delivery import Delivery, HttpDelivery, TopicDelivery
    from workers.relay.lane import Lane
    from workers.relay.notification import GROUP
    from workers.relay.running import Relay, log
    from workers.relay.settings import TargetSettings

    settings = load(config)
    logs.set_up()
    client = connect(settings.redis.url.get_secret_value())
    space = settings.namespace

    def delivery(target: TargetSettings) -> Delivery:
        if target.topic is not None:
            return TopicDelivery(AlertTopic(settings.kafka.connection(), target.topic))
        return HttpDelivery(target, space)

    def lanes() -> list[Lane]:
        return [
            Lane(
                target,
                space,
                # One process leads, so that the consumer needs no name of its own: what a dead one left is ours at once.
                AlertGroup(client, space, f"{GROUP}{target.name}", "relay"),
                TargetState(client, space, target.name),
                SilenceBook(client, space),
                RedisReader(client, space),
                delivery(target),
            )
            for target in settings.relay.targets
        ]

    owner = f"{socket.gethostname()}-{os.getpid()}"
    relay = Relay(Lease(client, space, "relay", owner, ttl_s=settings.relay.takeover / 1e6), lanes)
    if not settings.relay.targets:
        log.warning("relay.targets names no target: nothing to do")

    def stop(number: int, _frame: FrameType | None) -> None:
        if relay.stopping:
            os._exit(128 + number)
        relay.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    relay.run()


@command.command("status")
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def status(config: str | None, as_json: bool) -> None:
    """Show how deliveries to each target go."""
    import orjson

    from stream.redis_connect import connect
    from stream.redis_subscription import AlertGroup
    from workers.configuration import load
    from workers.relay.notification import GROUP

    settings = load(config)
    for target in settings.relay.targets:
        state = _state(settings, target.name)
        client = connect(settings.redis.url.get_secret_value())
        behind = AlertGroup(client, settings.namespace, f"{GROUP}{target.name}", "relay").behind()
        fields = {name: value.decode() for name, value in state.fields().items()}
        counts = ("delivered", "silenced", "held_back", "untold", "failed_attempts", "letters", "missed")
        shown = {name: int(fields.get(name, 0)) for name in counts}
        told = {
            "target": target.name,
            "type": target.type,
            "firing": len(state.told()),
            "waiting": len(state.waiting()),
        }
        failing = fields.get("failing", "")
        if as_json:
            more = {"delivered_at": fields.get("delivered_at"), "failing": failing or None}
            click.echo(orjson.dumps(told | shown | more))
            continue
        mark = click.style("failing", fg="red") if failing else click.style("ok", fg="green")
        click.echo(f"{target.name} ({target.type}): {mark}" + (f", {printable(failing)}" if failing else ""))
        click.echo(
            f"  behind {'?' if behind is None else behind}, firing there {told['firing']}, waiting {told['waiting']},"
            f" last delivery {fields.get('delivered_at', 'never')}"
        )
        click.echo("  " + ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in shown.items()))


@command.command("letters")
@click.argument("target", required=False)
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def letters(target: str | None, config: str | None, as_json: bool) -> None:
    """List what could not be delivered to TARGET, or to any, oldest first."""
    import orjson

    from workers.configuration import load

    settings = load(config)
    names = [target] if target is not None else [one.name for one in settings.relay.targets]
    for name in names:
        for letter in _state(settings, name).letters():
            notification = orjson.loads(letter.notification)
            if as_json:
                entry = {"target": name, "id": letter.id, "at": letter.at, "reason": letter.reason}
                click.echo(orjson.dumps(entry | {"attempts": letter.attempts, "notification": notification}))
                continue
            click.echo(f"{name} {letter.id} {letter.at} after {letter.attempts} attempts: {printable(letter.reason)}")
            for alert in notification["alerts"]:
                click.echo(f"  {alert['status']:8} {alert['severity']:8} {printable(alert['title'])[:200]}")


@command.command("replay")
@click.argument("target")
@click.argument("ids", nargs=-1, metavar="ID...")
@click.option("--all", "every", is_flag=True, help="All letters of the target.")
@config_option
def replay(target: str, ids: tuple[str, ...], every: bool, config: str | None) -> None:
    """Let the relay send letters to TARGET again, in their order. One that is delivered is a letter no longer."""
    from workers.configuration import load

    state = _state(load(config), target)
    chosen = _chosen(state, ids, every)
    click.echo(f"{state.ask_for_replay(chosen)} letters will be sent again")


@command.command("drop")
@click.argument("target")
@click.argument("ids", nargs=-1, metavar="ID...")
@click.option("--all", "every", is_flag=True, help="All letters of the target.")
@config_option
def drop(target: str, ids: tuple[str, ...], every: bool, config: str | None) -> None:
    """Throw letters to TARGET away."""
    from workers.configuration import load

    state = _state(load(config), target)
    click.echo(f"{state.drop_letters(_chosen(state, ids, every))} letters dropped")


def _chosen(state: TargetState, ids: tuple[str, ...], every: bool) -> list[str]:
    from stream.errors import InputError

    there = [letter.id for letter in state.letters(count=10_000)]
    if every:
        return there
    if not ids:
        raise click.UsageError("name letters by their ids, or give --all")
    if unknown := [one for one in ids if one not in there]:
        raise InputError(f"target {state.target} has no letter {unknown[0]!r}; see tidecast relay letters")
    return [one for one in there if one in ids]


def _state(settings: Settings, target: str) -> TargetState:
    from stream.errors import ConfigurationError
    from stream.redis_connect import connect
    from stream.redis_relay import TargetState

    names = [one.name for one in settings.relay.targets]
    if target not in names:
        raise ConfigurationError(f"there is no target {target!r}; there are: {', '.join(names) or 'none'}")
    return TargetState(connect(settings.redis.url.get_secret_value()), settings.namespace, target)

"""``tidecast topics``."""

from __future__ import annotations

import click

from workers.commands.options import config_option
from workers.configuration import load


@click.group("topics")
def command() -> None:
    """The Kafka topics that the configuration names."""


@command.command("create")
@config_option
def create(config: str | None) -> None:
    """Create every feed's topics, the dead-letter topic and those the relay writes to; those that exist are left as they are."""
    from stream.kafka_admin import TopicSpec, create_topics

    settings = load(config)
    specs = {
        topic: TopicSpec(topic, feed.partitions, feed.replication_factor)
        for feed in settings.feeds
        for topic in feed.topics
    }
    replication = max(feed.replication_factor for feed in settings.feeds)
    # Records that were too large for a feed must still fit here, unchanged.
    roomy = {"max.message.bytes": str(16 * 1024 * 1024)}
    specs[settings.dead_letters] = TopicSpec(settings.dead_letters, 1, replication, roomy)
    for target in settings.relay.targets:
        if target.topic is not None:
            specs.setdefault(target.topic, TopicSpec(target.topic, 1, replication))
    made = create_topics(settings.kafka.connection(), list(specs.values()))
    for name in specs:
        click.echo(f"{name}: {'created' if name in made.created else 'exists'}")

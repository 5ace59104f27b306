"""Every Redis name in one place."""

from __future__ import annotations

import re
from functools import lru_cache

from stream.errors import ConfigurationError, InputError

SERIES_ID_MAX = 256
"""Longest series id, in characters (code points)."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


@lru_cache(maxsize=4096)
def check_name(name: str, what: str = "feed") -> str:
    """``name`` if it may name a feed, a namespace or a lease; ConfigurationError otherwise."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{what} {name!r}: use 1 to 64 of a-z, 0-9, '-', '_' and '.', and begin with a letter or a digit"
        )
    return name


@lru_cache(maxsize=4096)
def check_topic(topic: str) -> str:
    """``topic`` if Kafka would take the name; ConfigurationError otherwise."""
    if not _TOPIC.fullmatch(topic):
        raise ConfigurationError(f"topic {topic!r}: use 1 to 249 of A-Z, a-z, 0-9, '.', '_' and '-'")
    return topic


def check_version(version: str) -> str:
    """``version`` if it may name a model's version; ConfigurationError otherwise."""
    if not _VERSION.fullmatch(version):
        raise ConfigurationError(
            f"model version {version!r}: use 1 to 64 of A-Z, a-z, 0-9, '.', '_', ':' and '-', first a letter or a digit"
        )
    return version


def check_series(series: str) -> str:
    """``series`` if it can be a series id: 1 to 256 characters that UTF-8 can carry; InputError otherwise."""
    if not 1 <= len(series) <= SERIES_ID_MAX:
        raise InputError(f"series id of {len(series)} characters: 1 to {SERIES_ID_MAX} are allowed")
    if not series.isascii():
        try:
            series.encode()
        except UnicodeEncodeError:
            raise InputError(f"series id {series!r} is not valid Unicode: it holds half of a surrogate pair") from None
    return series


class Keys:
    """The names of one namespace. All are ``{ns}:{kind}...``.

    =====================================  =========  ==============================================================
    name                                   type       holds
    =====================================  =========  ==============================================================
    ``{ns}:forecast:{feed}:{series}``      string     the latest ForecastMessage
    ``{ns}:card:{feed}:{series}``          string     the latest SeriesCard
    ``{ns}:forecasts:{feed}``              stream     one entry per engine batch and partition
    ``{ns}:live:{feed}``                   channel    one LiveNotice per engine batch and partition
    ``{ns}:series:{feed}``                 hash       series -> ``topic/partition``
    ``{ns}:alerts``                        stream     one entry per AlertMessage, all feeds
    ``{ns}:alerts:open``                   hash       fingerprint -> AlertMessage that is firing
    ``{ns}:alerts:live``                   channel    AlertMessage, all feeds
    ``{ns}:seen:{name}``                   sorted set message ids that the subscription has acknowledged -> when, in ms
    ``{ns}:silences``                      hash       id -> Silence (JSON)
    ``{ns}:relay:{target}``                hash       how deliveries to the target went
    ``{ns}:relay-told:{target}``           hash       fingerprint -> AlertMessage that the target holds for firing
    ``{ns}:relay-waiting:{target}``        hash       fingerprint -> AlertMessage that was silenced, or was missed
    ``{ns}:relay-lost:{target}``           hash       fingerprint -> 1, where a letter holds its firing
    ``{ns}:relay-sending:{target}``        string     the notification that is on its way (JSON)
    ``{ns}:relay-letters:{target}``        stream     notifications that could not be delivered
    ``{ns}:relay-replay:{target}``         list       ids of letters to be sent again
    ``{ns}:partition:{topic}:{partition}`` hash       ``epoch``, ``token``, ``written``, ``offset``, ``complete``, ...
    ``{ns}:state:{topic}:{partition}:{feed}``  hash   series -> state, opaque bytes
    ``{ns}:models:{feed}``                 hash       version -> manifest (JSON)
    ``{ns}:model:{feed}:{version}``        string     the model, safetensors bytes
    ``{ns}:model-counter:{feed}``          string     last number given out by ``next_version``
    ``{ns}:champion:{feed}``               string     version that the workers run
    ``{ns}:champion-fence:{feed}``         string     highest lease number that has set the champion
    ``{ns}:retrains:{feed}``               stream     one entry per retraining run, field ``run`` (JSON)
    ``{ns}:schedule``                      hash       ``{feed}:since``, ``{feed}:last`` in microseconds
    ``{ns}:worker:{id}``                   string     heartbeat (JSON), expires
    ``{ns}:workers``                       set        ids of workers that have sent a heartbeat
    ``{ns}:lease:{name}``                  string     token of the holder, expires
    ``{ns}:lease-fence:{name}``            string     how often the lease has been acquired
    =====================================  =========  ==============================================================

    Series ids are foreign text and may hold any character, ``:`` included. They still cannot reach another key: no
    other part may hold ``:``, each kind has a fixed number of parts, and the one part that is free text stands last.
    Series ids never stand in a pattern (no ``SCAN MATCH``, no ``PSUBSCRIBE``), so ``*`` and ``{`` mean nothing.
    One server holds all keys, as a publication is one transaction over many of them: Redis Cluster is refused.
    """

    __slots__ = ("namespace",)

    def __init__(self, namespace: str) -> None:
        self.namespace = check_name(namespace, "namespace")

    def forecast(self, feed: str, series: str) -> str:
        return f"{self.namespace}:forecast:{check_name(feed)}:{check_series(series)}"

    def card(self, feed: str, series: str) -> str:
        return f"{self.namespace}:card:{check_name(feed)}:{check_series(series)}"

    def forecasts(self, feed: str) -> str:
        return f"{self.namespace}:forecasts:{check_name(feed)}"

    def live(self, feed: str) -> str:
        return f"{self.namespace}:live:{check_name(feed)}"

    def series(self, feed: str) -> str:
        return f"{self.namespace}:series:{check_name(feed)}"

    @property
    def alerts(self) -> str:
        return f"{self.namespace}:alerts"

    @property
    def alerts_open(self) -> str:
        return f"{self.namespace}:alerts:open"

    @property
    def alerts_live(self) -> str:
        return f"{self.namespace}:alerts:live"

    def seen(self, subscription: str) -> str:
        return f"{self.namespace}:seen:{check_name(subscription, 'subscription')}"

    @property
    def silences(self) -> str:
        return f"{self.namespace}:silences"

    def relay(self, target: str, part: str = "") -> str:
        """``part``: what of the target, one of the names above; the hash of its deliveries without."""
        kind = f"relay-{check_name(part, 'part')}" if part else "relay"
        return f"{self.namespace}:{kind}:{check_name(target, 'target')}"

    def partition(self, topic: str, partition: int) -> str:
        return f"{self.namespace}:partition:{check_topic(topic)}:{partition:d}"

    def state(self, topic: str, partition: int, feed: str) -> str:
        return f"{self.namespace}:state:{check_topic(topic)}:{partition:d}:{check_name(feed)}"

    def models(self, feed: str) -> str:
        return f"{self.namespace}:models:{check_name(feed)}"

    def model(self, feed: str, version: str) -> str:
        return f"{self.namespace}:model:{check_name(feed)}:{check_version(version)}"

    def model_counter(self, feed: str) -> str:
        return f"{self.namespace}:model-counter:{check_name(feed)}"

    def champion(self, feed: str) -> str:
        return f"{self.namespace}:champion:{check_name(feed)}"

    def champion_fence(self, feed: str) -> str:
        return f"{self.namespace}:champion-fence:{check_name(feed)}"

    def retrains(self, feed: str) -> str:
        return f"{self.namespace}:retrains:{check_name(feed)}"

    def worker(self, worker_id: str) -> str:
        return f"{self.namespace}:worker:{check_series(worker_id)}"

    @property
    def workers(self) -> str:
        return f"{self.namespace}:workers"

    @property
    def schedule(self) -> str:
        return f"{self.namespace}:schedule"

    def lease(self, name: str) -> str:
        return f"{self.namespace}:lease:{check_name(name, 'lease')}"

    def lease_fence(self, name: str) -> str:
        return f"{self.namespace}:lease-fence:{check_name(name, 'lease')}"

"""A feed inside a worker: its engine, its decoder, its series' way in from and out to Redis, and the model it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from models.checkpoint import pack, unpack
from stream.decode import Decoder
from stream.errors import ConfigurationError, InputError
from stream.records import Decoded
from stream.redis_models import ModelRegistry
from stream.redis_store import Claim, PartitionPublication, RedisStore
from workers.adoption import load_model
from workers.cards import cards
from workers.engine import Effects, Engine, Place
from workers.publishing import alert_message, encode
from workers.series import Rows, Series
from workers.settings import FeedSettings, Settings

log = structlog.get_logger()

UNTRAINED = "untrained"
CARD_EVERY_US = 1_000_000
"""A series' card is brought up to date at most this often: it costs more than a forecast and nobody reads faster."""


class Lane:
    """One feed's part of the worker. ``store`` is read from here, never written."""

    def __init__(self, feed: FeedSettings, settings: Settings, store: RedisStore, models: ModelRegistry) -> None:
        self.feed, self.store, self.models = feed, store, models
        self.engine = Engine(feed, settings.worker.seed)
        self.decoder = Decoder(feed.fields, feed.limits)
        self.resident_series, self.signing_key = settings.worker.resident_series, settings.signing_key
        self._refused: str | None = None

    # Series in and out

    def open(self, place: Place, now_us: int, version: str | None = None) -> int:
        """Take a partition with the series that have state there, as many in memory as fit; returns how many there are.

        ``version`` is of the model under which the records were published that are to be run again, if there are any.
        """
        self.engine.open(place, ())
        if version is not None and not self.engine.model.endswith(f":{version}"):
            self._hold_back(place, version)
        # One by one: the states of all of a partition's series need not fit in memory.
        for name, blob in self.store.load_states(place.topic, place.partition, self.feed.name):
            self.engine.known[place].add(name)
            if self.engine.count < self.resident_series:
                self._restore(place, name, blob, now_us)
        return len(self.engine.known[place])

    def _hold_back(self, place: Place, version: str) -> None:
        try:
            weights = None if version == UNTRAINED else load_model(self.models, self.feed, version, self.signing_key)
            self.engine.hold_back(place, version, weights)
        except (ValueError, ConfigurationError, InputError) as error:
            log.warning(
                "a model is gone: series that began since they were last saved are run again under another",
                feed=self.feed.name,
                version=version,
                reason=str(error),
            )

    def _restore(self, place: Place, name: str, blob: bytes, now_us: int) -> None:
        try:
            series = self.engine.restore(place, name, *unpack(blob))
        except ValueError as error:
            # The series starts anew: its state is of no use to this configuration, and the stream must go on.
            log.warning("state not usable, series starts anew", feed=self.feed.name, series=name, reason=str(error))
            self.engine.known[place].discard(name)
            return
        # The time while no worker ran is not the series' silence.
        series.table.arrival_us[series.row] = now_us

    def step(self, decoded: Decoded, now_us: int, thin: Rows | None = None) -> Effects:
        """Fetch what these records need from Redis, then run the engine; ``thin`` as it takes it."""
        for place, names in self.engine.absent(decoded).items():
            for name in sorted(names):
                blob = self.store.load_state(place.topic, place.partition, self.feed.name, name)
                if blob is None:
                    self.engine.known[place].discard(name)
                else:
                    self._restore(place, name, blob, now_us)
        return self.engine.step(decoded, now_us, thin)

    def states(self, chosen: Sequence[Series]) -> dict[str, bytes]:
        """The states of series of this feed."""
        return {series.name: pack(*self.engine.snapshot(series)) for series in chosen}

    def beyond(self) -> list[Series]:
        """Series that no longer fit in memory, longest unseen first."""
        return self.engine.least_recent(self.resident_series)

    # Effects to publications

    def publications(
        self,
        decoded: Decoded,
        effects: Effects,
        spans: Mapping[Place, tuple[int, int]],
        claims: Mapping[Place, Claim],
        now_us: int,
    ) -> dict[Place, PartitionPublication]:
        """What is to be published for each partition whose records ``spans`` (first and last offset) the batch held."""
        texts = encode(self.engine, effects.forecasts, decoded, now_us) if effects.forecasts else {}
        told = cards(self.engine, self._due_for_cards(effects.touched.rows, now_us), now_us)
        return {
            place: PartitionPublication(
                claim=claims[place],
                feed=self.feed.name,
                first_offset=first,
                offset=last,
                forecasts=texts.get(place, ()),
                cards=told.get(place, {}),
                alerts=[
                    alert_message(self.feed.name, event, now_us) for where, event in effects.alerts if where == place
                ],
                new_series=[series.name for series in effects.started if series.place == place],
                model=self.engine.model_of(place).partition(":")[2],
            )
            for place, (first, last) in spans.items()
            if place.topic in self.feed.topics
        }

    def _due_for_cards(self, rows: Rows, now_us: int) -> list[Series]:
        carded_us = self.engine.table.carded_us
        due = rows[now_us - carded_us[rows] >= CARD_EVERY_US]
        carded_us[due] = now_us
        return self.engine.at(due)

    def clocked(
        self, effects: Effects, shown: Sequence[Series], claims: Mapping[Place, Claim], now_us: int
    ) -> list[PartitionPublication]:
        """Alerts that the clock brought about, and the cards of ``shown`` series, by partition."""
        places = dict.fromkeys([place for place, _ in effects.alerts] + [series.place for series in shown])
        told = cards(self.engine, shown, now_us)
        return [
            PartitionPublication(
                claims[place],
                self.feed.name,
                0,
                -1,
                cards=told.get(place, {}),
                alerts=[
                    alert_message(self.feed.name, event, now_us) for where, event in effects.alerts if where == place
                ],
                stale=[event.series for where, event in effects.alerts if where == place],
                by_clock=True,
            )
            for place in places
            if place in claims
        ]

    # Models

    def adopt(self, version: str | None) -> list[Series]:
        """Go on from the champion ``version``; returns the series that changed by it. A model that is refused is said once."""
        if version is None or version == self._refused:
            return []
        if self.engine.model.endswith(f":{version}"):
            return self.engine.catch_up()
        try:
            changed = self.engine.adopt(version, load_model(self.models, self.feed, version, self.signing_key))
        except (ValueError, ConfigurationError, InputError) as error:
            self._refused = version
            log.error("model refused, the one before stays", feed=self.feed.name, version=version, reason=str(error))
            return []
        log.info("model taken up", feed=self.feed.name, version=version)
        return changed

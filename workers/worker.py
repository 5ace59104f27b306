"""The worker: Kafka partitions in, effects to Redis, one batch at a time.

The order of a batch: poll, decode, step the engine, dead letters to Kafka, everything else to Redis as one transaction that checks the
partitions' epochs, then the Kafka commit. A crash between any two of these is made good by running the records again: see
docs/design.md, decision 3.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import structlog

from stream.deadletters import DeadLetterSink
from stream.errors import ServiceError
from stream.kafka_clients import open_source
from stream.kafka_config import TopicPartition
from stream.kafka_group import GroupSource
from stream.records import Decoded, Record, Rejected, runs
from stream.redis_models import ModelRegistry
from stream.redis_store import Claim, PartitionPublication, Published, RedisStore, Thinning
from workers.breaks import ANEW, GAP, forget_offsets, told
from workers.effects import Effects, Touched
from workers.lane import Lane
from workers.ledger import Ledger
from workers.series import Place, Rows, Series
from workers.settings import Settings
from workers.thinning import Backlog, thin_at, thinned

log = structlog.get_logger()
T = TypeVar("T")

COMMIT_EVERY_US = 1_000_000
SWEEP_EVERY_US = 1_000_000
LONGEST_WAIT_S = 15.0
RETAKE_AFTER_US = 15_000_000
"""Longer than a consumer that Kafka has expelled takes to learn it: then its partitions really are another's."""


class Worker:
    """One worker. Single-threaded; Kafka's heartbeat has a thread of its own inside the client."""

    def __init__(
        self,
        settings: Settings,
        store: RedisStore,
        models: ModelRegistry,
        dead_letters: DeadLetterSink,
        owner: str,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.settings, self.store, self.models, self.dead_letters = settings, store, models, dead_letters
        self.owner, self.clock = owner, clock
        self.lanes = {feed.name: Lane(feed, settings, store, models) for feed in settings.feeds}
        self.ledger = Ledger({name: lane.engine for name, lane in self.lanes.items()})
        self.stopping = False
        self.backlog = Backlog(settings.worker.thin_after, settings.worker.thin_most)
        self._unpublished = False
        self._champions: dict[str, str | None] = {}
        self._take_again: dict[TopicPartition, int] = {}
        """Partitions that we hold by Kafka's word and not by Redis', and when to claim them again, in microseconds."""
        self.counts = {
            "records": 0,
            "observations": 0,
            "forecasts": 0,
            "thinned": 0,
            "rejected": 0,
            "alerts": 0,
            "batches": 0,
            "forgotten": 0,
            "missed": 0,
        }
        self._commits: dict[TopicPartition, int] = {}
        self._last = {"commit": 0, "sweep": 0, "beat": 0}
        self._source: GroupSource | None = None

    def stop(self) -> None:
        """Finish the batch, save, leave the group. Safe to call from a signal handler."""
        self.stopping = True

    def run(self) -> None:
        """Work until ``stop``. Raises ServiceError where Kafka cannot be reached at the start."""
        topics = sorted({topic for feed in self.settings.feeds for topic in feed.topics})
        for lane in self.lanes.values():
            lane.adopt(self.models.champion(lane.feed.name))
        kafka = self.settings.kafka
        source = open_source(
            kafka.client,
            topics,
            kafka.group_id,
            kafka.connection(),
            self.assigned,
            self.revoked,
            on_reset=self.broken,
        )
        self._source = source
        log.info("worker started", owner=self.owner, topics=topics)
        wait_s = self.settings.worker.poll_timeout / 1e6
        try:
            while not self.stopping:
                records = self._until_done(lambda: source.poll(self.settings.worker.batch_records, wait_s))
                if records:
                    self.batch(records)
                self._adopt_champions()
                self.tick()
        finally:
            self._finish(source)
        log.info("worker stopped", owner=self.owner, **self.counts)

    def _finish(self, source: GroupSource) -> None:
        try:
            self.save(self.ledger.all_unsaved())
            self._commit(force=True)
        finally:
            source.close()
            self.dead_letters.close()

    @property
    def claims(self) -> dict[Place, Claim]:
        """The claims of the partitions that are held."""
        return {place: holding.claim for place, holding in self.ledger.holdings.items()}

    # Partitions come and go

    def assigned(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int | None]:
        """Take partitions: claim, load their series, and say from which offset to go on."""
        offsets: dict[TopicPartition, int | None] = {}
        for partition in partitions:
            place, began = Place(partition.topic, partition.partition), time.monotonic()
            claim = self.store.claim(place.topic, place.partition, self.owner)
            lanes = [lane for lane in self.lanes.values() if place.topic in lane.feed.topics]
            versions = dict(claim.models) if claim.behind else {}
            loaded = sum(lane.open(place, self.clock(), versions.get(lane.feed.name)) for lane in lanes)
            self.ledger.take(place, claim)
            for lane in lanes:
                # What comes from a worker that has taken up a newer champion must not be set back to ours.
                self._champions[lane.feed.name] = self.models.champion(lane.feed.name)
            offsets[partition] = None if claim.complete is None else claim.complete + 1
            log.info(
                "partition taken",
                topic=place.topic,
                partition=place.partition,
                epoch=claim.epoch,
                series=loaded,
                resume_at=offsets[partition],
                published=claim.offset,
                load_s=round(time.monotonic() - began, 3),
            )
        return offsets

    def revoked(self, partitions: Sequence[TopicPartition], lost: bool) -> None:
        """Give partitions up; what is unsaved is saved first, unless they are lost already."""
        places = [Place(partition.topic, partition.partition) for partition in partitions]
        if not lost:
            self.save(self.ledger.all_unsaved(places))
            self._commit(force=True)
        for place in places:
            self._forget(place)
            self._take_again.pop(TopicPartition(*place), None)
        log.info("partitions given up", partitions=[f"{place.topic}/{place.partition}" for place in places], lost=lost)

    def broken(self, partition: TopicPartition, wanted: int, actual: int) -> None:
        """The log of a partition does not go on at ``wanted`` but at ``actual``: later, as retention has passed, or earlier, made anew."""
        place, now_us = Place(partition.topic, partition.partition), self.clock()
        if (holding := self.ledger.holdings.get(place)) is None:
            return
        lanes = [lane for lane in self.lanes.values() if place.topic in lane.feed.topics]
        kind = GAP if actual > wanted else ANEW
        if kind == GAP:
            wanted = max(wanted, holding.published + 1)  # what was published before is missing from a replay only
            self.counts["missed"] += max(0, actual - wanted)
        else:
            for made in forget_offsets(lanes, self.ledger, place, now_us):
                self._publish({(place, made.feed): made}, ())
            self.save(self.ledger.all_unsaved([place]))
        log.error(
            "the log does not go on where it was left", kind=kind, wanted=wanted, actual=actual, **place._asdict()
        )
        if kind == ANEW or actual > wanted:
            said = {(place, lane.feed.name): told(lane, holding, kind, wanted, actual, now_us) for lane in lanes}
            self.counts["alerts"] += len(said)
            self._publish(said, ())

    def _forget(self, place: Place) -> None:
        for lane in self.lanes.values():
            lane.engine.close(place)
        self.ledger.holdings.pop(place, None)
        self._commits.pop(TopicPartition(*place), None)

    # A batch

    def batch(self, records: Sequence[Record]) -> None:
        """Take polled records through to Redis. What was published before is run again for its state alone."""
        again: list[Record] = []
        fresh: list[Record] = []
        for run in runs(records):
            if (holding := self.ledger.holdings.get(Place(run.topic, run.partition))) is None:
                continue
            part = records[run.start : run.stop]
            if part[0].offset <= holding.reached:
                # Nobody but us decides where to read on: Kafka's client has fallen back, as its offset is no longer there.
                self.broken(TopicPartition(run.topic, run.partition), holding.reached + 1, part[0].offset)
            if part[0].offset > holding.published:
                fresh += part
            else:
                again += [record for record in part if record.offset <= holding.published]
                fresh += [record for record in part if record.offset > holding.published]
        if again:
            self._run(again, publish=False)
            fresh = [one for one in fresh if Place(one.topic, one.partition) in self.ledger.holdings]
        if fresh:
            self._run(fresh, publish=True)
        self.counts["batches"] += 1
        self.backlog.done += len(records)

    def _run(self, records: list[Record], *, publish: bool) -> None:
        # From the engine's step until its effects are published, series are ahead of Redis: their state must not be saved alone.
        self._unpublished = True
        now_us = self.clock()
        spans = _spans(records)
        publications: dict[tuple[Place, str], PartitionPublication] = {}
        rejected: list[Rejected] = []
        for lane in self.lanes.values():
            taken = [
                one for run in runs(records) if run.topic in lane.feed.topics for one in records[run.start : run.stop]
            ]
            if not taken:
                continue
            decoded = lane.decoder.decode(taken)
            thin = self._thin(decoded, publish=publish)
            effects = self._until_done(lambda lane=lane, decoded=decoded, thin=thin: lane.step(decoded, now_us, thin))  # type: ignore[misc]
            self.ledger.note(lane.feed.name, effects.touched, now_us)
            rejected += decoded.rejected + effects.rejected
            if publish:
                for place, made in lane.publications(decoded, effects, spans, self.claims, now_us).items():
                    publications[place, lane.feed.name] = replace(made, thin=self._thinned(place, made.first_offset))
                self._count(len(decoded.observations), effects)
        for place, (_, last) in spans.items():
            holding = self.ledger.holdings[place]
            holding.reached = max(holding.reached, last)
        saving = self._due(now_us)
        if publish:
            self._bury(rejected)
        self._publish(publications, saving)
        if publish:
            self.counts["records"] += len(records)
            self.counts["rejected"] += len(rejected)
            for place, (_, last) in spans.items():
                if (kept := self.ledger.holdings.get(place)) is not None:
                    kept.published = last
                    kept.thinning = self._thinned(place, spans[place][0])
                    self._commits[TopicPartition(*place)] = last + 1
        self._unpublished = False

    def _count(self, observations: int, effects: Effects) -> None:
        self.counts["observations"] += observations
        self.counts["thinned"] += observations if self.backlog.thin > 1 else 0
        self.counts["alerts"] += len(effects.alerts)
        if effects.forecasts is not None:
            self.counts["forecasts"] += len(effects.forecasts)

    def _thin(self, decoded: Decoded, *, publish: bool) -> Rows:
        """How far learning from each record is thinned: as the backlog asks for now, or as it was when they were run first."""
        thin = np.full(len(decoded.records), self.backlog.thin)
        if not publish:
            for run in decoded.runs:
                thinning = self.ledger.holdings[Place(run.topic, run.partition)].thinning
                thin[run.start : run.stop] = thin_at(thinning, decoded.offsets[run.start : run.stop])
        return thin

    def _thinned(self, place: Place, first: int) -> Thinning:
        holding = self.ledger.holdings[place]
        return thinned(holding.thinning, first, self.backlog.thin, holding.complete)

    def _bury(self, rejected: Sequence[Rejected]) -> None:
        if not rejected:
            return
        for one in rejected:
            self._until_done(lambda one=one: self.dead_letters.send(one))  # type: ignore[misc]
        self._until_done(self.dead_letters.flush)
        last = rejected[-1]
        log.warning(
            "records rejected",
            count=len(rejected),
            reason=last.reason.value,
            topic=last.record.topic,
            partition=last.record.partition,
            offset=last.record.offset,
            detail=last.detail,
        )

    # State

    def _due(self, now_us: int) -> list[Series]:
        """Series whose state goes with this batch: a few of those unsaved for longest, and those that leave memory."""
        worker = self.settings.worker
        due = self.ledger.due(now_us, worker.checkpoint, worker.checkpoint_batch)
        return list(dict.fromkeys(due + [series for lane in self.lanes.values() for series in lane.beyond()]))

    def save(self, chosen: Sequence[Series]) -> None:
        """Write the states and cards of these series now; nothing, if a batch was broken off: it is to be run again from what was saved."""
        if self._unpublished:
            return
        size = self.settings.worker.checkpoint_batch
        for at in range(0, len(chosen), size):
            # In parts: Redis bounds what one transaction may hold, and serves nobody else meanwhile.
            part = chosen[at : at + size]
            now_us = self.clock()
            told: dict[tuple[Place, str], PartitionPublication] = {}
            for lane in self.lanes.values():
                told |= self._by_clock(lane, Effects(), part, now_us)
            self._publish(told, part)

    def _by_clock(
        self, lane: Lane, effects: Effects, shown: Sequence[Series], now_us: int
    ) -> dict[tuple[Place, str], PartitionPublication]:
        """What no record brought about: alerts of the clock, and the cards of those of ``shown`` that are of this lane."""
        mine = [series for series in shown if series.feed == lane.feed.name]
        made = lane.clocked(effects, mine, self.claims, now_us)
        return {(Place(one.claim.topic, one.claim.partition), one.feed): one for one in made}

    def _publish(
        self, publications: Mapping[tuple[Place, str], PartitionPublication], saving: Sequence[Series]
    ) -> None:
        """One transaction: the publications, with the states of ``saving`` and how far each partition's states are then complete."""
        states: dict[tuple[Place, str], list[Series]] = {}
        for series in saving:
            states.setdefault((series.place, series.feed), []).append(series)
        out = []
        complete = self.ledger.complete(saving)
        for place, feed in dict.fromkeys([*publications, *states]):
            if (holding := self.ledger.holdings.get(place)) is None:
                continue
            made = publications.get((place, feed)) or PartitionPublication(holding.claim, feed, 0, -1)
            blobs = self.lanes[feed].states(states.get((place, feed), ()))
            out.append(replace(made, states={**made.states, **blobs}, complete=complete[place]))
        if not out:
            return
        done = self._until_done(lambda: self.store.publish(out))
        self.ledger.settle(saving)
        for place in {Place(one.claim.topic, one.claim.partition) for one in out}:
            self.ledger.holdings[place].complete = complete[place]
        self._give_up(done)
        for lane in self.lanes.values():
            lane.engine.drop([series for series in lane.beyond() if not self.ledger.is_unsaved(series)])
        self._champions.update(done.champions)

    def _give_up(self, found: Published) -> None:
        """Let go of partitions whose claim is void, and note when to claim them again if Kafka still says that they are ours."""
        for claim in found.fenced:
            log.warning("partition was taken by another worker", topic=claim.topic, partition=claim.partition)
            self._take_again[TopicPartition(claim.topic, claim.partition)] = self.clock() + RETAKE_AFTER_US
        for claim in found.forgotten:
            log.error(
                "Redis has lost what it had confirmed: running again",
                topic=claim.topic,
                partition=claim.partition,
                published=self.ledger.holdings[Place(claim.topic, claim.partition)].published,
            )
            self._take_again[TopicPartition(claim.topic, claim.partition)] = self.clock()
            self.counts["forgotten"] += 1
        for claim in found.fenced | found.forgotten:
            self._forget(Place(claim.topic, claim.partition))

    def _adopt_champions(self) -> None:
        """Go on from a new champion, between batches, and never while records are run again that were published under the old one."""
        for feed, version in self._champions.items():
            lane = self.lanes[feed]
            holdings = [holding for place, holding in self.ledger.holdings.items() if place.topic in lane.feed.topics]
            if any(holding.behind for holding in holdings):
                continue
            changed = self._until_done(lambda lane=lane, version=version: lane.adopt(version))  # type: ignore[misc]
            rows = np.array([series.row for series in changed], np.int64)
            self.ledger.note(feed, Touched(rows, lane.engine.table.applied[rows] + 1), self.clock())
            # Saved at once: a restart must not run on from the old weights what was published under the new ones.
            self.save(changed)

    # The clock, and services that are away

    def _retake(self, now_us: int) -> None:
        """Claim again what is still ours by Kafka's word: nobody took it, or Redis has lost its memory of us."""
        due = [partition for partition, at_us in self._take_again.items() if now_us >= at_us]
        for partition in due:
            del self._take_again[partition]
        if due and self._source is not None:
            self._source.retake(due)

    def tick(self) -> None:
        """What is due by the clock: commit, silent series, heartbeat."""
        now_us = self.clock()
        self._commit(force=False)
        if self._take_again:
            self._retake(now_us)
        if self._source is not None and self.backlog.due(now_us):
            self._look(self._source, now_us)
        if now_us - self._last["sweep"] >= SWEEP_EVERY_US:
            self._last["sweep"] = now_us
            self._sweep(now_us)
        if now_us - self._last["beat"] >= self.settings.worker.heartbeat:
            self._last["beat"] = now_us
            self._beat()

    def _sweep(self, now_us: int) -> None:
        for lane in self.lanes.values():
            effects = lane.engine.sweep(now_us)
            self.ledger.note(lane.feed.name, effects.touched, now_us)
            self.counts["alerts"] += len(effects.alerts)
            silent = lane.engine.at(effects.touched.rows)
            # With their states: a restart must know that the alert is out, and only if it is.
            self._unpublished = True
            self._publish(self._by_clock(lane, effects, silent, now_us), silent)
            self._unpublished = False
            self._champions[lane.feed.name] = self._until_done(lambda lane=lane: self.models.champion(lane.feed.name))  # type: ignore[misc]
        self.save(self._due(now_us))
        # Whoever has nothing to write must find out as well what Redis has lost.
        self._give_up(self._until_done(lambda: self.store.standing(list(self.claims.values()))))

    def _look(self, source: GroupSource, now_us: int) -> None:
        if self.backlog.look(sum(source.lag().values()), now_us):
            log.warning(
                "learning is thinned" if self.backlog.thin > 1 else "learning is whole again",
                learn_at_every=self.backlog.thin,
                waiting=self.backlog.waiting,
            )

    def _beat(self) -> None:
        info: dict[str, str | int | float | bool | None] = {
            **self.counts,
            "owner": self.owner,
            "host": socket.gethostname(),
            "partitions": len(self.ledger.holdings),
            "series": sum(lane.engine.count for lane in self.lanes.values()),
            "waiting": self.backlog.waiting,
            "learn_at_every": self.backlog.thin,
            "unsaved": self.ledger.unsaved(),
        }
        self._until_done(lambda: self.store.beat(self.owner, info, 5 * self.settings.worker.heartbeat / 1e6))

    def _commit(self, force: bool) -> None:
        now_us = self.clock()
        if self._source is None or not self._commits or not (force or now_us - self._last["commit"] >= COMMIT_EVERY_US):
            return
        self._last["commit"] = now_us
        self._source.commit(self._commits)
        self._commits = {}

    def _until_done(self, call: Callable[[], T]) -> T:
        """Try until the service answers, with growing, jittered waits: nothing is lost meanwhile, for nothing further is read."""
        wait_s = 0.1
        while True:
            try:
                return call()
            except ServiceError as error:
                if self.stopping:
                    raise
                log.error("a service does not answer, trying again", reason=str(error), wait_s=round(wait_s, 2))
                time.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def _spans(records: Sequence[Record]) -> dict[Place, tuple[int, int]]:
    """First and last offset of each partition."""
    spans: dict[Place, tuple[int, int]] = {}
    for run in runs(records):
        place, last = Place(run.topic, run.partition), records[run.stop - 1].offset
        spans[place] = (spans[place][0] if place in spans else records[run.start].offset, last)
    return spans

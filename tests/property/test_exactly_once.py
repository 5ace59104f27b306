"""Nothing lost, nothing twice: workers on a simulated log and store, through random interleavings of all that may go wrong."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from models.batch import sizes_of
from models.fleet import Fleet
from stream.records import Reason, Record
from tests.faults.verdict import judge, told
from tests.property.simulated import Died, Member, World
from tests.unit.engines import SMALL, observation, record
from workers.series import Place
from workers.settings import FeedSettings, Settings

PLACES = [Place("t", 0), Place("t", 1)]
FEED: dict[str, Any] = SMALL | {
    "context": 8,
    "horizon": 2,
    "season": 4,
    "alerts": {"adwin_delta": 0.1, "page_hinkley_threshold": 2.0, "minimum_rise": 1.01, "stale_after": 0},
}
WHO, WHERE = st.integers(0, 2), st.sampled_from(PLACES)


class ExactlyOnce(RuleBasedStateMachine):
    """Three workers, two partitions of three series each."""

    @initialize(resident=st.sampled_from([1, 2, 100]), batch=st.sampled_from([1, 64]), seed=st.integers(0, 99))
    def begin(self, resident: int, batch: int, seed: int) -> None:
        self.rng = Random(seed)
        self.poison: dict[tuple[int, int], Reason] = {}
        self.minutes = dict.fromkeys(PLACES, 0)
        written = {"resident_series": resident, "checkpoint_batch": batch, "checkpoint": "2s", "thin_most": 1}
        self.world = World(Settings.model_validate({"feeds": [FEED], "worker": written}), PLACES, 3)
        for place in PLACES:
            self.append(place, 12)

    @rule(place=WHERE, minutes=st.integers(1, 12))
    def append(self, place: Place, minutes: int) -> None:
        """The log grows, by a minute of every series at a time; one in nine records is poison."""
        log = self.world.log[place]
        for _ in range(minutes):
            for number in range(3):
                at = len(log)
                value = number + self.rng.gauss(0, 0.1 if at < 120 else 3.0)
                log.append(record(at, observation(f"{place.partition}/{number}", self.minutes[place], value), place))
            self.minutes[place] += 1
            if self.rng.random() < 1 / 3:
                self.poison[place.partition, len(log)] = Reason.NOT_JSON
                log.append(Record("t", place.partition, len(log), b"key", b"bad"))

    @rule(who=WHO, place=WHERE, count=st.integers(1, 60))
    def deliver(self, who: int, place: Place, count: int) -> None:
        """To whoever believes that the partition is its own."""
        member = self.world.members[who]
        if place in member.positions:
            self._or_die(member, lambda: member.deliver(place, count))

    @rule(place=WHERE, to=WHO, how=st.sampled_from(["orderly", "lost", "unnoticed"]))
    def move(self, place: Place, to: int, how: str) -> None:
        """Unnoticed, the one before goes on as a zombie."""
        before, after = self.world.owners[place], self.world.members[to]
        if before is after:
            return
        self.world.owners[place] = after
        if how != "unnoticed":
            self._or_die(before, lambda: before.end(place, lost=how == "lost"))
        self._or_die(after, lambda: after.begin(place))

    @rule(who=WHO, place=WHERE)
    def wake(self, who: int, place: Place) -> None:
        """A zombie learns what it has lost."""
        member = self.world.members[who]
        if place in member.positions and self.world.owners[place] is not member:
            self._or_die(member, lambda: member.end(place, lost=True))

    @rule(who=WHO, share=st.floats(0, 1))
    def checkpoint(self, who: int, share: float) -> None:
        """Some of what is unsaved is saved."""
        member = self.world.members[who]
        unsaved = member.worker.ledger.all_unsaved()
        self._or_die(member, lambda: member.worker.save(unsaved[: round(share * len(unsaved))]))

    @rule(who=WHO, seconds=st.integers(0, 20))
    def tick(self, who: int, seconds: int) -> None:
        """Time passes, and one of them looks at the clock."""
        self.world.now_us += seconds * 1_000_000
        member = self.world.members[who]
        self._or_die(member, member.turn)

    @rule(who=WHO)
    def crash(self, who: int) -> None:
        """Between two batches."""
        self.world.replace(self.world.members[who])

    @rule(happens=st.sampled_from(["refused", "unanswered", "dies before", "dies after"]))
    def soon(self, happens: str) -> None:
        """Something befalls one of the next transactions."""
        self.world.memory.next += ["", happens][self.rng.randrange(2) :]

    @rule(transactions=st.integers(1, 8))
    def forget(self, transactions: int) -> None:
        """Redis comes back without what it wrote last."""
        self.world.memory.lose(transactions)

    @rule()
    def crown(self) -> None:
        """A new champion."""
        if len(self.world.models) < 3:
            spec = self.world.settings.feeds[0].spec()
            shapes = Fleet(spec, seed=0).net.shapes(sizes_of(spec))
            rng = np.random.default_rng(len(self.world.models))
            weights = {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
            self.world.crown(f"m{len(self.world.models) + 1}", weights)

    @invariant()
    def nothing_twice(self) -> None:
        """At any moment."""
        if hasattr(self, "world"):
            ids = [forecast["id"] for forecast in self.world.seen().forecasts]
            assert len(ids) == len(set(ids))

    def teardown(self) -> None:
        """Everything is well again: all is run to the end, and held against a run in which nothing ever happened."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.memory.next.clear()
        for place in PLACES:
            owner = world.owners[place]
            for _ in range(6):
                world.now_us += 16_000_000
                owner.turn()
                if place in owner.positions:
                    owner.deliver(place, 10_000)
        for member in world.members:
            member.worker.save(member.worker.ledger.all_unsaved())
        verdict = judge(FeedSettings.model_validate(FEED), world.log, self.poison, world.models, world.seen())
        assert verdict.held, told(verdict)

    def _or_die(self, member: Member, work: Any) -> None:
        try:
            work()
        except Died:
            self.world.replace(member)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.worker.time.sleep", lambda _: None)


ExactlyOnce.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # A failing run takes minutes to be made shorter, and its steps are printed as they are.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
TestExactlyOnce = ExactlyOnce.TestCase

"""A Redis, a log and a consumer group that exist in this process only, and that do whatever a test wants them to do next."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self, cast

import orjson
import redis

from models.checkpoint import digest, pack
from stream.deadletters import DeadLetterSink
from stream.kafka_config import TopicPartition
from stream.kafka_group import GroupSource
from stream.keys import Keys
from stream.records import Record, Rejected
from stream.redis_models import ModelRegistry
from stream.redis_store import _MARK_STALE, RedisStore
from tests.faults.verdict import Seen, Weights
from workers.series import Place
from workers.settings import Settings
from workers.worker import Worker

NAMESPACE = "simulated"


class Died(BaseException):
    """The process that called is gone: nothing may catch this."""


class Memory:
    """What a Redis holds, with the commands that ``RedisStore`` and ``ModelRegistry`` use, as it was after each transaction."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}
        self.past: list[dict[str, Any]] = []
        self.next: list[str] = []
        """What happens to the next transactions: ``refused``, ``unanswered``, or ``dies before`` and ``dies after`` it took place."""

    def pipeline(self, transaction: bool = True) -> Pipe:
        """A transaction."""
        assert transaction
        return Pipe(self)

    def lose(self, transactions: int) -> None:
        """Come back without the last ones."""
        if transactions and self.past:
            kept = self.past[max(0, len(self.past) - transactions) :][0]
            del self.past[max(0, len(self.past) - transactions) :]
            self.held = kept

    def done(self) -> None:
        """Remember how it was before the transaction that comes now."""
        self.past.append(copy.deepcopy(self.held))
        del self.past[:-12]

    def _hash(self, key: str) -> dict[str, bytes]:
        found: dict[str, bytes] = self.held.setdefault(key, {})
        return found

    def hincrby(self, key: str, name: str, by: int) -> int:
        number = int(self._hash(key).get(name, b"0")) + by
        self._hash(key)[name] = str(number).encode()
        return number

    def hset(
        self, key: str, name: str | None = None, value: Any = None, mapping: Mapping[str, Any] | None = None
    ) -> None:
        for field, content in (mapping or {cast("str", name): value}).items():
            self._hash(key)[field] = content if isinstance(content, bytes) else str(content).encode()

    def hmget(self, key: str, *names: str) -> list[bytes | None]:
        return [self._hash(key).get(name) for name in names]

    def hgetall(self, key: str) -> dict[bytes, bytes]:
        return {name.encode(): content for name, content in self._hash(key).items()}

    def hget(self, key: str, name: str) -> bytes | None:
        return self._hash(key).get(name)

    def hdel(self, key: str, name: str) -> None:
        self._hash(key).pop(name, None)

    def hscan_iter(self, key: str, count: int) -> Iterator[tuple[bytes, bytes]]:
        assert count
        return iter([(name.encode(), content) for name, content in self._hash(key).items()])

    def get(self, key: str) -> bytes | None:
        found: bytes | None = self.held.get(key)
        return found

    def mset(self, contents: Mapping[str, bytes]) -> None:
        self.held.update(contents)

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        return [self.held.get(key) for key in keys]

    def set(self, key: str, content: bytes, px: int = 0) -> None:
        self.held[key] = content

    def sadd(self, key: str, content: str) -> None:
        self.held.setdefault(key, set()).add(content)

    def publish(self, channel: str, text: bytes) -> None:
        """Nobody listens."""

    def xadd(self, key: str, entry: Mapping[str, Any], maxlen: int) -> None:
        self.held.setdefault(key, []).append(dict(entry))

    def eval(self, script: str, count: int, *keys: str) -> Any:
        if script == _MARK_STALE:
            return None
        return [self.hmget(key, "epoch", "token", "written", "offset") for key in keys[:count]]


class Pipe:
    """Commands that are gathered, but for those between ``watch`` and ``multi``."""

    def __init__(self, memory: Memory) -> None:
        self._memory, self._gathered = memory, list[tuple[str, tuple[Any, ...], dict[str, Any]]]()
        self._at_once = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._gathered.clear()

    def watch(self, *_keys: str) -> None:
        self._at_once = True

    def multi(self) -> None:
        self._at_once = False

    def __getattr__(self, name: str) -> Any:
        def gather(*args: Any, **options: Any) -> Any:
            if self._at_once:
                return getattr(self._memory, name)(*args, **options)
            self._gathered.append((name, args, options))
            return None

        return gather

    def execute(self) -> list[Any]:
        happens = self._memory.next.pop(0) if self._memory.next else ""
        if happens == "refused":
            raise redis.ResponseError("OOM command not allowed when used memory > 'maxmemory'.")
        if happens == "dies before":
            raise Died
        self._memory.done()
        answers = [getattr(self._memory, name)(*args, **options) for name, args, options in self._gathered]
        self._gathered.clear()
        if happens == "unanswered":
            raise redis.ConnectionError("connection reset by peer")
        if happens == "dies after":
            raise Died
        return answers


class Letters(DeadLetterSink):
    """Dead letters, as the verdict wants them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, int, str, bytes | None]] = []

    def close(self) -> None:
        self.flush()

    def _emit(self, rejections: list[Rejected]) -> None:
        record = rejections[0].record
        self.found.append((record.partition, record.offset, rejections[0].reason.value, record.value))


class Member:
    """A worker and its place in the consumer group. ``positions`` are what it believes to hold, which may be another's by now."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.positions = world, dict[Place, int]()
        store = RedisStore(cast("Any", world.memory), NAMESPACE)
        registry = ModelRegistry(cast("Any", world.memory), NAMESPACE)
        self.worker = Worker(world.settings, store, registry, world.letters, name, lambda: world.now_us)
        self.worker._source = cast("GroupSource", self)
        for lane in self.worker.lanes.values():
            lane.adopt(registry.champion(lane.feed.name))

    # What the worker asks of its source

    def retake(self, partitions: Sequence[TopicPartition]) -> None:
        for partition in partitions:
            place = Place(*partition)
            if self.world.owners[place] is self:
                self.begin(place)

    def lag(self) -> dict[TopicPartition, int]:
        return {}

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Nobody asks for these."""

    # What the group does to it

    def begin(self, place: Place) -> None:
        # As the worker's loop asks its source again where that has failed.
        offsets = self.worker._until_done(lambda: self.worker.assigned([TopicPartition(*place)]))
        self.positions[place] = offsets[TopicPartition(*place)] or 0

    def end(self, place: Place, *, lost: bool) -> None:
        self.worker.revoked([TopicPartition(*place)], lost)
        self.positions.pop(place, None)

    def deliver(self, place: Place, count: int) -> None:
        """One turn of the worker's loop."""
        at = self.positions[place]
        records = self.world.log[place][at : at + count]
        self.positions[place] = at + len(records)
        if records:
            self.worker.batch(records)
        self.turn()

    def turn(self) -> None:
        """The rest of the loop."""
        self.worker._adopt_champions()
        self.worker.tick()


class World:
    """Everything."""

    def __init__(self, settings: Settings, places: Sequence[Place], members: int) -> None:
        self.settings, self.places = settings, places
        self.memory, self.letters = Memory(), Letters()
        self.log: dict[Place, list[Record]] = {place: [] for place in places}
        self.models: dict[str, Weights] = {}
        self.now_us = 1_800_000_000_000_000
        self.count = 0
        self.members = [self.member() for _ in range(members)]
        self.owners: dict[Place, Member] = {}
        for number, place in enumerate(places):
            self.owners[place] = self.members[number % members]
            self.owners[place].begin(place)

    def member(self) -> Member:
        self.count += 1
        return Member(self, f"w{self.count}")

    def replace(self, gone: Member) -> None:
        """A member is dead, another comes in its stead and gets what it held; nothing befalls it meanwhile."""
        self.memory.next.clear()
        fresh = self.members[self.members.index(gone)] = self.member()
        for place, owner in self.owners.items():
            if owner is gone:
                self.owners[place] = fresh
                fresh.begin(place)

    def crown(self, version: str, weights: Weights) -> None:
        """Make a model the champion. It is not lost with what Redis loses: that a champion steps back is another story."""
        feed, keys = self.settings.feeds[0], Keys(NAMESPACE)
        blob = pack(weights, {"architecture": feed.model.architecture})
        manifest = orjson.dumps({"version": version, "digest": digest(blob, None)})
        self.models[version] = weights
        for held in (self.memory.held, *self.memory.past):
            held.setdefault(keys.models(feed.name), {})[version] = manifest
            held[keys.model(feed.name, version)] = blob
            held[keys.champion(feed.name)] = version.encode()

    def seen(self) -> Seen:
        """What stands in the memory, for the verdict."""
        keys, feed, held = Keys(NAMESPACE), self.settings.feeds[0].name, self.memory.held
        seen = Seen(letters=self.letters.found)
        for entry in held.get(keys.forecasts(feed), []):
            seen.forecasts += orjson.loads(entry["forecasts"])
        seen.alerts = [orjson.loads(entry["alert"]) for entry in held.get(keys.alerts, [])]
        seen.states = {place: dict(held.get(keys.state(*place, feed), {})) for place in self.places}
        for name in held.get(keys.series(feed), {}):
            seen.latest[name] = orjson.loads(held[keys.forecast(feed, name)])
        return seen

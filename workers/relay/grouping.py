"""Which transitions go out together, and when: group_wait and group_interval as Alertmanager has them. The clock is handed in."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from stream.messages import AlertMessage
from stream.redis_subscription import Entry

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Item:
    """A transition that is to be delivered, and its entry in the stream; an id of empty text for what is not from there."""

    entry_id: str
    alert: AlertMessage

    @property
    def entry(self) -> Entry:
        return Entry(self.entry_id, self.alert)


@dataclass(slots=True)
class _Group:
    due_s: float
    items: list[Item] = field(default_factory=list)


class Groups:
    """Waiting transitions of one target, ``most`` at most; a group that would make it more is due at once.

    Without ``group_by`` they are due at once, in order, ``together`` at a time.
    """

    def __init__(
        self, group_by: Sequence[str], wait_s: float, interval_s: float, *, most: int = 1_000, together: int = 1
    ) -> None:
        self.group_by, self.wait_s, self.interval_s = tuple(group_by), wait_s, interval_s
        self.most, self.together = most, together
        self._line: deque[Item] = deque()
        self._groups: dict[Labels, _Group] = {}
        self._told_s: dict[Labels, float] = {}
        self._ids: set[str] = set()
        # Fingerprint -> the group that it waits in: what follows joins it, also when its severity has changed meanwhile.
        self._place: dict[str, Labels] = {}
        self._waiting: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._ids

    def concerns(self, fingerprint: str) -> bool:
        """Whether a transition of this alert waits."""
        return fingerprint in self._waiting

    @property
    def room(self) -> int:
        """How many more there is room for."""
        return max(0, self.most - len(self._ids))

    def add(self, item: Item, now_s: float) -> None:
        """Let it wait. Its id must not be waiting already."""
        self._ids.add(item.alert.id)
        self._waiting[item.alert.fingerprint] += 1
        if not self.group_by:
            self._line.append(item)
            return
        own = tuple((name, str(getattr(item.alert, name))) for name in self.group_by)
        labels = self._place.setdefault(item.alert.fingerprint, own)
        if labels not in self._groups:
            # A new matter is told after group_wait; what joins one that was told, when group_interval has passed.
            again_s = self._told_s.get(labels, float("-inf")) + self.interval_s
            self._groups[labels] = _Group(max(now_s + self.wait_s, again_s))
        self._groups[labels].items.append(item)

    def next_due(self) -> float:
        """When something is due; infinity when nothing waits."""
        if self._line:
            return float("-inf")
        if self._groups and not self.room:
            return float("-inf")
        return min((group.due_s for group in self._groups.values()), default=float("inf"))

    def take(self, now_s: float) -> tuple[dict[str, str], list[Item]]:
        """What goes out now, and what it has in common; nothing before ``next_due``."""
        items: list[Item] = []
        labels: Labels = ()
        if self._line:
            items = [self._line.popleft() for _ in range(min(self.together, len(self._line)))]
        elif self._groups and self.next_due() <= now_s:
            labels = min(self._groups, key=lambda one: self._groups[one].due_s)
            items = self._groups.pop(labels).items
            self._told_s = {one: then for one, then in self._told_s.items() if then + self.interval_s > now_s}
            self._told_s[labels] = now_s
        for item in items:
            self._ids.discard(item.alert.id)
            self._waiting[item.alert.fingerprint] -= 1
            if not self._waiting[item.alert.fingerprint]:
                del self._waiting[item.alert.fingerprint]
                self._place.pop(item.alert.fingerprint, None)
        return dict(labels), items

    def clear(self) -> None:
        """Forget what waits; when groups were told is kept."""
        self._line.clear()
        self._groups.clear()
        self._ids.clear()
        self._place.clear()
        self._waiting.clear()


class RateLimit:
    """A bucket of ``most`` tokens that fills up evenly within ``period_s`` (a token bucket). ``most`` 0: no limit."""

    def __init__(self, most: int, period_s: float) -> None:
        self.most, self.period_s = most, period_s
        self.tokens = float(most)
        self._at_s: float | None = None

    def refill(self, now_s: float) -> None:
        """Add what the time since the last call is worth. A clock that was set back adds nothing."""
        if self._at_s is not None and now_s > self._at_s:
            self.tokens = min(float(self.most), self.tokens + (now_s - self._at_s) * self.most / self.period_s)
        self._at_s = now_s

    @property
    def open(self) -> bool:
        """Whether there is a token."""
        return not self.most or self.tokens >= 1.0

    def spend(self) -> None:
        """Take a token."""
        if self.most:
            self.tokens -= 1.0

    def to_json(self) -> list[float]:
        """What ``restore`` takes."""
        return [self.tokens, self._at_s or 0.0]

    def restore(self, kept: Sequence[float]) -> None:
        """As it was left by another process."""
        if len(kept) == 2:
            self.tokens, self._at_s = min(float(self.most), kept[0]), kept[1] or None

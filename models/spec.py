"""What a feed asks of its models: sizes, levels, rates. Plain numbers; where they come from is not known here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

EXPERTS = ("last-value", "seasonal-naive", "least-squares", "quick-least-squares", "network")
"""All experts there are, in the order in which their weights are reported."""
DAY_US = 86_400_000_000
POLICIES, LOSSES = ("window", "joint", "carried"), ("quantile", "mean")
MOST_REPLAY = 62
LONGEST_SEASON = 1_440
"""Seasons longer than this many slots (a day of minutes) are not kept in the window: the seasonal expert then abstains."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Sizes and constants of one feed's forecasters.

    Rates are per fine-tuning step. ``levels`` are probabilities, ascending, symmetric not required, 0.5 among them.
    ``experts`` are those that the mixture has, in the order of ``EXPERTS``; "last-value" is always among them.
    ``season`` is in slots; 0 means a day of the series' own step, where that is at most ``LONGEST_SEASON`` slots. ``policy`` says where
    recurrences begin and end (``models/fleet.py``), ``truncation`` over how many steps a carried one is learnt. ``loss`` "mean" is squared
    error, and the forecast then stands at level 0.5; ``weight_decay`` is per unit of learning rate; ``skip`` is the linear skip.
    """

    context: int = 96
    horizon: int = 24
    channels: int = 1
    levels: tuple[float, ...] = (0.05, 0.25, 0.5, 0.75, 0.95)
    season: int = 0
    architecture: str = "gru"
    hidden: int = 32
    patch: int = 8
    learn_every: int = 1
    replay: int = 1
    history: int = 512
    train_rate: float = 3e-3
    online_rate: float = 2e-4
    settle_steps: int = 200
    clip: float = 1.0
    experts: tuple[str, ...] = EXPERTS
    rls_forgetting: float = 0.9998
    rls_quick_forgetting: float = 0.999
    mixture_rate: float = 0.1
    mixture_share: float = 0.01
    calibration_rate: float = 0.3
    policy: str = "window"
    truncation: int = 24
    layers: int = 1
    loss: str = "quantile"
    weight_decay: float = 0.0
    skip: bool = True

    def __post_init__(self) -> None:
        def refuse(name: str, rule: str) -> None:
            raise ValueError(f"{name} = {getattr(self, name)!r}: {rule}")

        for name in ("context", "horizon", "channels", "hidden", "patch", "learn_every", "history", "truncation"):
            if getattr(self, name) < 1:
                refuse(name, "must be at least 1")
        if self.context % self.patch:
            refuse("context", f"must be a multiple of patch ({self.patch})")
        if self.horizon > 256:
            refuse("horizon", "at most 256 steps are supported")
        if self.context > 2_048:
            refuse("context", "at most 2048 steps are supported")
        if self.season < 0 or self.replay < 0:
            refuse("season" if self.season < 0 else "replay", "must not be negative")
        if 0.5 not in self.levels or list(self.levels) != sorted(set(self.levels)):
            refuse("levels", "must ascend, without repeats, and hold 0.5")
        if not all(0.0 < level < 1.0 for level in self.levels):
            refuse("levels", "must lie between 0 and 1")
        if list(self.experts) != [name for name in EXPERTS if name in self.experts] or EXPERTS[0] not in self.experts:
            refuse("experts", f"must be {EXPERTS[0]} and any others of {', '.join(EXPERTS[1:])}, in this order")
        self._check_network(refuse)

    def _check_network(self, refuse: Callable[[str, str], None]) -> None:
        for name, choices in (("policy", POLICIES), ("loss", LOSSES), ("layers", (1, 2))):
            if getattr(self, name) not in choices:
                refuse(name, f"must be one of {', '.join(map(str, choices))}")
        if self.loss == "mean" and self.levels != (0.5,):
            refuse("loss", "the mean has one level, 0.5")
        if self.policy == "carried" and self.patch != 1:
            refuse("policy", "a carried state takes every slot as it comes: patch must be 1")
        if self.replay > (MOST_REPLAY if self.policy == "window" else 0):
            refuse("replay", f"at most {MOST_REPLAY} older windows are learnt with policy window, none with another")
        if not 0.0 <= self.weight_decay < 1.0 / max(self.train_rate, self.online_rate):
            refuse("weight_decay", "must not be negative, nor take a whole weight in one step")

    @property
    def median(self) -> int:
        """Index of the level 0.5."""
        return self.levels.index(0.5)

    @property
    def ahead(self) -> int:
        """Slots from the newest cutoff that is learnt to now: a horizon, in whole patches where one recurrence runs over both."""
        return -(-self.horizon // self.patch) * self.patch if self.policy == "joint" else self.horizon

    @property
    def ready_after(self) -> int:
        """Observations after which a series counts as ready: one full window and one matured forecast."""
        return self.context + self.horizon

    def season_slots(self, step_us: int) -> int:
        """The season of a series with this step, in slots; 0 where it has none that fits."""
        if self.season:
            return self.season
        slots = DAY_US // step_us if step_us > 0 and DAY_US % step_us == 0 else 0
        return slots if 2 <= slots <= LONGEST_SEASON else 0

    def window_capacity(self, step_us: int) -> int:
        """Slots that a series' ring must hold. ``step_us`` 0 (inferred per series) reserves the longest season."""
        season = self.season_slots(step_us) if step_us > 0 else (self.season or LONGEST_SEASON)
        # The least-squares expert looks two seasons back, where they are not overlong.
        again = 2 * season + 1 if season <= LONGEST_SEASON // 2 else 0
        return max(self.context + self.horizon + self.history, season + self.horizon + 1, again)

    def to_dict(self) -> dict[str, Any]:
        """As JSON would hold it."""
        return asdict(self) | {"levels": list(self.levels), "experts": list(self.experts)}

    @classmethod
    def from_dict(cls, entries: dict[str, Any]) -> ModelSpec:
        """The inverse of ``to_dict``; unknown names raise ValueError."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(entries) - known):
            raise ValueError(f"unknown model settings: {', '.join(unknown)}")
        return cls(**entries | {name: tuple(entries[name]) for name in ("levels", "experts") if name in entries})

"""An explanation as numbers for machines, version 1: what ``tidecast explain --json`` prints."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from stream.messages import Message, SeriesId, Time

ByLead = list[FiniteFloat]
"""One number for each lead, lead 1 first."""
Shares = list[FiniteFloat]


class Section(BaseModel):
    """A part of an explanation."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(Section):
    """A group of inputs, or what stands beside the inputs, and what it adds to the forecast of each lead."""

    name: str
    """``newest``, ``recent``, ``season-1``, ``season-2``, ``earlier``, ``channel:NAME``, ``calendar``, ``constant``, ``memory`` or
    ``unexplained``."""
    says: str
    """The same in words."""
    adds: ByLead
    distance: FiniteFloat | None = None
    """How far these inputs lie from their usual level, on average, for the lead in ``lead``; null where that means nothing."""


class Expert(Section):
    """What one expert said and weighed, and why: the explanation's ``level`` + all of ``adds`` is its forecast."""

    name: str
    weight: ByLead
    error: ByLead
    """Its recent mean absolute error."""
    forecast: ByLead
    adds: dict[str, ByLead]


class Gates(Section):
    """What the network's gates did at each of its steps, oldest first: shares of one, means over its units by their weight in the forecast."""

    step_slots: int
    """Slots that a step takes."""
    kept: Shares
    let_in: Shares
    retained: Shares
    """How much of what each step wrote is there at the end."""
    memory_slots: FiniteFloat
    """Sum of ``retained`` in slots: how long a unit remembers. At least that where ``beyond``."""
    beyond: bool
    opened_slots_ago: int
    reach_slots: int
    """Half of what moves the network's forecast lies within so many of the newest slots: read from its gradients, and so true of any
    network; the gates only tell of one that has learnt to use its memory."""


class Recent(Section):
    """What the last ``slots`` slots did, beside the same ones a season before (or the rest of the context)."""

    slots: int
    mean: FiniteFloat
    reference: FiniteFloat
    rise_within: FiniteFloat
    season_slots: int
    """0 where it is measured by the rest of the context."""


class ErrorSide(Section):
    """Sizes of lead-1 errors on one side of a change, in typical errors; ``shares`` are those of equal bars from 0 to ``top``."""

    count: int
    mean: FiniteFloat
    median: FiniteFloat | None = None
    high: FiniteFloat | None = None
    shares: Shares = Field(default_factory=list)


class ErrorChange(Section):
    """When errors changed: the most likely first observation after it, and the interval that holds it with probability ``sure``."""

    at: Time
    earliest: Time | None = None
    latest: Time | None = None
    sure: FiniteFloat | None = None
    before: ErrorSide
    after: ErrorSide
    top: FiniteFloat | None = None
    rose: dict[str, tuple[FiniteFloat, FiniteFloat]] = Field(default_factory=dict)
    """Part -> its mean size before and after the change, at ``lead``, as the series' present model sees those windows."""


class Explanation(Message):
    """Why a forecast is what it is. ``level`` + ``adds`` of all parts = ``forecast``, lead by lead, in the series' own units."""

    feed: str
    series: SeriesId
    cutoff: Time
    step_s: FiniteFloat
    horizon: Annotated[int, Field(ge=1)]
    lead: Annotated[int, Field(ge=1)]
    """The lead that the sentences are about."""
    value: FiniteFloat
    """The observation at ``cutoff``."""
    level: FiniteFloat
    """The usual level, from which everything counts: the mean of the context."""
    scale: FiniteFloat
    """The typical spread within a window."""
    forecast: ByLead
    """The mixture's median, computed anew."""
    published: ByLead | None
    """The median that was published at ``cutoff``; null where the state no longer holds it."""
    quantiles: dict[str, ByLead]
    """Level -> what was published at ``cutoff``, without the median; empty where ``published`` is null."""
    parts: list[Part]
    inputs: dict[str, list[ByLead]]
    """Channel -> for each lag from 0 on what that input adds to the forecast of each lead; lags without any effect at the end are left out."""
    experts: list[Expert]
    recent: Recent | None
    gates: Gates | None
    change: ErrorChange | None = None
    notes: list[str]
    """What a reader has to know about how exact this is."""
    sentences: list[str]

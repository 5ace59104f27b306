"""Ways to fine-tune a network for each series and forecast from it, each as a function that takes one batch of events.

All have 32 units, a window of 48 values, one input channel, a direct head of 12 leads, squared error, clipping to norm 1 and Adam; one event is
one forecast and one learning step. Each way takes new values and cuts its own inputs from the series' histories, which counts too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor, nn

from models.arena import Arena
from models.fleet import Fleet
from models.spec import ModelSpec

UNITS, WINDOW, HORIZON, TRUNCATION, RATE = 32, 48, 12, 24, 1e-3
LENGTH = WINDOW + HORIZON
Way = Callable[[], int]
"""Takes a batch of events, the next rows of a random order, and returns how many they were."""


class Feed:
    """N series that get one value after the other, in a random order: the last 60 of each, in rings that are held twice over."""

    def __init__(self, series: int, batch: int) -> None:
        self.rng = np.random.default_rng(0)
        self.history = np.tile(self.rng.standard_normal((series, LENGTH)).astype(np.float32), 2)
        self.count = np.zeros(series, np.int64)
        self.at, self.batch = 0, min(batch, series)
        order = self.rng.permutation(series)
        self.order = np.concatenate([order, order[: self.batch]])

    def take(self, length: int = LENGTH) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The rows [B] that get a value now, and their newest values [B, length], that one the last."""
        rows = self.order[self.at : self.at + self.batch]
        self.at = (self.at + self.batch) % len(self.count)
        count = self.count[rows]
        self.count[rows] = count + 1
        place = count % LENGTH
        self.history[rows, place] = self.history[rows, place + LENGTH] = self.rng.standard_normal(self.batch)
        newest = sliding_window_view(self.history, length, axis=1)
        return rows, newest[rows, place + 1 + LENGTH - length]


def spec_of(cell: str, policy: str) -> ModelSpec:
    """The network of all ways, as a fleet's spec."""
    return ModelSpec(
        architecture=cell,
        policy=policy,
        context=WINDOW,
        horizon=HORIZON,
        truncation=TRUNCATION,
        hidden=UNITS,
        levels=(0.5,),
        loss="mean",
        patch=1,
        replay=0,
        skip=False,
        train_rate=RATE,
        online_rate=RATE,
    )


def fleet_way(cell: str, policy: str, series: int, batch: int, *, kernel: bool) -> Way:
    """Ours: the kernel or the reference."""
    fleet = Fleet(spec_of(cell, policy), seed=0, kernel=kernel, features=1)
    Arena([fleet]).resize(series)
    fleet.reset(np.arange(series))
    feed = Feed(series, batch)
    ones, learn = np.ones(feed.batch, np.int64), np.ones(feed.batch, bool)
    known, centred = np.ones((feed.batch, 1, HORIZON), np.float32), np.zeros((feed.batch, 2, 0), np.float32)
    if policy == "carried":
        for rows in np.array_split(np.arange(series), -(-series // 256)):
            past = feed.history[rows, :LENGTH, None]
            fleet.advance(rows, past, np.full(len(rows), LENGTH))

    def take() -> int:
        rows, values = feed.take(TRUNCATION + HORIZON if policy == "carried" else LENGTH)
        targets = values[:, None, -HORIZON:]
        if policy == "carried":
            past = values[:, :TRUNCATION, None]
            fleet.carry(rows, values[:, -1:, None], ones, past, centred, targets, known, learn)
        elif policy == "joint":
            fleet.step(rows, values[:, None, :, None], centred, targets, known, learn)
        else:
            both = np.stack([values[:, HORIZON:], values[:, :WINDOW]], axis=1)
            fleet.step(rows, both[..., None], centred, targets, known, learn)
        return len(rows)

    return take


class Network(nn.Module):
    """The network as torch has it."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        self.recurrence = (nn.LSTM if cell == "lstm" else nn.GRU)(1, UNITS, batch_first=True)
        self.head = nn.Linear(UNITS, HORIZON)

    def forward(self, values: Tensor) -> Tensor:
        """values [B, L, 1] to forecasts [B, H]."""
        states, _ = self.recurrence(values)
        ahead: Tensor = self.head(states[:, -1])
        return ahead


def _windows(values: NDArray[np.float32]) -> tuple[Tensor, Tensor, Tensor]:
    whole = torch.from_numpy(values)
    return whole[:, HORIZON:, None], whole[:, :WINDOW, None], whole[:, WINDOW:]


def loop_way(cell: str, series: int, batch: int) -> Way:
    """A torch module and an optimiser for each series, one after the other."""
    models = [Network(cell) for _ in range(series)]
    optimisers = [torch.optim.Adam(model.parameters(), RATE) for model in models]
    feed = Feed(series, batch)

    def take() -> int:
        rows, values = feed.take()
        newest, learnt, targets = _windows(values)
        for place, row in enumerate(rows):
            model, optimiser = models[row], optimisers[row]
            with torch.no_grad():
                model(newest[place : place + 1])
            optimiser.zero_grad()
            nn.functional.mse_loss(model(learnt[place : place + 1]), targets[place : place + 1]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
        return len(rows)

    return take


def shared_way(cell: str, series: int, batch: int) -> Way:
    """One network for all series, in batches: what one does who gives up on a network for each."""
    model = Network(cell)
    optimiser, feed = torch.optim.Adam(model.parameters(), RATE), Feed(series, batch)

    def take() -> int:
        rows, values = feed.take()
        newest, learnt, targets = _windows(values)
        with torch.no_grad():
            model(newest)
        optimiser.zero_grad()
        nn.functional.mse_loss(model(learnt), targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        return len(rows)

    return take


def vmap_way(cell: str, series: int, batch: int) -> Way:
    """torch.func.vmap over stacked weights; cells are written out, as vmap knows no nn.GRU."""
    gates = 4 if cell == "lstm" else 3
    shapes = {"x": (1, gates * UNITS), "h": (UNITS, gates * UNITS), "b": (gates * UNITS,), "c": (gates * UNITS,)}
    shapes |= {"o": (UNITS, HORIZON), "d": (HORIZON,)}
    weights = {name: (torch.rand(series, *shape) * 2 - 1) * UNITS**-0.5 for name, shape in shapes.items()}
    first, second = ({name: torch.zeros_like(part) for name, part in weights.items()} for _ in range(2))
    feed = Feed(series, batch)

    def forecast(w: dict[str, Tensor], values: Tensor) -> Tensor:
        state = cell_state = values.new_zeros(UNITS)
        for value in values @ w["x"] + w["b"]:
            inner = state @ w["h"] + w["c"]
            if cell == "lstm":
                let_in, forget, fresh, let_out = (value + inner).split(UNITS)
                cell_state = torch.sigmoid(forget) * cell_state + torch.sigmoid(let_in) * torch.tanh(fresh)
                state = torch.sigmoid(let_out) * torch.tanh(cell_state)
            else:
                reset, update = torch.sigmoid((value + inner)[: 2 * UNITS]).split(UNITS)
                fresh = torch.tanh(value[2 * UNITS :] + reset * inner[2 * UNITS :])
                state = fresh + update * (state - fresh)
        return state @ w["o"] + w["d"]

    def loss(w: dict[str, Tensor], values: Tensor, targets: Tensor) -> Tensor:
        return ((forecast(w, values) - targets) ** 2).mean()

    ahead, slopes = torch.func.vmap(forecast), torch.func.vmap(torch.func.grad(loss))

    def take() -> int:
        rows, values = feed.take()
        newest, learnt, targets = _windows(values)
        mine = {name: part[rows] for name, part in weights.items()}
        with torch.no_grad():
            ahead(mine, newest)
            gradient: dict[str, Any] = slopes(mine, learnt, targets)
            norm = torch.stack([part.flatten(1).norm(dim=1) for part in gradient.values()]).norm(dim=0)
            scale = 1.0 / norm.clamp(min=1.0)
            for name, part in gradient.items():
                slope = part * scale.view(-1, *[1] * (part.ndim - 1))
                first[name][rows] = 0.9 * first[name][rows] + 0.1 * slope
                second[name][rows] = 0.999 * second[name][rows] + 0.001 * slope**2
                weights[name][rows] -= RATE * first[name][rows] / (second[name][rows].sqrt() + 1e-8)
        return len(rows)

    return take

"""Training the starting weights of a feed: one network on windows of all its series, stopped when newer rows gain no
more.

The weights are shared; what a series is like by itself it learns live, from there on. The loss, the optimiser and the
inputs are those of live running (``models/losses.py``, ``models/adam.py``, ``models/history.py``), with one series of R windows where the
fleet has B series of a few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from models.adam import adam, corrections
from models.batch import flatten, sizes_of, unflatten
from models.history import Floats, History, Rows, Split
from models.losses import loss_of
from models.registry import architecture
from models.spec import ModelSpec

Weights = dict[str, NDArray[np.float32]]
Progress = Callable[[float, dict[str, Any]], None]

BATCH = (32, 256)
"""Fewest and most windows of a minibatch: as many between as give 64 steps an epoch, so that a short history is learnt
too.
"""
EPOCH_WINDOWS = 50_000
"""Windows drawn for one epoch at most: a long history makes a run better, not endless."""
SCORED_WINDOWS = 20_000
"""Windows scored at most, evenly spread over a part."""
CHUNK = 1_024
"""Windows scored in one pass."""
PATIENCE = 3
"""Epochs without a better validation loss after which training stops."""


@dataclass(frozen=True, slots=True)
class Score:
    """How good forecasts were, over ``targets`` known targets: mean pinball loss and mean absolute error of the median,
    both in window
    spreads so that series compare, and the share of targets inside the outermost levels."""

    pinball: float
    mae: float
    coverage: float
    targets: int


@dataclass(frozen=True, slots=True)
class Trained:
    """The best weights, the validation loss of the start and after each epoch, and why training ended."""

    weights: Weights
    validation: list[float]
    ended: Literal["epochs", "early", "asked"]

    @property
    def epochs(self) -> int:
        """Epochs begun."""
        return len(self.validation) - 1


@dataclass(slots=True)
class _Tally:
    levels: Floats
    median: int
    sums: Floats = field(default_factory=lambda: np.zeros(4))

    def add(self, quantiles: Floats, targets: Floats, known: NDArray[np.bool_]) -> None:
        """quantiles [R, H, Q], targets and known [R, H]."""
        error = targets[..., None] - quantiles
        loss = np.maximum(self.levels * error, (self.levels - 1) * error).mean(-1)
        inside = (targets >= quantiles[..., 0]) & (targets <= quantiles[..., -1])
        size = np.abs(error[..., self.median])
        self.sums += [float(part[known].sum()) for part in (loss, size, inside, known)]

    def score(self) -> Score:
        count = self.sums[3]
        means = (self.sums[:3] / count).tolist() if count else [math.nan] * 3
        return Score(means[0], means[1], means[2], int(count))


def untrained(spec: ModelSpec, seed: int) -> Weights:
    """Starting weights as a fleet without a model has them."""
    net = architecture(spec.architecture)
    return {name: part.numpy() for name, part in net.start(sizes_of(spec), torch.Generator().manual_seed(seed)).items()}


def check_weights(weights: Mapping[str, NDArray[Any]], spec: ModelSpec) -> None:
    """Raises ValueError, with the reason, unless a network of ``spec`` can run on these weights."""
    _vector(weights, spec)
    if not all(np.isfinite(part).all() for part in weights.values()):
        raise ValueError("weights that are not finite")


def train(
    history: History,
    split: Split,
    *,
    start: Mapping[str, NDArray[Any]] | None,
    seed: int,
    epochs: int,
    should_stop: Callable[[], bool],
    progress: Progress,
) -> Trained:
    """Train on ``split.train``, stop by ``split.validation``; ``split.held_out`` is not looked at.

    ``start``: weights to go on from, None for untrained ones. The result is the best of start and epochs by validation
    loss, so it is never worse there than the start. ``should_stop`` is asked before each minibatch; the begun epoch
    still counts. The same arguments give the same weights. Raises ValueError where ``start`` does not fit or a part has
    no windows.
    """
    if not (len(split.train) and len(split.validation)):
        raise ValueError("no windows to train or validate on")
    spec = history.spec
    net, sizes, teach = architecture(spec.architecture), sizes_of(spec), loss_of(spec)
    states = torch.zeros(1, 3, len(vector := _vector(start or untrained(spec, seed), spec)))
    states[0, 0] = vector
    best, least = vector.clone(), _loss(history, vector, split.validation)
    validation, stale, steps = [least], 0, 0
    generator, levels = np.random.default_rng(seed), torch.tensor(spec.levels)
    size = min(max(len(split.train) // 64, BATCH[0]), BATCH[1])
    planned = epochs * math.ceil(min(len(split.train), EPOCH_WINDOWS) / size)
    ended: Literal["epochs", "early", "asked"] = "epochs"
    while ended == "epochs" and len(validation) <= epochs:
        order = generator.permutation(split.train)[:EPOCH_WINDOWS]
        for at in range(0, len(order), size):
            if should_stop():
                ended = "asked"
                break
            batch = history.batch(order[at : at + size])
            weights = states[:, 0].clone().requires_grad_()
            patches, centred = torch.from_numpy(batch.patches), torch.from_numpy(batch.centred)
            quantiles = net.quantiles(unflatten(weights, net, sizes), patches, centred, sizes)
            loss = teach(quantiles, torch.from_numpy(batch.targets), torch.from_numpy(batch.known), levels).sum()
            (gradient,) = torch.autograd.grad(loss, weights)
            rate = spec.train_rate * _anneal(steps / planned)
            steps += 1
            pace = corrections(np.array([steps]), np.array([rate]), spec.weight_decay)
            adam(states, gradient, tuple(map(torch.from_numpy, pace)), spec.clip)
            progress(steps / planned, {"epoch": len(validation), "loss": loss.item(), "validation": least})
        validation.append(_loss(history, states[0, 0], split.validation))
        stale = 0 if validation[-1] < least else stale + 1
        if not stale:
            best, least = states[0, 0].clone(), validation[-1]
        if ended == "epochs" and stale >= PATIENCE:
            ended = "early"
    return Trained(_named(best, spec), validation, ended)


def evaluate(history: History, weights: Mapping[str, NDArray[Any]], cutoffs: Rows) -> Score:
    """The network's score at these cutoffs. Raises ValueError where the weights do not fit the spec."""
    return _score(history, _vector(weights, history.spec), cutoffs)


def evaluate_baselines(history: History, split: Split) -> dict[str, Score]:
    """Scores of the last value and of the seasonal naive forecast on the held-out windows.

    Their levels come from their own errors by lead on the training windows: without that any interval would beat them.
    """
    levels, median = np.array(history.spec.levels), history.spec.median
    learnt, judged = _spread_out(split.train), _spread_out(split.held_out)
    scores = {}
    for name in ("last-value", "seasonal-naive"):

        def points(cutoffs: Rows, seasonal: bool = name == "seasonal-naive") -> Floats:
            return history.seasonal(cutoffs) if seasonal else np.zeros((len(cutoffs), history.spec.horizon))

        targets, known = history.targets(learnt)
        errors = targets - points(learnt)
        offsets = np.stack(
            [
                np.quantile(errors[known[:, lead], lead], levels) if known[:, lead].any() else 0 * levels
                for lead in range(history.spec.horizon)
            ]
        )
        offsets[:, median] = 0.0
        # An offset on the wrong side of the point would make levels cross.
        offsets[:, :median] = np.minimum(offsets[:, :median], 0.0)
        offsets[:, median + 1 :] = np.maximum(offsets[:, median + 1 :], 0.0)
        tally = _Tally(levels, median)
        tally.add(points(judged)[..., None] + offsets, *history.targets(judged))
        scores[name] = tally.score()
    return scores


def _score(history: History, vector: torch.Tensor, cutoffs: Rows) -> Score:
    spec = history.spec
    net, sizes = architecture(spec.architecture), sizes_of(spec)
    tally = _Tally(np.array(spec.levels), spec.median)
    chosen = _spread_out(cutoffs)
    with torch.no_grad():
        weights = unflatten(vector[None], net, sizes)
        for at in range(0, len(chosen), CHUNK):
            batch = history.batch(chosen[at : at + CHUNK])
            patches, centred = torch.from_numpy(batch.patches), torch.from_numpy(batch.centred)
            quantiles = net.quantiles(weights, patches, centred, sizes)[0].numpy().astype(np.float64)
            tally.add(quantiles, batch.targets[0].astype(np.float64), batch.known[0] > 0)
    return tally.score()


def _loss(history: History, vector: torch.Tensor, cutoffs: Rows) -> float:
    return _score(history, vector, cutoffs).pinball


def _anneal(done: float) -> float:
    """From 1 down to a twentieth, as half a cosine (Loshchilov and Hutter 2017)."""
    return 0.05 + 0.95 * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def _spread_out(cutoffs: Rows) -> Rows:
    if len(cutoffs) <= SCORED_WINDOWS:
        return cutoffs
    chosen: Rows = cutoffs[np.linspace(0, len(cutoffs) - 1, SCORED_WINDOWS).astype(np.int64)]
    return chosen


def _vector(weights: Mapping[str, NDArray[Any]], spec: ModelSpec) -> torch.Tensor:
    named = {name: torch.from_numpy(np.array(part, np.float32)) for name, part in weights.items()}
    return flatten(named, architecture(spec.architecture), sizes_of(spec))


def _named(vector: torch.Tensor, spec: ModelSpec) -> Weights:
    named = unflatten(vector[None], architecture(spec.architecture), sizes_of(spec))
    return {name: part[0].numpy().copy() for name, part in named.items()}

"""The fleet: one network for each series, all weights stacked in one arena, forecast and fine-tuned in one batched pass.

The reference implementation is plain torch with autograd, for any architecture; for ours, a compiled kernel does the same many times
faster (``models/compiled.py``). In both, a row's result depends on its own row alone, which the engine's promise (the same effects
however the stream is cut into batches) rests on and a property test holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.calendar import WIDTH
from models.compiled import Kernel, covers, extension
from models.recurrent import Architecture, Sizes
from models.registry import architecture
from models.spec import ModelSpec

CHUNK = 128
"""Rows in one batched pass: enough to spread the cost of a call, few enough that their weights stay in the cache."""
LANES = 32
"""torch computes 32 elements at a time (two AVX-512 registers) and what is left over by other code, which rounds differently. Batches
and parameter vectors are padded to multiples of it, so that no row lies in what is left over."""
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""Adam's decay rates and guard, as Kingma and Ba (2015) propose."""

Floats32 = NDArray[np.float32]
Rows = NDArray[np.int64]


def sizes_of(spec: ModelSpec) -> Sizes:
    """The network's sizes under a spec: a step of the recurrence takes ``patch`` slots of every channel, their mask, and the calendar."""
    return Sizes(
        steps=spec.context // spec.patch,
        features=spec.patch * (spec.channels + 1) + WIDTH,
        context=spec.context,
        horizon=spec.horizon,
        levels=len(spec.levels),
        median=spec.median,
        hidden=spec.hidden,
    )


def flatten(weights: Mapping[str, Tensor], net: Architecture, sizes: Sizes) -> Tensor:
    """One series' parameters as a vector [P], in the order of ``shapes``. Raises ValueError where a name or shape is off."""
    shapes = net.shapes(sizes)
    if set(weights) != set(shapes):
        raise ValueError(f"parameters {sorted(weights)} where {sorted(shapes)} are needed")
    for name, shape in shapes.items():
        if tuple(weights[name].shape) != shape:
            raise ValueError(f"parameter {name} has shape {tuple(weights[name].shape)}, needed {shape}")
    return torch.cat([weights[name].detach().reshape(-1).float() for name in shapes])


def unflatten(vectors: Tensor, net: Architecture, sizes: Sizes) -> dict[str, Tensor]:
    """Views of stacked vectors [B, P] as named parameters [B, ...]."""
    named, at = {}, 0
    for name, shape in net.shapes(sizes).items():
        count = int(np.prod(shape))
        named[name] = vectors[:, at : at + count].view(-1, *shape)
        at += count
    return named


def pinball(quantiles: Tensor, targets: Tensor, known: Tensor, levels: Tensor) -> Tensor:
    """Mean quantile loss of each series [B] (Koenker and Bassett 1978): max(q*e, (q-1)*e), e = target - quantile.

    quantiles [B, R, H, Q], targets [B, R, H], known [B, R, H] in {0, 1}: unknown targets count for nothing.
    """
    error = targets[..., None] - quantiles
    loss = torch.maximum(levels * error, (levels - 1) * error).mean(-1) * known
    return loss.sum((1, 2)) / known.sum((1, 2)).clamp(min=1)


class Fleet:
    """Weights and Adam moments of N series: float32 [N, 3, P], and the fine-tuning steps each has taken, int64 [N]."""

    def __init__(self, spec: ModelSpec, seed: int, kernel: bool | None = None) -> None:
        """``kernel`` False is the reference, True the compiled kernel (RuntimeError where there is none), None whatever there is."""
        self.spec = spec
        self.net = architecture(spec.architecture)
        self.sizes = sizes_of(spec)
        self.levels = torch.tensor(spec.levels)
        self.set_start(self.net.start(self.sizes, torch.Generator().manual_seed(seed)))
        self.trained = False
        self.arena = torch.zeros(0, 3, len(self.start))
        self.steps = np.zeros(0, np.int64)
        self.kernel: Kernel | None = None
        if kernel or (kernel is None and covers(self.net) and extension() is not None):
            constants = (spec.clip, BETA1, BETA2, EPSILON)
            self.kernel = Kernel(self.net, self.sizes, self.levels.numpy(), constants)

    def set_start(self, weights: Mapping[str, Tensor]) -> None:
        """New series start from these trained weights. Raises ValueError where they do not fit."""
        start = flatten(weights, self.net, self.sizes)
        self.start = torch.nn.functional.pad(start, (0, -len(start) % LANES))
        self.trained = True

    def set_start_arrays(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """The same from numpy arrays, as a checkpoint holds them."""
        if not all(np.isfinite(array).all() for array in weights.values()):
            raise ValueError("weights hold numbers that are not finite")
        self.set_start({name: torch.from_numpy(np.array(array, np.float32)) for name, array in weights.items()})

    def resize(self, rows: int) -> None:
        """Make room for ``rows`` series."""
        more = rows - len(self.steps)
        if more > 0:
            self.arena = torch.cat([self.arena, torch.zeros(more, *self.arena.shape[1:])])
            self.steps = np.concatenate([self.steps, np.zeros(more, np.int64)])

    def reset(self, rows: Rows) -> None:
        """Put the starting weights into these rows, with fresh moments."""
        self.arena[rows, 0] = self.start
        self.arena[rows, 1:] = 0.0
        # Trained weights need the careful rate from the first step, untrained ones the large rate first.
        self.steps[rows] = 10 * self.spec.settle_steps if self.trained else 0

    def rates(self, rows: Rows) -> NDArray[np.float64]:
        """Learning rate of each row: from the training rate down to the online rate as 1/(1 + steps/settle_steps)."""
        return np.maximum(self.spec.online_rate, self.spec.train_rate / (1 + self.steps[rows] / self.spec.settle_steps))

    def step(
        self,
        rows: Rows,
        patches: Floats32,
        centred: Floats32,
        targets: Floats32,
        known: Floats32,
        learn: NDArray[np.bool_],
    ) -> Floats32:
        """Forecast from the newest window and take one fine-tuning step on the others: quantiles [B, H, Q] of window 0.

        patches [B, R, S, F], centred [B, R, L]; targets and known [B, R-1, H] belong to windows 1..R-1. The forecast comes from the
        weights before the step, so it waits for no learning. Rows with ``learn`` False, or without a known target, keep their weights.
        """
        if self.kernel is not None:
            return self._step_compiled(self.kernel, rows, patches, centred, targets, known, learn)
        out = np.empty((len(rows), self.sizes.horizon, self.sizes.levels), np.float32)
        for at in range(0, len(rows), CHUNK):
            part = slice(at, at + CHUNK)
            out[part] = self._step(rows[part], patches[part], centred[part], targets[part], known[part], learn[part])
        return out

    def _step(
        self,
        rows: Rows,
        patches: Floats32,
        centred: Floats32,
        targets: Floats32,
        known: Floats32,
        learn: NDArray[np.bool_],
    ) -> Floats32:
        count = len(rows)
        learners = np.flatnonzero(learn & (known.sum((1, 2)) > 0))
        multiple = LANES // gcd(LANES, patches.shape[1] * self.sizes.hidden)
        padded = np.resize(np.arange(count), -(-count // multiple) * multiple)
        states = self.arena[rows[padded]]
        vectors = states[:, 0].clone().requires_grad_(len(learners) > 0)
        weights = unflatten(vectors, self.net, self.sizes)
        quantiles = self.net.quantiles(
            weights, torch.from_numpy(patches[padded]), torch.from_numpy(centred[padded]), self.sizes
        )
        if len(learners):
            loss = pinball(
                quantiles[:, 1:], torch.from_numpy(targets[padded]), torch.from_numpy(known[padded]), self.levels
            )
            (gradient,) = torch.autograd.grad(loss.sum(), vectors)
            states, gradient, taught = states[learners], gradient[learners], rows[learners]
            self.steps[taught] += 1
            adam(states, gradient, self.steps[taught], self.rates(taught), self.spec.clip)
            self.arena[taught] = states
        ahead: Floats32 = quantiles[:count, 0].detach().numpy()
        return ahead

    def _step_compiled(
        self,
        kernel: Kernel,
        rows: Rows,
        patches: Floats32,
        centred: Floats32,
        targets: Floats32,
        known: Floats32,
        learn: NDArray[np.bool_],
    ) -> Floats32:
        learners = learn & (known.sum((1, 2)) > 0)
        taught = rows[learners]
        self.steps[taught] += 1
        size, root = np.zeros((2, len(rows)), np.float32)
        size[learners], root[learners] = corrections(self.steps[taught], self.rates(taught))
        return kernel.step(self.arena.numpy(), rows, patches, centred, targets, known, learners, size, root)

    def snapshot(self, row: int) -> dict[str, NDArray[Any]]:
        """One row as plain arrays; ``restore`` is the exact inverse."""
        return {"fleet.arena": self.arena[row].numpy().copy(), "fleet.steps": np.array([self.steps[row]])}

    def restore(self, row: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Put a snapshot into a row. Raises ValueError where it comes from a network of other sizes."""
        arena = arrays["fleet.arena"]
        if arena.shape != tuple(self.arena.shape[1:]):
            raise ValueError(f"state of {arena.shape} where the network has {tuple(self.arena.shape[1:])}")
        self.arena[row] = torch.from_numpy(np.array(arena, np.float32))
        self.steps[row] = arrays["fleet.steps"][0]


def corrections(steps: Rows, rates: NDArray[np.float64]) -> tuple[Floats32, Floats32]:
    """What Adam divides its moments' start at zero out with: the rate over the first moment's bias, the root of the second's."""
    counts = steps.astype(np.float64)
    return (rates / (1 - BETA1**counts)).astype(np.float32), np.sqrt(1 - BETA2**counts).astype(np.float32)


def adam(states: Tensor, gradient: Tensor, steps: Rows, rates: NDArray[np.float64], clip: float) -> None:
    """One Adam step (Kingma and Ba 2015) in place on states [B, 3, P], each row's gradient clipped to norm ``clip`` first.

    A gradient that is not finite is dropped whole: one absurd window must not end a series.
    """
    norm = gradient.norm(dim=1, keepdim=True)
    finite = torch.isfinite(norm)
    gradient = torch.where(finite, gradient * (clip / norm.clamp(min=clip)), torch.zeros(()))
    weights, first, second = states.unbind(1)
    first.mul_(BETA1).add_(gradient, alpha=1 - BETA1)
    second.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    size, root = (torch.from_numpy(column)[:, None] for column in corrections(steps, rates))
    weights.sub_(size * first / (second.sqrt() / root + EPSILON))

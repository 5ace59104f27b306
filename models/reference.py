"""The reference implementation of a fleet: plain torch with autograd, for any architecture. What the compiled kernel is tested against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from math import gcd
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.adam import adam
from models.batch import Batch, Floats32, Store, unflatten
from models.losses import loss_of
from models.recurrent import Architecture, Sizes
from models.spec import ModelSpec

CHUNK = 128
"""Rows in one batched pass: enough to spread the cost of a call, few enough that their weights stay in the cache."""
LANES = 32
"""torch computes 32 elements at a time (two AVX-512 registers) and what is left over by other code, which rounds differently. Batches
and parameter vectors are padded to multiples of it, so that no row lies in what is left over."""


class Tensors(NamedTuple):
    """A ``Store`` as torch sees it, without copies."""

    arena: Tensor
    states: Tensor


class Reference:
    """See ``models.batch.Implementation``."""

    def __init__(self, net: Architecture, sizes: Sizes, spec: ModelSpec) -> None:
        self._net, self._spec, self._sizes, self._loss = net, spec, sizes, loss_of(spec)
        self._levels = torch.tensor(spec.levels)

    def step(self, store: Store, batch: Batch) -> Floats32:
        """See ``models.batch.Implementation.step``."""
        out = np.empty((len(batch.rows), self._sizes.horizon, self._sizes.levels), np.float32)
        tensors = Tensors(torch.from_numpy(store.arena), torch.from_numpy(store.states))
        for at in range(0, len(batch.rows), CHUNK):
            part = np.arange(at, min(at + CHUNK, len(batch.rows)))
            out[part] = self._step(tensors, batch, part)
        return out

    def _step(self, store: Tensors, batch: Batch, part: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Floats32:
        multiple = LANES // gcd(LANES, self._sizes.hidden)
        padded = np.resize(part, -(-len(part) // multiple) * multiple)
        columns = {field.name: torch.from_numpy(getattr(batch, field.name)[padded]) for field in fields(Batch)}
        learners = torch.from_numpy(np.flatnonzero(batch.learn[part]))
        vectors = store.arena[columns["rows"], 0].requires_grad_(len(learners) > 0)
        weights = unflatten(vectors, self._net, self._sizes)
        seen = self._seen(weights, store, columns)
        quantiles = self._net.readout(weights, seen, columns["centred"], self._sizes)
        if len(learners):
            loss = self._loss(quantiles[:, 1:], columns["targets"], columns["known"], self._levels)
            (gradient,) = torch.autograd.grad(loss.sum(), vectors)
            taught = columns["rows"][learners]
            states = store.arena[taught]
            pace = tuple(columns[name][learners] for name in ("size", "root", "keep"))
            adam(states, gradient[learners], pace, self._spec.clip)
            store.arena[taught] = states
        ahead: Floats32 = quantiles[: len(part), 0].detach().numpy()
        return ahead

    def _seen(self, weights: Mapping[str, Tensor], store: Tensors, columns: Mapping[str, Tensor]) -> Tensor:
        """What the readout sees of every run, [B, R, U]."""
        inputs, net, sizes = columns["inputs"], self._net, self._sizes
        if self._spec.policy == "carried":
            newest = self._advance(weights, store, columns)
            oldest = (columns["moment"] + columns["counts"] + 1) % store.states.shape[1]  # the place after the newest
            before = store.states[columns["rows"], oldest][:, None]
            outputs, _ = net.encode(weights, inputs, before, sizes)
            return torch.cat([newest, outputs[:, :, -1]], 1)
        zero = inputs.new_zeros(*inputs.shape[:2], sizes.layers, net.state_width(sizes))
        outputs, _ = net.encode(weights, inputs, zero, sizes)
        if self._spec.policy == "joint":
            return torch.cat([outputs[:, :, -1], outputs[:, :, sizes.steps - 1]], 1)
        return outputs[:, :, -1]

    @torch.no_grad()
    def _advance(self, weights: Mapping[str, Tensor], store: Tensors, columns: Mapping[str, Tensor]) -> Tensor:
        """Take the fresh steps, leave their states in the ring, and return what the readout sees after the last, [B, 1, U]."""
        rows, moment, counts, fresh = (columns[name] for name in ("rows", "moment", "counts", "fresh"))
        ring = store.states.shape[1]
        state = store.states[rows, moment % ring][:, None]
        # The state's first U numbers are what the readout sees: so a row without a fresh step has it too.
        seen = state[:, :, -1, : self._sizes.hidden]
        for step in range(fresh.shape[1]):
            outputs, after = self._net.encode(weights, fresh[:, None, step : step + 1], state, self._sizes)
            moved = step < counts
            state = torch.where(moved[:, None, None, None], after, state)
            seen = torch.where(moved[:, None, None], outputs[:, :, -1], seen)
            store.states[rows[moved], (moment[moved] + step + 1) % ring] = state[moved, 0]
        return seen

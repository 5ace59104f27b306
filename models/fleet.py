"""The fleet: one network for each series, all weights stacked in one arena, forecast and fine-tuned in one call for many series.

Two implementations of one interface: the reference in plain torch (``models/reference.py``), for any architecture, and for ours a compiled
kernel (``models/compiled.py``) that does the same many times faster. In both, a row's result depends on its own row alone, which the
engine's promise (the same effects however the stream is cut into batches) rests on and a property test holds.

``ModelSpec.policy`` says where recurrences begin and end (docs/fleet.md says which to choose):

- ``window``: each of R windows is a recurrence of its own from a state of zero. Window 0 is forecast, the others are learnt. What a forecast
  sees is its window and nothing else, and any older window can be learnt too.
- ``joint``: one recurrence from a state of zero over the window of the newest mature cutoff and on to now. It is learnt at that cutoff
  and forecast at its end, so the steps before the cutoff are taken once and not twice.
- ``carried``: the state goes on from event to event, and an event takes one new step to its forecast. The states of the last H+K steps are
  kept in a ring. Learning begins at the oldest of them and goes back through time over the K = ``truncation`` steps to the newest mature
  cutoff (truncated backpropagation: Williams and Peng 1990). The stored states were made by weights of up to H+K updates ago, not by
  today's: an update moves weights by no more than the small online rate, a gated recurrence forgets, and the K learnt steps are
  themselves made anew with today's weights. Kapturowski et al. (2019) measure what such stale states cost where weights move faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.adam import BETA1, BETA2, EPSILON, corrections
from models.arena import Arrays, Field
from models.batch import Batch, Floats32, Implementation, Rows, Store, flatten, sizes_of
from models.compiled import Kernel, covers, extension
from models.reference import LANES, Reference
from models.registry import architecture
from models.spec import ModelSpec

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Start:
    """Starting weights [P], and whether they were trained or drawn."""

    weights: Tensor
    trained: bool


class Fleet:
    """Weights and Adam moments of N series: float32 [N, 3, P], and the fine-tuning steps each has taken, int64 [N].

    With policy "carried" also the states [N, H+K+1, layers, W] and the recurrent steps taken, int64 [N]: state m lies at m mod (H+K+1).
    """

    def __init__(self, spec: ModelSpec, seed: int, kernel: bool | None = None, features: int | None = None) -> None:
        """``kernel`` False is the reference, True the compiled kernel (RuntimeError where there is none), None whatever there is.
        ``features`` is F where the inputs are not those of ``models.inputs``."""
        self.spec = spec
        self.net = architecture(spec.architecture)
        self.sizes = sizes_of(spec, features)
        self.set_start(self.net.start(self.sizes, torch.Generator().manual_seed(seed)))
        self.trained = False
        self.ring = spec.horizon + spec.truncation + 1 if spec.policy == "carried" else 0
        self.width = len(self.start) if "network" in spec.experts else 0
        self.arrays: Arrays = {}
        self.implementation: Implementation = Reference(self.net, self.sizes, spec)
        if kernel or (kernel is None and covers(self.net) and extension() is not None):
            self.implementation = Kernel(self.net, self.sizes, spec, (BETA1, BETA2, EPSILON))

    def fields(self) -> list[Field]:
        """See ``models.arena.Part``."""
        states = (self.ring, self.spec.layers, self.net.state_width(self.sizes) if self.ring else 0)
        return [
            Field("fleet.steps", np.int64),
            Field("fleet.moment", np.int64),
            Field("fleet.states", np.float32, states),
            Field("fleet.weights", np.float32, (3, self.width)),
        ]

    @property
    def weights(self) -> Tensor:
        """Weights and Adam's first and second moments, [N, 3, P]; P is 0 where a feed has no network."""
        return torch.from_numpy(self.arrays["fleet.weights"])

    @property
    def states(self) -> Tensor:
        """Carried states, [N, H+K+1, layers, W], or [N, 0, layers, 0] with another policy."""
        return torch.from_numpy(self.arrays["fleet.states"])

    @property
    def steps(self) -> Rows:
        """Fine-tuning steps that each series has taken, [N]."""
        return self.arrays["fleet.steps"]

    @property
    def moment(self) -> Rows:
        """Recurrent steps that each carried state has taken, [N]."""
        return self.arrays["fleet.moment"]

    def begun(self) -> Start:
        """What new series start from now."""
        return Start(self.start, self.trained)

    def begin_from(self, start: Start) -> None:
        """Let new series start from there, until something else is said."""
        self.start, self.trained = start.weights, start.trained

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

    def reset(self, rows: Rows) -> None:
        """Put the starting weights into these rows, with fresh moments."""
        self.weights[rows, 0] = self.start[: self.width]
        self.weights[rows, 1:] = 0.0
        # Trained weights need the careful rate from the first step, untrained ones the large rate first.
        self.steps[rows] = 10 * self.spec.settle_steps if self.trained else 0
        self.forget(rows)

    def forget(self, rows: Rows) -> None:
        """Carried states of these rows begin anew at zero, as after a long silence; weights stay."""
        self.states[rows] = 0.0
        self.moment[rows] = 0

    def hasten(self, rows: Rows) -> None:
        """Let the learning rate of these rows rise again, to half the training rate, from where it falls as it did at the start."""
        self.steps[rows] = np.minimum(self.steps[rows], self.spec.settle_steps)

    def rates(self, steps: Rows) -> NDArray[np.float64]:
        """Learning rate after so many steps: from the training rate down to the online rate as 1/(1 + steps/settle_steps)."""
        return np.maximum(self.spec.online_rate, self.spec.train_rate / (1 + steps / self.spec.settle_steps))

    def step(
        self,
        rows: Rows,
        patches: Floats32,
        centred: Floats32,
        targets: Floats32,
        known: Floats32,
        learn: Flags,
    ) -> Floats32:
        """Forecast and take one fine-tuning step, with policy "window" or "joint": quantiles [B, H, Q] of the newest cutoff.

        window: patches [B, R, S, F] and centred [B, R, L], window 0 the newest; targets and known [B, R-1, H] belong to windows 1..R-1.
        joint: patches [B, 1, S+A, F], the S steps to the mature cutoff and the A = ceil(H / patch) steps from there to now; centred [B, 2, L]
        and targets [B, 1, H] as above, with 0 for now and 1 for the mature cutoff. The forecast comes from the weights before the
        step, so it waits for no learning. Rows (unique) with ``learn`` False, or without a known target, keep their weights.
        """
        if self.ring:
            raise ValueError("a carried state is taken on by carry, not by step")
        count = len(rows)
        none, nothing = np.zeros(count, np.int64), np.zeros((count, 0, patches.shape[-1]), np.float32)
        return self._step(rows, patches, centred, targets, known, learn, none, nothing, none)

    def carry(
        self,
        rows: Rows,
        fresh: Floats32,
        counts: Rows,
        past: Floats32,
        centred: Floats32,
        targets: Floats32,
        known: Floats32,
        learn: Flags,
    ) -> Floats32:
        """Take the new steps, forecast from the last state, and take one fine-tuning step, with policy "carried": quantiles [B, H, Q].

        fresh [B, G, F] are new inputs, of which row b takes the first ``counts[b]``: one, and one more for each slot that was missing
        before it. past [B, K, F] are the inputs of the K steps up to the mature cutoff, H steps before now; centred [B, 2, L] (L 0 without
        the skip) belong to now and to that cutoff, targets and known [B, 1, H] to the cutoff. A row learns once H+K steps are behind it.
        """
        if not self.ring:
            raise ValueError(f"with policy {self.spec.policy!r} there is no state to carry")
        moment = self.moment[rows]
        ready = moment + counts >= self.ring - 1
        made = self._step(rows, past[:, None], centred, targets, known, learn & ready, moment, fresh, counts)
        self.moment[rows] = moment + counts
        return made

    def advance(self, rows: Rows, fresh: Floats32, counts: Rows) -> None:
        """Take new steps as in ``carry``, and no more: slots that were missing, or the history of a series that begins."""
        spec, count = self.spec, len(rows)
        past = np.zeros((count, spec.truncation, fresh.shape[-1]), np.float32)
        centred = np.zeros((count, 2, self.sizes.context), np.float32)
        targets = np.zeros((count, 1, spec.horizon), np.float32)
        self.carry(rows, fresh, counts, past, centred, targets, targets, np.zeros(count, bool))

    def _step(
        self,
        rows: Rows,
        inputs: Floats32,
        centred: Floats32,
        targets: Floats32,
        known: Floats32,
        learn: Flags,
        moment: Rows,
        fresh: Floats32,
        counts: Rows,
    ) -> Floats32:
        learn = learn & known.any((1, 2))
        self.steps[rows] = steps = self.steps[rows] + learn
        # Of rows that do not learn it is not used; one that never has learnt would divide by zero.
        size, root, keep = corrections(np.maximum(steps, 1), self.rates(steps), self.spec.weight_decay)
        centred = centred[..., : self.sizes.context]
        batch = Batch(rows, inputs, centred, targets, known, learn, size, root, keep, moment, fresh, counts)
        return self.implementation.step(Store(self.arrays["fleet.weights"], self.arrays["fleet.states"]), batch)

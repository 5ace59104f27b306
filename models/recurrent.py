"""LSTM and GRU forecasters over a whole fleet at once: every weight has a leading series axis.

An architecture is a stateless object: parameter shapes, starting values, and a forward pass on stacked parameters. Another one
is another class with these three methods, found by its entry point (``models/registry.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sizes:
    """S recurrent steps of F features each, L context values, H leads, Q levels (``median`` is the index of 0.5), U hidden units."""

    steps: int
    features: int
    context: int
    horizon: int
    levels: int
    median: int
    hidden: int


class Architecture(Protocol):
    """What the fleet needs of a network. Shapes: B series, R windows of each."""

    def shapes(self, sizes: Sizes) -> dict[str, tuple[int, ...]]:
        """Parameter names and the shape of one series' parameters."""
        ...

    def start(self, sizes: Sizes, generator: torch.Generator) -> dict[str, Tensor]:
        """Untrained parameters of one series. Should forecast the last value: centred outputs of zero."""
        ...

    def quantiles(self, weights: Mapping[str, Tensor], patches: Tensor, centred: Tensor, sizes: Sizes) -> Tensor:
        """Forecast quantiles [B, R, H, Q], ascending in Q, centred and scaled.

        ``patches`` [B, R, S, F] are the inputs of each recurrent step, ``centred`` [B, R, L] the window minus its last value, scaled.
        """
        ...


class Recurrent:
    """A recurrent encoder, a direct multi-step quantile head, and a linear skip from window to median.

    The skip lets the network be at least a linear autoregression; the head starts at zero, so an untrained network says
    "the last value" instead of noise.
    """

    gates: int
    """Blocks of U units in the recurrent weights: 4 for an LSTM, 3 for a GRU."""

    def shapes(self, sizes: Sizes) -> dict[str, tuple[int, ...]]:
        """See ``Architecture.shapes``."""
        width, units = self.gates * sizes.hidden, sizes.hidden
        return {
            "input": (sizes.features, width),
            "hidden": (units, width),
            "bias": (1, width),
            "hidden_bias": (1, width),
            "head": (units, sizes.horizon * sizes.levels),
            "head_bias": (1, sizes.horizon * sizes.levels),
            "skip": (sizes.context, sizes.horizon),
        }

    def start(self, sizes: Sizes, generator: torch.Generator) -> dict[str, Tensor]:
        """Uniform recurrent weights in +-1/sqrt(U), as torch.nn.LSTM and GRU start; zero head and skip."""
        bound = sizes.hidden**-0.5
        weights = {}
        for name, shape in self.shapes(sizes).items():
            if name in ("head", "head_bias", "skip"):
                weights[name] = torch.zeros(shape)
            else:
                weights[name] = (torch.rand(shape, generator=generator) * 2 - 1) * bound
        return weights

    def quantiles(self, weights: Mapping[str, Tensor], patches: Tensor, centred: Tensor, sizes: Sizes) -> Tensor:
        """See ``Architecture.quantiles``."""
        series, windows, steps, features = patches.shape
        inputs = patches.reshape(series, windows * steps, features)
        inputs = torch.baddbmm(weights["bias"], inputs, weights["input"]).view(series, windows, steps, -1)
        last = self.encode(inputs, weights["hidden"], weights["hidden_bias"])  # [B, R, U]
        out = torch.baddbmm(weights["head_bias"], last, weights["head"])  # [B, R, H*Q]
        out = out.view(series, windows, sizes.horizon, sizes.levels)
        median = out[..., sizes.median] + torch.bmm(centred, weights["skip"])  # [B, R, H]
        return spread(median, out, sizes.median)

    def encode(self, inputs: Tensor, hidden: Tensor, bias: Tensor) -> Tensor:
        """Hidden state after the last step, [B, R, U], from projected inputs [B, R, S, gates*U]."""
        raise NotImplementedError


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000), gates as in torch.nn.LSTM."""

    gates = 4

    def encode(self, inputs: Tensor, hidden: Tensor, bias: Tensor) -> Tensor:
        """i, f, o = sigmoid; g = tanh; c' = f*c + i*g; h' = o*tanh(c')."""
        units = hidden.shape[1]
        state = inputs.new_zeros(*inputs.shape[:2], units)
        cell = state
        for step in inputs.unbind(2):
            gates = step + torch.baddbmm(bias, state, hidden)
            let_in, forget, candidate, let_out = gates.split(units, -1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(let_in) * torch.tanh(candidate)
            state = torch.sigmoid(let_out) * torch.tanh(cell)
        return state


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014), reset after the product, gates as in torch.nn.GRU."""

    gates = 3

    def encode(self, inputs: Tensor, hidden: Tensor, bias: Tensor) -> Tensor:
        """r, z = sigmoid; n = tanh(x_n + r*h_n); h' = n + z*(h - n)."""
        units = hidden.shape[1]
        state = inputs.new_zeros(*inputs.shape[:2], units)
        for step in inputs.unbind(2):
            from_state = torch.baddbmm(bias, state, hidden)
            gates = torch.sigmoid(step[..., : 2 * units] + from_state[..., : 2 * units])
            reset, update = gates.split(units, -1)
            candidate = torch.tanh(step[..., 2 * units :] + reset * from_state[..., 2 * units :])
            state = torch.lerp(candidate, state, update)
        return state


def spread(median: Tensor, out: Tensor, at: int) -> Tensor:
    """Quantiles [..., Q] that cannot cross: positive increments stacked outwards from the median [...]; ``out`` [..., Q], ``at`` its index.

    The increments are squareplus (Barron 2021), (x + sqrt(x^2 + 4)) / 2: as softplus, but made of operations that are rounded exactly
    wherever an element lies in memory, so that a row's bits do not depend on its neighbours.
    """
    steps = 0.5 * (out + torch.sqrt(out * out + 4.0))
    parts = []
    if at:
        parts.append(median[..., None] - steps[..., :at].flip(-1).cumsum(-1).flip(-1))
    parts.append(median[..., None])
    if at + 1 < out.shape[-1]:
        parts.append(median[..., None] + steps[..., at + 1 :].cumsum(-1))
    return torch.cat(parts, -1)

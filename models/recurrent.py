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
    """S recurrent steps of F features each, L context values for the skip (0: there is none), H leads, Q levels (``median`` is the index of
    0.5), U hidden units in each layer."""

    steps: int
    features: int
    context: int
    horizon: int
    levels: int
    median: int
    hidden: int
    layers: int = 1


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

    def state_width(self, sizes: Sizes) -> int:
        """W: how many numbers each layer carries from step to step."""
        ...

    def encode(
        self, weights: Mapping[str, Tensor], inputs: Tensor, state: Tensor, sizes: Sizes
    ) -> tuple[Tensor, Tensor]:
        """What the readout sees after each step [B, R, S, U], and the state after the last [B, R, layers, W].

        ``inputs`` [B, R, S, F], ``state`` [B, R, layers, W] before the first step; any S.
        """
        ...

    def readout(self, weights: Mapping[str, Tensor], last: Tensor, centred: Tensor, sizes: Sizes) -> Tensor:
        """Quantiles as above, from what was seen after the last step [B, R, U]."""
        ...


class Recurrent:
    """A recurrent encoder of one or more layers, a direct multi-step quantile head, and a linear skip from window to median.

    The skip lets the network be at least a linear autoregression; the head starts at zero, so an untrained network says
    "the last value" instead of noise.
    """

    gates: int
    """Blocks of U units in the recurrent weights: 4 for an LSTM, 3 for a GRU."""
    carried: int
    """Blocks of U units in a layer's state: an LSTM's are state and cell."""

    def shapes(self, sizes: Sizes) -> dict[str, tuple[int, ...]]:
        """See ``Architecture.shapes``. Names of a further layer end in its number."""
        width, units = self.gates * sizes.hidden, sizes.hidden
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(sizes.layers):
            shapes |= {
                named("input", layer): (units if layer else sizes.features, width),
                named("hidden", layer): (units, width),
                named("bias", layer): (1, width),
                named("hidden_bias", layer): (1, width),
            }
        outputs = sizes.horizon * sizes.levels
        shapes |= {"head": (units, outputs), "head_bias": (1, outputs)}
        return shapes | ({"skip": (sizes.context, sizes.horizon)} if sizes.context else {})

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
        state = patches.new_zeros(*patches.shape[:2], sizes.layers, self.state_width(sizes))
        outputs, _ = self.encode(weights, patches, state, sizes)
        return self.readout(weights, outputs[:, :, -1], centred, sizes)

    def state_width(self, sizes: Sizes) -> int:
        """See ``Architecture.state_width``."""
        return self.carried * sizes.hidden

    def encode(
        self, weights: Mapping[str, Tensor], inputs: Tensor, state: Tensor, sizes: Sizes
    ) -> tuple[Tensor, Tensor]:
        """See ``Architecture.encode``."""
        series, windows, steps, _ = inputs.shape
        after = []
        for layer in range(sizes.layers):
            flat = inputs.reshape(series, windows * steps, -1)
            projected = torch.baddbmm(weights[named("bias", layer)], flat, weights[named("input", layer)])
            hidden, bias = weights[named("hidden", layer)], weights[named("hidden_bias", layer)]
            inputs, end = self.recur(projected.view(series, windows, steps, -1), hidden, bias, state[:, :, layer])
            after.append(end)
        return inputs, torch.stack(after, 2)

    def readout(self, weights: Mapping[str, Tensor], last: Tensor, centred: Tensor, sizes: Sizes) -> Tensor:
        """See ``Architecture.readout``."""
        out = torch.baddbmm(weights["head_bias"], last, weights["head"])  # [B, R, H*Q]
        out = out.view(*last.shape[:2], sizes.horizon, sizes.levels)
        median = out[..., sizes.median]  # [B, R, H]
        if sizes.context:
            median = median + torch.bmm(centred, weights["skip"])
        return spread(median, out, sizes.median)

    def recur(self, inputs: Tensor, hidden: Tensor, bias: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One layer: hidden state after each step [B, R, S, U], and what it carries on, [B, R, W], from projected inputs
        [B, R, S, gates*U] and what it carried so far."""
        raise NotImplementedError


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000), gates as in torch.nn.LSTM."""

    gates, carried = 4, 2

    def recur(self, inputs: Tensor, hidden: Tensor, bias: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """i, f, o = sigmoid; g = tanh; c' = f*c + i*g; h' = o*tanh(c')."""
        units = hidden.shape[1]
        state, cell = state.split(units, -1)
        states = []
        for step in inputs.unbind(2):
            gates = step + torch.baddbmm(bias, state, hidden)
            let_in, forget, candidate, let_out = gates.split(units, -1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(let_in) * torch.tanh(candidate)
            state = torch.sigmoid(let_out) * torch.tanh(cell)
            states.append(state)
        return torch.stack(states, 2), torch.cat([state, cell], -1)


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014), reset after the product, gates as in torch.nn.GRU."""

    gates, carried = 3, 1

    def recur(self, inputs: Tensor, hidden: Tensor, bias: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """r, z = sigmoid; n = tanh(x_n + r*h_n); h' = n + z*(h - n)."""
        units = hidden.shape[1]
        states = []
        for step in inputs.unbind(2):
            from_state = torch.baddbmm(bias, state, hidden)
            gates = torch.sigmoid(step[..., : 2 * units] + from_state[..., : 2 * units])
            reset, update = gates.split(units, -1)
            candidate = torch.tanh(step[..., 2 * units :] + reset * from_state[..., 2 * units :])
            state = torch.lerp(candidate, state, update)
            states.append(state)
        return torch.stack(states, 2), state


def named(parameter: str, layer: int) -> str:
    """A layer's parameter: the first layer's bear no number."""
    return f"{parameter}_{layer}" if layer else parameter


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

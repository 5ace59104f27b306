"""How a recurrent network remembers: what its gates kept and let in at each step of the window.

An LSTM's forget gate and a GRU's update gate are the share of each unit's old content that stays. What was written at a step is there at the
end times the product of these shares since then; their sum over steps is how long a unit remembers (a unit that keeps 0.9 each step has
a memory of 10 steps: van der Westhuizen and Lasenby 2018; Tallec and Ollivier 2018). Units count as much as they move the forecast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.explanation.gradients import look
from models.explanation.moment import Moment, Network
from models.explanation.parts import Attribution
from models.recurrent import GRU, LSTM, named

Floats = NDArray[np.float64]
STILL_THERE = 0.05
"""More than this of what the oldest step wrote being there at the end, the memory reaches beyond the window."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Gates over the S steps of the window, oldest first, means over the units: ``kept`` and ``let_in`` [S], shares of one.

    ``retained`` [S] is how much of what was written at a step is there at the end, ``slots`` how many slots that makes in sum, and ``beyond``
    whether the memory is longer than the window shows. ``step_slots`` is how many slots a step takes.
    """

    kept: Floats
    let_in: Floats
    retained: Floats
    step_slots: int
    beyond: bool

    @property
    def slots(self) -> float:
        """Length of the memory in slots; at least that where it is ``beyond``."""
        return float(self.retained.sum() * self.step_slots)

    @property
    def opened(self) -> int:
        """Slots back to the end of the step at which most was let in."""
        return int((len(self.let_in) - 1 - int(np.argmax(self.let_in))) * self.step_slots)


def memory(moment: Moment) -> Memory | None:
    """The memory of a moment's network, in its last layer; None where there is no network or not one of ours, whose gates are unknown."""
    network = moment.network
    if network is None or not isinstance(network.net, (GRU, LSTM)):
        return None
    with torch.no_grad():
        steps = torch.from_numpy(look(moment, network, moment.line[None]).steps)[None]
        kept, let_in = _gates(network, network.net, steps)
        share = _relevance(network)
        retained = torch.flip(torch.cumprod(torch.flip(kept, [0]), 0), [0])
        # What a step writes is scaled by the gates of later steps only.
        since = torch.cat([retained[1:], torch.ones_like(retained[:1])])
        folded = [(one @ share).numpy() for one in (kept, let_in, since)]
    beyond = bool(folded[2][0] > STILL_THERE)
    return Memory(folded[0], folded[1], folded[2], step_slots=moment.spec.patch, beyond=beyond)


def reach(network: Attribution, lead: int) -> int:
    """Slots, the newest being 1, within which half of all gains on the network's forecast of ``lead``, from 1, lie: the truth about how far
    it looks back, whatever its gates say. A network that says the last value has 1."""
    size = np.abs(network.gains[lead - 1]).sum(1).cumsum()
    return int(np.searchsorted(size, size[-1] / 2)) + 1


def _gates(network: Network, net: GRU | LSTM, steps: Tensor) -> tuple[Tensor, Tensor]:
    """What is kept and what is let in, [S, U] each, of ``steps`` [1, 1, S, F], in the last layer."""
    weights, units = network.weights, network.sizes.hidden
    inputs, gates = steps, steps
    for layer in range(network.sizes.layers):
        flat = inputs.reshape(1, inputs.shape[2], -1)
        projected = torch.baddbmm(weights[named("bias", layer)], flat, weights[named("input", layer)])[:, None]
        hidden, bias = weights[named("hidden", layer)], weights[named("hidden_bias", layer)]
        begun = network.state[:, :, layer]
        inputs, _ = net.recur(projected, hidden, bias, begun)
        before = torch.cat([begun[:, :, None, :units], inputs[:, :, :-1]], 2)
        gates = torch.sigmoid(projected + torch.baddbmm(bias, before[:, 0], hidden)[:, None])
    one, other = gates[0, 0, :, :units], gates[0, 0, :, units : 2 * units]
    # An LSTM's blocks are let in, forget, ...; a GRU's are reset, update, ...
    return (other, one) if isinstance(net, LSTM) else (other, 1 - other)


def _relevance(network: Network) -> Tensor:
    """Each unit's share [U] in how the last state moves the medians of all leads."""
    head = network.weights["head"][0].view(network.sizes.hidden, network.sizes.horizon, network.sizes.levels)
    size = head[:, :, network.sizes.median].abs().sum(1)
    return size / size.sum() if size.sum() > 0 else torch.full_like(size, 1 / len(size))

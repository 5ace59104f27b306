"""Adam over a whole fleet: weights and moments of many series, each with a rate and a count of its own."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""Adam's decay rates and guard, as Kingma and Ba (2015) propose."""

Floats32 = NDArray[np.float32]


def corrections(
    steps: NDArray[np.int64], rates: NDArray[np.float64], decay: float
) -> tuple[Floats32, Floats32, Floats32]:
    """What an update needs of each row [B], which is at its ``steps``-th: the rate over the first moment's bias (it starts at zero), the root
    of the second's, and what decay leaves of a weight."""
    counts = steps.astype(np.float64)
    size, root, keep = rates / (1 - BETA1**counts), np.sqrt(1 - BETA2**counts), 1 - rates * decay
    return size.astype(np.float32), root.astype(np.float32), keep.astype(np.float32)


def adam(states: Tensor, gradient: Tensor, pace: tuple[Tensor, ...], clip: float) -> None:
    """One Adam step (Kingma and Ba 2015) in place on states [B, 3, P], each row's gradient clipped to norm ``clip`` first, and with weights
    decayed apart from the gradient (Loshchilov and Hutter 2019). ``pace`` is what ``corrections`` says, as tensors [B].

    A gradient that is not finite is dropped whole: one absurd window must not end a series.
    """
    norm = gradient.norm(dim=1, keepdim=True)
    finite = torch.isfinite(norm)
    gradient = torch.where(finite, gradient * (clip / norm.clamp(min=clip)), torch.zeros(()))
    weights, first, second = states.unbind(1)
    first.mul_(BETA1).add_(gradient, alpha=1 - BETA1)
    second.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    size, root, keep = (column[:, None] for column in pace)
    weights.mul_(keep).sub_(size * first / (second.sqrt() / root + EPSILON))

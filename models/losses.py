"""What a network is taught by: quantile loss, or squared error."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.spec import ModelSpec

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def pinball(quantiles: Tensor, targets: Tensor, known: Tensor, levels: Tensor) -> Tensor:
    """Mean quantile loss of each series [B] (Koenker and Bassett 1978): max(q*e, (q-1)*e), e = target - quantile.

    quantiles [B, R, H, Q], targets [B, R, H], known [B, R, H] in {0, 1}: unknown targets count for nothing.
    """
    error = targets[..., None] - quantiles
    loss = torch.maximum(levels * error, (levels - 1) * error).mean(-1) * known
    return loss.sum((1, 2)) / known.sum((1, 2)).clamp(min=1)


def squared(forecasts: Tensor, targets: Tensor, known: Tensor, levels: Tensor) -> Tensor:
    """Mean squared error of each series [B]; shapes as for ``pinball``, with Q = 1. Its minimum is the mean."""
    del levels
    error = (targets - forecasts[..., 0]) * known
    return (error * error).sum((1, 2)) / known.sum((1, 2)).clamp(min=1)


def loss_of(spec: ModelSpec) -> Loss:
    """The loss that a spec asks for."""
    return squared if spec.loss == "mean" else pinball

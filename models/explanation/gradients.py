"""Integrated gradients of a series' network (Sundararajan, Taly and Yan 2017): exact gradients by autograd, along the straight way from a window
that stands still, without a calendar, to the real one.

The way lies in the network's inputs, after centring, scaling and clipping. What stands there is the difference of two slots, so a gradient
goes to both of them. What is not moved along the way: the mask of seen slots.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.explanation.moment import Moment, Network
from models.explanation.parts import Response
from models.inputs import INPUT_LIMIT, moves, patches

Floats = NDArray[np.float64]
NODES = (32, 128, 512)
"""Points of the Gauss-Legendre rule along the way: more where a network that saturates leaves more than ``OPEN`` spreads open with fewer."""
OPEN = 1e-4
ROOM = 2_000_000
"""Numbers that a layer may hold at once: leads and nodes are taken in parts of this size."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the network sees of R windows: ``steps`` [R, S, F], ``skip`` [R, L], and where ``steps`` come from.

    ``of`` and ``minus`` [S, patch] are lags: a cell is the channels' value at the one minus that at the other.
    """

    steps: Floats
    skip: Floats
    of: NDArray[np.int64]
    minus: NDArray[np.int64]


def look(moment: Moment, network: Network, lines: Floats) -> Seen:
    """What the network sees of windows ``lines`` [R, J, C], newest first."""
    spec, count = moment.spec, len(lines)
    length = {"window": spec.context, "joint": spec.context + spec.ahead}.get(
        spec.policy, network.steps or spec.context
    )
    spent = np.arange(length)[::-1]
    held = len(moment.seen) - 1
    of = np.minimum(spent, held)
    minus = {"window": np.zeros_like(of), "joint": np.full_like(of, min(spec.ahead, held))}.get(
        spec.policy, np.minimum(spent + 1, held)
    )
    seen = moment.seen[of] & (spent <= held)
    scale, times = np.repeat(moment.scale[None], count, 0), np.full(count, moment.time_us)
    beat = np.full(count, moment.step_us)
    if spec.policy == "carried":
        window = lines[:, np.r_[minus[:1], of]]
        sight = np.repeat(np.r_[True, seen][None], count, 0)
        steps = moves(window, sight, scale, times, beat).astype(np.float64)
    else:
        moved = _clipped((lines[:, of] - lines[:, minus]) / moment.scale)
        sight = np.repeat(seen[None, None], count, 0)
        steps = patches(moved[:, None], sight, times[:, None], beat, spec)[:, 0].astype(np.float64)
    back = np.minimum(np.arange(network.sizes.context)[::-1], held)
    skip = _clipped((lines[:, back, 0] - lines[:, :1, 0]) / moment.scale[0]).astype(np.float32)
    shape = (len(steps[0]), -1)
    return Seen(steps, skip.astype(np.float64), of.reshape(shape), minus.reshape(shape))


def points(moment: Moment, network: Network, lines: Floats) -> Floats:
    """What the network says [R, H] to windows ``lines`` [R, J, C], in the series' units."""
    seen = look(moment, network, lines)
    with torch.no_grad():
        state = network.state.expand(1, len(lines), -1, -1)
        said = _medians(network, torch.from_numpy(seen.steps)[None], torch.from_numpy(seen.skip)[None], state)
    made: Floats = lines[:, :1, 0] + moment.scale[0] * said.numpy()
    return made


def response(moment: Moment, network: Network) -> Response:
    """How the network answers to the window."""
    spec, line = moment.spec, moment.line
    seen = look(moment, network, line[None])
    cells = spec.patch * (spec.channels + 1)
    base = seen.steps[0].copy()  # [S, F]: the mask stays
    base.reshape(len(base), -1)[:, cells:] = 0.0
    base[:, :cells].reshape(len(base), spec.patch, -1)[..., :-1] = 0.0
    total = points(moment, network, line[None])[0]
    still, steps, skip, state = _gradients(network, base, seen, (total - moment.newest) / moment.scale[0])
    unit = float(moment.scale[0])
    gains = np.zeros((spec.horizon, *line.shape))
    slope = steps[..., :cells].reshape(spec.horizon, len(base), spec.patch, -1)[..., :-1] / moment.scale
    _give(gains, slope, seen.of, seen.minus, line, moment.scale)
    back = np.minimum(np.arange(len(seen.skip[0]))[::-1], len(line) - 1)
    _give(gains[..., :1], skip[..., None] / unit, back, np.zeros_like(back), line[:, :1], moment.scale[:1])
    gains *= unit
    gains[:, 0, 0] += 1.0
    return Response(
        gains=gains,
        calendar=unit * (steps[..., cells:] * seen.steps[0, :, cells:]).sum((1, 2)),
        constant=unit * still,
        memory=unit * (state * network.state[0, 0].numpy()).sum((1, 2)),
        total=total,
    )


def _give(
    gains: Floats, slope: Floats, of: NDArray[np.int64], minus: NDArray[np.int64], line: Floats, scale: Floats
) -> None:
    """Add to ``gains`` [H, J, C] what ``slope`` [H, ..., C] over clipped differences says of the slots that these lie between."""
    moved = (line[of] - line[minus]) / scale
    clipped = _clipped(moved)
    # Beyond the clip an input stands still: on the way there it has moved by this share.
    share = np.divide(clipped, moved, out=np.ones_like(moved), where=np.abs(moved) > INPUT_LIMIT)
    given, by_lag = np.moveaxis(slope * share, 0, -2), gains.swapaxes(0, 1)
    np.add.at(by_lag, of, given)
    np.subtract.at(by_lag, minus, given)


def _gradients(network: Network, base: Floats, seen: Seen, total: Floats) -> list[Floats]:
    """What is said at the way's beginning, [H], and mean gradients along it: over steps [H, S, F], skip [H, L] and state [H, layers, W].

    ``total`` [H] is what is said at its end.
    """
    ends = [torch.from_numpy(one[0]) for one in (seen.steps, seen.skip)] + [network.state[0, 0]]
    begins = [torch.from_numpy(base), torch.zeros_like(ends[1]), torch.zeros_like(ends[2])]
    with torch.no_grad():
        still = _medians(network, *(one[None, None] for one in begins))[0].numpy()
    found: list[Floats] = []
    for nodes in NODES:
        found = _along(network, begins, ends, nodes)
        moved = [(gradient * (end - begin).numpy()) for gradient, begin, end in zip(found, begins, ends, strict=True)]
        if np.abs(total - still - sum(one.reshape(len(total), -1).sum(1) for one in moved)).max() <= OPEN:
            break
    return [still, *found]


def _along(network: Network, begins: list[Tensor], ends: list[Tensor], nodes: int) -> list[Floats]:
    """Mean gradients along the way with so many nodes."""
    share, weight = (torch.from_numpy(one) for one in np.polynomial.legendre.leggauss(nodes))
    share, weight = (share + 1) / 2, weight / 2
    made: list[list[Tensor]] = [[], [], []]
    for leads in _parts(network, len(ends[0]), nodes):
        runs = len(leads) * nodes
        points_ = []
        for begin, end in zip(begins, ends, strict=True):
            way = begin + share.view(-1, *[1] * end.ndim) * (end - begin)
            points_.append(way.repeat(len(leads), *[1] * end.ndim)[None].requires_grad_(True))
        said = _medians(network, *points_)
        asked = torch.tensor(leads).repeat_interleave(nodes)
        found = torch.autograd.grad(
            said[torch.arange(runs), asked].sum(), points_, allow_unused=True, materialize_grads=True
        )
        for place, (gradient, point) in enumerate(zip(found, points_, strict=True)):
            by_node = gradient[0].reshape(len(leads), nodes, *point.shape[2:])
            made[place].append(torch.einsum("hk...,k->h...", by_node, weight))
    return [torch.cat(parts).numpy() for parts in made]


def _parts(network: Network, steps: int, nodes: int) -> Iterator[list[int]]:
    sizes = network.sizes
    most = max(1, ROOM // (nodes * steps * 4 * sizes.hidden * sizes.layers))
    for first in range(0, sizes.horizon, most):
        yield list(range(first, min(first + most, sizes.horizon)))


def _medians(network: Network, steps: Tensor, skip: Tensor, state: Tensor) -> Tensor:
    """Medians [R, H], centred and scaled, of ``steps`` [1, R, S, F] with ``skip`` [1, R, L] and ``state`` [1, R, layers, W] before them."""
    net, sizes = network.net, network.sizes
    outputs, _ = net.encode(network.weights, steps, state, sizes)
    return net.readout(network.weights, outputs[:, :, -1], skip, sizes)[0, :, :, sizes.median]


def _clipped(moved: Floats) -> Floats:
    return np.clip(moved, -INPUT_LIMIT, INPUT_LIMIT)

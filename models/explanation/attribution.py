"""A forecast taken apart: each expert's, and the mixture's, which is their weighted sum and so as complete as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.explanation import gradients, linear
from models.explanation.moment import Moment, Network, moment
from models.explanation.parts import Attribution, Response, attributed
from models.forecaster import Forecaster
from models.inputs import TARGET_LIMIT

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a forecast is what it is: the mixture's attribution, each expert's, and the experts' weights [H, E] in the order of the spec."""

    moment: Moment
    mixture: Attribution
    experts: Mapping[str, Attribution]
    weights: Floats


def as_issued(forecaster: Forecaster, row: int, step_us: int, phase_us: int) -> Moment:
    """The newest moment, as it was when its forecast was made: where the network has been taught since, that step is taken back."""
    now, before = (moment(forecaster, row, step_us, phase_us, earlier=earlier) for earlier in (False, True))
    if now.issued is None or now.network is None or before.network is None:
        return now
    said = now.issued.points[:, now.spec.experts.index("network")]
    most = TARGET_LIMIT * now.scale[0]

    def away(network: Network) -> float:
        moved = gradients.points(now, network, now.line[None])[0] - now.newest
        return float(np.abs(now.newest + np.clip(moved, -most, most) - said).max())

    return before if away(before.network) < away(now.network) else now


def explain(at: Moment) -> Explanation:
    """Take the forecast of a moment apart."""
    made = linear.responses(at)
    if at.network is not None:
        made["network"] = gradients.response(at, at.network)
    return Explanation(
        moment=at,
        mixture=attributed(_mixed(at, made), at.line, at.level),
        experts={name: attributed(made[name], at.line, at.level) for name in at.spec.experts},
        weights=at.mixture,
    )


def mixed(at: Moment, said: Mapping[str, Floats]) -> Floats:
    """The mixture's median [..., H] of what the experts say, clipped as the forecaster clips it."""
    newest = said["last-value"]
    total = np.zeros_like(newest)
    for place, name in enumerate(at.spec.experts):
        total += at.mixture[:, place] * _limited(said[name] - newest, at, name)
    return newest + _limited(total, at)


def _limited(moved: Floats, at: Moment, name: str = "") -> Floats:
    # The network's own median is clipped only as a part of the mixture.
    most = TARGET_LIMIT * at.scale[0]
    return moved if name == "network" else np.clip(moved, -most, most)


def _mixed(at: Moment, made: Mapping[str, Response]) -> Response:
    """The weighted sum of the responses' moves away from the newest value. A clip takes the same share of all parts of what it clips."""
    total = mixed(at, {name: one.total for name, one in made.items()})
    parts = {name: np.zeros_like(total) for name in ("calendar", "constant", "memory", "moved")}
    gains = np.zeros_like(next(iter(made.values())).gains)
    for place, name in enumerate(at.spec.experts):
        one, moved = made[name], made[name].total - at.newest
        weight = at.mixture[:, place] * _share(_limited(moved, at, name), moved)
        parts["moved"] += weight * moved
        for part in ("calendar", "constant", "memory"):
            parts[part] += weight * getattr(one, part)
        away = one.gains.copy()
        away[:, 0, 0] -= 1.0
        gains += weight[:, None, None] * away
    share = _share(total - at.newest, parts.pop("moved"))
    gains *= share[:, None, None]
    gains[:, 0, 0] += 1.0
    calendar, constant, memory = (share * parts[name] for name in ("calendar", "constant", "memory"))
    return Response(gains, calendar, constant, memory, total)


def _share(clipped: Floats, moved: Floats) -> Floats:
    return np.divide(clipped, moved, out=np.ones_like(moved), where=np.abs(moved) > np.abs(clipped) * (1 + 1e-12))

"""Explanations: are they complete, do they agree with occlusion, do they find what drives a series, do gates tell the memory that they have?

    make bench NAME=explanations [ARGS=--quick]

Real series (ETTh2, ETTm1, each channel a series from a cold start; without these files, synthetic ones) with the defaults; every hundredth
forecast after the first thousand is explained. Inputs are the lags of the context. ``completeness`` is the largest part left open by any
expert or the mixture, in spreads; ``occlusion_agreement`` the mean correlation between what an input adds and by how much the forecast
falls when it alone stands at its usual level; ``removal_ratio`` by how much more the forecast of a lead moves when the fifth of the inputs
that add most to it is removed than a random fifth (over 20 draws). Once more without the newest value, on which nearly everything hangs.

Synthetic series with known drivers: x(t) = 0.9 x(t - k) + e(t), and x(t) = 2 u(t - k) + 0.3 e(t) with two further channels u and v, u, v
and e white. After 6,000 observations the right lag and channel should add most to lead 1. ``drivers_found`` is the share of series where
it does on average over 20 forecasts; ``drivers_found_single`` the share of single forecasts, of those where the driver lies at least one
of its deviations from its level: one that stands at its level adds nothing, however much drives.

Memory: a network without skip and without fellow experts has to remember x(t - k). ``memory_rank`` is Spearman's correlation of k with the
memory read from its gates, ``reach_rank`` with the reach read from its gradients, over those that beat the last value by a third.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import FOLDER, read
from models.explanation.attribution import Explanation, as_issued, explain
from models.explanation.memory import memory, reach
from models.explanation.occlusion import occluded
from models.forecaster import Forecaster
from models.observation import Beat
from models.spec import ModelSpec
from models.threads import single_threaded

Floats = NDArray[np.float64]
MINUTE_US, ROW = 60_000_000, np.array([0])
FIFTH, DRAWS, EXPLAINED = 5, 20, 20
SMALL: dict[str, Any] = {"context": 24, "horizon": 4, "season": 24, "hidden": 16, "patch": 4, "history": 128}
ALONE: dict[str, Any] = {
    "patch": 1,
    "horizon": 1,
    "skip": False,
    "experts": ("last-value", "network"),
    "online_rate": 1e-3,
}
LEARNT = 0.67


@dataclass(slots=True)
class Running:
    """A series on its way through a forecaster."""

    forecaster: Forecaster
    step_us: int

    @classmethod
    def of(cls, spec: ModelSpec, seed: int, step_us: int) -> Running:
        """A new series."""
        forecaster = Forecaster(spec, seed, step_us)
        forecaster.resize(1)
        forecaster.start(ROW, np.array([seed + 1], np.uint64))
        return cls(forecaster, step_us)

    def observe(self, slot: int, values: Floats) -> None:
        """One observation [C]."""
        beat = Beat(np.array([self.step_us]), np.array([0]))
        self.forecaster.observe(ROW, np.array([slot]), values[None], beat)

    def explained(self) -> Explanation:
        """The newest forecast."""
        return explain(as_issued(self.forecaster, 0, self.step_us, 0))


def real(count: int, rows: int) -> list[tuple[str, Floats, int]]:
    """Name, values [T] and step of ``count`` channels of each file, or of synthetic series where the files are not there."""
    found = []
    for name in ("ETTh2", "ETTm1"):
        file = FOLDER / "ett" / f"{name}.csv"
        if file.exists():
            table = read(file)
            found += [
                (f"{name} {channel}", table.values[:rows, place], table.step_s * 1_000_000)
                for place, channel in enumerate(table.names[:count])
            ]
    if not found:
        print("the ETT files are not beside the checkout: synthetic series in their place")
        rng, at = np.random.default_rng(0), np.arange(rows)
        for number in range(count):
            noise = rng.normal(size=rows)
            found.append(
                (f"wave {number}", np.sin(at * 2 * np.pi / 96) + 0.1 * noise + 0.02 * noise.cumsum(), 15 * MINUTE_US)
            )
    return found


def removal(made: Explanation, rng: np.random.Generator, first: int) -> tuple[float, float]:
    """Mean change of the forecast of the first, the middle and the last lead, in spreads, without the fifth of the inputs from lag ``first``
    on that add most to that lead, and without a random fifth."""
    at = made.moment
    moved = np.zeros((3, 1 + DRAWS))
    for place, lead in enumerate((0, at.spec.horizon // 2, at.spec.horizon - 1)):
        sizes = np.abs(made.mixture.inputs[lead, first : at.spec.context]).ravel()
        number = len(sizes) // FIFTH
        masks = np.zeros((1 + DRAWS, *at.line.shape), bool)
        chosen = [np.argsort(-sizes)[:number], *(rng.choice(len(sizes), number, replace=False) for _ in range(DRAWS))]
        for mask, cells in zip(masks, chosen, strict=True):
            mask[first:].reshape(-1)[cells] = True
        moved[place] = np.abs(occluded(at, masks)[:, lead]) / at.scale[0]
    return float(moved[:, 0].mean()), float(moved[:, 1:].mean())


def agreement(made: Explanation) -> list[float]:
    """Correlation of what each lag of the context adds with what occluding it alone takes away; none where the window stands still."""
    at = made.moment
    lags = min(at.spec.context, len(at.line))
    masks = np.zeros((lags, *at.line.shape), bool)
    masks[np.arange(lags), np.arange(lags), 0] = True
    added = made.mixture.inputs[:, :lags, 0].T.ravel()
    return [float(np.corrcoef(occluded(at, masks).ravel(), added)[0, 1])] if added.std() > 0 else []


def faithful(series: list[tuple[str, Floats, int]]) -> dict[str, float]:
    """The first part: real series."""
    seen: dict[str, list[Any]] = defaultdict(list)
    for seed, (name, values, step_us) in enumerate(series):
        running, rng, mine = Running.of(ModelSpec(), seed, step_us), np.random.default_rng(seed), []
        for slot, value in enumerate(values):
            running.observe(slot, np.array([value]))
            if slot < 1_000 or slot % 100:
                continue
            begun = time.process_time()
            made = running.explained()
            seen["seconds"].append(time.process_time() - begun)
            left = [np.abs(one.unexplained).max() for one in (made.mixture, *made.experts.values())]
            seen["complete"].append(max(left) / made.moment.scale[0])
            seen["agreement"] += agreement(made)
            mine.append([*removal(made, rng, 0), *removal(made, rng, 1)])
        seen["removal"] += mine
        top, random, top_but, random_but = np.mean(mine, axis=0)
        print(f"{name:12} removal {top / random:.2f}, without the newest value {top_but / random_but:.2f}")
    top, random, top_but, random_but = np.mean(seen["removal"], axis=0)
    return {
        "completeness": float(max(seen["complete"])),
        "occlusion_agreement": float(np.mean(seen["agreement"])),
        "removal_ratio": float(top / random),
        "removal_ratio_without_newest": float(top_but / random_but),
        "explanation_cpu_ms": float(1e3 * np.median(seen["seconds"])),
    }


def own(lag: int, length: int, rng: np.random.Generator) -> Floats:
    """x(t) = 0.9 x(t - lag) + e(t), [T, 1]."""
    line = rng.normal(size=length)
    for at in range(lag, length):
        line[at] += 0.9 * line[at - lag]
    return line[:, None]


def driven(lag: int, length: int, rng: np.random.Generator) -> Floats:
    """x(t) = 2 u(t - lag) + 0.3 e(t), with u and v beside it, [T, 3]."""
    others = rng.normal(size=(length, 2))
    line = 0.3 * rng.normal(size=length)
    line[lag:] += 2 * others[:-lag, 0]
    return np.column_stack([line, others])


def drivers(cases: list[tuple[str, int, int, str]], length: int) -> dict[str, float]:
    """The second part: which lag and channel add most."""
    found, single = [], []
    for kind, lag, seed, architecture in cases:
        values = (own if kind == "own" else driven)(lag, length, np.random.default_rng(100 * seed + lag))
        spec = ModelSpec(**SMALL | {"channels": values.shape[1], "architecture": architecture})
        running, wanted = Running.of(spec, seed, MINUTE_US), (lag - 1, int(kind != "own"))
        deviation, sizes = values[:, wanted[1]].std(), []
        for slot, value in enumerate(values):
            running.observe(slot, value)
            if slot >= length - 10 * EXPLAINED and slot % 10 == 0:
                made = running.explained()
                sizes.append(np.abs(made.mixture.inputs[0]))
                if abs(made.moment.line[wanted] - made.moment.level[wanted[1]]) >= deviation:
                    single.append(_top(sizes[-1]) == wanted)
        top = _top(np.mean(sizes, axis=0))
        found.append(top == wanted)
        print(f"{kind:4} lag {lag:2}, {architecture}, seed {seed}: lead 1 is driven by {wanted}, found {top}")
    return {"drivers_found": float(np.mean(found)), "drivers_found_single": float(np.mean(single))}


def _top(sizes: Floats) -> tuple[int, int]:
    lag, channel = np.unravel_index(int(sizes.argmax()), sizes.shape)
    return int(lag), int(channel)


def remembering(cases: list[tuple[int, int, str]], length: int) -> dict[str, float | None]:
    """The third part: what gates and gradients say of a memory that a series needs."""
    told: list[tuple[int, float, float]] = []
    for lag, seed, architecture in cases:
        running = Running.of(ModelSpec(**SMALL | ALONE | {"architecture": architecture}), seed, MINUTE_US)
        values, slots, reaches = own(lag, length, np.random.default_rng(100 * seed + lag)), [], []
        for slot, value in enumerate(values):
            running.observe(slot, value)
            if slot >= length - 10 * EXPLAINED and slot % 10 == 0:
                made = running.explained()
                gates = memory(made.moment)
                assert gates is not None
                slots.append(gates.slots)
                reaches.append(reach(made.experts["network"], 1))
        errors = running.forecaster.scores.arrays["score.errors"][0, 0]
        learnt = errors[1] < LEARNT * errors[0]
        print(
            f"memory of {lag} needed, {architecture}, seed {seed}: gates tell {np.mean(slots):.1f}, gradients {np.mean(reaches):.1f};"
            f" error {errors[1] / errors[0]:.2f} of the last value's"
        )
        if learnt:
            told.append((lag, float(np.mean(slots)), float(np.mean(reaches))))
    lags, slots, reaches = (list(column) for column in zip(*told, strict=True)) if told else ([], [], [])
    return {
        "memory_learnt": len(told) / len(cases),
        "memory_rank": _rank_correlation(lags, slots),
        "reach_rank": _rank_correlation(lags, reaches),
    }


def _rank_correlation(one: list[Any], other: list[Any]) -> float | None:
    """Spearman's, with mean ranks for ties; None where there is nothing to rank."""
    if len(set(one)) < 2 or len(set(other)) < 2:
        return None
    ranks = [[sum(a < b for a in values) + sum(a == b for a in values) / 2 for b in values] for values in (one, other)]
    return float(np.corrcoef(np.array(ranks))[0, 1])


def main(*, quick: bool) -> dict[str, float | None]:
    """All three parts."""
    single_threaded()
    cells, seeds = (("gru",), (0,)) if quick else (("gru", "lstm"), (0, 1, 2))
    own_lags, channel_lags, memories = (
        ((2, 5, 12), (1, 2, 3, 5), (2, 3, 4)) if quick else ((2, 3, 5, 7, 12, 20), (1, 2, 3, 5, 8), (2, 3, 4, 6, 8))
    )
    made: dict[str, float | None] = dict(faithful(real(2 if quick else 7, 1_600 if quick else 4_000)))
    cases = [
        (kind, lag, seed, cell)
        for kind, lags in (("own", own_lags), ("channel", channel_lags))
        for lag in lags
        for seed in seeds
        for cell in cells
    ]
    made |= drivers(cases, 6_000)
    made |= remembering(
        [(lag, seed, cell) for lag in memories for seed in seeds for cell in cells],
        5_000 if quick else 8_000,
    )
    return {name: None if value is None else float(f"{value:.4g}") for name, value in made.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer series, one architecture and seed: under 50 s")
    result = main(quick=parser.parse_args().quick)
    print("RESULT " + json.dumps(result))

"""Accuracy on real data, without learning from the future, by the protocol of DSOF (Lau et al., ICLR 2025).

    make bench NAME=accuracy [ARGS=--quick]

ETTh2 and ETTm1 (Zhou et al. 2021), each channel a series of its own, scaled by mean and deviation of the training rows (20 %). A network
is trained on these, stopped by the validation rows (5 %), and everything runs over both before the online rows begin. A forecast of 48
leads is made at every online row; a lead is learnt when its target is known. The score at horizon h is the mean over origins, channels and
leads 1 to h. One configuration for all: the defaults. The NAB files (Lavin and Ahmad 2015) run from a cold start, at horizon 24.

Crossings: the chance that a channel goes above the 90 % quantile of its training rows within the horizon, or below the 10 % quantile, against
how often it did.

Full: GRU and LSTM, three seeds, and every ingredient left out once. Quick: one seed and fewer rows, which it says; a horizon's score is
then not that of the table.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, TaskID

from benchmarks.accuracy_scores import (
    Floats,
    Run,
    by_horizon,
    coverage,
    crossings,
    fixed_intervals,
    pinball,
)
from models.forecaster import Forecaster
from models.history import History, SeriesHistory, Split
from models.observation import Beat
from models.spec import EXPERTS, ModelSpec
from models.training import train

FOLDER = Path(__file__).parents[2] / "shared" / "data"
HORIZON, EPOCHS = 48, 15
UNIT_ROWS = {"ETTh2": 1, "ETTm1": 4}
"""Rows an hour: the protocol's 2,880 training, 720 validation and 10,800 online hours."""
QUICK_HOURS = {"ETTh2": (0, 4_700), "ETTm1": (2_900, 4_000)}
"""Hours that a quick run goes over."""
TAILS = (0.9, 0.1)
"""Levels of the training rows' quantiles whose crossing is forecast."""


@dataclass(slots=True)
class Rows:
    """A file: seconds since 1970 [T], values [T, C], channel names, step in seconds."""

    times: NDArray[np.int64]
    values: Floats
    names: list[str]
    step_s: int


def read(path: Path) -> Rows:
    """A CSV file whose first column is a time without zone, taken as UTC."""
    with path.open() as file:
        table = csv.reader(file)
        names = next(table)[1:]
        read = list(table)
    times = np.array([int(datetime.fromisoformat(row[0]).replace(tzinfo=UTC).timestamp()) for row in read])
    values = np.array([[float(cell) for cell in row[1:]] for row in read])
    return Rows(times, values, names, int(np.median(np.diff(times))))


def forecast(
    rows: Rows, spec: ModelSpec, seed: int, weights: dict[str, Any] | None, bar: Progress, task: TaskID
) -> Run:
    """Run the forecaster over all rows, from a cold start or from trained weights."""
    length, channels = rows.values.shape
    forecaster = Forecaster(spec, seed, rows.step_s * 1_000_000)
    if weights is not None:
        forecaster.fleet.set_start_arrays(weights)
    each = np.arange(channels)
    forecaster.resize(channels)
    forecaster.start(each, each.astype(np.uint64) + 1)
    beat = Beat(np.full(channels, rows.step_s * 1_000_000), np.full(channels, int(rows.times[0]) * 1_000_000))
    points = np.empty((length, channels, spec.horizon, len(spec.experts)), np.float32)
    quantiles = np.empty((length, channels, spec.horizon, len(spec.levels)), np.float32)
    pending = forecaster.surroundings.pending.arrays
    bar.reset(task, total=length)
    for slot in range(length):
        forecaster.observe(each, np.full(channels, slot), rows.values[slot][:, None], beat)
        at = slot % spec.horizon
        unit = pending["pending.scale"][:, at, None, None]
        points[slot] = pending["pending.points"][:, at] * unit
        quantiles[slot] = pending["pending.quantiles"][:, at] * unit
        if slot % 100 == 99:
            bar.update(task, completed=slot + 1)
    bar.update(task, completed=length)
    targets = np.full((length, channels, spec.horizon), np.nan)
    for lead in range(1, spec.horizon + 1):
        targets[: length - lead, :, lead - 1] = rows.values[lead:] - rows.values[:-lead]
    return Run(points, quantiles, targets, spec)


def trained(rows: Rows, hours: int, spec: ModelSpec, seed: int, epochs: int) -> dict[str, Any]:
    """Weights from the training rows, stopped by the validation rows; ``hours`` is rows an hour."""
    end, count = 3_600 * hours, rows.values.shape[1]
    series = [
        SeriesHistory(
            name=rows.names[channel],
            step_us=rows.step_s * 1_000_000,
            first_us=int(rows.times[0]) * 1_000_000,
            values=rows.values[:end, channel : channel + 1],
            seen=np.ones(end, bool),
        )
        for channel in range(count)
    ]
    history = History(series, spec)
    cutoffs, place = history.cutoffs, history.cutoffs % end
    split = Split(
        train=cutoffs[place + HORIZON < 2_880 * hours],
        validation=cutoffs[(place >= 2_880 * hours - 1) & (place + HORIZON < end)],
        held_out=cutoffs[:0],
    )
    made = train(
        history,
        split,
        start=None,
        seed=seed,
        epochs=epochs,
        should_stop=lambda: False,
        progress=lambda *_: None,
    )
    return dict(made.weights)


def judge(run: Run, rows: Rows, hours: int, offset: int, limits: Floats | None) -> dict[str, Any]:
    """All scores of an ETT run on its online rows; the run's first row is row ``offset`` of the file."""
    low, high = 3_600 * hours - 1 - offset, len(run.targets) - HORIZON
    target = run.targets[low:high]
    mixed = target - run.mixed()[low:high]
    told: dict[str, Any] = {"mse": by_horizon(mixed**2), "mae": by_horizon(np.abs(mixed))}
    told["experts"] = {
        name: by_horizon((target - run.points[low:high, ..., place]) ** 2)
        for place, name in enumerate(run.spec.experts)
    }
    told["mse_by_channel"] = {name: by_horizon(mixed[:, place] ** 2) for place, name in enumerate(rows.names)}
    told["mae_by_channel"] = {name: by_horizon(np.abs(mixed[:, place])) for place, name in enumerate(rows.names)}
    told["coverage"] = coverage(run, low, high)
    told["pinball"] = pinball(target, run.quantiles[low:high], run.spec.levels)
    fixed = fixed_intervals(run, max(0, 2_880 * hours - offset), low)[: high - low]
    told["pinball_fixed"] = pinball(target, fixed, run.spec.levels)
    if limits is not None:
        told["crossings"] = crossings(run, rows.values, limits, low, high)
    told["origins"] = high - low
    return told


def ett(name: str, spec: ModelSpec, seed: int, bar: Progress, *, quick: bool, warm: bool = True) -> dict[str, Any]:
    """One run over one ETT file, from trained weights where ``warm``."""
    hours = UNIT_ROWS[name]
    rows = read(FOLDER / "ett" / f"{name}.csv")
    known = rows.values[: 2_880 * hours]
    rows.values = (rows.values - known.mean(0)) / known.std(0)
    limits = np.quantile(rows.values[: 2_880 * hours], TAILS, axis=0) if warm and not seed else None
    task = bar.add_task(f"{name} {spec.architecture} seed {seed}", total=None)
    weights = None
    if warm and "network" in spec.experts and not (quick and name == "ETTm1"):
        weights = trained(rows, hours, spec, seed, 4 if quick else EPOCHS)
    first, last = (hours * hour for hour in (QUICK_HOURS[name] if quick else (0, 14_400)))
    part = Rows(rows.times[first:last], rows.values[first:last], rows.names, rows.step_s)
    return judge(forecast(part, spec, seed, weights, bar, task), part, hours, first, limits)


def nab(path: Path, spec: ModelSpec, bar: Progress) -> dict[str, Any]:
    """One NAB file from a cold start: coverage, quantile loss (of fixed intervals too, on the later half), and the mixture's squared and
    absolute error over those of its best expert.
    """
    rows = read(path)
    task = bar.add_task(path.stem[:30], total=None)
    run = forecast(rows, spec, 0, None, bar, task)
    low, high = 1, len(run.targets) - spec.horizon
    target = run.targets[low:high]
    mixed, each = target - run.mixed()[low:high], target[..., None] - run.points[low:high]
    squared, absolute = (each**2).mean((0, 1, 2)), np.abs(each).mean((0, 1, 2))
    middle, unit = (low + high) // 2, float(rows.values.std()) or 1.0
    later, fixed = run.quantiles[middle:high], fixed_intervals(run, low, middle)[: high - middle]
    return {
        "coverage": coverage(run, low, high),
        "over_best": round(float((mixed**2).mean()) / max(float(squared.min()), 1e-300), 3),
        "best": spec.experts[int(squared.argmin())],
        "over_best_absolute": round(float(np.abs(mixed).mean()) / max(float(absolute.min()), 1e-300), 3),
        "pinball": pinball(run.targets[middle:high] / unit, later / unit, spec.levels),
        "pinball_fixed": pinball(run.targets[middle:high] / unit, fixed / unit, spec.levels),
    }


def ablations(spec: ModelSpec) -> dict[str, tuple[ModelSpec, bool]]:
    """Every ingredient left out once: the spec, and whether the network starts from trained weights."""
    left_out = {f"without {name}": (replace(spec, experts=_without(name)), True) for name in EXPERTS[1:]}
    return left_out | {
        "untrained start": (spec, False),
        "first errors and record alone weigh": (replace(spec, mixture_rate=0.0), True),
        "weights not shared anew": (replace(spec, mixture_share=0.0), True),
        "no replay": (replace(spec, replay=0), True),
    }


def _without(name: str) -> tuple[str, ...]:
    return tuple(expert for expert in EXPERTS if expert != name)


def main(*, quick: bool) -> dict[str, Any]:
    """Everything that the data at hand allow; returns the result's keys."""
    result: dict[str, Any] = {}
    shares: dict[str, Any] = {}
    torch.set_num_threads(1)
    if quick:
        print("quick: GRU, seed 0, ETTh2 over its first 4,700 hours (1,100 online), trained for 4 epochs at most;")
        print("ETTm1 untrained over hours 2,900 to 4,000 (400 online); one NAB file. Not the scores of the whole.")
    with Progress(console=Console(stderr=True)) as bar:
        for name in UNIT_ROWS:
            if not (FOLDER / "ett" / f"{name}.csv").exists():
                print(f"{name}: skipped, ../shared/data/ett/{name}.csv is not there")
                continue
            for cell in ("gru",) if quick else ("gru", "lstm"):
                spec = ModelSpec(horizon=HORIZON, architecture=cell)
                runs = [ett(name, spec, seed, bar, quick=quick) for seed in ((0,) if quick else (0, 1, 2))]
                for seed, run in enumerate(runs):
                    print(json.dumps({"set": name, "network": cell, "seed": seed} | run))
                if cell == "gru":
                    result[name] = {
                        h: round(float(np.mean([run["mse"][h] for run in runs])), 4) for h in runs[0]["mse"]
                    }
                    shares[name] = runs[0]["coverage"]
            for label, (spec, warm) in ({} if quick else ablations(ModelSpec(horizon=HORIZON))).items():
                told = ett(name, spec, 0, bar, quick=False, warm=warm)
                print(json.dumps({"set": name, "ablation": label, "mse": told["mse"], "mae": told["mae"]}))
        files = sorted((FOLDER / "nab").glob("*/*.csv"))
        if not files:
            print("NAB: skipped, ../shared/data/nab is not there")
        for path in files[:1] if quick else files:
            told = nab(path, ModelSpec(), bar)
            shares[path.stem] = told["coverage"]
            print(json.dumps({"set": path.stem} | told))
    return result | {"coverage": shares}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed and fewer rows: under 50 s")
    made = main(quick=parser.parse_args().quick)
    sys.stdout.flush()
    print("RESULT " + json.dumps(made))

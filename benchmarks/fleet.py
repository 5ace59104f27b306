"""Ten thousand networks on one core: events a CPU-second of our kernel, and of every other way to do the same.

    make bench NAME=fleet [ARGS="--quick | --picture"]

An event is one forecast of 12 leads and one fine-tuning step of that series' own network: GRU or LSTM of 32 units, window 48, one input channel
(benchmarks/ways.py), on one thread. Ways that are compared are measured in turns, so that noise hits them alike; a rate is the median over
the turns. "full" is the joint recurrence, "window" separate windows as the yardstick's full window has them, "carried" the carried state
with 24 steps of backpropagation. The peak is what multiply-adds in registers reach. --picture writes docs/pictures/fleet.svg.

deep-river is measured in an environment of its own under build/, made by the first full run where the package index can be reached.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import yardstick
from benchmarks.fleet_picture import draw
from benchmarks.ways import HORIZON, TRUNCATION, UNITS, WINDOW, Way, fleet_way, loop_way, shared_way, spec_of, vmap_way
from models.arena import Arena
from models.compiled import extension
from models.fleet import Fleet
from models.forecaster import Forecaster
from models.spec import ModelSpec
from models.threads import single_threaded

ROOT = Path(__file__).parents[1]
DEEP_RIVER = ROOT / "build" / "deep-river"
CELLS, SERIES, BATCH = ("gru", "lstm"), (1, 100, 1_000, 10_000), 256
POLICY = {"full": "joint", "window": "window", "carried": "carried"}
MOST_EXPENSIVE = {"loop": 1_000, "reference": 1_000}
"""The most series of ways that gain nothing from more of them but take minutes to begin."""


def rates(ways: dict[str, Way], turns: int, seconds: float, warm: int = 1) -> dict[str, float]:
    """Events a CPU-second of each way: median over turns of at least ``seconds`` each, after ``warm`` events that do not count."""
    seen: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        done = 0
        while done < warm:
            done += way()
    for _ in range(turns):
        for name, way in ways.items():
            done, start = 0, time.process_time()
            while time.process_time() - start < seconds:
                done += way()
            seen[name].append(done / (time.process_time() - start))
    return {name: statistics.median(each) for name, each in seen.items()}


def peak(turns: int) -> float:
    """Floating point operations a CPU-second, as many as multiply-adds in registers reach; 0 without the kernel."""
    module = extension()
    if module is None:
        return 0.0
    best = 0.0
    for _ in range(turns):
        start = time.process_time()
        done = module.multiply_adds(2_000_000)
        best = max(best, done / (time.process_time() - start))
    return best


def operations(cell: str, policy: str) -> float:
    """Floating point operations of an event's matrix products; curves and Adam are not counted, though they take time too."""
    gates = 4 if cell == "lstm" else 3
    step, head = 2 * gates * UNITS * (UNITS + 1), 2 * UNITS * HORIZON
    learnt = TRUNCATION if policy == "carried" else WINDOW
    there = {"joint": HORIZON, "window": WINDOW, "carried": 1}[policy] + learnt
    return there * step + learnt * (2 * step) + 4 * head


def latencies(policy: str, *, quick: bool) -> dict[int, tuple[float, float]]:
    """p50 and p99 in milliseconds of CPU time that a micro-batch takes, by its size: GRU, one of 10,000 series after the other."""
    result: dict[int, tuple[float, float]] = {}
    for batch in (256,) if quick else (1, 64, 256, 1024):
        way, taken = fleet_way("gru", policy, SERIES[-1], batch, kernel=True), []
        for _ in range(100 if quick else 1_000):
            before = time.process_time_ns()
            way()
            taken.append((time.process_time_ns() - before) / 1e6)
        result[batch] = (float(np.percentile(taken, 50)), float(np.percentile(taken, 99)))
        print(
            f"micro-batch of {batch:5d}, GRU {policy:8s} p50 {result[batch][0]:7.3f} ms, p99 {result[batch][1]:7.3f} ms"
        )
    return result


def bytes_per_series() -> dict[str, int]:
    """Of the network alone: weights, moments, carried states and the window of inputs of one series with a GRU; and of everything that a
    forecaster with the default spec keeps of a series."""
    network = Arena([Fleet(spec_of("gru", "carried"), seed=0, features=1)]).stride + 4 * (WINDOW + HORIZON)
    return {"bytes_per_series": network, "bytes_per_record": Forecaster(ModelSpec(), seed=0).arena.stride}


def deep_river(quick: bool) -> dict[str, float]:
    """Events a CPU-second of deep-river's forecasters, 0 where it is not there."""
    python, none = DEEP_RIVER / "bin" / "python", dict.fromkeys(CELLS, 0.0)
    try:
        if not python.exists() and not quick:
            subprocess.run([sys.executable, "-m", "venv", DEEP_RIVER], check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", "deep-river", "pytest"], check=True, timeout=1200)
        if not python.exists():
            print("deep-river: not measured, it is not installed; a full run does that")
            return none
        command = [python, ROOT / "benchmarks" / "deep_river_way.py", "0.5" if quick else "20"]
        made = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        measured: dict[str, float] = json.loads(made.stdout.splitlines()[-1])
        return measured
    except (OSError, subprocess.SubprocessError, ValueError) as reason:
        print(f"deep-river: not measured, {reason}")
        return none


def race(quick: bool) -> dict[str, float]:
    """The kernel by policy and the yardstick, in turns, with all series."""
    found = yardstick.load()
    result: dict[str, float] = {}
    for cell in CELLS:
        ways = {
            f"kernel_{cell}_{name}": fleet_way(cell, p, SERIES[-1], BATCH, kernel=True) for name, p in POLICY.items()
        }
        if found:
            for name in ("full", "carried"):
                carried = name == "carried"
                ways[f"yardstick_{cell}_{name}"] = yardstick.way(
                    found, cell, carried=carried, series=SERIES[-1], batch=BATCH
                )
        result |= {f"yardstick_{cell}_{name}": 0.0 for name in ("full", "carried")}
        # The first event of a series touches memory for the first time, so every series has one before the turns begin.
        result |= rates(ways, 5 if quick else 21, 0.1 if quick else 0.4, warm=SERIES[-1])
    return result


def others(cell: str, series: int, quick: bool) -> dict[str, Way]:
    """The ways that are not ours, and our reference, for so many series."""
    batch = min(series, BATCH)
    makers: dict[str, Callable[[], Way]] = {
        "loop": lambda: loop_way(cell, series, batch),
        "vmap": lambda: vmap_way(cell, series, batch),
        "shared": lambda: shared_way(cell, series, batch),
        "reference": lambda: fleet_way(cell, "joint", series, batch, kernel=False),
    }
    wanted = [name for name in makers if series <= MOST_EXPENSIVE.get(name, SERIES[-1])]
    return {name: makers[name]() for name in wanted if not (quick and (series != 100 or name == "vmap"))}


def table(quick: bool) -> dict[str, dict[int, float]]:
    """Events a CPU-second by way and cell, and by number of series."""
    result: dict[str, dict[int, float]] = {}
    turns, seconds = (1, 0.1) if quick else (5, 0.4)
    for cell in CELLS:
        for series in SERIES[:2] if quick else SERIES:
            ways = others(cell, series, quick)
            ways |= {f"kernel {name}": fleet_way(cell, p, series, BATCH, kernel=True) for name, p in POLICY.items()}
            for name, rate in rates(ways, turns, seconds).items():
                result.setdefault(f"{cell} {name}", {})[series] = rate
    print(f"{'events a CPU-second, series:':34s}" + "".join(f"{series:>10,}" for series in SERIES))
    for name, row in result.items():
        print(f"{name:34s}" + "".join(f"{row[n]:10,.0f}" if n in row else f"{'-':>10s}" for n in SERIES))
    return result


def main() -> None:
    """Print the tables, then the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under 50 seconds, and less exact")
    parser.add_argument("--picture", action="store_true", help="draw throughput against the number of series")
    chosen = parser.parse_args()
    single_threaded()
    module = extension()
    if module is None:
        raise SystemExit("the compiled kernel was not built in this installation: there is nothing to measure")
    print(f"kernel: {module.LEVELS[-1]}")
    raced, river, drawn = race(chosen.quick), deep_river(chosen.quick), table(chosen.quick)
    best = peak(5)
    for name, rate in raced.items():
        cell, policy = name.split("_")[1], POLICY[name.split("_")[2]]
        beside = raced[f"yardstick_{cell}_{'carried' if policy == 'carried' else 'full'}"]
        ratio = f"{rate / beside:6.2f} x yardstick" if beside else ""
        share = (
            "" if "yardstick" in name else f"{operations(cell, policy) * rate / best:6.0%} of {best / 1e9:.0f} GFLOP/s"
        )
        print(f"{name:24s}{rate:10,.0f}  {ratio}  {share}")
    for cell, rate in river.items():
        ratio = f"kernel full {raced[f'kernel_{cell}_full'] / rate:,.0f} x" if rate else ""
        print(f"{'deep_river_' + cell:24s}{rate:10,.0f}  {ratio}")
    waits = latencies("carried", quick=chosen.quick)
    if not chosen.quick:
        latencies("joint", quick=False)
    if chosen.picture:
        draw(drawn, ROOT / "docs" / "pictures" / "fleet.svg")
    result = {name: round(rate, 1) for name, rate in raced.items()}
    result |= {f"deep_river_{cell}": round(rate, 1) for cell, rate in river.items()}
    result["fma_share_gru_full"] = round(operations("gru", "joint") * raced["kernel_gru_full"] / best, 3)
    result["fma_share_gru_window"] = round(operations("gru", "window") * raced["kernel_gru_window"] / best, 3)
    result |= bytes_per_series() | {"p99_ms_256": round(waits[256][1], 3)}
    print(f"RESULT {json.dumps(result)}")


if __name__ == "__main__":
    main()

"""How fast the fleet forecasts and learns: rows a CPU-second, for the compiled kernel and for the reference.

    python -m benchmarks.fleet_step [--quick]

A row is one forecast and one fine-tuning step of a series with the sizes of a new feed. Rows are drawn from a fleet larger than the
batch, as in a live feed. The last line is RESULT and JSON: {"kernel_gru_256": rows a CPU-second, ...}.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
from numpy.typing import NDArray

from models.arena import Arena
from models.compiled import extension
from models.fleet import Fleet
from models.spec import ModelSpec
from models.threads import single_threaded

BATCHES = (1, 4, 64, 256)
FLEET = 1024


def inputs_of(fleet: Fleet, rows: int) -> tuple[NDArray[np.float32], ...]:
    """Patches, centred windows, targets and known, as ``Fleet.step`` takes them."""
    rng, sizes, windows = np.random.default_rng(0), fleet.sizes, 2 + fleet.spec.replay
    return (
        rng.standard_normal((rows, windows, sizes.steps, sizes.features)).astype(np.float32),
        rng.standard_normal((rows, windows, sizes.context)).astype(np.float32),
        rng.standard_normal((rows, windows - 1, sizes.horizon)).astype(np.float32),
        np.ones((rows, windows - 1, sizes.horizon), np.float32),
    )


def rows_per_second(fleet: Fleet, batch: int, *, rounds: int, seconds: float) -> float:
    """Median over rounds of at least ``seconds`` CPU-seconds each."""
    patches, centred, targets, known = inputs_of(fleet, batch)
    order, learn, done = np.random.default_rng(1).permutation(FLEET), np.ones(batch, bool), 0

    def step() -> None:
        nonlocal done
        rows = np.take(order, np.arange(done, done + batch), mode="wrap")
        fleet.step(rows, patches, centred, targets, known, learn)
        done += batch

    step()
    rates = []
    for _ in range(rounds):
        start, before = time.process_time(), done
        while time.process_time() - start < seconds:
            step()
        rates.append((done - before) / (time.process_time() - start))
    return statistics.median(rates)


def main() -> None:
    """Print a line for each case, then the result."""
    parser = argparse.ArgumentParser(description="Rows a CPU-second of Fleet.step.")
    parser.add_argument("--quick", action="store_true", help="less than 50 seconds, and less exact")
    quick = parser.parse_args().quick
    single_threaded()
    module, result = extension(), {}
    print(f"kernel: {', '.join(module.LEVELS) if module else 'not built'}")
    for kind in ("kernel", "reference") if module else ("reference",):
        for name in ("gru", "lstm"):
            fleet = Fleet(ModelSpec(architecture=name), seed=0, kernel=kind == "kernel")
            Arena([fleet]).resize(FLEET)
            fleet.reset(np.arange(FLEET))
            for batch in BATCHES:
                rate = rows_per_second(fleet, batch, rounds=3 if quick else 7, seconds=0.3 if quick else 1.0)
                result[f"{kind}_{name}_{batch}"] = round(rate, 1)
                print(f"{kind:9s} {name:4s} {batch:3d} rows: {rate:9,.0f} rows/CPU-s, {1e6 / rate:7.1f} us a row")
    print(f"RESULT {json.dumps(result)}")


if __name__ == "__main__":
    main()

"""deep-river's own forecasters, run by benchmarks/fleet.py in an environment of their own, as deep-river pins an old torch.

    python deep_river_way.py SECONDS

Prints events a CPU-second as JSON by cell. An event is ``learn_one`` and ``forecast(12)``, with 32 units and a window of 48. Its forecasters are
autoregressive: twelve passes where a direct head takes one.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module

import numpy as np


def rate(forecaster: str, seconds: float) -> float:
    """Events a CPU-second of the class of that name, over at least ``seconds``."""
    module = import_module("deep_river.forecasting.zoo")
    model = getattr(module, forecaster)(window_size=48, hidden_size=32, optimizer_fn="adam", lr=1e-3)
    values = iter(np.random.default_rng(0).standard_normal(1_000_000).tolist())
    for _ in range(60):
        model.learn_one(next(values))
        model.forecast(12)
    done, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        model.learn_one(next(values))
        model.forecast(12)
        done += 1
    return done / (time.process_time() - start)


if __name__ == "__main__":
    import_module("torch").set_num_threads(1)
    print(json.dumps({cell: rate(f"{cell.upper()}Forecaster", float(sys.argv[1])) for cell in ("gru", "lstm")}))

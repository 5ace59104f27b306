"""The engine without brokers: records of JSON in, forecast, fine-tuning and drift test for each observation, messages of JSON out.

    make bench NAME=engine [ARGS=--quick]

10,000 series with a network each (GRU, 32 units, window of 48 steps, 12 leads, 5 levels), one thread. Every series is warm: its window is
full, and it learns from every observation. Batches of 256 and 1,024 observations, in records of one and of 100 observations of as many
series. Times are CPU time, medians over batches. The last line is RESULT and JSON: events a CPU-second with batches of 1,024 and one
observation a record, for each state policy, with the network and the last value as experts. --all-experts tells what the others cost.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

from models.spec import EXPERTS
from models.threads import single_threaded
from stream.decode import Decoder
from stream.records import Record
from workers.engine import Engine, Place
from workers.publishing import encode
from workers.settings import FeedSettings

FEW = ("last-value", "network")
HOME = Place("sensors", 0)
SERIES, WARM = 10_000, 256
BATCHES, PACKED = (256, 1_024), (1, 100)
START_S, STEP_S, SEASON = 1_794_268_800, 60, 24
POLICIES = {"full": "joint", "carried": "carried"}
"""The benchmark's words, and the fleet's: full is one recurrence over the whole window and on to now."""
HEADLINE = (1_024, 1)
STAGES = (
    "decode",
    "admit",
    "forecast, learn",
    "of that network",
    "drift tests",
    "rarities",
    "rest of engine",
    "encode",
)


def feed_of(policy: str, experts: tuple[str, ...]) -> FeedSettings:
    """The feed of the benchmark under a state policy."""
    model = {"architecture": "gru", "hidden": 32, "patch": 1, "policy": policy, "experts": experts}
    entries = {"name": "bench", "topics": [HOME.topic], "step": f"{STEP_S}s", "context": 48, "horizon": 12}
    return FeedSettings.model_validate(entries | {"season": SEASON, "model": model})


class Feeder:
    """Observations of all series in turn, a step further with every round."""

    def __init__(self, series: int, minute: int, offset: int) -> None:
        self._rng = np.random.default_rng(1)
        self._names = [f"plant/sensor-{number:05d}" for number in range(series)]
        self._at, self._offset = minute * series, offset

    def records(self, observations: int, packed: int) -> list[Record]:
        """The next observations, so many in a record."""
        items = []
        for _ in range(observations):
            minute, number = divmod(self._at, len(self._names))
            value = 20 + number % 7 + 3 * np.sin(2 * np.pi * minute / SEASON) + 0.3 * self._rng.standard_normal()
            moment = START_S + STEP_S * minute
            items.append({"series": self._names[number], "time": moment, "value": round(float(value), 3)})
            self._at += 1
        made = []
        for at in range(0, observations, packed):
            text = orjson.dumps(items[at] if packed == 1 else items[at : at + packed])
            made.append(Record(*HOME, self._offset, b"plant", text))
            self._offset += 1
        return made


def warm_engine(feed: FeedSettings, series: int) -> tuple[Engine, Decoder, Feeder]:
    """An engine in which every series is ready: a few were fed until they were, the others are copies under other names."""
    engine, decoder = Engine(feed, seed=0), Decoder(feed.fields, feed.limits)
    engine.open(HOME, ())
    few, rounds = min(WARM, series), engine.spec.ready_after + 8
    feeder = Feeder(few, 0, 0)
    for _ in range(rounds):
        engine.step(decoder.decode(feeder.records(few, 1)), 0)
    states = [engine.snapshot(one) for one in engine.series]
    for number in range(few, series):
        engine.restore(HOME, f"plant/sensor-{number:05d}", *states[number % few])
    return engine, decoder, Feeder(series, rounds, few * rounds)


def timed(owner: Any, name: str, spent: defaultdict[str, float], stage: str) -> None:
    """Let ``owner.name`` add the CPU time of its calls to a stage."""
    call: Callable[..., Any] = getattr(owner, name)

    def measured(*arguments: Any, **named: Any) -> Any:
        began = time.process_time()
        try:
            return call(*arguments, **named)
        finally:
            spent[stage] += time.process_time() - began

    setattr(owner, name, measured)


def measure(
    engine: Engine, decoder: Decoder, feeder: Feeder, size: int, packed: int, seconds: float
) -> tuple[float, dict[str, float]]:
    """Microseconds of CPU time an event, and by stage: medians over the batches that fit in ``seconds``."""
    spent: defaultdict[str, float] = defaultdict(float)
    owners = (
        (engine.grid, "admit", "admit"),
        (engine.forecaster, "observe", "forecast, learn"),
        (engine.forecaster, "_network", "of that network"),
        (engine.drift, "update", "drift tests"),
        (engine.detectors, "update", "rarities"),
    )
    for owner, name, stage in owners:
        timed(owner, name, spent, stage)
    totals: list[float] = []
    stages: defaultdict[str, list[float]] = defaultdict(list)
    end = time.process_time() + seconds
    while len(totals) < 5 or time.process_time() < end:
        records = feeder.records(size, packed)
        spent.clear()
        began = time.process_time()
        decoded = decoder.decode(records)
        parsed = time.process_time()
        effects = engine.step(decoded, 0)
        stepped = time.process_time()
        assert effects.forecasts is not None
        assert len(effects.forecasts) == size
        encode(engine, effects.forecasts, decoded, 0)
        done = time.process_time()
        spent["decode"], spent["encode"] = parsed - began, done - stepped
        known = spent["admit"] + spent["forecast, learn"] + spent["drift tests"] + spent["rarities"]
        spent["rest of engine"] = stepped - parsed - known
        totals.append(done - began)
        for stage in STAGES:
            stages[stage].append(spent[stage])
    for owner, name, _ in owners:
        delattr(owner, name)
    return 1e6 * statistics.median(totals) / size, {
        stage: 1e6 * statistics.median(times) / size for stage, times in stages.items()
    }


def main() -> None:
    """Print a table for each policy, then the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less than 50 seconds, and less exact")
    parser.add_argument("--series", type=int, default=SERIES, help="only so many series")
    parser.add_argument(
        "--all-experts", action="store_true", help="mix all experts, and not the network with the last value alone"
    )
    chosen = parser.parse_args()
    single_threaded()
    result: dict[str, float] = {}
    for name, policy in POLICIES.items():
        experts = EXPERTS if chosen.all_experts else FEW
        engine, decoder, feeder = warm_engine(feed_of(policy, experts), chosen.series)
        print(f"{name} ({policy}), {', '.join(experts)}: {chosen.series:,} series; microseconds of CPU an event")
        print(
            f"{'batch':>6s} {'a record':>9s}" + "".join(f"{stage:>17s}" for stage in (*STAGES, "all", "events/CPU-s"))
        )
        for size in BATCHES:
            for packed in PACKED:
                all_us, stages = measure(engine, decoder, feeder, size, packed, 1.5 if chosen.quick else 8.0)
                numbers = "".join(f"{stages[stage]:17.2f}" for stage in STAGES)
                print(f"{size:6d} {packed:9d}{numbers}{all_us:17.2f}{1e6 / all_us:17,.0f}")
                if (size, packed) == HEADLINE:
                    result[f"events_per_cpu_s_{name}"] = round(1e6 / all_us, 1)
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()

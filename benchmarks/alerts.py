"""Alerts: what is found, how soon, and how often for nothing.

    make bench NAME=alerts [ARGS=--quick]

The real engine out of the box, one configuration for everything. First the NAB files (Lavin and Ahmad 2015) by NAB's own scoring: every alert
that begins to fire is a detection. Beside it river's bare ADWIN and Page-Hinkley on errors of the last value, out of the box. Then
synthetic streams in which nothing changes: false alarms against what is set. Then streams with a known change: the delay against the run
length between false alarms, ours by the threshold on rarity, ADWIN and Page-Hinkley by theirs, on errors of the last value and on the values
themselves. Quick: fewer and shorter synthetic streams.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import nab
from benchmarks.changes import (
    ABRUPT,
    CHANGES,
    SENSITIVITIES,
    SIGNALS,
    STEADY,
    bare,
    changing,
    delay_at,
    judge,
    starts,
    steady,
)
from benchmarks.feeding import Told, engine_of, run
from benchmarks.recovery import recovery
from models.threads import single_threaded
from workers.settings import AlertSettings

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "nab"
STEP_S, WEEK_S = 300, 604_800
START_S = 1_794_268_800
RUN_LENGTHS = (1_000, 2_000, 4_000)
HEADLINE = 2_000
"""Run length between false alarms at which delays are compared: about a week of five minutes."""


def on_nab(folder: Path) -> dict[str, float]:
    """Scores of the NAB files, file by file."""
    files = nab.files(folder)
    told = run(engine_of(), {file.name: (file.seconds, file.values) for file in files})
    windows = sum(len(file.windows) for file in files)
    raw = dict.fromkeys(nab.PROFILES, 0.0)
    found = false = 0
    outside_weeks = 0.0
    places: list[float] = []
    print(f"{'file':58s} {'found':>6s} {'false':>6s} {'place':>6s}   alerts by kind, after probation")
    for file in files:
        fired = told[file.name].fired
        one = nab.score(file, fired, nab.PROFILES["standard"])
        for name, profile in nab.PROFILES.items():
            raw[name] += nab.score(file, fired, profile).raw
        kinds: dict[str, int] = {}
        for row, event in told[file.name].events:
            if event.status == "firing" and row >= file.probation:
                kinds[event.kind] = kinds.get(event.kind, 0) + 1
        found, false, places = found + one.found, false + one.false, places + one.places
        inside = sum(file.seconds[high] - file.seconds[low] for low, high in file.windows)
        outside_weeks += (file.seconds[-1] - file.seconds[file.probation] - inside) / WEEK_S
        place = f"{np.mean(one.places):6.2f}" if one.places else f"{'':6s}"
        counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        print(f"{file.name:58s} {one.found:>3d}/{len(file.windows):<2d} {one.false:6d} {place}   {counted}")
    scores = {f"nab_{name}": round(nab.normalised(raw[name], windows, nab.PROFILES[name]), 2) for name in nab.PROFILES}
    print(
        f"windows found: {found} of {windows}, on average at {np.mean(places):.2f} of the window; false: {false},"
        f" {false / outside_weeks:.2f} a week outside of windows"
    )
    for detector, settings in (("ADWIN", 0.002), ("Page-Hinkley", 50.0)):
        total = 0.0
        for file in files:
            errors = np.abs(np.diff(file.values, prepend=file.values[:1]))
            total += nab.score(file, bare(detector, settings, errors), nab.PROFILES["standard"]).raw
        print(
            f"bare {detector} on errors of the last value: {nab.normalised(total, windows, nab.PROFILES['standard']):.2f}"
        )
    print(json.dumps(scores))
    return scores


def _feed(streams: dict[str, Any]) -> dict[str, Told]:
    """Streams [T, N] by name, through one engine."""
    series = {}
    for name, values in streams.items():
        seconds = (START_S + STEP_S * np.arange(len(values))).tolist()
        for number, column in enumerate(values.T.tolist()):
            series[f"{name}/{number}"] = (seconds, column)
    return run(engine_of(), series)


def on_steady(series: int, length: int) -> float:
    """False alarms a week where nothing changes, over all kinds of streams."""
    told = _feed({kind: steady(kind, series, length, 1) for kind in STEADY})
    first = engine_of().spec.ready_after
    weeks = series * (length - first) * STEP_S / WEEK_S
    rates = []
    for kind in STEADY:
        count = sum(len(told[f"{kind}/{number}"].fired) for number in range(series))
        rates.append(count / weeks)
        print(f"steady, {kind:22s} {count:4d} alerts in {weeks:.0f} weeks: {rates[-1]:.2f} a week")
    set_to = AlertSettings().false_alarms_per_week
    print(
        f"steady, all: {np.mean(rates):.2f} a week where {set_to} is set, {np.mean(rates) / set_to:.2f} times as many"
    )
    again = sum(_again(one) for one in told.values())
    print(f"incidents told twice: {again}")
    return float(np.mean(rates))


def _again(told: Told) -> int:
    """Firings of a fingerprint beyond its first."""
    prints = [event.fingerprint for _, event in told.events if event.status == "firing"]
    return len(prints) - len(set(prints))


def on_changes(series: int, length: int, at: int) -> float:
    """Our delay over that of the better of ADWIN's, mean of level and variance, at one run length between false alarms."""
    streams = {kind: changing(kind, series, length, at, 2) for kind in CHANGES}
    told = _feed(streams)
    first = 400
    print(f"{'change':10s} {'detector':32s}" + "".join(f"{f'once in {one:,}':>16s}" for one in RUN_LENGTHS))
    ratios = []
    for kind, values in streams.items():
        rarity = np.array([told[f"{kind}/{number}"].rarity for number in range(series)])
        ours = []
        for limit in np.arange(2.0, 7.0, 0.1):
            alarms = [np.flatnonzero(one >= limit).tolist() for one in rarity]
            ours.append(judge(alarms, at, length, first))
        rows = {"Tidecast": delays(ours)}
        for detector, settings in SENSITIVITIES.items():
            for signal, of in SIGNALS.items():
                seen = of(values)
                curve = [
                    judge([bare(detector, one, seen[:, place]) for place in range(series)], at, length, first)
                    for one in settings
                ]
                rows[f"{detector}, {signal}"] = delays(curve)
        for name, told_delays in rows.items():
            print(f"{kind:10s} {name:32s}" + "".join(f"{one:16.1f}" for one in told_delays))
        best = min(rows[f"ADWIN, {signal}"][RUN_LENGTHS.index(HEADLINE)] for signal in SIGNALS)
        if kind in ABRUPT:
            ratios.append(rows["Tidecast"][RUN_LENGTHS.index(HEADLINE)] / best)
        fired = [starts([row for row in told[f"{kind}/{number}"].fired if row >= at]) for number in range(series)]
        soon = [float(one[0] - at) for one in fired if one]
        print(
            f"{kind:10s} alerts out of the box: {len(soon)} of {series} streams, after {np.mean(soon or [np.nan]):.1f}"
        )
    print(
        f"delay over that of ADWIN on the better of its signals: {dict(zip(ABRUPT, np.round(ratios, 3), strict=True))}"
    )
    return float(np.mean(ratios))


def delays(curve: list[tuple[float, float]]) -> list[float]:
    """A curve at each of ``RUN_LENGTHS``."""
    return [delay_at(curve, one) for one in RUN_LENGTHS]


def main() -> None:
    """Print everything, then the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less than 50 seconds, and less exact")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="NAB files with windows.json")
    chosen = parser.parse_args()
    single_threaded()
    result: dict[str, float] = {}
    if (chosen.folder / "windows.json").exists():
        result |= on_nab(chosen.folder)
    else:
        print("NAB: skipped, its files are not beside the checkout")
    result["false_alarms_per_week"] = round(on_steady(*((4, 1_600) if chosen.quick else (12, 4_000))), 3)
    result["delay_ratio_to_adwin"] = round(on_changes(*((6, 1_300, 1_000) if chosen.quick else (12, 1_500, 1_200))), 3)
    if not chosen.quick:
        recovery(4)
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()

"""How soon the forecasts are good again after a regime change, with and without the reaction to drift."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.changes import SEASON
from benchmarks.feeding import HOME, engine_of
from models.spec import EXPERTS
from stream.decode import Decoder
from stream.records import Record

Floats = NDArray[np.float64]
BEFORE, AFTER, NEWEST, SMOOTH, NEAR = 1_500, 1_500, 500, 50, 1.1
"""Rows before and after the change, those whose error is the new floor, those that an error is a mean over, and how near is near."""
HORIZON = 12
WAYS = {
    "reacts to drift": (EXPERTS, True),
    "does not": (EXPERTS, False),
    "network alone, reacts": (("last-value", "network"), True),
    "network alone, fixed rate": (("last-value", "network"), False),
}


def regimes(series: int, seed: int) -> Floats:
    """Streams [T, series] whose season, memory and noise change at row ``BEFORE``."""
    rng = np.random.default_rng(seed)
    rows = np.arange(BEFORE + AFTER)
    late = rows >= BEFORE
    phase = 2 * np.pi * rows / SEASON
    wave = np.where(late, 4.0 * np.sin(3.0 * phase) + 2.0 * np.cos(2.0 * phase), 3.0 * np.sin(phase))
    noise = 0.5 * rng.standard_normal((len(rows), series))
    for row in range(1, len(rows)):
        noise[row] += (-0.6 if late[row] else 0.8) * noise[row - 1]
    made: Floats = 20.0 + wave[:, None] + np.where(late, 5.0, 0.0)[:, None] + noise
    return made


def errors(values: Floats, experts: tuple[str, ...], *, adapt: bool, seed: int) -> Floats:
    """Mean absolute error [T] of the median over leads and streams, by the row of the target."""
    engine = engine_of(step="5m", horizon=HORIZON, model={"experts": experts}, alerts={"adapt": adapt}, season=SEASON)
    decoder = Decoder(engine.feed.fields, engine.feed.limits)
    length, series = values.shape
    said = np.full((length + HORIZON, HORIZON, series), np.nan)
    for row in range(length):
        items = [
            {"series": f"{seed}/{place}", "time": 1_794_268_800 + 300 * row, "value": float(value)}
            for place, value in enumerate(values[row])
        ]
        forecasts = engine.step(
            decoder.decode([Record(*HOME, row, None, repr(items).replace("'", '"').encode())]), 0
        ).forecasts
        assert forecasts is not None
        for lead in range(HORIZON):
            said[row + lead + 1, lead] = forecasts.quantiles[:, lead, engine.spec.median]
    made: Floats = np.abs(said[:length] - values[:, None]).mean((1, 2))
    return made


def recovered(error: Floats) -> tuple[int, float]:
    """Rows behind the change until the mean error of ``SMOOTH`` rows is near the new floor, and the floor."""
    floor = float(error[-NEWEST:].mean())
    after = error[BEFORE:]
    smooth = np.convolve(after, np.ones(SMOOTH) / SMOOTH, mode="valid")
    return int(np.argmax(smooth <= NEAR * floor)) + SMOOTH, floor


def recovery(series: int = 8, seeds: tuple[int, ...] = (1, 2, 3)) -> None:
    """Print, for every way and seed, the rows to recovery and the floor. What the reaction does was chosen on seed 0."""
    for name, (experts, adapt) in WAYS.items():
        found = [recovered(errors(regimes(series, seed), experts, adapt=adapt, seed=seed)) for seed in seeds]
        rows, floors = zip(*found, strict=True)
        told = ", ".join(f"{floor:.3f}" for floor in floors)
        print(f"recovery, {name:26s} after {', '.join(map(str, rows))} observations; new floor {told}")

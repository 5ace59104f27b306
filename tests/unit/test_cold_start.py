"""A new series is useful at once: scored from its second observation on, and soon no worse than what needs no learning."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.forecaster import Forecaster
from models.observation import Beat
from models.spec import ModelSpec

FILE = Path(__file__).parents[3] / "shared" / "data" / "ett" / "ETTm1.csv"
STEP_US = 900_000_000
ROWS = 500
Floats = NDArray[np.float64]


def run(values: Floats, spec: ModelSpec) -> tuple[Floats, Floats]:
    """Medians [T, C, H] and experts' forecasts [T, C, H, E] of a forecaster without trained weights over ``values`` [T, C]."""
    channels = values.shape[1]
    forecaster = Forecaster(spec, 0, STEP_US)
    forecaster.tells_experts = True
    each = np.arange(channels)
    forecaster.resize(channels)
    forecaster.start(each, each.astype(np.uint64) + 1)
    beat = Beat(np.full(channels, STEP_US), np.zeros(channels, np.int64))
    medians, experts = [], []
    for slot, row in enumerate(values):
        _, issued = forecaster.observe(each, np.full(channels, slot), row[:, None], beat)
        assert issued.experts is not None
        medians.append(issued.quantiles[..., spec.median])
        experts.append(issued.experts)
    return np.array(medians), np.array(experts)


def errors(values: Floats, forecasts: Floats) -> Floats:
    """Absolute errors of forecasts [T, C, H] whose targets are there, all leads in one [n, C]."""
    count, horizon = len(values), forecasts.shape[2]
    return np.concatenate(
        [np.abs(values[lead:] - forecasts[: count - lead, :, lead - 1]) for lead in range(1, horizon + 1)]
    )


@pytest.mark.skipif(not FILE.exists(), reason="ETTm1 is not there")
def test_within_500_observations_of_a_cold_start_the_mixture_is_at_least_as_good_as_last_value_and_seasonal_naive() -> (
    None
):
    with FILE.open() as file:
        rows = [next(reader) for reader in [csv.reader(file)] for _ in range(ROWS + 1)][1:]
    values = np.array([[float(cell) for cell in row[1:]] for row in rows])
    values = (values - values.mean(0)) / values.std(0)
    spec = ModelSpec()
    medians, experts = run(values, spec)
    mixture = errors(values, medians)
    for name in ("last-value", "seasonal-naive"):
        other = errors(values, experts[..., spec.experts.index(name)])
        assert mixture.mean() <= other.mean(), name
        assert (mixture**2).mean() <= (other**2).mean(), name


def test_a_series_is_scored_from_its_second_observation_on() -> None:
    spec = ModelSpec(context=8, patch=4, horizon=3)
    forecaster = Forecaster(spec, 0, STEP_US)
    forecaster.resize(1)
    row = np.array([0])
    forecaster.start(row, np.ones(1, np.uint64))
    beat = Beat(np.full(1, STEP_US), np.zeros(1, np.int64))
    for slot, value in enumerate([1.0, 2.0, 4.0]):
        forecaster.observe(row, np.array([slot]), np.array([[value]]), beat)
        # Lead h is settled for the first time at observation h + 1, by every expert's error.
        assert forecaster.scores.arrays["score.settled"][0].tolist() == [slot, max(slot - 1, 0), 0]

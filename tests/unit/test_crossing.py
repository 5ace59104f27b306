"""The chance to cross a threshold: what quantiles tell of a lead, and what outcomes teach about a horizon."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import orjson
import pytest

from models.crossing import ABOVE, BELOW, Crossings, exceedance
from stream.messages import ForecastMessage
from tests.unit.engines import HOME, Run, feed, stream
from workers.publishing import encode

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
NORMAL = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
HORIZON = 12


def test_the_chance_of_a_lead_is_one_minus_the_level_at_a_quantile_and_falls_beyond_the_last() -> None:
    quantiles = np.broadcast_to(NORMAL, (9, 1, 5))
    limits = np.array([-9.0, -3.0, *NORMAL, 3.0, 9.0])
    chances = exceedance(quantiles, np.array(LEVELS), limits)[:, 0]
    np.testing.assert_allclose(chances[2:7], 1 - np.array(LEVELS))
    assert (np.diff(chances) < 0).all()
    assert 0 < chances[-1] < chances[-2] < 0.01
    assert 0.99 < chances[1] < chances[0]


@pytest.mark.parametrize("limit", [4.9, 5.0, 5.1])
def test_quantiles_of_no_width_give_certainty(limit: float) -> None:
    chance = exceedance(np.full((1, 3, 5), 5.0), np.array(LEVELS), np.array([limit]))
    np.testing.assert_allclose(chance, 1.0 if limit < 5.0 else 0.05 if limit == 5.0 else 0.0, atol=1e-12)


def _walks(count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Autoregressions [T, N] and their true quantiles [T, N, H, Q]."""
    random, keep = np.random.default_rng(1), 0.95
    values = np.zeros((length, count))
    for at in range(1, length):
        values[at] = keep * values[at - 1] + random.normal(size=count)
    leads = np.arange(1, HORIZON + 1)
    spread = np.sqrt((1 - keep ** (2 * leads)) / (1 - keep**2))
    return values, (values[..., None] * keep**leads)[..., None] + spread[:, None] * NORMAL


def test_chances_become_reliable_although_leads_hang_together() -> None:
    values, quantiles = _walks(8, 3_000)
    crossings = Crossings(HORIZON, LEVELS)
    crossings.resize(8)
    for row in range(8):
        crossings.begin(row, 4.0, -5.0)
    rows = np.arange(8)
    made = np.array([crossings.observe(rows, np.full(8, at), values[at], quantiles[at]) for at in range(len(values))])
    ahead = np.array([values[at + 1 : at + 1 + HORIZON] for at in range(len(values) - HORIZON)])
    for side, beyond in ((ABOVE, ahead > 4.0), (BELOW, ahead < -5.0)):
        chance, happened = made[1_000:-HORIZON, :, side].ravel(), np.asarray(beyond.any(axis=1))[1_000:].ravel()
        score, blind = np.mean((chance - happened) ** 2), happened.mean() * (1 - happened.mean())
        assert score < 0.75 * blind
        for low in np.arange(0.0, 1.0, 0.2):
            inside = (chance >= low) & (chance < low + 0.2)
            assert abs(chance[inside].mean() - happened[inside].mean()) < 0.1, low


def test_a_horizon_with_a_gap_teaches_nothing() -> None:
    values, quantiles = _walks(1, 200)
    crossings = Crossings(HORIZON, LEVELS)
    crossings.resize(1)
    crossings.begin(0, 0.5, None)
    row, before = np.array([0]), crossings.arrays["crossing.coefficients"].copy()
    for at in range(200):
        if at % HORIZON:
            chance = crossings.observe(row, np.array([at]), values[at], quantiles[at])
            assert np.isnan(chance[0, BELOW])
            assert 0 < chance[0, ABOVE] < 1
    np.testing.assert_array_equal(crossings.arrays["crossing.coefficients"], before)


def test_thresholds_are_told_of_in_forecasts_of_series_that_fit_the_pattern_and_go_on_after_a_restart() -> None:
    feed_of = feed(thresholds=[{"series": "s1", "above": 1.0}, {"series": "s2", "above": 0.5, "below": -0.5}])
    records = stream(3, 40)
    whole, first = Run(feed_of), Run(feed_of)
    told: list[dict[str, bytes]] = []
    for run, cut in ((whole, len(records)), (first, 60)):
        run.feed(records[:60])
        if cut > 60:
            decoded = run.decoder.decode(records[60:])
            effects = run.engine.step(decoded, 0)
            assert effects.forecasts is not None
            told.append(dict(encode(run.engine, effects.forecasts, decoded, 0)[HOME]))
    sides = {name: ForecastMessage.model_validate_json(text).crossing for name, text in told[0].items()}
    assert {name: sorted(crossing) for name, crossing in sides.items()} == {
        "s0": [], "s1": ["above"], "s2": ["above", "below"],
    }  # fmt: skip
    assert sides["s2"]["below"].threshold == -0.5
    second = Run(feed_of)
    second.engine.open(HOME, list(first.engine.resident[HOME]))
    for name, series in first.engine.resident[HOME].items():
        second.engine.restore(HOME, name, *first.engine.snapshot(series))
    decoded = second.decoder.decode(records[60:])
    effects = second.engine.step(decoded, 0)
    assert effects.forecasts is not None
    again = dict(encode(second.engine, effects.forecasts, decoded, 0)[HOME])
    assert {name: orjson.loads(text)["crossing"] for name, text in again.items()} == {
        name: orjson.loads(text)["crossing"] for name, text in told[0].items()
    }

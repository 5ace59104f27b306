"""Scores of a replay: an exact forecaster scores zero, and the naive errors equal brute force."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from stream.errors import ConfigurationError, InputError
from stream.sources.synthetic import SyntheticSource
from workers.replaying import feed_for, is_json_lines, replay, summary
from workers.scoring import Scorer, ratio, typical_ratio, widest_pair
from workers.settings import FeedSettings

LEVELS = (0.05, 0.5, 0.95)
H = 5
STEP_US = 60_000_000
START_US = 1_767_225_600_000_000


def quantiles(median: np.ndarray, half_width: float = 1.0) -> np.ndarray:
    return np.stack([median - half_width, median, median + half_width], axis=1)


def score(values: list[float | None], forecasts: np.ndarray, season: int = 0) -> Scorer:
    """Take ``values`` on consecutive slots, None for a missing one, with ``forecasts`` [n, H] as medians."""
    scorer = Scorer(H, LEVELS)
    for slot, (value, median) in enumerate(zip(values, forecasts, strict=True)):
        if value is not None:
            scorer.take("a", START_US + slot * STEP_US, STEP_US, season, value, quantiles(median))
    return scorer


def brute_force(values: list[float | None], forecasts: np.ndarray) -> list[float]:
    """Mean absolute error at each lead over all pairs of a cutoff and a target that were both observed."""
    means = []
    for lead in range(1, H + 1):
        errors = [
            abs(target - forecasts[slot - lead][lead - 1])
            for slot, target in enumerate(values)
            if slot >= lead and target is not None and values[slot - lead] is not None
        ]
        means.append(float(np.mean(errors)))
    return means


def test_exact_forecaster_scores_zero_at_every_lead() -> None:
    ramp = [3.0 * slot for slot in range(40)]
    exact = np.array([[3.0 * (slot + lead) for lead in range(1, H + 1)] for slot in range(40)])
    scored = score(list(ramp), exact).series["a"]
    assert scored.by_lead(scored.forecast) == [0.0] * H
    assert scored.by_lead(scored.last_value) == [3.0 * lead for lead in range(1, H + 1)]
    assert scored.settled.tolist() == [40 - lead for lead in range(1, H + 1)]
    assert scored.mean(scored.inside) == 1.0


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_errors_equal_brute_force_with_and_without_gaps(missing: float) -> None:
    random = np.random.default_rng(1)
    values = [None if random.random() < missing else float(value) for value in random.normal(0, 2, 300).cumsum()]
    forecasts = random.normal(0, 2, (300, H))
    scored = score(values, forecasts).series["a"]
    assert scored.by_lead(scored.forecast) == pytest.approx(brute_force(values, forecasts))
    held = np.array([[0.0 if value is None else value] * H for value in values])
    assert scored.by_lead(scored.last_value) == pytest.approx(brute_force(values, held))


def test_seasonal_naive_repeats_the_last_season_and_before_that_the_last_value() -> None:
    season = 3
    values = [float(value) for value in np.random.default_rng(2).normal(0, 1, 60)]
    naive = np.empty((60, H))
    for slot in range(60):
        for lead in range(1, H + 1):
            past = slot + lead - season * math.ceil(lead / season)
            naive[slot, lead - 1] = values[past] if past >= 0 else values[slot]
    scored = score(list(values), np.zeros((60, H)), season).series["a"]
    assert scored.by_lead(scored.seasonal) == pytest.approx(brute_force(list(values), naive))


def test_a_target_that_never_comes_is_never_scored() -> None:
    scored = score([1.0, *[None] * H, 2.0], np.zeros((H + 2, H))).series["a"]
    assert not scored.settled.any()
    assert scored.mean(scored.forecast) is None


def test_series_do_not_see_each_other() -> None:
    scorer = Scorer(H, LEVELS)
    for slot in range(20):
        scorer.take("a", slot * STEP_US, STEP_US, 0, 1.0, quantiles(np.ones(H)))
        scorer.take("b", slot * STEP_US + 7, STEP_US, 0, float(slot), quantiles(np.zeros(H)))
    a, b = scorer.series["a"], scorer.series["b"]
    assert a.mean(a.forecast) == 0.0
    assert b.by_lead(b.last_value) == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_the_interval_is_the_widest_symmetric_pair() -> None:
    assert widest_pair((0.01, 0.05, 0.5, 0.95)) == (1, 3)
    assert widest_pair((0.3, 0.5)) == (1, 1)


def test_a_ratio_needs_both_errors_and_a_divisor() -> None:
    assert ratio(1.0, 2.0) == 0.5
    assert ratio(1.0, 0.0) is None
    assert ratio(None, 2.0) is None
    assert typical_ratio([0.5, 2.0, None]) == pytest.approx(1.0)
    assert typical_ratio([None]) is None
    assert typical_ratio([0.0, 2.0]) == 0.0


def small_feed() -> FeedSettings:
    return FeedSettings.model_validate(
        {
            "name": "small",
            "topics": ["small"],
            "step": "1m",
            "context": 8,
            "horizon": 3,
            "season": 10,
            "model": {"hidden": 4, "patch": 4},
        }
    )


def test_a_replay_scores_every_observation_and_is_the_same_twice() -> None:
    def run() -> dict[str, object]:
        source = SyntheticSource(3, seed=1, start_us=START_US, steps=60)
        return summary(replay(source, small_feed(), name="synthetic"))

    told = run()
    assert told["observations"] == told["forecasts"] == 180
    rows = told["series"]
    assert isinstance(rows, list)
    assert [row["targets"] for row in rows] == [59 + 58 + 57] * 3
    assert told == run()


def test_the_limit_counts_records() -> None:
    source = SyntheticSource(2, seed=1, start_us=START_US)
    assert replay(source, small_feed(), name="endless", limit=700).records == 700


def test_options_override_and_what_does_not_fit_is_said(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("time,value\n2026-01-01T00:00:00Z,1\n2026-01-01T00:01:00Z,2\n")
    feed = feed_for(str(file), None, {"horizon": 7, "context": None, "step": "1m"}, {"architecture": "lstm"})
    assert (feed.horizon, feed.context, feed.step, feed.model.architecture) == (7, 96, STEP_US, "lstm")
    again = feed_for(str(file), feed, {"horizon": 9}, {})
    assert (again.horizon, again.step, again.model) == (9, STEP_US, feed.model)
    with pytest.raises(ConfigurationError, match="horizon"):
        feed_for(str(file), None, {"horizon": 0}, {})
    with pytest.raises(ConfigurationError, match="multiple of patch"):
        feed_for(str(file), None, {"context": 50}, {})
    with pytest.raises(InputError, match="no such file"):
        feed_for(str(tmp_path / "b.csv"), None, {}, {})


@pytest.mark.parametrize(
    ("path", "expected"),
    [("-", True), ("a.jsonl", True), ("a.ndjson.gz", True), ("a.jsonl.gz", True), ("a.csv", False), ("a.txt", False)],
)
def test_json_lines_are_known_by_their_name(path: str, expected: bool) -> None:
    assert is_json_lines(path) is expected

"""Training: it learns, repeats itself, stops, and looks at nothing that was not known yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.batch import sizes_of
from models.forecaster import Forecaster
from models.history import History, SeriesHistory, Split
from models.observation import Beat
from models.registry import architecture
from models.spec import ModelSpec
from models.training import (
    PATIENCE,
    Score,
    Trained,
    Weights,
    check_weights,
    evaluate,
    evaluate_baselines,
    train,
    untrained,
)

SPEC = ModelSpec(context=16, horizon=4, hidden=8, patch=4, season=12)
STEP_US = 60_000_000


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def stretch(
    values: NDArray[np.float64],
    seen: NDArray[np.bool_] | None = None,
    name: str = "s",
    first_us: int = 1_794_268_800_000_000,
) -> SeriesHistory:
    columns = values.reshape(len(values), -1).astype(np.float64)
    mask = np.ones(len(values), bool) if seen is None else seen
    # As live: an unseen slot holds the value before it.
    last = np.maximum.accumulate(np.where(mask, np.arange(len(values)), 0))
    return SeriesHistory(name, STEP_US, first_us, columns[last], mask)


def sines(count: int = 3, length: int = 600, noise: float = 0.02, seed: int = 0) -> list[SeriesHistory]:
    rng = np.random.default_rng(seed)
    at = np.arange(length)
    return [
        stretch(
            10 * n + (1 + n) * (np.sin(2 * np.pi * at / (17 + n)) + noise * rng.standard_normal(length)), name=f"s{n}"
        )
        for n in range(count)
    ]


def run(history: History, split: Split, *, epochs: int = 4, seed: int = 0, start: Weights | None = None) -> Trained:
    return train(
        history,
        split,
        start=start,
        seed=seed,
        epochs=epochs,
        should_stop=lambda: False,
        progress=lambda *_: None,
    )


def test_a_sine_is_learnt_better_than_any_baseline() -> None:
    history = History(sines(), SPEC)
    split = history.split()
    assert split.shortfall is None
    trained = run(history, split, epochs=6)
    score = evaluate(history, trained.weights, split.held_out)
    baselines = evaluate_baselines(history, split)
    assert set(baselines) == {"last-value", "seasonal-naive"}
    assert score.pinball < 0.5 * min(one.pinball for one in baselines.values())
    assert score.mae < 0.5 * evaluate(history, untrained(SPEC, 0), split.held_out).mae
    check_weights(trained.weights, SPEC)


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    spec = ModelSpec.from_dict(SPEC.to_dict() | {"architecture": name})
    history = History(sines(length=300), spec)
    split = history.split()
    one, again, other = (run(history, split, epochs=1, seed=seed) for seed in (1, 1, 2))
    assert one.validation == again.validation
    assert all(np.array_equal(one.weights[part], again.weights[part]) for part in one.weights)
    assert not np.array_equal(one.weights["input"], other.weights["input"])


def test_training_stops_when_newer_rows_gain_nothing() -> None:
    rng = np.random.default_rng(3)
    history = History([stretch(rng.standard_normal(200))], SPEC)  # noise: there is only chance to learn
    trained = run(history, history.split(), epochs=60)
    assert trained.ended == "early"
    assert trained.epochs < 60
    assert int(np.argmin(trained.validation)) == trained.epochs - PATIENCE


def test_the_best_weights_are_returned_and_never_worse_than_the_start() -> None:
    history = History(sines(length=400), SPEC)
    split = history.split()
    start = run(history, split, epochs=5).weights
    reckless = ModelSpec.from_dict(SPEC.to_dict() | {"train_rate": 0.5})
    trained = run(History(sines(length=400), reckless), split, epochs=2, start=start)
    assert evaluate(history, trained.weights, split.validation).pinball == min(trained.validation)
    assert min(trained.validation) <= trained.validation[0]


def test_asked_to_stop_it_stops_and_returns_what_it_has() -> None:
    history = History(sines(length=400), SPEC)
    answers = iter([False, False, True])
    done: list[float] = []
    trained = train(
        history,
        history.split(),
        start=None,
        seed=0,
        epochs=50,
        should_stop=lambda: next(answers),
        progress=lambda share, _: done.append(share),
    )
    assert (trained.ended, trained.epochs, len(done)) == ("asked", 1, 2)


def test_weights_of_another_shape_are_refused() -> None:
    history = History(sines(length=300), SPEC)
    other = untrained(ModelSpec.from_dict(SPEC.to_dict() | {"hidden": 4}), 0)
    with pytest.raises(ValueError, match="shape"):
        run(history, history.split(), start=other)
    broken = untrained(SPEC, 0)
    broken["skip"][0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        check_weights(broken, SPEC)


# What a window sees


def gappy(length: int = 200, seed: int = 5) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    seen = rng.random(length) > 0.2
    seen[0] = True
    return np.cumsum(rng.standard_normal(length)) + 50, seen


def test_no_window_uses_rows_after_its_cutoff() -> None:
    values, seen = gappy()
    history = History([stretch(values, seen)], SPEC)
    for cutoff in history.cutoffs[::20]:
        later, later_seen = values.copy(), seen.copy()
        later[cutoff + 1 :] = 1e6
        later_seen[cutoff + 1 :] ^= True
        later_seen[cutoff + 1] = True
        other = History([stretch(later, later_seen)], SPEC)
        mine, theirs = history.batch(np.array([cutoff])), other.batch(np.array([cutoff]))
        assert np.array_equal(mine.patches, theirs.patches)
        assert np.array_equal(mine.centred, theirs.centred)
        assert not np.array_equal(mine.targets, theirs.targets)


def test_windows_are_those_of_the_live_forecaster() -> None:
    values, seen = gappy()
    history = History([stretch(values, seen)], SPEC)
    live = Forecaster(SPEC, 0, STEP_US)
    live.resize(1)
    row = np.zeros(1, np.int64)
    live.start(row, np.zeros(1, np.uint64))
    caught: list[NDArray[np.float32]] = []
    step = live.fleet.step

    def spy(rows: NDArray[np.int64], steps: NDArray[np.float32], *rest: NDArray[np.float32]) -> NDArray[np.float32]:
        caught.append(steps[:, :1].copy())
        return step(rows, steps, *rest)  # type: ignore[arg-type]

    live.fleet.step = spy  # type: ignore[method-assign, assignment]
    beat = Beat(np.array([STEP_US]), np.array([int(history.time_us[0])]))
    for slot in np.flatnonzero(seen):
        live.observe(row, np.array([slot]), values[slot].reshape(1, 1), beat)
        assert np.allclose(live.scales.variance[0], history.scales.variance[slot], rtol=1e-9)
        assert np.allclose(caught[-1][0], history.batch(np.array([slot])).patches[0], atol=1e-5)


def test_carried_recurrences_are_trained_on_what_they_see_live() -> None:
    spec = replace(SPEC, policy="carried", patch=1, replay=0)
    values, seen = gappy()
    history = History([stretch(values, seen)], spec)
    live = Forecaster(spec, 0, STEP_US)
    live.resize(1)
    row = np.zeros(1, np.int64)
    live.start(row, np.zeros(1, np.uint64))
    beat = Beat(np.array([STEP_US]), np.array([int(history.time_us[0])]))
    counts, thin = np.ones(1, np.int64), np.ones(1, np.int64)
    for slot in np.flatnonzero(seen):
        _, sight = live.observer.before(row, np.array([slot]), values[slot].reshape(1, 1), beat, thin, counts)
        assert np.allclose(sight.fresh[0, -1], history.batch(np.array([slot])).patches[0, 0, -1], atol=1e-5)


def test_missing_slots_are_no_targets() -> None:
    values, seen = gappy()
    history = History([stretch(values, seen)], SPEC)
    cutoffs = history.cutoffs
    targets, known = history.targets(cutoffs)
    for row, cutoff in enumerate(cutoffs.tolist()):
        for lead in range(1, SPEC.horizon + 1):
            there = cutoff + lead < len(seen) and bool(seen[cutoff + lead])
            assert known[row, lead - 1] == there
            assert there or targets[row, lead - 1] == 0


def test_series_do_not_reach_into_each_other() -> None:
    alone = sines(1)
    both = History([*alone, stretch(np.full(50, 1e9))], SPEC)
    first = History(alone, SPEC)
    cutoffs = first.cutoffs
    assert np.array_equal(both.cutoffs[: len(cutoffs)], cutoffs)
    mine, theirs = first.batch(cutoffs), both.batch(cutoffs)
    assert np.array_equal(mine.patches, theirs.patches)
    assert np.array_equal(mine.targets, theirs.targets)
    assert np.array_equal(first.seasonal(cutoffs), both.seasonal(cutoffs))


@pytest.mark.parametrize("shift", [0, 200])
def test_parts_lie_in_time_and_no_target_reaches_into_the_next(shift: int) -> None:
    series = [*sines(2), stretch(np.sin(np.arange(500.0)), first_us=sines(1)[0].first_us + shift * STEP_US)]
    history = History(series, SPEC)
    split = history.split()
    reach = SPEC.horizon * STEP_US
    for before, after in ((split.train, split.validation), (split.validation, split.held_out)):
        assert history.time_us[before].max() + reach < history.time_us[after].min()
    share = len(split.held_out) / len(history.cutoffs)
    assert share == pytest.approx(0.1, abs=0.02)


def test_too_little_history_is_told() -> None:
    assert "0 windows in the train part" in str(History([], SPEC).split().shortfall)
    assert "windows in the train part" in str(History(sines(1, 60), SPEC).split().shortfall)


@pytest.mark.parametrize(
    "wrong",
    [
        SeriesHistory("s", STEP_US, 0, np.zeros((5, 2)), np.ones(5, bool)),
        SeriesHistory("s", STEP_US, 0, np.zeros((5, 1)), np.zeros(5, bool)),
        SeriesHistory("s", STEP_US, 0, np.full((5, 1), np.nan), np.ones(5, bool)),
        SeriesHistory("s", 0, 0, np.zeros((5, 1)), np.ones(5, bool)),
    ],
)
def test_a_series_that_breaks_the_rules_is_refused(wrong: SeriesHistory) -> None:
    with pytest.raises(ValueError, match="series 's'"):
        History([wrong], SPEC)


# Scores


class Oracle:
    """An architecture that knows straight lines: every lead continues the last difference, all levels alike."""

    def shapes(self, sizes: object) -> dict[str, tuple[int, ...]]:
        return {"nothing": (1,)}

    def start(self, sizes: object, generator: torch.Generator) -> dict[str, torch.Tensor]:
        return {"nothing": torch.zeros(1)}

    def quantiles(self, weights: object, patches: torch.Tensor, centred: torch.Tensor, sizes: object) -> torch.Tensor:
        leads = torch.arange(1, SPEC.horizon + 1)
        ahead = -centred[..., -2:-1] * leads
        return ahead[..., None].expand(-1, -1, -1, len(SPEC.levels))


def test_an_exact_forecaster_scores_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("models.training", "models.fleet"):
        monkeypatch.setattr(f"{module}.architecture", lambda _: Oracle())
    history = History([stretch(np.arange(300.0))], SPEC)
    score = evaluate(history, untrained(SPEC, 0), history.split().held_out)
    assert score.pinball == pytest.approx(0.0, abs=1e-6)
    assert score.mae == pytest.approx(0.0, abs=1e-6)


def test_scores_are_the_definition_over_known_targets() -> None:
    values, seen = gappy(400)
    history = History([stretch(values, seen)], SPEC)
    cutoffs = history.cutoffs[::7]
    weights = untrained(SPEC, 0)
    batch = history.batch(cutoffs)
    net = architecture(SPEC.architecture)
    stacked = {name: torch.from_numpy(part)[None] for name, part in weights.items()}
    out = net.quantiles(stacked, torch.from_numpy(batch.patches), torch.from_numpy(batch.centred), sizes_of(SPEC))
    losses, sizes, inside = [], [], []
    for row, lead in zip(*np.nonzero(batch.known[0]), strict=True):
        target, quantiles = float(batch.targets[0, row, lead]), out[0, row, lead].tolist()
        errors = [target - quantile for quantile in quantiles]
        losses.append(np.mean([max(q * e, (q - 1) * e) for q, e in zip(SPEC.levels, errors, strict=True)]))
        sizes.append(abs(errors[SPEC.median]))
        inside.append(quantiles[0] <= target <= quantiles[-1])
    expected = Score(float(np.mean(losses)), float(np.mean(sizes)), float(np.mean(inside)), len(losses))
    found = evaluate(history, weights, cutoffs)
    assert found.targets == expected.targets
    assert (found.pinball, found.mae, found.coverage) == pytest.approx(
        (expected.pinball, expected.mae, expected.coverage), rel=1e-5
    )


def baselines(series: Sequence[SeriesHistory]) -> dict[str, Score]:
    history = History(series, SPEC)
    return evaluate_baselines(history, history.split())


def test_a_flat_series_is_exact_for_the_last_value() -> None:
    assert baselines([stretch(np.full(400, 7.0))])["last-value"].mae == 0


def test_a_pure_season_is_exact_for_the_seasonal_naive() -> None:
    scores = baselines([stretch(np.tile(np.random.default_rng(1).random(SPEC.season), 40))])
    assert scores["seasonal-naive"].mae == 0
    assert scores["last-value"].mae > 0.5

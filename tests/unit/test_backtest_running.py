"""A backtest as a whole: what it scores, that nothing of it looks ahead, and published protocols."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.history import History
from stream.errors import ConfigurationError, InputError
from stream.messages import iso
from workers.backtest.choosing import feed_for
from workers.backtest.files import open_source, read, survey
from workers.backtest.protocol import boundaries, split_at
from workers.backtest.running import Backtest, Options, backtest_file
from workers.backtest.summary import STRETCH, summary
from workers.history import gather
from workers.scoring import Scorer
from workers.settings import FeedSettings

START_US = 1_767_225_600_000_000
STEP_US = 3_600_000_000
CONTEXT, H = 8, 3
SMALL = {"context": CONTEXT, "horizon": H, "season": 12, "model.hidden": 4, "model.patch": 4}
Rows = list[list[float]]


def waves(rows: int, series: int = 2, seed: int = 0) -> Rows:
    random = np.random.default_rng(seed)
    return [
        [round(10 * n + math.sin(row / 12 * 2 * math.pi + n) + 0.2 * random.normal(), 4) for n in range(series)]
        for row in range(rows)
    ]


def written(folder: Path, rows: Rows, name: str = "halls.csv") -> str:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["time", *(f"s{n}" for n in range(len(rows[0])))])
    table.writerows([iso(START_US + at * STEP_US), *row] for at, row in enumerate(rows))
    file = folder / name
    file.write_text(text.getvalue())
    return str(file)


def feed(path: str, **changes: Any) -> FeedSettings:
    return feed_for(path, None, SMALL | {"retrain.epochs": 2} | changes)


def run(path: str, **options: Any) -> Backtest:
    return backtest_file(path, feed(path), Options(**{"rivals_every": 5} | options))


def test_every_pair_of_cutoff_and_target_is_scored_from_the_second_observation_on(tmp_path: Path) -> None:
    told = summary(run(written(tmp_path, waves(60))))
    assert told["observations"] == told["forecasts"] == 120
    assert [row["targets"] for row in told["series"]] == [59 + 58 + 57] * 2
    assert told["overall"]["targets"] == 2 * (59 + 58 + 57)
    short = summary(run(written(tmp_path, waves(3), "short.csv")))
    assert [row["targets"] for row in short["series"]] == [2 + 1] * 2


def test_the_naive_scores_are_those_of_the_file(tmp_path: Path) -> None:
    rows = waves(60)
    row = summary(run(written(tmp_path, rows)))["series"][1]
    values = [one[1] for one in rows]
    for name, season in (("last-value", 0), ("seasonal-naive", 12)):
        errors = [
            abs(values[at + lead] - values[at + lead - season if season and at + lead >= season else at])
            for at in range(60)
            for lead in range(1, H + 1)
            if at + lead < 60
        ]
        found = row["forecasters"][name]
        assert found["mae"] == pytest.approx(np.mean(errors))
        assert found["mse"] == pytest.approx(np.mean(np.square(errors)))
    moves = np.abs(np.diff(values)).mean()
    assert row["mase_denominator"] == pytest.approx(moves)
    assert row["forecasters"]["last-value"]["mase"] == pytest.approx(row["forecasters"]["last-value"]["mae"] / moves)
    assert row["deviation"] == pytest.approx(np.std(values))
    assert row["forecasters"]["last-value"]["ratio_last_value"] == 1.0


def test_the_same_file_gives_the_same_scores_where_the_rivals_origins_are_fixed(tmp_path: Path) -> None:
    path = written(tmp_path, waves(80))
    assert summary(run(path)) == summary(run(path))


@pytest.mark.parametrize("rows_to_train", [0, 60])
def test_no_forecast_sees_what_comes_after_its_cutoff(
    tmp_path: Path, rows_to_train: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows from 110 on are changed: every forecast from an earlier row, of the mixture, the experts and the rivals,
    stays what it was to the bit, and every one from a later row changes.
    """
    made: list[tuple[int, bytes]] = []
    take = Scorer.take

    def noted(self: Any, name: str, cutoff_us: int, *rest: Any) -> None:
        quantiles, experts, rivals = rest[3], rest[4], rest[5]
        row = (cutoff_us - START_US) // STEP_US
        made.append(
            (row, b"".join(np.asarray(part).tobytes() for part in (quantiles, experts, rivals) if part is not None))
        )
        take(self, name, cutoff_us, *rest)

    monkeypatch.setattr(Scorer, "take", noted)
    rows, changed = waves(130), waves(130)
    changed[110:] = [[-5 * value for value in row] for row in rows[110:]]
    options: dict[str, Any] = {"rivals_every": 1}
    if rows_to_train:
        options |= {"train_rows": rows_to_train, "validation_rows": 40}
    told = []
    for number, version in enumerate((rows, changed)):
        made.clear()
        run(written(tmp_path, version, f"{number}.csv"), **options)
        told.append(list(made))
    before = [[one for one in found if one[0] < 110] for found in told]
    after = [[one for one in found if one[0] >= 110] for found in told]
    assert len(before[0]) == 220
    assert before[0] == before[1]
    assert all(one != other for one, other in zip(*after, strict=True))


def test_rivals_are_scored_on_every_kth_origin_and_can_be_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, waves(60))
    row = summary(run(path, rivals_every=5))["series"][0]["forecasters"]
    origins = [at for at in range(60) if (at + 1) % 5 == 0]
    assert row["snarimax"]["targets"] == sum(min(H, 59 - at) for at in origins)
    assert 0 < row["holt-winters"]["targets"] < row["snarimax"]["targets"]
    told = summary(run(path, rivals_every=0))
    assert told["rivals"] is None
    assert "snarimax" not in told["series"][0]["forecasters"]


def test_a_protocol_scores_the_rest_only_in_deviations_of_the_training_rows(tmp_path: Path) -> None:
    rows = waves(200)
    result = run(written(tmp_path, rows), train_rows=100, validation_rows=40)
    told = summary(result)
    for number, row in enumerate(told["series"]):
        values = np.array([one[number] for one in rows])
        scale = values[:100].std()
        assert row["unit"] == row["deviation"] == pytest.approx(scale)
        assert row["mase_denominator"] == pytest.approx(np.abs(np.diff(values[:100])).mean())
        cutoffs = range(139, 200 - H)
        assert row["targets"] == H * len(cutoffs)
        errors = [(values[at + lead] - values[at]) / scale for at in cutoffs for lead in range(1, H + 1)]
        assert row["forecasters"]["last-value"]["mse"] == pytest.approx(np.mean(np.square(errors)))
    overall = told["overall"]["forecasters"]["last-value"]["mse"]
    assert overall == pytest.approx(np.mean([row["forecasters"]["last-value"]["mse"] for row in told["series"]]))
    assert told["protocol"]["scored_from"] == iso(START_US + 140 * STEP_US)
    assert len(told["protocol"]["validation_loss"]) == 3
    assert min(told["protocol"]["validation_loss"]) < told["protocol"]["validation_loss"][0]


def test_training_windows_end_before_validation_and_those_before_what_is_scored(tmp_path: Path) -> None:
    path = written(tmp_path, waves(80))
    chosen = feed(path)
    source = open_source(path, chosen.fields)
    chunks = list(read(source, None))
    found = survey(iter(chunks), chosen.fields, chosen.limits)
    limits = boundaries(found, 40, 20)
    assert limits.validate_us == START_US + 40 * STEP_US
    assert limits.score_us == START_US + 60 * STEP_US
    history = History(gather(chosen, iter(chunks[0]), lambda _: None).stretches, chosen.spec())
    split = split_at(history, limits)
    row = (history.time_us - START_US) // STEP_US
    assert set(row[split.train]) == set(range(CONTEXT // 4, 40 - H))
    assert set(row[split.validation]) == set(range(39, 60 - H))


def test_the_rows_of_a_long_file_are_moments_of_all_its_series(tmp_path: Path) -> None:
    rows = waves(120)
    lines = ["time,series,value"]
    lines += [f"{iso(START_US + at * STEP_US)},s{n},{row[n]}" for n in range(2) for at, row in enumerate(rows)]
    long = tmp_path / "long.csv"
    long.write_text("\n".join(lines))
    options = {"train_rows": 60, "validation_rows": 20}
    wide = summary(run(written(tmp_path, rows), **options))
    told = summary(run(str(long), **options))
    assert told["series"] == wide["series"]


def test_a_series_that_begins_after_the_training_rows_is_told_but_not_averaged(tmp_path: Path) -> None:
    rows = waves(160)
    lines = [f"{iso(START_US + at * STEP_US)},{row[0]},{row[1] if at >= 120 else ''}" for at, row in enumerate(rows)]
    file = tmp_path / "late.csv"
    file.write_text("\n".join(["time,early,late", *lines]))
    told = summary(run(str(file), train_rows=80, validation_rows=30))
    early, late = told["series"]
    assert late["targets"] > 0
    assert late["unit"] == 1.0
    for name in ("mixture", "last-value"):
        assert told["overall"]["forecasters"][name]["mse"] == early["forecasters"][name]["mse"]


def test_rows_that_leave_nothing_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, waves(30))
    with pytest.raises(InputError, match=r"30 rows.*leave none to score"):
        run(path, train_rows=20, validation_rows=10)
    with pytest.raises(InputError, match="--validation-rows leaves no window"):
        run(path, train_rows=20, validation_rows=2)


def test_the_limit_counts_records(tmp_path: Path) -> None:
    assert run(written(tmp_path, waves(60)), limit=17).records == 17


def test_a_file_that_begins_with_the_newest_scores_like_its_reverse(tmp_path: Path) -> None:
    path = written(tmp_path, waves(60))
    header, *lines = Path(path).read_text().splitlines()
    turned = tmp_path / "turned.csv"
    turned.write_text("\n".join([header, *reversed(lines)]))
    result = run(str(turned))
    assert result.backwards
    assert summary(result)["series"] == summary(run(path))["series"]


def test_series_of_different_steps_are_scored_from_their_second_observation_on(tmp_path: Path) -> None:
    lines = ["time,series,value"]
    lines += [f"{iso(START_US + at * STEP_US)},a,{at % 7}" for at in range(40)]
    lines += [f"{iso(START_US + 2 * at * STEP_US)},b,{at % 5}" for at in range(20)]
    file = tmp_path / "mixed.csv"
    file.write_text("\n".join(lines))
    rows = {row["series"]: row for row in summary(run(str(file)))["series"]}
    assert rows["a"]["targets"] == 39 + 38 + 37
    assert rows["b"]["targets"] == 19 + 18 + 17


def test_coverage_of_stretches_finds_the_worst_one(tmp_path: Path) -> None:
    result = run(written(tmp_path, waves(60)), rivals_every=0)
    score = result.scorer.series["s0"]
    block = score.blocks[0]
    inside = np.r_[np.ones(STRETCH), np.zeros(100), np.ones(STRETCH)]
    size = len(inside)
    block.cutoff_us, block.inside = np.arange(size), inside
    block.value, block.absolute = np.zeros(size), np.zeros((size, block.absolute.shape[1]))
    block.weights = np.zeros((size, block.weights.shape[1]))
    score.blocks = [block]
    assert summary(result)["series"][0]["coverage_of_stretches"] == {"origins": STRETCH, "lowest": 0.9, "highest": 1.0}


def test_options_override_and_what_does_not_fit_is_said(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("time,value\n2026-01-01T00:00:00Z,1\n2026-01-01T00:01:00Z,2\n")
    path = str(file)
    found = feed_for(
        path, None, {"horizon": 7, "context": None, "step": "1m"}, ["model.architecture=lstm", "levels=[0.1, 0.5]"]
    )
    assert (found.horizon, found.context, found.step, found.model.architecture) == (7, 96, 60_000_000, "lstm")
    assert found.levels == (0.1, 0.5)
    again = feed_for(path, found, {"horizon": 9})
    assert (again.horizon, again.step, again.model) == (9, 60_000_000, found.model)
    for changes, assignments, told in (
        ({"horizon": 0}, [], "horizon"),
        ({"context": 50}, [], "multiple of patch"),
        ({}, ["model.hiden=3"], "model.hiden: there is no such setting"),
        ({}, ["hidden"], "NAME=VALUE"),
        ({}, ["name.x=3"], "single value"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            feed_for(path, None, changes, assignments)
    with pytest.raises(InputError, match="no such file"):
        feed_for(str(tmp_path / "b.csv"), None, {})

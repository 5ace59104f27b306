"""A backtest as one JSON object: what the tables and the page show, and more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import numpy as np

from stream.messages import iso
from workers.alerts import AlertEvent
from workers.backtest.running import Backtest
from workers.durations import write_duration
from workers.measures import ratio, typical_ratio
from workers.scoring import MIXTURE, Origins, Scorer, SeriesScore

STRETCH = 1_000
"""Origins of a stretch whose coverage is told: drift shows there, not in the mean over everything."""
BINS = 60
FEWEST_IN_BIN = 10
ERRORS = ("mse", "mae", "mase", "pinball", "crps")


def summary(result: Backtest) -> dict[str, Any]:
    """Everything that was found. Docs: docs/backtest.md."""
    rows = [_series(result, name) for name in result.scorer.series]
    feed = result.feed
    return {
        "file": result.name,
        "records": result.records,
        "observations": result.observations,
        "forecasts": result.forecasts,
        "rejected": dict(result.rejected),
        "passed_over": result.passed_over,
        "settings": {
            "horizon": feed.horizon,
            "context": feed.context,
            "step": "auto" if feed.step == "auto" else write_duration(feed.step),
            "architecture": feed.model.architecture,
            "levels": list(feed.levels),
        },
        "protocol": _protocol(result),
        "rivals": _rivals(result),
        "overall": _overall(result, rows),
        "crossings": result.crossings.summary(result.prepared.boundaries.score_us if result.prepared else 0),
        "series": rows,
        "alerts": [_alert(event) for event in result.alerts],
    }


def _protocol(result: Backtest) -> dict[str, Any] | None:
    if result.prepared is None:
        return None
    limits = result.prepared.boundaries
    return {
        "train_rows": limits.train_rows,
        "validation_rows": limits.validation_rows,
        "validation_from": iso(limits.validate_us),
        "scored_from": iso(limits.score_us),
        "validation_loss": result.prepared.validation,
    }


def _rivals(result: Backtest) -> dict[str, Any] | None:
    if result.rivals is None:
        return None
    chosen = "given" if result.options.rivals_every else "by run time"
    return {"names": list(result.rivals.names), "every_at_most": result.rivals.largest_every, "chosen": chosen}


def _series(result: Backtest, name: str) -> dict[str, Any]:
    scorer, score = result.scorer, result.scorer.series[name]
    unit = 1.0
    deviation, move = score.deviation, score.mean_move
    if result.prepared is not None:
        unit = result.prepared.deviations.get(name, 1.0)
        deviation, move = unit, result.prepared.mean_moves.get(name)
    fired = sum(event.series == name and event.status == "firing" for event in result.alerts)
    return {
        "series": name,
        "observations": score.observations,
        "targets": score.targets,
        "unit": unit,
        "deviation": deviation,
        "mase_denominator": move,
        "forecasters": {
            forecaster: _forecaster(scorer, score, number, move / unit if move else None)
            for number, forecaster in enumerate(scorer.forecasters)
        },
        "coverage": _coverage(scorer, score),
        "pit": (score.pit / score.targets).tolist() if score.targets else None,
        "by_lead": _by_lead(scorer, score),
        "over_time": over_time(scorer, [(score, 1.0)]),
        "coverage_of_stretches": _stretches(score),
        "alerts": fired,
    }


def _forecaster(scorer: Scorer, score: SeriesScore, number: int, move: float | None) -> dict[str, Any]:
    absolute, squared = score.mean("absolute", number), score.mean("squared", number)
    mixture = number == 0
    pinball = float(score.pinball.sum()) / score.targets / len(scorer.levels) if score.targets else None
    crps = float(score.crps.sum()) / score.targets if score.targets else None
    return {
        "targets": int(score.count[number].sum()),
        "mse": squared,
        "mae": absolute,
        "mase": ratio(absolute, move),
        "pinball": pinball if mixture else None,
        # Of a point forecast, which is a distribution without any width, the CRPS is the absolute error.
        "crps": crps if mixture else absolute,
        "ratio_last_value": ratio(absolute, score.mean("absolute_last", number)),
        "ratio_last_value_squared": ratio(squared, score.mean("squared_last", number)),
        "ratio_mixture": ratio(absolute, score.mean("absolute_mixture", number)),
    }


def _coverage(scorer: Scorer, score: SeriesScore) -> dict[str, Any] | None:
    if not score.targets:
        return None
    levels = scorer.levels
    return {
        "levels": {
            f"{level:g}": share
            for level, share in zip(levels, (score.below.sum(0) / score.targets).tolist(), strict=True)
        },
        "intervals": [
            {
                "nominal": levels[high] - levels[low],
                "realised": float(score.inside[:, number].sum()) / score.targets,
                "width": float(score.width[:, number].sum()) / score.targets,
            }
            for number, (low, high) in enumerate(scorer.intervals)
        ],
    }


def _by_lead(scorer: Scorer, score: SeriesScore) -> dict[str, Any]:
    told: dict[str, Any] = {
        measure: {
            name: _shares(getattr(score, sums)[number], score.count[number])
            for number, name in enumerate(scorer.forecasters)
        }
        for measure, sums in (("mae", "absolute"), ("mse", "squared"))
    }
    told["crps"] = _shares(score.crps, score.count[0])
    told["coverage"] = _shares(score.inside[:, 0], score.count[0]) if scorer.intervals else None
    return told


def _shares(sums: Any, counts: Any) -> list[float | None]:
    return [total / count if count else None for total, count in zip(sums.tolist(), counts.tolist(), strict=True)]


def over_time(scorer: Scorer, chosen: Iterable[tuple[SeriesScore, float]]) -> list[dict[str, Any]]:
    """Errors, coverage and weights by time of the origin, in at most ``BINS`` even stretches of time; each series'
    errors over its unit.
    """
    parts = [(Origins.joined(score.blocks), unit) for score, unit in chosen if score.blocks]
    if not parts:
        return []
    cutoffs = np.concatenate([part.cutoff_us for part, _ in parts])
    errors = np.concatenate([part.absolute / unit for part, unit in parts])
    inside = np.concatenate([part.inside for part, _ in parts])
    weights = np.concatenate([part.weights for part, _ in parts])
    bins = max(1, min(BINS, len(cutoffs) // FEWEST_IN_BIN))
    edges = np.linspace(cutoffs.min(), cutoffs.max() + 1, bins + 1).astype(np.int64)
    at = np.clip(np.searchsorted(edges, cutoffs, side="right") - 1, 0, bins - 1)
    rows = []
    for number in range(bins):
        mine = at == number
        if not mine.any():
            continue
        mean = [_nan_mean(errors[mine, column]) for column in range(errors.shape[1])]
        rows.append(
            {
                "from": iso(int(edges[number])),
                "until": iso(int(edges[number + 1])),
                "origins": int(mine.sum()),
                "mae": dict(zip(scorer.forecasters, mean, strict=True)),
                "coverage": float(inside[mine].mean()) if scorer.intervals else None,
                "weights": dict(zip(scorer.experts, weights[mine].mean(0).tolist(), strict=True)),
            }
        )
    return rows


def _nan_mean(values: Any) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _stretches(score: SeriesScore) -> dict[str, Any] | None:
    """The lowest and highest coverage of the widest interval over any ``STRETCH`` origins in a row."""
    if not score.blocks:
        return None
    inside = Origins.joined(score.blocks).inside
    if len(inside) < STRETCH:
        return None
    summed = np.concatenate([[0.0], np.cumsum(inside)])
    shares = (summed[STRETCH:] - summed[:-STRETCH]) / STRETCH
    return {"origins": STRETCH, "lowest": float(shares.min()), "highest": float(shares.max())}


def _overall(result: Backtest, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over series, each of which counts the same; errors in deviations of each series, so that they compare."""
    scored = [row for row in rows if row["targets"]]
    units = [_own_unit(row, result) for row in scored]
    told = {name: _overall_forecaster(name, scored, units) for name in result.scorer.forecasters}
    scores = [(result.scorer.series[row["series"]], unit) for row in scored if (unit := _own_unit(row, result))]
    return {
        "series": len(rows),
        "targets": sum(row["targets"] for row in rows),
        "forecasters": told,
        "ratio_last_value": told[MIXTURE]["ratio_last_value"],
        "coverage": _mean(
            row["coverage"]["intervals"][0]["realised"] for row in scored if row["coverage"]["intervals"]
        ),
        "nominal": result.scorer.nominal,
        "coverage_by_level": {
            f"{level:g}": _mean(row["coverage"]["levels"][f"{level:g}"] for row in scored)
            for level in result.scorer.levels
        },
        "pit": np.mean([row["pit"] for row in scored], axis=0).tolist() if scored else None,
        "by_lead": {"mae": _overall_by_lead(result, scored)},
        "over_time": over_time(result.scorer, scores),
        "alerts": sum(row["alerts"] for row in rows),
    }


def _overall_by_lead(result: Backtest, rows: list[dict[str, Any]]) -> dict[str, list[float | None]]:
    """Mean absolute error at each lead, of series whose values differ."""
    told = {}
    for name in result.scorer.forecasters:
        of_series = [
            [None if one is None else one / unit for one in row["by_lead"]["mae"][name]]
            for row in rows
            if (unit := _own_unit(row, result))
        ]
        columns = zip(*of_series, strict=True)
        told[name] = [_mean(one for one in column if one is not None) for column in columns]
    return told


def _own_unit(row: dict[str, Any], result: Backtest) -> float | None:
    """What a series' scores are still to be divided by: 1 where they are scaled already, None where nothing can be."""
    if result.prepared is None:
        return cast("float | None", row["deviation"])
    # A series that began after the training rows has nothing to be scaled by, and would not compare.
    return 1.0 if row["series"] in result.prepared.deviations else None


def _overall_forecaster(name: str, rows: list[dict[str, Any]], units: list[float | None]) -> dict[str, Any]:
    told: dict[str, Any] = {"targets": sum(row["forecasters"][name]["targets"] for row in rows)}
    for measure in ERRORS:
        power = {"mse": 2, "mase": 0}.get(measure, 1)
        told[measure] = _mean(
            value / unit**power
            for row, unit in zip(rows, units, strict=True)
            if unit and (value := row["forecasters"][name][measure]) is not None
        )
    for measure in ("ratio_last_value", "ratio_mixture"):
        told[measure] = typical_ratio(row["forecasters"][name][measure] for row in rows)
    return told


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None


def _alert(event: AlertEvent) -> dict[str, Any]:
    return {
        "series": event.series,
        "kind": event.kind,
        "status": event.status,
        "severity": event.severity,
        "at": iso(event.at_us),
        "fingerprint": event.fingerprint,
        "title": event.title,
        "evidence": event.evidence,
    }

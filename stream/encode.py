"""Forecasts from columns to JSON: the hot path of the output side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import orjson
from numpy.typing import NDArray

from stream.messages import STATES, VERSION, iso

_NUMPY = orjson.OPT_SERIALIZE_NUMPY
_STATES = tuple(state.encode() for state in STATES)
_RESOLUTION = 1e-3
"""float32 is good enough where it resolves this share of the interval's width; see ``encode_forecasts``."""
_CHUNK = 64


@dataclass(frozen=True, slots=True)
class ForecastColumns:
    """n forecasts of one feed, one row each; meanings and units as in ForecastMessage.

    ``state`` uint8 [n] holds indices into STATES. ``cutoff_us``, ``step_us`` int64 [n] and ``issued_us`` are in
    microseconds, UTC. ``value`` float64 [n]. ``levels`` are Q ascending levels with 0.5 among them, ``quantiles``
    float32 or float64 [n, H, Q]. ``weights`` float32 [n, E] are of the E ``experts``.
    """

    ids: list[str]
    feed: str
    series: list[str]
    state: NDArray[np.uint8]
    cutoff_us: NDArray[np.int64]
    issued_us: int
    step_us: NDArray[np.int64]
    value: NDArray[np.float64]
    levels: tuple[float, ...]
    quantiles: NDArray[np.float32] | NDArray[np.float64]
    model: list[str]
    weights: NDArray[np.float32]
    experts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)


def encode_forecasts(columns: ForecastColumns) -> list[bytes]:
    """One ForecastMessage as JSON for each row.

    Quantiles are written as the shortest text that reads back as the same float32, about 7 digits. Rows of float64
    in which float32 would blur the intervals (a counter at 1e9 that moves by 1) or overflow are written as float64.
    ValueError where columns do not fit together or a number is not finite: JSON has no word for NaN, and a forecast
    with one is a fault of ours.
    """
    _check(columns)
    if not len(columns):
        return []
    template = _template(columns.feed, columns.levels, columns.quantiles.shape[1], columns.experts)
    issued = iso(columns.issued_us).encode()
    middle = columns.levels.index(0.5)
    models = {name: orjson.dumps(name) for name in set(columns.model)}
    steps = {step: orjson.dumps(step / 1e6) for step in set(columns.step_us.tolist())}
    rows = zip(
        map(orjson.dumps, columns.ids),
        map(orjson.dumps, columns.series),
        [_STATES[state] for state in columns.state.tolist()],
        _iso_column(columns.cutoff_us),
        [steps[step] for step in columns.step_us.tolist()],
        orjson.dumps(np.ascontiguousarray(columns.value), option=_NUMPY)[1:-1].split(b","),
        _quantile_texts(columns.quantiles),
        [models[name] for name in columns.model],
        _weight_texts(columns.weights),
        strict=True,
    )
    return [
        template % (id_, series, state, cutoff, issued, step, value, levels.pop(middle), *levels, model, *weights)
        for id_, series, state, cutoff, step, value, levels, model, weights in rows
    ]


@lru_cache(maxsize=64)
def _template(feed: str, levels: tuple[float, ...], horizon: int, experts: tuple[str, ...]) -> bytes:
    """The JSON with ``%b`` where rows differ, in the order of the arguments in ``encode_forecasts``."""

    def literal(value: object) -> bytes:
        return orjson.dumps(value).replace(b"%", b"%%")

    quantiles = b",".join(b"%b:[%%b]" % literal(f"{level:.12g}") for level in levels if level != 0.5)
    weights = b",".join(b"%b:%%b" % literal(name) for name in experts)
    return (
        b'{"v":%d,"id":%%b,"feed":%b,"series":%%b,"state":"%%b","cutoff":"%%bZ","issued":"%%b","step_s":%%b,"horizon":%d,'
        b'"value":%%b,"median":[%%b],"quantiles":{%b},"model":%%b,"weights":{%b}}'
    ) % (VERSION, literal(feed), horizon, quantiles, weights)


def _quantile_texts(quantiles: NDArray[np.float32] | NDArray[np.float64]) -> list[list[bytes]]:
    """For each row and level the H numbers as text, comma between."""
    by_level = quantiles.transpose(0, 2, 1)
    if by_level.dtype == np.float32:
        return _number_texts(by_level)
    lowest, highest = by_level[:, 0], by_level[:, -1]
    with np.errstate(over="ignore"):
        narrow = by_level.astype(np.float32)
        # Levels ascend and quantiles do not cross, so the outer two bound them all.
        size = np.maximum(np.abs(lowest), np.abs(highest)).astype(np.float32)
        blurred = ~(np.spacing(size) <= _RESOLUTION * (highest - lowest)).all(axis=1)
    texts = _number_texts(narrow)
    wide = np.flatnonzero(blurred)
    for row, text in zip(wide.tolist(), _number_texts(by_level[wide]), strict=True):
        texts[row] = text
    return texts


def _number_texts(numbers: NDArray[np.floating]) -> list[list[bytes]]:
    """[n, Q, H] -> n lists of Q texts "1.0,2.5,..."."""
    texts: list[list[bytes]] = []
    # One call of orjson costs as much as a row, so many rows go into one; but their text should stay in the cache.
    for start in range(0, len(numbers), _CHUNK):
        text = orjson.dumps(np.ascontiguousarray(numbers[start : start + _CHUNK]), option=_NUMPY)
        texts += [row.split(b"],[") for row in text[3:-3].split(b"]],[[")]
    return texts


def _weight_texts(weights: NDArray[np.float32]) -> list[list[bytes]]:
    if not weights.shape[1]:
        return [[] for _ in weights]
    text = orjson.dumps(np.ascontiguousarray(weights), option=_NUMPY)
    return [row.split(b",") for row in text[2:-2].split(b"],[")]


def _iso_column(times_us: NDArray[np.int64]) -> list[bytes]:
    """As ``iso``, without the 'Z'."""
    times = times_us.astype("datetime64[us]")
    if not (times_us % 1_000_000).any():
        return [text.encode() for text in np.datetime_as_string(times, unit="s").tolist()]
    return [text.removesuffix(".000000").encode() for text in np.datetime_as_string(times, unit="us").tolist()]


def _check(columns: ForecastColumns) -> None:
    n = len(columns.ids)
    lengths = {
        "series": len(columns.series),
        "state": len(columns.state),
        "cutoff_us": len(columns.cutoff_us),
        "step_us": len(columns.step_us),
        "value": len(columns.value),
        "quantiles": len(columns.quantiles),
        "model": len(columns.model),
        "weights": len(columns.weights),
    }
    for name, length in lengths.items():
        if length != n:
            raise ValueError(f"{name} has {length} rows, ids have {n}")
    if columns.quantiles.ndim != 3 or columns.quantiles.shape[1] < 1:
        raise ValueError(f"quantiles are {columns.quantiles.shape}, not [n, H, Q] with H >= 1")
    if columns.quantiles.shape[2] != len(columns.levels) or columns.weights.shape[1:] != (len(columns.experts),):
        raise ValueError("the last axis of quantiles must be levels, that of weights experts")
    if 0.5 not in columns.levels or list(columns.levels) != sorted(set(columns.levels)):
        raise ValueError(f"levels {columns.levels} must ascend and hold 0.5")
    for name, numbers in (("value", columns.value), ("quantiles", columns.quantiles), ("weights", columns.weights)):
        finite = np.isfinite(numbers)
        if not finite.all():
            row = int(np.argmin(finite.reshape(n, -1).all(axis=1)))
            raise ValueError(f"{name} of series {columns.series[row]!r} (feed {columns.feed}) is not finite")

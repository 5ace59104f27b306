"""Forecasts from columns to JSON: the hot path of the output side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import orjson
from numpy.typing import NDArray

from stream.messages import STATES, VERSION, iso

Floats = NDArray[np.float64]

_NUMPY = orjson.OPT_SERIALIZE_NUMPY
_STATES = tuple(state.encode() for state in STATES)
_FINER = 3
"""Quantiles are rounded to 10**-3 of the narrowest interval of their forecast, or finer; see ``decimals``."""
_DIGITS = 15
"""A float64 holds any number of so many digits, and its shortest text is that number again."""
_MOST_DECIMALS = 22
"""The largest power of ten that a float64 holds exactly."""
AS_IT_IS = -1
"""In place of decimals: the number is written in full."""
WEIGHT_DECIMALS = 4
_CHUNK = 64


@dataclass(frozen=True, slots=True)
class ForecastColumns:
    """n forecasts of one feed, one row each; meanings and units as in ForecastMessage.

    Where an observation stands in its log, and the series, as one item may hold several, name its forecast for ever: the id is
    "source:offset:item:series". ``source`` int32 [n] numbers ``sources`` ("topic:partition"), ``offset`` is int64 [n], ``item`` int32
    [n]. ``model`` int32 [n] numbers ``models``. ``state`` uint8 [n] holds indices into STATES. ``cutoff_us``, ``step_us`` int64 [n] and
    ``issued_us`` are in microseconds, UTC. ``value`` float64 [n]. ``levels`` are Q ascending levels with 0.5 among them, ``quantiles``
    float64 [n, H, Q]. ``weights`` float64 [n, E] are of the E ``experts``.
    """

    sources: Sequence[str]
    source: NDArray[np.int32]
    offset: NDArray[np.int64]
    item: NDArray[np.int32]
    feed: str
    series: list[str]
    state: NDArray[np.uint8]
    cutoff_us: NDArray[np.int64]
    issued_us: int
    step_us: NDArray[np.int64]
    value: Floats
    levels: tuple[float, ...]
    quantiles: Floats
    models: Sequence[str]
    model: NDArray[np.int32]
    weights: Floats
    experts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.series)


def encode_forecasts(columns: ForecastColumns) -> list[bytes]:
    """One ForecastMessage as JSON for each row.

    Quantiles are rounded as ``decimals`` says, weights to 4 decimals; the value is written as it was observed. ValueError where columns
    do not fit together or a number is not finite: JSON has no word for NaN, and a forecast with one is a fault of ours.
    """
    _check(columns)
    if not len(columns):
        return []
    template = _template(columns.feed, columns.levels, columns.quantiles.shape[1], columns.experts)
    issued = iso(columns.issued_us).encode()
    middle = columns.levels.index(0.5)
    models = [orjson.dumps(name) for name in columns.models]
    steps = {step: orjson.dumps(step / 1e6) for step in set(columns.step_us.tolist())}
    places = zip(columns.source.tolist(), columns.offset.tolist(), columns.item.tolist(), columns.series, strict=True)
    rows = zip(
        [orjson.dumps(f"{columns.sources[source]}:{offset}:{item}:{name}") for source, offset, item, name in places],
        map(orjson.dumps, columns.series),
        [_STATES[state] for state in columns.state.tolist()],
        _iso_column(columns.cutoff_us),
        [steps[step] for step in columns.step_us.tolist()],
        orjson.dumps(np.ascontiguousarray(columns.value), option=_NUMPY)[1:-1].split(b","),
        _number_texts(_rounded(columns.quantiles, decimals(columns.quantiles)).transpose(0, 2, 1)),
        [models[number] for number in columns.model.tolist()],
        _weight_texts(columns.weights),
        strict=True,
    )
    return [
        template % (id_, series, state, cutoff, issued, step, value, levels.pop(middle), *levels, model, *weights)
        for id_, series, state, cutoff, step, value, levels, model, weights in rows
    ]


def decimals(quantiles: Floats) -> NDArray[np.int64]:
    """How many decimals each forecast [n, H, Q] is written with, [n]: as many as resolve a thousandth of its narrowest interval.

    ``AS_IT_IS`` where that is beyond what a float64 holds for certain: intervals of no width, or of next to none at a high level.
    """
    # Levels ascend and quantiles do not cross, so the outer two bound them all.
    lowest, highest = quantiles[:, :, 0], quantiles[:, :, -1]
    with np.errstate(divide="ignore", over="ignore"):
        wanted = np.ceil(_FINER - np.log10((highest - lowest).min(1)))
        size = np.log10(np.maximum(-lowest.min(1), highest.max(1)))
    most = np.minimum(_DIGITS - 1 - np.floor(size), _MOST_DECIMALS)
    fits = (wanted <= most) & (most >= 0)
    return np.where(fits, np.maximum(wanted, 0), AS_IT_IS).astype(np.int64)


def _rounded(numbers: Floats, places: NDArray[np.int64]) -> Floats:
    """Each row of ``numbers`` [n, ...] to so many decimals [n]: the float64 nearest to the decimal number."""
    scale = (10.0 ** np.maximum(places, 0)).reshape(-1, *[1] * (numbers.ndim - 1))
    with np.errstate(over="ignore"):
        # Zero is added for the sign: "-0.0" says nothing.
        rounded = np.rint(numbers * scale) / scale + 0.0
    return np.where((places == AS_IT_IS).reshape(scale.shape), numbers, rounded)


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


def _number_texts(numbers: Floats) -> list[list[bytes]]:
    """[n, Q, H] -> n lists of Q texts "1.0,2.5,..."."""
    texts: list[list[bytes]] = []
    # One call of orjson costs as much as a row, so many rows go into one; but their text should stay in the cache.
    for start in range(0, len(numbers), _CHUNK):
        text = orjson.dumps(np.ascontiguousarray(numbers[start : start + _CHUNK]), option=_NUMPY)
        texts += [row.split(b"],[") for row in text[3:-3].split(b"]],[[")]
    return texts


def _weight_texts(weights: Floats) -> list[list[bytes]]:
    if not weights.shape[1]:
        return [[] for _ in weights]
    text = orjson.dumps(_rounded(weights, np.full(len(weights), WEIGHT_DECIMALS)), option=_NUMPY)
    return [row.split(b",") for row in text[2:-2].split(b"],[")]


def _iso_column(times_us: NDArray[np.int64]) -> list[bytes]:
    """As ``iso``, without the 'Z'."""
    times = times_us.astype("datetime64[us]")
    if not (times_us % 1_000_000).any():
        return [text.encode() for text in np.datetime_as_string(times, unit="s").tolist()]
    return [text.removesuffix(".000000").encode() for text in np.datetime_as_string(times, unit="us").tolist()]


def _check(columns: ForecastColumns) -> None:
    n = len(columns)
    names = ("source", "offset", "item", "state", "cutoff_us", "step_us", "value", "quantiles", "model", "weights")
    for name in names:
        if len(getattr(columns, name)) != n:
            raise ValueError(f"{name} has {len(getattr(columns, name))} rows, series have {n}")
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

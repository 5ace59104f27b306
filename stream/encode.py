"""Forecasts from columns to JSON: the hot path of the output side."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from types import ModuleType

import numpy as np
import orjson
from numpy.typing import NDArray

from stream.messages import STATES, VERSION, iso, iso_column

Floats = NDArray[np.float64]

_log = logging.getLogger(__name__)
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
_NO_CROSSING = b"{}"
_SIDES = ("above", "below")
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


def encode_forecasts(columns: ForecastColumns, *, compiled: bool | None = None) -> list[bytes]:
    """One ForecastMessage as JSON for each row.

    Quantiles are rounded as ``decimals`` says, weights to 4 decimals; the value is written as it was observed. ValueError where columns
    do not fit together or a number is not finite: JSON has no word for NaN, and a forecast with one is a fault of ours. ``compiled``
    False is the reference in Python, True the extension stream._encode (ImportError where it was not built), None whatever there is.
    """
    _check(columns)
    if not len(columns):
        return []
    places = decimals(columns.quantiles)
    horizon = columns.quantiles.shape[1]
    pieces = _pieces(columns.feed, columns.levels, horizon, columns.experts)
    pieces = [*pieces[:4], pieces[4] % iso(columns.issued_us).encode(), *pieces[5:]]
    encoder = None if compiled is False else extension()
    if encoder is None:
        if compiled:
            raise ImportError("stream._encode is not there")
        return _encode(columns, pieces, places)
    made: list[bytes] = encoder.encode(
        pieces,
        [orjson.dumps(source)[1:-1] for source in columns.sources],
        [orjson.dumps(model) for model in columns.models],
        columns.series,
        *map(np.ascontiguousarray, (columns.source, columns.offset, columns.item, columns.state, columns.cutoff_us)),
        *map(np.ascontiguousarray, (columns.step_us, columns.value, columns.quantiles, places)),
        *map(np.ascontiguousarray, (columns.model, columns.weights)),
        horizon,
        len(columns.levels),
        columns.levels.index(0.5),
    )
    return made


@cache
def extension() -> ModuleType | None:
    """The module stream._encode, or None where it was not built, which is said once."""
    try:
        return import_module("stream._encode")
    except ImportError as reason:
        _log.warning("the compiled encoder is not there, so writing forecasts takes several times longer: %s", reason)
        return None


def with_crossings(texts: list[bytes], limits: Floats, chances: Floats) -> list[bytes]:
    """Forecasts as JSON with the chances [n, 2] that their series go above and below ``limits`` [n, 2]; NaN where there is no threshold."""
    made = list(texts)
    for row in np.flatnonzero(~np.isnan(limits).all(1)).tolist():
        sides = {
            side: {"threshold": limit, "probability": round(chance, WEIGHT_DECIMALS)}
            for side, limit, chance in zip(_SIDES, limits[row].tolist(), chances[row].tolist(), strict=True)
            if limit == limit  # noqa: PLR0124 (not NaN)
        }
        made[row] = made[row].removesuffix(_NO_CROSSING + b"}") + orjson.dumps(sides) + b"}"
    return made


def _encode(columns: ForecastColumns, pieces: Sequence[bytes], places: NDArray[np.int64]) -> list[bytes]:
    """The reference: what the extension does."""
    template = b"%b".join(piece.replace(b"%", b"%%") for piece in pieces)
    middle = columns.levels.index(0.5)
    models = [orjson.dumps(name) for name in columns.models]
    steps = {step: orjson.dumps(step / 1e6) for step in set(columns.step_us.tolist())}
    where = zip(columns.source.tolist(), columns.offset.tolist(), columns.item.tolist(), columns.series, strict=True)
    rows = zip(
        [orjson.dumps(f"{columns.sources[source]}:{offset}:{item}:{name}") for source, offset, item, name in where],
        map(orjson.dumps, columns.series),
        [_STATES[state] for state in columns.state.tolist()],
        [text[:-1].encode() for text in iso_column(columns.cutoff_us)],
        [steps[step] for step in columns.step_us.tolist()],
        orjson.dumps(np.ascontiguousarray(columns.value), option=_NUMPY)[1:-1].split(b","),
        _number_texts(_rounded(columns.quantiles, places).transpose(0, 2, 1)),
        [models[number] for number in columns.model.tolist()],
        _weight_texts(columns.weights),
        strict=True,
    )
    return [
        template % (id_, series, state, cutoff, step, value, levels.pop(middle), *levels, model, *weights)
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
def _pieces(feed: str, levels: tuple[float, ...], horizon: int, experts: tuple[str, ...]) -> list[bytes]:
    """The text around what differs: before and after id, series, state, cutoff, step, value, median, other levels, model and weights.

    The one after the cutoff has ``%b`` for the time of issue.
    """
    pieces = [
        b'{"v":%d,"id":' % VERSION,
        b',"feed":%b,"series":' % orjson.dumps(feed),
        b',"state":"',
        b'","cutoff":"',
        b'Z","issued":"%b","step_s":',
        b',"horizon":%d,"value":' % horizon,
        b',"median":[',
        b'],"quantiles":{',
    ]
    for level in levels:
        if level != 0.5:
            pieces[-1] += orjson.dumps(f"{level:.12g}") + b":["
            pieces.append(b"],")
    pieces[-1] = pieces[-1].removesuffix(b",") + b'},"model":'
    pieces.append(b',"weights":{')
    for name in experts:
        pieces[-1] += orjson.dumps(name) + b":"
        pieces.append(b",")
    pieces[-1] = pieces[-1].removesuffix(b",") + b'},"crossing":' + _NO_CROSSING + b"}"
    return pieces


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

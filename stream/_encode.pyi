# The compiled encoder (stream/native/encode.cpp): n forecasts to JSON. Arrays are C-contiguous, of the types that stream.encode names for
# ForecastColumns; what does not fit raises ValueError.

from typing_extensions import Buffer

# `pieces` is the literal text before, between and after what differs: id, series, state, cutoff, step, value, median, the other levels,
# model, each weight. `sources` are escaped, without quotes; `models` with quotes. `decimals` int64 [n], -1 for numbers in full.
def encode(
    pieces: list[bytes],
    sources: list[bytes],
    models: list[bytes],
    series: list[str],
    source: Buffer,
    offset: Buffer,
    item: Buffer,
    state: Buffer,
    cutoff_us: Buffer,
    step_us: Buffer,
    value: Buffer,
    quantiles: Buffer,
    decimals: Buffer,
    model: Buffer,
    weights: Buffer,
    horizon: int,
    levels: int,
    middle: int,
    /,
) -> list[bytes]: ...

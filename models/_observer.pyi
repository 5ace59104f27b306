# The compiled forecaster, models/observer/. Arrays are C-contiguous. before writes records [N, stride] and everything from error on, after
# records and everything from quantiles on (network and said may be empty); models.observation.Observer says what they are. Both raise
# ValueError where a size is off.
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS: tuple[str, ...]

def before(
    records: NDArray[np.uint8],
    integers: NDArray[np.int64],
    reals: NDArray[np.float64],
    rows: NDArray[np.int64],
    slots: NDArray[np.int64],
    step_us: NDArray[np.int64],
    phase_us: NDArray[np.int64],
    season: NDArray[np.int64],
    values: NDArray[np.float64],
    thin: NDArray[np.int64],
    counts: NDArray[np.int64],
    error: NDArray[np.float64],
    known: NDArray[np.bool_],
    inputs: NDArray[np.float32],
    fresh: NDArray[np.float32],
    centred: NDArray[np.float32],
    targets: NDArray[np.float32],
    there: NDArray[np.float32],
    learn: NDArray[np.bool_],
    origin: NDArray[np.float64],
    level: int = -1,
    /,
) -> None: ...
def after(
    records: NDArray[np.uint8],
    integers: NDArray[np.int64],
    reals: NDArray[np.float64],
    rows: NDArray[np.int64],
    slots: NDArray[np.int64],
    step_us: NDArray[np.int64],
    phase_us: NDArray[np.int64],
    season: NDArray[np.int64],
    origin: NDArray[np.float64],
    network: NDArray[np.float32],
    quantiles: NDArray[np.float64],
    weights: NDArray[np.float64],
    ready: NDArray[np.bool_],
    said: NDArray[Any],
    level: int = -1,
    /,
) -> None: ...

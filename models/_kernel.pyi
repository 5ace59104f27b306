# The compiled fleet (models/kernel/): plain arrays in, weights updated in place. Arrays are C-contiguous, but arena and states, of which
# each row is. Sizes, types and rows that do not fit raise ValueError before anything is written.

from typing_extensions import Buffer

# Instruction sets that this processor has and the module was compiled for, slowest first.
LEVELS: tuple[str, ...]

# models.batch.Implementation.step: writes `quantiles` [B, H, Q], of rows that `learn` the arena [N, 3, P], and where they are carried the
# states [N, T, layers, U or 2U]. All float32, but `rows`, `moment` and `counts` int64 and `learn` bool. Shapes as in models.batch.Batch,
# levels [Q]. `policy` is a place in models.spec.POLICIES, `ahead` the steps from mature cutoff to now where it is joint. `constants`: the
# norm to clip to, beta1, beta2, epsilon. `level`: a place in LEVELS, -1 the last.
def step(
    arena: Buffer,
    rows: Buffer,
    inputs: Buffer,
    centred: Buffer,
    targets: Buffer,
    known: Buffer,
    learn: Buffer,
    size: Buffer,
    root: Buffer,
    keep: Buffer,
    levels: Buffer,
    quantiles: Buffer,
    states: Buffer,
    moment: Buffer,
    fresh: Buffer,
    counts: Buffer,
    *,
    lstm: bool,
    squared: bool,
    policy: int,
    ahead: int,
    hidden: int,
    layers: int,
    median: int,
    constants: tuple[float, float, float, float],
    level: int,
) -> None: ...

# The kernel's own sigmoid, or tanh, of float32 [n]: what a test measures.
def curve(values: Buffer, results: Buffer, tanh: bool, level: int = -1, /) -> None: ...

# Does multiply-adds in registers and nothing else; returns how many floating point operations that was. A benchmark's measure of the peak.
def multiply_adds(rounds: int, level: int = -1, /) -> float: ...

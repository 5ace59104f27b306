# The compiled fleet (models/kernel/): plain arrays in, weights updated in place. Arrays are C-contiguous. Sizes, types and rows that do
# not fit raise ValueError before anything is written.

from typing_extensions import Buffer

# Instruction sets that this processor has and the module was compiled for, slowest first.
LEVELS: tuple[str, ...]

# Fleet.step: writes `quantiles` [B, H, Q] and, of rows that `learn`, the arena [N, 3, P]. All float32, but `rows` int64 and `learn` bool.
# patches [B, R, S, F], centred [B, R, L], targets and known [B, R-1, H], levels [Q]; size and root [B] are Adam's rate over its first
# bias and the root of its second. `constants`: the norm to clip to, beta1, beta2, epsilon. `level`: a place in LEVELS, -1 the last.
def step(
    arena: Buffer,
    rows: Buffer,
    patches: Buffer,
    centred: Buffer,
    targets: Buffer,
    known: Buffer,
    learn: Buffer,
    size: Buffer,
    root: Buffer,
    levels: Buffer,
    quantiles: Buffer,
    *,
    lstm: bool,
    hidden: int,
    median: int,
    constants: tuple[float, float, float, float],
    level: int,
) -> None: ...

# The kernel's own sigmoid, or tanh, of float32 [n]: what a test measures.
def curve(values: Buffer, results: Buffer, tanh: bool, level: int = -1, /) -> None: ...

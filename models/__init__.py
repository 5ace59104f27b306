"""Numbers in, numbers out: the forecasting fleet and everything that scores it."""

import os

# Without this, MKL's products depend on where in memory a matrix begins, so a series' bits would depend on its neighbours
# (oneMKL developer guide, "Obtaining numerically reproducible results"). It is read at MKL's first use, so it must be set before.
os.environ.setdefault("MKL_CBWR", "AVX2,STRICT")

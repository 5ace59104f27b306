// The gates' curves. Against exact values: exponential within 2e-7 of its value near zero, sigmoid and tanh within 3e-7 absolute
// (tests/unit/test_kernel.py measures it). NaN stays NaN.
#pragma once

#include "lanes.h"

namespace tidecast::TIDECAST_LEVEL {

// 2^x for x in [-125, 125], held there outside: x = n + r, then 2^n and 2^r, r in [-1/2, 1/2], by the polynomial of degree 5 with the
// least relative error, 7.5e-8 (found by Remez exchange). In Horner's order: curves have company enough to hide that each term waits for
// the one before it, so what counts is how many operations they take.
INLINE Vec power_of_two(Vec x) {
    x = clamped(x, -125.0f, 125.0f);
    const Vec n = rounded(x), r = x - n;
    Vec p = 9.675541334e-3f + 1.327647199e-3f * r;
    p = 5.550713273e-2f + p * r;
    p = 2.402211972e-1f + p * r;
    p = 6.931469671e-1f + p * r;
    p = 1.000000072f + p * r;
    return scaled(p, n);
}

constexpr float LOG2_E = 1.44269504f;

INLINE Vec sigmoid(Vec x) { return reciprocal(1.0f + power_of_two(-LOG2_E * x)); }

INLINE Vec hyperbolic_tangent(Vec x) { return 1.0f - 2.0f * reciprocal(1.0f + power_of_two(2.0f * LOG2_E * x)); }

} // namespace tidecast::TIDECAST_LEVEL

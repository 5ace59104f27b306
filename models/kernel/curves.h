// The gates' curves. Against exact values: exponential within 2e-7 of its value near zero, sigmoid and tanh within 3e-7 absolute
// (tests/unit/test_kernel.py measures it). NaN stays NaN.
#pragma once

#include "lanes.h"

namespace tidecast::TIDECAST_LEVEL {

// 2^x for x in [-125, 125], held there outside: x = n + r, then 2^n by its exponent bits and 2^r, r in [-1/2, 1/2], by the polynomial of
// degree 5 with the least relative error, 7.5e-8 (found by Remez exchange), in Estrin's order, which waits the least.
INLINE Vec power_of_two(Vec x) {
    constexpr float SHIFT = 12582912.0f; // 1.5 * 2^23: adding it rounds to an integer
    x = clamped(x, -125.0f, 125.0f);
    const Vec shifted = x + SHIFT, r = x - (shifted - SHIFT), square = r * r;
    const Vec low = 1.000000072f + 6.931469671e-1f * r;
    const Vec middle = 2.402211972e-1f + 5.550713273e-2f * r;
    const Vec high = 9.675541334e-3f + 1.327647199e-3f * r;
    const Vec p = low + square * (middle + square * high);
    return (Vec)(bits(p) + (bits(shifted) << 23)); // SHIFT's own bits leave at the top
}

constexpr float LOG2_E = 1.44269504f;

INLINE Vec sigmoid(Vec x) { return reciprocal(1.0f + power_of_two(-LOG2_E * x)); }

INLINE Vec hyperbolic_tangent(Vec x) { return 1.0f - 2.0f * reciprocal(1.0f + power_of_two(2.0f * LOG2_E * x)); }

} // namespace tidecast::TIDECAST_LEVEL

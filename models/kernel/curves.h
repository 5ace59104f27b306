// The gates' curves. Against exact values: exponential within 2e-7 of its value, sigmoid and tanh within 3e-7 absolute
// (tests/unit/test_kernel.py measures it). NaN stays NaN.
#pragma once

#include "lanes.h"

namespace tidecast::TIDECAST_LEVEL {

// e^x for x in [-87, 88], held there outside: x = n ln 2 + r, then 2^n by its exponent bits and e^r by a minimax polynomial.
INLINE Vec exponential(Vec x) {
    constexpr float LOG2_E = 1.44269504f;
    constexpr float LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f; // the sum is ln 2; n * LN2_HIGH is exact
    constexpr float SHIFT = 12582912.0f;                                // 1.5 * 2^23: adding it rounds to an integer
    x = x < -87.0f ? splat(-87.0f) : x;
    x = x > 88.0f ? splat(88.0f) : x;
    const Vec shifted = x * LOG2_E + SHIFT;
    const Vec n = shifted - SHIFT;
    const Vec r = x - n * LN2_HIGH - n * LN2_LOW;
    Vec p = splat(1.381453825e-3f);
    p = p * r + 8.368745446e-3f;
    p = p * r + 4.166838899e-2f;
    p = p * r + 1.666652113e-1f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const Bits power = (bits(shifted) << 23) + (127u << 23); // SHIFT's own bits leave at the top
    return p * (Vec)power;
}

INLINE Vec sigmoid(Vec x) { return 1.0f / (1.0f + exponential(-x)); }

INLINE Vec hyperbolic_tangent(Vec x) { return 1.0f - 2.0f / (1.0f + exponential(2.0f * x)); }

} // namespace tidecast::TIDECAST_LEVEL

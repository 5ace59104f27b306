// One vector register of floats, in the compiler's own vector arithmetic. Everything is static: see job.h.
#pragma once

#include <cstdint>
#include <cstring>

#include "job.h"

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define INLINE static inline __attribute__((always_inline))

namespace tidecast::TIDECAST_LEVEL {

#if defined(__AVX512F__)
constexpr int WIDTH = 16;
#elif defined(__AVX2__)
constexpr int WIDTH = 8;
#else
constexpr int WIDTH = 4;
#endif

typedef float Vec __attribute__((vector_size(WIDTH * sizeof(float))));
typedef std::uint32_t Bits __attribute__((vector_size(WIDTH * sizeof(float))));

INLINE Vec load(const float *from) {
    Vec made;
    std::memcpy(&made, from, sizeof made); // an unaligned load
    return made;
}

INLINE void store(float *to, Vec value) { std::memcpy(to, &value, sizeof value); }

INLINE Vec splat(float value) { return value - Vec{}; }

INLINE Bits bits(Vec value) { return (Bits)value; }

INLINE float sum(Vec value) {
    float total = 0;
    for (int i = 0; i < WIDTH; ++i) total += value[i];
    return total;
}

// The one operation that vector arithmetic has no name for.
INLINE Vec square_root(Vec value) {
#if defined(__AVX512F__)
    return (Vec)_mm512_sqrt_ps((__m512)value);
#elif defined(__AVX2__)
    return (Vec)_mm256_sqrt_ps((__m256)value);
#elif defined(__SSE2__)
    return (Vec)_mm_sqrt_ps((__m128)value);
#elif defined(__aarch64__)
    return (Vec)vsqrtq_f32((float32x4_t)value);
#else
    for (int i = 0; i < WIDTH; ++i) value[i] = __builtin_sqrtf(value[i]);
    return value;
#endif
}

// Floats from one row to the next of a matrix whose rows are whole registers.
INLINE Index padded(Index width) { return (width + WIDTH - 1) / WIDTH * WIDTH; }

} // namespace tidecast::TIDECAST_LEVEL

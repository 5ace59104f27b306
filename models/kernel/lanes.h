// One vector register of floats, in the compiler's own vector arithmetic. Everything is static: see job.h.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "job.h"

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define INLINE static inline __attribute__((always_inline))

// Before a loop whose registers must not become an array in memory. Its bounds are constants.
#if defined(__clang__)
#define UNROLLED _Pragma("unroll")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif

namespace tidecast::TIDECAST_LEVEL {

#if defined(__AVX512F__)
constexpr int WIDTH = 16, REGISTERS = 32;
#elif defined(__AVX2__)
constexpr int WIDTH = 8, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int WIDTH = 4, REGISTERS = 32;
#else
constexpr int WIDTH = 4, REGISTERS = 16;
#endif

typedef float Vec __attribute__((vector_size(WIDTH * sizeof(float))));
typedef std::uint32_t Bits __attribute__((vector_size(WIDTH * sizeof(float))));

INLINE Vec load(const float *from) {
    Vec made;
    std::memcpy(&made, from, sizeof made); // an unaligned load
    return made;
}

// The same, into a register of its own: a compiler would else load it again for each sum that it goes into.
INLINE Vec load_once(const float *from) {
    Vec made = load(from);
#if defined(__SSE2__)
    asm("" : "+v"(made));
#elif defined(__aarch64__)
    asm("" : "+w"(made));
#endif
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

// The operations that vector arithmetic has no name for, or that a compiler does not find in it.

#if defined(__AVX512F__)
constexpr __mmask16 ALL = 0xffff; // lanes; the forms without a mask make GCC 12 warn about its own header
#endif

INLINE Vec square_root(Vec value) {
#if defined(__AVX512F__)
    return (Vec)_mm512_maskz_sqrt_ps(ALL, (__m512)value);
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

// Held between two bounds; NaN stays NaN.
INLINE Vec clamped(Vec value, float low, float high) {
#if defined(__AVX512F__)
    return (Vec)_mm512_maskz_min_ps(ALL, (__m512)splat(high), _mm512_maskz_max_ps(ALL, (__m512)splat(low), (__m512)value));
#elif defined(__AVX2__)
    return (Vec)_mm256_min_ps((__m256)splat(high), _mm256_max_ps((__m256)splat(low), (__m256)value));
#elif defined(__SSE2__)
    return (Vec)_mm_min_ps((__m128)splat(high), _mm_max_ps((__m128)splat(low), (__m128)value));
#else
    value = value < low ? splat(low) : value;
    return value > high ? splat(high) : value;
#endif
}

// The nearest whole number, for values within 2^22.
INLINE Vec rounded(Vec value) {
#if defined(__AVX512F__)
    return (Vec)_mm512_maskz_roundscale_ps(ALL, (__m512)value, 0);
#else
    constexpr float SHIFT = 12582912.0f; // 1.5 * 2^23, whose last digit is 1
    return (value + SHIFT) - SHIFT;
#endif
}

// value * 2^power for a whole power, where neither value nor result is below 2^-126 or above 2^127.
INLINE Vec scaled(Vec value, Vec power) {
#if defined(__AVX512F__)
    return (Vec)_mm512_maskz_scalef_ps(ALL, (__m512)value, (__m512)power);
#else
    return (Vec)(bits(value) + (bits(power + 12582912.0f) << 23)); // the power alone stays of the sum's bits
#endif
}

// 1 / value to the last digit or two, for values between 1 and 2^126.
INLINE Vec reciprocal(Vec value) {
#if defined(__AVX512F__)
    const Vec guess = (Vec)_mm512_maskz_rcp14_ps(ALL, (__m512)value); // to 14 bits, which Newton's step doubles
    return guess + guess * (1.0f - value * guess);
#else
    return 1.0f / value;
#endif
}

// The square root of a number that is not negative; of one below 1e-38, any number below 2e-19.
INLINE Vec rough_root(Vec value) {
#if defined(__AVX512F__)
    value = (Vec)_mm512_maskz_max_ps(ALL, (__m512)value, (__m512)splat(1.17549435e-38f));
    const Vec guess = (Vec)_mm512_maskz_rsqrt14_ps(ALL, (__m512)value), root = value * guess;
    return root + 0.5f * root * (1.0f - root * guess); // Newton's step, as above
#else
    return square_root(value);
#endif
}

// Small numbers count as zero while it lives: processors take a hundred times as long for those below 1e-38.
class Flushing {
  public:
#if defined(__SSE2__)
    Flushing() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); } // flush to zero, denormals are zero
    ~Flushing() { _mm_setcsr(before_); }
    Flushing(const Flushing &) = delete;
    Flushing &operator=(const Flushing &) = delete;

  private:
    unsigned before_;
#else
    Flushing() {} // elsewhere they cost little
    ~Flushing() {}
#endif
};

// Floats from one row to the next of a matrix whose rows are whole registers.
INLINE Index padded(Index width) { return (width + WIDTH - 1) / WIDTH * WIDTH; }

// Lanes of a, but where a lane's number has the bit DISTANCE, those of b; crossed, each from DISTANCE lanes away.
template <int DISTANCE, bool CROSSED, int... I> INLINE Vec mingled(Vec a, Vec b, std::integer_sequence<int, I...>) {
#if defined(__clang__) || __GNUC__ >= 12
    return __builtin_shufflevector(a, b, ((CROSSED ? I ^ DISTANCE : I) + (I & DISTANCE ? WIDTH : 0))...);
#else
    const Bits places = {static_cast<std::uint32_t>((CROSSED ? I ^ DISTANCE : I) + (I & DISTANCE ? WIDTH : 0))...};
    return __builtin_shuffle(a, b, places);
#endif
}

template <int HALF> INLINE void add_up(Vec *parts) {
    using Lanes = std::make_integer_sequence<int, WIDTH>;
    UNROLLED for (int i = 0; i < HALF; ++i)
        parts[i] = mingled<HALF, false>(parts[i], parts[i + HALF], Lanes{}) + mingled<HALF, true>(parts[i], parts[i + HALF], Lanes{});
    if constexpr (HALF > 1) add_up<HALF / 2>(parts);
}

// In lane i the sum of register i: each round halves the registers, and doubles how many of them a register has partial sums of.
INLINE Vec sums_of(Vec (&parts)[WIDTH]) {
    add_up<WIDTH / 2>(parts);
    return parts[0];
}

} // namespace tidecast::TIDECAST_LEVEL

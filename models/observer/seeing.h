// From windows to what the network sees, as models/inputs.py and models/forecaster.py define it.
#pragma once

#include "reading.h"

namespace tidecast::TIDECAST_LEVEL {

// A window of `length` slots, the last of them `back` slots before the newest.
struct Window {
    const Ring &ring;
    Int back, length;
    Int of(Int i) const { return back + length - 1 - i; }
    bool seen(Int i) const { return ring.seen(of(i)); }
    double value(Int i, Int c) const { return ring.values(of(i))[c]; }
};

// Scales.update for channel c: the variance inside the newest window.
static double window_variance(const Window &window, Int c, double bound) {
    const Int L = window.length;
    double values[MOST_CONTEXT], low = std::numeric_limits<double>::infinity(), high = -low, middle = window.value(L - 1, c);
    std::uint8_t seen[MOST_CONTEXT];
    for (Int i = 0; i < L; ++i) {
        values[i] = window.value(i, c), seen[i] = window.seen(i);
        low = std::min(low, values[i]), high = std::max(high, values[i]);
    }
    if (high - low > bound) { // else no value lies beyond the bound, and the variance is the same about any middle
        double sorted[MOST_CONTEXT] = {};
        std::copy(values, values + L, sorted);
        std::nth_element(sorted, sorted + L / 2, sorted + L);
        middle = sorted[L / 2];
        if (L % 2 == 0) middle = 0.5 * (middle + *std::max_element(sorted, sorted + L / 2));
    }
    double number = 0, mean = 0, variance = 0;
    for (Int i = 0; i < L; ++i) {
        values[i] = seen[i] ? held(values[i] - middle, bound) : 0.0;
        mean += values[i], number += seen[i];
    }
    number = std::max(number, 1.0), mean /= number;
    for (Int i = 0; i < L; ++i) variance += seen[i] ? (values[i] - mean) * (values[i] - mean) : 0.0;
    return variance / number;
}

static void update_scales(const Series &series, const Ring &ring, double count) {
    const Window window{ring, 0, series.feed.shape.context};
    const Rates &rates = series.feed.rates;
    double *variances = series.at<double>(series.feed.layout.variance);
    const double fresh = 1.0 / std::max(count - 1, 1.0);
    for (Int c = 0; c < series.feed.shape.channels; ++c) {
        const double known = count > rates.scale_trusted ? rates.scale_outlier * std::sqrt(variances[c]) : 0.0;
        const double bound = std::min(known > 0 ? known : std::numeric_limits<double>::infinity(), rates.scale_largest);
        const double variance = window_variance(window, c, bound);
        variances[c] += std::max(rates.scale_slowest, fresh) * (variance - variances[c]);
        if (c > 0) continue;
        double &steady = series.real(series.feed.layout.steady);
        steady += std::max(rates.scale_steady, fresh) * (variance - steady);
    }
}

INLINE double scale_of(double variance, double level) {
    return std::max(std::sqrt(variance), 1e-12 * std::fabs(level) + 1e-12);
}

// Recurrent inputs [steps, F]: patches of the window's slots, each slot's channels minus `last` over `scale`, its mask, and the calendar at
// the patch's end; `time_us` is the window's last moment.
static void put_patches(const Feed &feed, const Window &window, const double *last, const double *scale, Int time_us, Int step_us,
                        float *to) {
    const Int C = feed.shape.channels, patch = feed.shape.patch, steps = window.length / patch, F = patch * (C + 1) + 4;
    const double limit = feed.rates.input_limit;
    for (Int s = 0; s < steps; ++s) {
        float *at = to + s * F;
        for (Int p = 0; p < patch; ++p) {
            const Int i = s * patch + p;
            for (Int c = 0; c < C; ++c) *at++ = static_cast<float>(held((window.value(i, c) - last[c]) / scale[c], limit));
            *at++ = window.seen(i);
        }
    }
    Calendar calendar(time_us, patch * step_us);
    for (Int s = steps; s-- > 0; calendar.back()) calendar.put(to + s * F + patch * (C + 1));
}

// Recurrent inputs [steps, F] of a carried state: each slot's step from the one before it, whichever window it is seen in.
static void put_differences(const Feed &feed, const Ring &ring, Int back, Int steps, const double *scale, Int time_us, Int step_us,
                            float *to) {
    const Int C = feed.shape.channels, F = C + 1 + 4;
    const Window window{ring, back, steps + 1};
    const double limit = feed.rates.input_limit;
    for (Int s = 0; s < steps; ++s) {
        float *at = to + s * F;
        for (Int c = 0; c < C; ++c)
            at[c] = static_cast<float>(held((window.value(s + 1, c) - window.value(s, c)) / scale[c], limit));
        at[C] = window.seen(s + 1);
    }
    Calendar calendar(time_us, step_us);
    for (Int s = steps; s-- > 0; calendar.back()) calendar.put(to + s * F + C + 1);
}

static void put_centred(const Feed &feed, const Window &window, double last, double scale, float *to) {
    const double limit = feed.rates.input_limit;
    for (Int i = 0; i < window.length; ++i) to[i] = static_cast<float>(held((window.value(i, 0) - last) / scale, limit));
}

// Targets [H] of the cutoff `back` slots before the newest, where it is `mature`.
static void put_targets(const Feed &feed, const Ring &ring, Int back, bool mature, double last, double unit, float *targets, float *there) {
    for (Int h = 0; h < feed.shape.horizon; ++h) {
        const Int target = back - 1 - h;
        const bool known = mature && ring.has(target);
        there[h] = known;
        targets[h] = known ? static_cast<float>(held((*ring.values(target) - last) / unit, feed.rates.target_limit)) : 0.0f;
    }
}

// models.inputs.replay_cutoffs: the number-th (from 1) older cutoff, in [low, high).
static Int replayed(std::uint64_t key, Int slot, Int low, Int high, std::uint64_t number) {
    std::uint64_t mixed = key ^ (static_cast<std::uint64_t>(slot) * 0x9E3779B97F4A7C15u + number);
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u; // the finaliser of splitmix64
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
    mixed ^= mixed >> 31;
    return low + static_cast<Int>(mixed % static_cast<std::uint64_t>(std::max<Int>(high - low, 1)));
}

} // namespace tidecast::TIDECAST_LEVEL

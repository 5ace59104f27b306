// Where a series' numbers lie, and the sizes and constants of its feed: what models/observer.py lays out, in the same order. No functions
// here: this file is compiled for several instruction sets (see models/kernel/job.h).
#pragma once

#include <cstdint>

#include "../kernel/job.h"

namespace tidecast {

using Int = std::int64_t;

// What fits the working memory; module.cpp refuses more.
constexpr Int MOST_CONTEXT = 2048, MOST_LEADS = 256, MOST_LEVELS = 64, MOST_CHANNELS = 64, MOST_EXPERTS = 8, WIDEST = 256, FURTHEST = 512;

// Bytes from the start of a record.
struct Layout {
    Int key, first, newest, seen, values, variance, steady;
    Int cutoff, origin, scale, points, quantiles;
    Int errors, evidence, offsets, settled, mixed, squares, coverage, moves, slow, count, run, season;
};

// The same of a recursive least squares expert; all -1 where the feed has none.
struct RegressionLayout {
    Int covariance, coefficients, inputs, gains, units;
};

// Sizes; the last five are the experts' number and the places of some of them, -1 for none.
struct Shape {
    Int context, horizon, channels, levels, median, patch, policy, replay, truncation, capacity, ready_after, learn_every;
    Int season_blocks, season_part, long_harmonics, quick_harmonics, sure_edge, long_edges, quick_edges;
    Int experts, seasonal, regressed, quick, network;
};

struct Rates {
    double forgetting, quick_forgetting, mixture_rate, mixture_share, calibration_rate;
    double input_limit, target_limit, scale_trusted, scale_slowest, scale_steady, scale_outlier, scale_largest;
    double start_variance, trace_limit, regression_target_limit, regression_error_limit, lag_limit, seasons, week_us;
    double worst_loss, early, patience, prior_errors, trusted_moves, trusted_count;
    double least_square, error_rate, square_rate, slow_rate, score_outlier, smallest, deviation;
};

// A feed's numbers, as they stand one after the other in the arrays that Python gives.
struct Feed {
    Layout layout;
    RegressionLayout steady, quick;
    Shape shape;
    Rates rates;
    const Int *long_edges, *quick_edges;
    const double *levels, *normal, *pace; // [Q], [Q], [H]
};

// B observations.
struct Observed {
    std::uint8_t *records; // [N, stride]
    Index stride, batch;
    const Int *rows, *slots, *step_us, *phase_us, *season; // [B]
};

// What they decide, and what the network is to see of them.
struct Before {
    const double *values; // [B, C]
    const Int *thin;      // [B]
    const Int *counts;    // [B] fresh steps of a carried state
    Index runs, steps, features, most_fresh;
    double *error;       // [B]
    std::uint8_t *known; // [B]
    float *inputs;       // [B, runs of inputs, steps, F]
    float *fresh;        // [B, most_fresh, F]
    float *centred;      // [B, runs, L]
    float *targets;      // [B, runs - 1, H]
    float *there;        // [B, runs - 1, H]
    std::uint8_t *learn; // [B]
    double *origin;      // [B, 3]: newest value, window scale, steady scale
};

// What is made of the network's word.
struct After {
    const double *origin;
    const float *network; // [B, H, Q], or null
    double *quantiles;    // [B, H, Q]
    double *weights;      // [B, E]
    std::uint8_t *ready;  // [B]
    double *said;         // [B, H, E], or null
};

struct Observing {
    const char *name;
    void (*before)(const Feed &, const Observed &, const Before &);
    void (*after)(const Feed &, const Observed &, const After &);
};

} // namespace tidecast

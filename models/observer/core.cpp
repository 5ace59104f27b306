// What an observation does around the network, one series at a time: models/forecaster.py is the definition. Compiled once for each
// instruction set (setup.py), each time in a namespace of its own.

#include "lags.h"
#include "seeing.h"
#include "settling.h"

namespace tidecast::TIDECAST_LEVEL {

constexpr Index LINE = 64;

// The record of the series that comes next, asked for while this one is worked on; not the rings of its windows, of which it touches little.
INLINE void ask(const Feed &feed, const Observed &observed, Index b) {
    if (b + 1 >= observed.batch) return;
    const std::uint8_t *next = observed.records + observed.rows[b + 1] * observed.stride;
    for (Index at = 0; at <= feed.layout.newest; at += LINE) __builtin_prefetch(next + at, 1, 2);
}

static void see(const Series &series, const Ring &ring, const Observed &observed, const Before &asked, Index b) {
    const Feed &feed = series.feed;
    const Shape &shape = feed.shape;
    const Int slot = ring.newest, L = shape.context, H = shape.horizon, C = shape.channels, step_us = observed.step_us[b];
    const Int ahead = shape.policy == JOINT ? (H + shape.patch - 1) / shape.patch * shape.patch : H;
    const Int low = std::min(std::max(slot - ring.depth + 1, slot - shape.capacity + L), slot), mature = slot - ahead;
    const auto time_of = [&](Int at) { return observed.phase_us[b] + at * step_us; };
    double scale[MOST_CHANNELS], *origin = asked.origin + 3 * b;
    for (Int c = 0; c < C; ++c) scale[c] = scale_of(series.at<double>(feed.layout.variance)[c], ring.values(0)[c]);
    origin[0] = *ring.values(0), origin[1] = scale[0];
    origin[2] = scale_of(series.real(feed.layout.steady), origin[0]);
    if (shape.network < 0) return;
    float *inputs = asked.inputs + b * (shape.policy == WINDOW ? asked.runs : 1) * asked.steps * asked.features;
    for (Index r = 0; r < asked.runs; ++r) {
        const auto key = static_cast<std::uint64_t>(series.whole(feed.layout.key));
        const Int end = r == 0 ? slot : r == 1 ? mature : replayed(key, slot, low, mature, static_cast<std::uint64_t>(r - 1));
        const Int back = slot - std::max<Int>(end, 0);
        const double *last = ring.values(back);
        const Window window{ring, back, L};
        put_centred(feed, window, last[0], scale[0], asked.centred + (b * asked.runs + r) * L);
        if (shape.policy == WINDOW)
            put_patches(feed, window, last, scale, time_of(end), step_us, inputs + r * asked.steps * asked.features);
        if (r == 0) continue;
        if (shape.policy == JOINT)
            put_patches(feed, {ring, 0, asked.steps * shape.patch}, last, scale, time_of(slot), step_us, inputs);
        if (shape.policy == CARRIED) put_differences(feed, ring, back, asked.steps, scale, time_of(slot - back), step_us, inputs);
        const Index learnt = b * (asked.runs - 1) + r - 1;
        const bool is_mature = end >= low && end <= slot - H;
        put_targets(feed, ring, slot - end, is_mature, last[0], scale[0], asked.targets + learnt * H, asked.there + learnt * H);
    }
    if (shape.policy == CARRIED)
        put_differences(feed, ring, 0, asked.counts[b], scale, time_of(slot), step_us, asked.fresh + b * asked.most_fresh * asked.features);
}

static void before(const Feed &feed, const Observed &observed, const Before &asked) {
    const Shape &shape = feed.shape;
    for (Index b = 0; b < observed.batch; ++b) {
        const Series series{feed, observed.records + observed.rows[b] * observed.stride};
        ask(feed, observed, b);
        const double *values = asked.values + b * shape.channels;
        bool judged;
        asked.error[b] = settle(series, observed.slots[b], values[0], &judged);
        series.whole(feed.layout.season) = observed.season[b];
        asked.known[b] = judged;
        series.push(observed.slots[b], values);
        series.whole(feed.layout.run) += 1;
        const Int count = series.whole(feed.layout.count) += 1;
        const Ring ring(series);
        update_scales(series, ring, static_cast<double>(count));
        asked.learn[b] = count % (shape.learn_every * asked.thin[b]) == 0;
        see(series, ring, observed, asked, b);
    }
}

// Each expert's points [H, E], centred and scaled.
static void points_of(const Series &series, const Observed &observed, const After &asked, Index b, double *points) {
    const Shape &shape = series.feed.shape;
    const Int H = shape.horizon, E = shape.experts, slot = observed.slots[b], season = observed.season[b];
    const double last = asked.origin[3 * b], unit = asked.origin[3 * b + 1], steady = asked.origin[3 * b + 2];
    const Ring ring(series);
    for (Int h = 0; h < H; ++h) points[h * E] = 0;
    if (shape.seasonal >= 0)
        for (Int h = 0; h < H; ++h) {
            const Int period = std::max<Int>(season, 1), then = period * ((h + period) / period) - h - 1; // slots back
            points[h * E + shape.seasonal] = season > 0 && ring.has(then) ? (*ring.values(then) - last) / unit : 0.0;
        }
    if (shape.regressed >= 0 || shape.quick >= 0) {
        const Int time_us = observed.phase_us[b] + slot * observed.step_us[b];
        const LagInputs seen(series, ring, season, time_us, observed.step_us[b], steady);
        each_regression(series, [&](const Regression &one, Int place) {
            const bool wide = place == shape.regressed;
            double said[MOST_LEADS];
            one.forecast(slot, wide ? seen.wide : seen.narrow, wide ? seen.wide_alive : seen.narrow_alive, steady, said);
            for (Int h = 0; h < H; ++h) points[h * E + place] = said[h] / unit;
        });
    }
    if (shape.network >= 0)
        for (Int h = 0; h < H; ++h) points[h * E + shape.network] = asked.network[(b * H + h) * shape.levels + shape.median];
    for (Int i = 0; i < H * E; ++i) points[i] = held(points[i], series.feed.rates.target_limit);
}

// By what each expert's evidence counts in a forecast made now, as Scores.weights.
static void factors_of(const Series &series, double *factors) {
    const Feed &feed = series.feed;
    const Rates &rates = feed.rates;
    const double *moves = series.at<double>(feed.layout.moves);
    const double count = static_cast<double>(series.whole(feed.layout.count)) / rates.trusted_count;
    const double seen = (moves[1] > 0 ? moves[0] * moves[0] / moves[1] : 0.0) + count * count;
    const double believed = seen / (seen + rates.trusted_moves);
    std::fill(factors, factors + feed.shape.experts, believed * believed);
    factors[0] = 1;
    if (feed.shape.seasonal < 0) return;
    const double season = static_cast<double>(series.whole(feed.layout.season)), run = static_cast<double>(series.whole(feed.layout.run));
    factors[feed.shape.seasonal] = season > 0 && run >= (1 + rates.patience) * season;
}

// The weights of one lead's experts, by models.mixture.blend.
static void blend(const Series &series, Int h, const double *factors, double *weights) {
    const Feed &feed = series.feed;
    const Int E = feed.shape.experts;
    const double *evidence = series.at<double>(feed.layout.evidence) + h * E, *typical = series.at<double>(feed.layout.squares) + h * E;
    double best = std::numeric_limits<double>::infinity(), total = 0;
    for (Int e = 0; e < E; ++e)
        if (factors[e] > 0) best = std::min(best, typical[e]);
    best = std::max(best, feed.rates.least_square);
    for (Int e = 0; e < E; ++e) {
        const double record = best / std::max(typical[e], feed.rates.least_square);
        total += weights[e] = factors[e] > 0 ? evidence[e] * record * record * factors[e] : 0.0;
    }
    for (Int e = 0; e < E; ++e) weights[e] /= total;
}

// One lead's quantiles [Q], mixed, calibrated and in order.
static void mix(const Series &series, const float *network, Int h, const double *points, const double *weights, double *mixed) {
    const Feed &feed = series.feed;
    const Int E = feed.shape.experts, Q = feed.shape.levels, M = feed.shape.median;
    const double *errors = series.at<double>(feed.layout.errors) + h * E;
    const double *offsets = series.at<double>(feed.layout.offsets) + h * Q, typical = series.at<double>(feed.layout.mixed)[h];
    double middle = 0, spread = 0;
    for (Int e = 0; e < E; ++e) {
        if (e == feed.shape.network) continue;
        middle += weights[e] * points[e], spread += weights[e] * errors[e] * feed.rates.deviation;
    }
    for (Int q = 0; q < Q; ++q) {
        mixed[q] = middle + spread * feed.normal[q];
        if (feed.shape.network >= 0) mixed[q] += weights[feed.shape.network] * static_cast<double>(network[q]);
        if (q != M) mixed[q] += offsets[q] * typical;
    }
    for (Int q = M + 1; q < Q; ++q) mixed[q] = std::max(mixed[q], mixed[q - 1]);
    for (Int q = M - 1; q >= 0; --q) mixed[q] = std::min(mixed[q], mixed[q + 1]);
    for (Int q = 0; q < Q; ++q) mixed[q] = held(mixed[q], feed.rates.target_limit);
}

static void after(const Feed &feed, const Observed &observed, const After &asked) {
    const Shape &shape = feed.shape;
    const Layout &layout = feed.layout;
    const Int H = shape.horizon, E = shape.experts, Q = shape.levels;
    for (Index b = 0; b < observed.batch; ++b) {
        const Series series{feed, observed.records + observed.rows[b] * observed.stride};
        ask(feed, observed, b);
        const double last = asked.origin[3 * b], unit = asked.origin[3 * b + 1];
        double points[MOST_LEADS * MOST_EXPERTS];
        points_of(series, observed, asked, b, points);
        const Int at = modulo(observed.slots[b], H);
        series.at<Int>(layout.cutoff)[at] = observed.slots[b];
        series.at<double>(layout.origin)[at] = last, series.at<double>(layout.scale)[at] = unit;
        float *kept_points = series.at<float>(layout.points) + at * H * E, *kept = series.at<float>(layout.quantiles) + at * H * Q;
        double *weights = asked.weights + b * E;
        std::fill(weights, weights + E, 0.0);
        double factors[MOST_EXPERTS];
        factors_of(series, factors);
        for (Int h = 0; h < H; ++h) {
            double mixed[MOST_LEVELS], shares[MOST_EXPERTS];
            blend(series, h, factors, shares);
            mix(series, asked.network ? asked.network + (b * H + h) * Q : nullptr, h, points + h * E, shares, mixed);
            for (Int q = 0; q < Q; ++q) {
                kept[h * Q + q] = static_cast<float>(mixed[q]);
                asked.quantiles[(b * H + h) * Q + q] = last + unit * mixed[q];
            }
            for (Int e = 0; e < E; ++e) {
                kept_points[h * E + e] = static_cast<float>(points[h * E + e]);
                weights[e] += shares[e] / static_cast<double>(H);
                if (asked.said) asked.said[(b * H + h) * E + e] = last + unit * points[h * E + e];
            }
        }
        asked.ready[b] = series.whole(layout.run) >= shape.ready_after;
    }
}

#define TEXT_OF(word) #word
#define TEXT(macro) TEXT_OF(macro)
extern const Observing observing{TEXT(TIDECAST_LEVEL), before, after};

} // namespace tidecast::TIDECAST_LEVEL

// From the last state to quantiles that cannot cross, and the pinball loss back to the head's gradient: spread() of
// models/recurrent.py and pinball() of models/fleet.py, with their derivatives.
#pragma once

#include "product.h"
#include "workspace.h"

namespace tidecast::TIDECAST_LEVEL {

// Head and skip of the first `windows` windows, and the increments with their slopes: squareplus s(x) = (x + sqrt(x^2 + 4)) / 2 has the
// derivative s / sqrt(x^2 + 4).
static void head_forward(const Sizes &sizes, const Workspace &at, const float *centred, Index windows) {
    product(windows, sizes.hidden, at.outputs, {at.last, at.units, 1}, {at.weights[HEAD], at.outputs},
            {at.weights[HEAD_BIAS], 0}, {at.out, at.outputs});
    product(windows, sizes.context, at.leads, {centred, sizes.context, 1}, {at.weights[SKIP], at.leads}, {nullptr, 0},
            {at.median, at.leads});
    for (Index i = 0; i < windows * at.outputs; i += WIDTH) {
        const Vec x = load(at.out + i), root = square_root(x * x + 4.0f), rise = 0.5f * (x + root);
        store(at.rise + i, rise);
        store(at.slope + i, rise / root);
    }
}

// Quantiles [H, Q] of one window.
static void stack_quantiles(const Sizes &sizes, const Workspace &at, Index window, float *quantiles) {
    const Index Q = sizes.levels, M = sizes.median;
    const float *out = at.out + window * at.outputs, *rise = at.rise + window * at.outputs, *skip = at.median + window * at.leads;
    for (Index h = 0; h < sizes.horizon; ++h, out += Q, rise += Q, quantiles += Q) {
        const float median = quantiles[M] = out[M] + skip[h];
        float total = 0;
        for (Index q = M - 1; q >= 0; --q) quantiles[q] = median - (total += rise[q]);
        total = 0;
        for (Index q = M + 1; q < Q; ++q) quantiles[q] = median + (total += rise[q]);
    }
}

// Derivative of one window's part of the loss by its quantiles, in their place. `share` is what each known target's level counts for.
static void pinball_gradient(const Sizes &sizes, const float *targets, const float *known, const float *levels, float share,
                             float *quantiles) {
    for (Index h = 0; h < sizes.horizon; ++h) {
        const float weight = known[h] * share;
        for (Index q = 0; q < sizes.levels; ++q, ++quantiles) {
            const float error = targets[h] - *quantiles;
            // max(q * e, (q - 1) * e) by e; where both are equal, half of each, as autograd has it.
            const float slope = (error < 0 ? 0 : levels[q]) + (error > 0 ? 0 : levels[q] - 1);
            *quantiles = -weight * (error == 0 ? 0.5f * slope : slope);
        }
    }
}

// From the gradient of one window's quantiles to that of the head's output and of the median, in their places.
static void stack_gradient(const Sizes &sizes, const Workspace &at, Index window, const float *gradient) {
    const Index Q = sizes.levels, M = sizes.median;
    float *out = at.out + window * at.outputs, *median = at.median + window * at.leads;
    const float *slope = at.slope + window * at.outputs;
    for (Index h = 0; h < sizes.horizon; ++h, out += Q, slope += Q, gradient += Q) {
        float below = 0, above = 0; // an increment moves its own quantile and all outside it
        for (Index q = 0; q < M; ++q) {
            below += gradient[q];
            out[q] = -below * slope[q];
        }
        for (Index q = Q - 1; q > M; --q) {
            above += gradient[q];
            out[q] = above * slope[q];
        }
        median[h] = out[M] = gradient[M] + below + above;
    }
}

// Gradients of head, head bias, skip and of the last state (into carry) of windows 1..R-1. Padding of `out` is still the zero that
// head_forward made of the weights' padding.
static void head_backward(const Sizes &sizes, const Workspace &at, const float *centred) {
    static const float one = 1;
    const Index learnt = sizes.windows - 1;
    const Panel out{at.out + at.outputs, at.outputs}, median{at.median + at.leads, at.leads};
    product(sizes.hidden, learnt, at.outputs, {at.last + at.units, 1, at.units}, out, {nullptr, 0},
            {at.gradients[HEAD], at.outputs});
    product(1, learnt, at.outputs, {&one, 0, 0}, out, {nullptr, 0}, {at.gradients[HEAD_BIAS], at.outputs});
    product(sizes.context, learnt, at.leads, {centred + sizes.context, 1, sizes.context}, median, {nullptr, 0},
            {at.gradients[SKIP], at.leads});
    // Padded units too get a gradient, zero: what a series before this one left there may not be a number.
    std::memset(at.carry, 0, sizes.windows * at.units * sizeof(float));
    for (Index w = 1; w < sizes.windows; ++w)
        for (Index u = 0; u < sizes.hidden; ++u) {
            const float *weights = at.weights[HEAD] + u * at.outputs, *given = at.out + w * at.outputs;
            Vec total = Vec{};
            for (Index i = 0; i < at.outputs; i += WIDTH) total += load(weights + i) * load(given + i);
            at.carry[w * at.units + u] = sum(total);
        }
}

} // namespace tidecast::TIDECAST_LEVEL

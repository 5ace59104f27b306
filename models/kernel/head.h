// From the last state to quantiles that cannot cross, and the loss back to the head's gradient: spread() of models/recurrent.py and the
// losses of models/losses.py, with their derivatives. Head and skip are read where they lie in the arena, though their rows are no whole
// registers: a row's last register reads on into what follows, which comes to nothing. Their gradients are written row after row, so that
// each row overwrites what the one before it wrote too much, which is zero.
#pragma once

#include "product.h"
#include "workspace.h"

namespace tidecast::TIDECAST_LEVEL {

// Head and skip of the first `windows` runs, and the increments with their slopes: squareplus s(x) = (x + sqrt(x^2 + 4)) / 2 has the
// derivative s / sqrt(x^2 + 4).
static void head_forward(const Sizes &sizes, const Workspace &at, const float *centred, Index windows) {
    product(windows, sizes.hidden, at.outputs, {at.last, at.units, 1}, {at.head, sizes.horizon * sizes.levels},
            {at.head_bias, 0}, {at.out, at.outputs});
    product(windows, sizes.context, at.leads, {centred, sizes.context, 1}, {at.skip, sizes.horizon}, {nullptr, 0},
            {at.median, at.leads});
    if (sizes.levels == 1) return;
    for (Index i = 0; i < windows * at.outputs; i += WIDTH) {
        const Vec x = load(at.out + i), root = square_root(x * x + 4.0f), rise = 0.5f * (x + root);
        store(at.rise + i, rise);
        store(at.slope + i, rise / root);
    }
}

// Quantiles [H, Q] of one run.
static void stack_quantiles(const Sizes &sizes, const Workspace &at, Index run, float *quantiles) {
    const Index Q = sizes.levels, M = sizes.median;
    const float *out = at.out + run * at.outputs, *rise = at.rise + run * at.outputs, *skip = at.median + run * at.leads;
    for (Index h = 0; h < sizes.horizon; ++h, out += Q, rise += Q, quantiles += Q) {
        const float median = quantiles[M] = out[M] + skip[h];
        float total = 0;
        for (Index q = M - 1; q >= 0; --q) quantiles[q] = median - (total += rise[q]);
        total = 0;
        for (Index q = M + 1; q < Q; ++q) quantiles[q] = median + (total += rise[q]);
    }
}

// Derivative of one run's part of the loss by its quantiles, in their place. `share` is what each known target's level counts for.
static void loss_gradient(const Sizes &sizes, const float *targets, const float *known, const float *levels, float share,
                          float *quantiles) {
    for (Index h = 0; h < sizes.horizon; ++h) {
        const float weight = known[h] * share;
        for (Index q = 0; q < sizes.levels; ++q, ++quantiles) {
            const float error = targets[h] - *quantiles;
            // max(q * e, (q - 1) * e) by e; where both are equal, half of each, as autograd has it.
            const float slope = (error < 0 ? 0 : levels[q]) + (error > 0 ? 0 : levels[q] - 1);
            *quantiles = -weight * (sizes.squared ? 2 * error : error == 0 ? 0.5f * slope : slope);
        }
    }
}

// From the gradient of one run's quantiles to that of the head's output and of the median, in their places.
static void stack_gradient(const Sizes &sizes, const Workspace &at, Index run, const float *gradient) {
    const Index Q = sizes.levels, M = sizes.median;
    float *out = at.out + run * at.outputs, *median = at.median + run * at.leads;
    const float *slope = at.slope + run * at.outputs;
    std::memset(out + sizes.horizon * Q, 0, (at.outputs - sizes.horizon * Q) * sizeof(float));
    std::memset(median + sizes.horizon, 0, (at.leads - sizes.horizon) * sizeof(float));
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

// into [rows, width] = left^T [rows, depth] * right [depth, width], rows `into.row` apart, in their order. left(r, k) as in product.h.
static void outer(Index rows, Index depth, Index width, Left left, Panel right, Into into) {
    for (Index r = 0; r < rows; ++r)
        for (Index i = 0; i < width; i += WIDTH) {
            Vec total{};
            for (Index k = 0; k < depth; ++k)
                total += left.at[r * left.row + k * left.depth] * load(right.at + k * right.row + i);
            store(into.at + r * into.row + i, total);
        }
}

// Gradients of head, head bias, skip and of the last state (into carry) of runs 1..R-1.
static void head_backward(const Sizes &sizes, const Workspace &at, const float *centred) {
    static const float one = 1;
    const Index learnt = sizes.windows - 1, spread = sizes.horizon * sizes.levels;
    const Panel out{at.out + at.outputs, at.outputs}, median{at.median + at.leads, at.leads};
    outer(sizes.hidden, learnt, at.outputs, {at.last + at.units, 1, at.units}, out, {at.head_gradient, spread});
    outer(1, learnt, at.outputs, {&one, 0, 0}, out, {at.head_bias_gradient, spread});
    outer(sizes.context, learnt, at.leads, {centred + sizes.context, 1, sizes.context}, median, {at.skip_gradient, sizes.horizon});
    std::memset(at.carry, 0, sizes.windows * at.units * sizeof(float));
    for (Index r = 0; r < learnt; ++r)
        add_dot_products(sizes.hidden, at.outputs, at.head, spread, out.at + r * at.outputs, at.carry + (r + 1) * at.units);
}

} // namespace tidecast::TIDECAST_LEVEL

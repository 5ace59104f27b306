// The fleet's step, one series at a time: its weights, activations and gradient stay in the cache from forecast to update. Compiled once
// for each instruction set (setup.py), each time in a namespace of its own.

#include "adam.h"
#include "ahead.h"
#include "cells.h"
#include "head.h"

namespace tidecast::TIDECAST_LEVEL {

// The first `windows` windows, to the state after their last step.
template <class Cell> static void encode(const Sizes &sizes, const Workspace &at, const float *patches, Index windows, Ahead &next) {
    const Index S = sizes.steps;
    product(windows * S, sizes.features, at.width, {patches, sizes.features, 1}, {at.weights[INPUT], at.width},
            {at.weights[BIAS], 0}, {at.gates, at.width});
    for (Index t = 0; t < S; ++t) {
        next.ask();
        product(windows, sizes.hidden, at.width, {at.before + t * at.units, S * at.units, 1},
                {at.weights[HIDDEN], at.width}, {at.weights[HIDDEN_BIAS], 0}, {at.inner + t * at.width, S * at.width});
        for (Index w = 0; w < windows; ++w) Cell::forward(sizes, at, w, t);
    }
}

static void transpose_hidden(const Sizes &sizes, const Workspace &at) {
    // In tiles, as a column of either matrix touches as many cache lines as it has entries.
    constexpr Index TILE = 4;
    const float *from = at.weights[HIDDEN];
    for (Index g = 0; g < at.width; g += TILE)
        for (Index u = 0; u < sizes.hidden; ++u)
            for (Index i = 0; i < TILE; ++i) at.turned[(g + i) * at.units + u] = from[u * at.width + g + i];
}

// Back through time on windows 1..R-1, from `carry`, the gradient of their last states.
template <class Cell> static void decode(const Sizes &sizes, const Workspace &at, const float *patches, Ahead &next) {
    static const float one = 1;
    const Index S = sizes.steps, learnt = sizes.windows - 1, moments = learnt * S;
    const float *inner = Cell::inner_gradient(at) + S * at.width, *gates = at.gates + S * at.width;
    transpose_hidden(sizes, at);
    std::memset(at.cell_carry, 0, sizes.windows * at.units * sizeof(float));
    for (Index t = S; t-- > 0;) {
        next.ask();
        for (Index w = 1; w < sizes.windows; ++w) Cell::backward(sizes, at, w, t);
        if (t > 0)
            product(learnt, at.width, at.units, {inner + t * at.width, S * at.width, 1}, {at.turned, at.units},
                    {at.carry + at.units, at.units}, {at.carry + at.units, at.units});
    }
    product(sizes.features, moments, at.width, {patches + S * sizes.features, 1, sizes.features}, {gates, at.width},
            {nullptr, 0}, {at.gradients[INPUT], at.width});
    product(sizes.hidden, moments, at.width, {at.before + S * at.units, 1, at.units}, {inner, at.width}, {nullptr, 0},
            {at.gradients[HIDDEN], at.width});
    product(1, moments, at.width, {&one, 0, 0}, {gates, at.width}, {nullptr, 0}, {at.gradients[BIAS], at.width});
    product(1, moments, at.width, {&one, 0, 0}, {inner, at.width}, {nullptr, 0}, {at.gradients[HIDDEN_BIAS], at.width});
}

// Gradient of the loss by the head's output and the median, from quantiles and targets of windows 1..R-1.
static void lose(const Job &job, const Workspace &at, Index b) {
    const Sizes &sizes = job.sizes;
    const Index learnt = sizes.windows - 1, H = sizes.horizon;
    const float *targets = job.targets + b * learnt * H, *known = job.known + b * learnt * H;
    float count = 0;
    for (Index i = 0; i < learnt * H; ++i) count += known[i];
    const float share = 1 / ((count > 1 ? count : 1) * static_cast<float>(sizes.levels));
    for (Index w = 1; w < sizes.windows; ++w, targets += H, known += H) {
        stack_quantiles(sizes, at, w, at.learnt);
        pinball_gradient(sizes, targets, known, job.levels, share, at.learnt);
        stack_gradient(sizes, at, w, at.learnt);
    }
}

template <class Cell> static void step_row(const Job &job, Workspace &at, Index b, Ahead next) {
    const Sizes &sizes = job.sizes;
    const bool learn = job.learn[b] && sizes.windows > 1;
    const Index windows = learn ? sizes.windows : 1; // who does not learn needs no forecast of the past
    const float *patches = job.patches + b * sizes.windows * sizes.steps * sizes.features;
    const float *centred = job.centred + b * sizes.windows * sizes.context;
    float *states = job.arena + job.rows[b] * 3 * job.parameters;

    take_weights(sizes, at, states);
    encode<Cell>(sizes, at, patches, windows, next);
    head_forward(sizes, at, centred, windows);
    stack_quantiles(sizes, at, 0, job.quantiles + b * sizes.horizon * sizes.levels);
    if (!learn) return;
    lose(job, at, b);
    head_backward(sizes, at, centred);
    decode<Cell>(sizes, at, patches, next);
    gather_gradients(sizes, at);
    adam(states, at.flat, job.parameters, job.constants, job.size[b], job.root[b]);
}

static Ahead after(const Job &job, Index b) {
    const Index calls = job.sizes.steps * (job.learn[b] ? 2 : 1);
    if (b + 1 == job.batch) return {job.arena, 0, calls};
    const Index needed = job.learn[b + 1] ? 3 : 1; // a forecast reads no moments
    return {job.arena + job.rows[b + 1] * 3 * job.parameters, needed * job.parameters, calls};
}

static void step(const Job &job) {
    Workspace at(job.sizes, job.parameters, job.scratch);
    for (Index b = 0; b < job.batch; ++b)
        job.sizes.lstm ? step_row<Lstm>(job, at, b, after(job, b)) : step_row<Gru>(job, at, b, after(job, b));
}

static Index floats(const Sizes &sizes, Index parameters) { return Workspace(sizes, parameters, nullptr).floats; }

template <class Curve> static void apply(Curve curve, const float *from, float *to, Index count) {
    for (Index i = 0; i < count; i += WIDTH) {
        const Index taken = count - i < WIDTH ? count - i : WIDTH;
        Vec value{};
        std::memcpy(&value, from + i, taken * sizeof(float));
        value = curve(value);
        std::memcpy(to + i, &value, taken * sizeof(float));
    }
}

static void sigmoids(const float *from, float *to, Index count) {
    apply([](Vec x) { return sigmoid(x); }, from, to, count);
}

static void tangents(const float *from, float *to, Index count) {
    apply([](Vec x) { return hyperbolic_tangent(x); }, from, to, count);
}

#define TEXT_OF(word) #word
#define TEXT(macro) TEXT_OF(macro)
extern const Level level{TEXT(TIDECAST_LEVEL), floats, step, sigmoids, tangents};

} // namespace tidecast::TIDECAST_LEVEL

// Where one series is worked on: its weights with rows padded to whole registers, what the forward pass leaves for the backward
// pass, and the gradient. The weights' padding is zero and stays so, which gives padded units states and gradients of zero; all else is
// written anew for each series before it is read.
#pragma once

#include <cstring>

#include "lanes.h"

namespace tidecast::TIDECAST_LEVEL {

// A parameter in the arena: rows of `blocks` runs of `run` floats; here each run is padded.
struct Shape {
    Index rows, blocks, run;
    Index count() const { return rows * blocks * run; }
    Index width() const { return blocks * padded(run); }
    bool whole() const { return run % WIDTH == 0; } // needs no padding, so is used where it lies
};

enum Parameter { INPUT, HIDDEN, BIAS, HIDDEN_BIAS, HEAD, HEAD_BIAS, SKIP, PARAMETERS };

// The order of Recurrent.shapes in models/recurrent.py.
INLINE Shape shape_of(const Sizes &sizes, int parameter) {
    const Index gates = sizes.lstm ? 4 : 3, units = sizes.hidden;
    switch (parameter) {
    case INPUT: return {sizes.features, gates, units};
    case HIDDEN: return {units, gates, units};
    case HEAD: return {units, 1, sizes.horizon * sizes.levels};
    case HEAD_BIAS: return {1, 1, sizes.horizon * sizes.levels};
    case SKIP: return {sizes.context, 1, sizes.horizon};
    default: return {1, gates, units}; // both biases
    }
}

struct Workspace {
    Index units, width, outputs, leads; // padded: U, gates * U, H * Q, H
    float *weights[PARAMETERS], *gradients[PARAMETERS];
    float *turned;   // [gates * U, U] hidden weights, transposed
    float *gates;    // [R, S, gates * U] projected inputs, then activations, then their gradients
    float *inner;    // [R, S, gates * U] projected states; then, in a GRU, their gradients
    float *before;   // [R, S, U] state before each step
    float *last;     // [R, U] state after the last
    float *cells;    // [R, S, U] an LSTM's cell before each step
    float *squashed; // [R, S, U] tanh of the cell after it
    float *carry;    // [R, U] gradient of the state, or the part of it that goes round the hidden weights
    float *cell_carry; // [R, U] gradient of an LSTM's cell; in the forward pass the cell after the last step
    float *out;      // [R, H * Q] the head's output, then its gradient
    float *rise, *slope; // [R, H * Q] increments between quantiles, and their derivative
    float *median;   // [R, H] the skip's part of the median, then the median's gradient
    float *learnt;   // [H * Q] a learnt window's quantiles, then their gradient
    float *flat;     // [P] the gradient as the arena lays it out
    Index floats;    // taken in all

    // Without a base, only `floats` is of use.
    Workspace(const Sizes &sizes, Index parameters, float *base)
        : units(padded(sizes.hidden)), width((sizes.lstm ? 4 : 3) * units), outputs(padded(sizes.horizon * sizes.levels)),
          leads(padded(sizes.horizon)), floats(0) {
        const auto take = [&](Index count) {
            float *place = base ? base + floats : nullptr;
            floats += (count + 15) / 16 * 16; // 64 bytes, a cache line
            return place;
        };
        flat = take(padded(parameters));
        float *lain = flat;
        for (int p = 0; p < PARAMETERS; ++p) {
            const Shape shape = shape_of(sizes, p);
            weights[p] = take(shape.whole() ? 0 : shape.rows * shape.width());
            gradients[p] = shape.whole() ? lain : take(shape.rows * shape.width());
            lain = base ? lain + shape.count() : lain;
        }
        const Index moments = sizes.windows * sizes.steps, windows = sizes.windows;
        turned = take(width * units);
        gates = take(moments * width), inner = take(moments * width);
        before = take(moments * units), last = take(windows * units);
        cells = take(sizes.lstm ? moments * units : 0), squashed = take(sizes.lstm ? moments * units : 0);
        carry = take(windows * units), cell_carry = take(windows * units);
        out = take(windows * outputs), rise = take(windows * outputs), slope = take(windows * outputs);
        median = take(windows * leads), learnt = take(outputs);
    }
};

// A run's last register overlaps the one before it, so that no loop over single floats is needed.
INLINE void copy_run(const float *from, float *to, Index count) {
    if (count < WIDTH) {
        std::memcpy(to, from, count * sizeof(float));
        return;
    }
    for (Index i = 0; i < count - WIDTH; i += WIDTH) store(to + i, load(from + i));
    store(to + count - WIDTH, load(from + count - WIDTH));
}

// The weights at `states`, a row of the arena, as at.weights.
static void take_weights(const Sizes &sizes, Workspace &at, float *states) {
    for (int p = 0; p < PARAMETERS; ++p) {
        const Shape shape = shape_of(sizes, p);
        if (shape.whole()) at.weights[p] = states;
        const Index step = padded(shape.run), runs = shape.whole() ? 0 : shape.rows * shape.blocks;
        for (Index n = 0; n < runs; ++n) copy_run(states + n * shape.run, at.weights[p] + n * step, shape.run);
        states += shape.count();
    }
}

// at.gradients as the arena would lay them out, in at.flat.
static void gather_gradients(const Sizes &sizes, const Workspace &at) {
    float *flat = at.flat;
    for (int p = 0; p < PARAMETERS; ++p) {
        const Shape shape = shape_of(sizes, p);
        const Index step = padded(shape.run), runs = shape.whole() ? 0 : shape.rows * shape.blocks;
        for (Index n = 0; n < runs; ++n) copy_run(at.gradients[p] + n * step, flat + n * shape.run, shape.run);
        flat += shape.count();
    }
}

} // namespace tidecast::TIDECAST_LEVEL

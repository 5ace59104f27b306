// Where one series is worked on: its recurrent weights with rows padded to whole registers, what the forward pass leaves for the backward
// pass, and the gradient. The weights' padding is zero and stays so, which gives padded units states and gradients of zero; all else is
// written anew for each series before it is read.
#pragma once

#include <cstring>

#include "lanes.h"

namespace tidecast::TIDECAST_LEVEL {

// A recurrent parameter in the arena: rows of `gates` runs of `units` floats; here each run is padded.
struct Shape {
    Index rows, gates, units;
    Index count() const { return rows * gates * units; }
    Index width() const { return gates * padded(units); }
    bool whole() const { return units % WIDTH == 0; } // needs no padding, so is used where it lies
};

// The order of Recurrent.shapes in models/recurrent.py: these of each layer, then head, head bias and skip.
enum Parameter { INPUT, HIDDEN, BIAS, HIDDEN_BIAS, PARAMETERS };

INLINE Shape shape_of(const Sizes &sizes, Index layer, int parameter) {
    const Index gates = sizes.lstm ? 4 : 3, units = sizes.hidden;
    if (parameter == INPUT) return {layer ? units : sizes.features, gates, units};
    return {parameter == HIDDEN ? units : 1, gates, units};
}

struct Layer {
    Index features;
    float *weights[PARAMETERS], *gradients[PARAMETERS];
    float *states; // [R, longest+1, U] before each step and after the last
    float *cells;  // the same of an LSTM
    float *kept;   // [R, longest, KEPT * U] what a step leaves for the way back; there the gradients of its sums
    float *given;  // [R, longest, U] gradient of its states that comes from the layer above
};

struct Workspace {
    Index units, width, outputs, leads; // padded: U, gates * U, H * Q, H
    Index longest, blocks;              // steps of the longest run; blocks of U in a row of `kept`
    Layer layers[MOST_LAYERS];
    float *head, *head_bias, *skip;                            // in the arena: [U, H * Q], [H * Q], [L, H], unpadded
    float *head_gradient, *head_bias_gradient, *skip_gradient; // in `flat`, unpadded
    float *last;        // [R, U] state that the head reads
    float *carry;       // [R, U] gradient of the state, or the part of it that goes round the hidden weights
    float *cell_carry;  // [R, U] gradient of an LSTM's cell
    float *out;         // [R, H * Q] the head's output, then its gradient
    float *rise, *slope; // [R, H * Q] increments between quantiles, and their derivative
    float *median;      // [R, H] the skip's part of the median, then the median's gradient
    float *learnt;      // [H * Q] a learnt window's quantiles, then their gradient
    float *flat;        // [P] the gradient as the arena lays it out, and a register more
    Index floats;       // taken in all

    // Without a base, only `floats` is of use.
    Workspace(const Sizes &sizes, Index parameters, float *base)
        : units(padded(sizes.hidden)), width((sizes.lstm ? 4 : 3) * units), outputs(padded(sizes.horizon * sizes.levels)),
          leads(padded(sizes.horizon)), longest(sizes.steps > sizes.ahead ? sizes.steps : sizes.ahead),
          blocks(sizes.lstm ? 5 : 4), floats(0) {
        const auto take = [&](Index count) {
            float *place = base ? base + floats : nullptr;
            floats += (count + 15) / 16 * 16; // 64 bytes, a cache line
            return place;
        };
        const Index R = sizes.windows;
        flat = take(padded(parameters) + WIDTH);
        Index lain = 0;
        const auto lie = [&](Index count) {
            float *place = base ? flat + lain : nullptr;
            lain += count;
            return place;
        };
        for (Index l = 0; l < sizes.layers; ++l) {
            Layer &layer = layers[l];
            layer.features = l ? sizes.hidden : sizes.features;
            for (int p = 0; p < PARAMETERS; ++p) {
                const Shape shape = shape_of(sizes, l, p);
                layer.weights[p] = take(shape.whole() ? 0 : shape.rows * shape.width());
                layer.gradients[p] = shape.whole() ? lie(shape.count()) : take(shape.rows * shape.width());
                if (!shape.whole()) lie(shape.count());
            }
            layer.states = take(R * (longest + 1) * units);
            layer.cells = take(sizes.lstm ? R * (longest + 1) * units : 0);
            layer.kept = take(R * longest * blocks * units);
            layer.given = take(l + 1 < sizes.layers ? R * longest * units : 0);
        }
        const Index spread = sizes.horizon * sizes.levels;
        head_gradient = lie(sizes.hidden * spread), head_bias_gradient = lie(spread);
        skip_gradient = lie(sizes.context * sizes.horizon);
        head = head_bias = skip = nullptr;
        last = take(R * units), carry = take(R * units), cell_carry = take(R * units);
        out = take(R * outputs), rise = take(R * outputs), slope = take(R * outputs);
        median = take(R * leads), learnt = take(outputs);
    }

    float *states(Index layer, Index run) const { return layers[layer].states + run * (longest + 1) * units; }
    float *cells(Index layer, Index run) const { return layers[layer].cells + run * (longest + 1) * units; }
    float *kept(Index layer, Index run) const { return layers[layer].kept + run * longest * blocks * units; }
    float *given(Index layer, Index run) const { return layers[layer].given + run * longest * units; }
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

// The weights at `states`, a row of the arena.
static void take_weights(const Sizes &sizes, Workspace &at, float *states) {
    for (Index l = 0; l < sizes.layers; ++l)
        for (int p = 0; p < PARAMETERS; ++p) {
            const Shape shape = shape_of(sizes, l, p);
            float *&weights = at.layers[l].weights[p];
            if (shape.whole()) weights = states;
            const Index step = padded(shape.units), runs = shape.whole() ? 0 : shape.rows * shape.gates;
            for (Index n = 0; n < runs; ++n) copy_run(states + n * shape.units, weights + n * step, shape.units);
            states += shape.count();
        }
    const Index spread = sizes.horizon * sizes.levels;
    at.head = states, at.head_bias = at.head + sizes.hidden * spread, at.skip = at.head_bias + spread;
}

// Recurrent gradients that were padded, as the arena lays them out, in at.flat.
static void gather_gradients(const Sizes &sizes, const Workspace &at) {
    float *flat = at.flat;
    for (Index l = 0; l < sizes.layers; ++l)
        for (int p = 0; p < PARAMETERS; ++p) {
            const Shape shape = shape_of(sizes, l, p);
            const Index step = padded(shape.units), runs = shape.whole() ? 0 : shape.rows * shape.gates;
            for (Index n = 0; n < runs; ++n) copy_run(at.layers[l].gradients[p] + n * step, flat + n * shape.units, shape.units);
            flat += shape.count();
        }
}

} // namespace tidecast::TIDECAST_LEVEL

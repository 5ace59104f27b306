// The element-wise half of one recurrent step, forwards and backwards, as models/recurrent.py defines it, for one register of units.
// A moment's `kept` row holds KEPT blocks of U floats: what the backward pass needs, which then leaves the gradients of the SUMS there.
#pragma once

#include "curves.h"

namespace tidecast::TIDECAST_LEVEL {

// Places of one register of units at one moment; `units` floats lie between a row's blocks.
struct Moment {
    const float *before; // state before the step
    float *after;        // state after it
    const float *cell_before;
    float *cell_after; // an LSTM's cell
    float *kept;
    Index units;
};

struct Gru {
    // Sums that a step makes, in units: reset and update, and of the candidate the state's part and the input's part, which reset parts.
    static constexpr int GATES = 3, SUMS = 4, KEPT = 4;
    static constexpr int input_sum(int gate) { return gate < 2 ? gate : 3; }

    INLINE void forward(const Vec *sums, const Moment &at) {
        const Vec reset = sigmoid(sums[0]), update = sigmoid(sums[1]), inner = sums[2];
        const Vec fresh = hyperbolic_tangent(sums[3] + reset * inner);
        store(at.after, fresh + update * (load(at.before) - fresh));
        store(at.kept, reset);
        store(at.kept + at.units, update);
        store(at.kept + 2 * at.units, inner);
        store(at.kept + 3 * at.units, fresh);
    }

    // Takes the gradient of the state after the step, and returns what reaches the state before it directly.
    INLINE Vec backward(Vec given, float *, const Moment &at) {
        const Vec reset = load(at.kept), update = load(at.kept + at.units);
        const Vec inner = load(at.kept + 2 * at.units), fresh = load(at.kept + 3 * at.units);
        const Vec slope_fresh = (1.0f - update) * (1.0f - fresh * fresh); // all but `given` is known beforehand: nothing waits for it
        const Vec slope_update = (load(at.before) - fresh) * update * (1.0f - update);
        const Vec slope_reset = slope_fresh * inner * reset * (1.0f - reset);
        store(at.kept, given * slope_reset);
        store(at.kept + at.units, given * slope_update);
        store(at.kept + 2 * at.units, given * (slope_fresh * reset));
        store(at.kept + 3 * at.units, given * slope_fresh);
        return given * update;
    }
};

struct Lstm {
    static constexpr int GATES = 4, SUMS = 4, KEPT = 5;
    static constexpr int input_sum(int gate) { return gate; }

    INLINE void forward(const Vec *sums, const Moment &at) {
        const Vec let_in = sigmoid(sums[0]), forget = sigmoid(sums[1]), fresh = hyperbolic_tangent(sums[2]);
        const Vec let_out = sigmoid(sums[3]);
        const Vec cell = forget * load(at.cell_before) + let_in * fresh, bounded = hyperbolic_tangent(cell);
        store(at.after, let_out * bounded);
        store(at.cell_after, cell);
        store(at.kept, let_in);
        store(at.kept + at.units, forget);
        store(at.kept + 2 * at.units, fresh);
        store(at.kept + 3 * at.units, let_out);
        store(at.kept + 4 * at.units, bounded);
    }

    // `cell_carry` is the gradient of the cell, after the step and then before it.
    INLINE Vec backward(Vec given, float *cell_carry, const Moment &at) {
        const Vec let_in = load(at.kept), forget = load(at.kept + at.units), fresh = load(at.kept + 2 * at.units);
        const Vec let_out = load(at.kept + 3 * at.units), bounded = load(at.kept + 4 * at.units);
        const Vec slope_out = bounded * let_out * (1.0f - let_out), slope_cell = let_out * (1.0f - bounded * bounded);
        const Vec slope_in = fresh * let_in * (1.0f - let_in), slope_fresh = let_in * (1.0f - fresh * fresh);
        const Vec slope_forget = load(at.cell_before) * forget * (1.0f - forget);
        const Vec cell = load(cell_carry) + given * slope_cell;
        store(at.kept, cell * slope_in);
        store(at.kept + at.units, cell * slope_forget);
        store(at.kept + 2 * at.units, cell * slope_fresh);
        store(at.kept + 3 * at.units, given * slope_out);
        store(cell_carry, cell * forget);
        return Vec{};
    }
};

} // namespace tidecast::TIDECAST_LEVEL

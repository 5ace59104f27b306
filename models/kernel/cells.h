// The element-wise half of one recurrent step, forwards and backwards, as models/recurrent.py defines it. All windows at once would
// not fit the registers; one register of units at a time does.
#pragma once

#include "curves.h"
#include "workspace.h"

namespace tidecast::TIDECAST_LEVEL {

// Window w before step t, as a place in the arrays [R, S, ...].
INLINE Index moment_of(const Sizes &sizes, Index w, Index t) { return w * sizes.steps + t; }

// Where the state after step t goes: it is the state before the next, or the last.
INLINE float *state_after(const Sizes &sizes, const Workspace &at, Index w, Index t) {
    return t + 1 < sizes.steps ? at.before + moment_of(sizes, w, t + 1) * at.units : at.last + w * at.units;
}

struct Gru {
    static void forward(const Sizes &sizes, const Workspace &at, Index w, Index t) {
        const Index moment = moment_of(sizes, w, t), U = at.units;
        float *gates = at.gates + moment * at.width, *after = state_after(sizes, at, w, t);
        const float *inner = at.inner + moment * at.width, *before = at.before + moment * U;
        for (Index u = 0; u < U; u += WIDTH) {
            const Vec reset = sigmoid(load(gates + u) + load(inner + u));
            const Vec update = sigmoid(load(gates + U + u) + load(inner + U + u));
            const Vec fresh = hyperbolic_tangent(load(gates + 2 * U + u) + reset * load(inner + 2 * U + u));
            store(gates + u, reset);
            store(gates + U + u, update);
            store(gates + 2 * U + u, fresh);
            store(after + u, fresh + update * (load(before + u) - fresh));
        }
    }

    // Takes the gradient of the state after the step from `carry`, and leaves there what reaches the state before it directly.
    static void backward(const Sizes &sizes, const Workspace &at, Index w, Index t) {
        const Index moment = moment_of(sizes, w, t), U = at.units;
        float *gates = at.gates + moment * at.width, *inner = at.inner + moment * at.width, *carry = at.carry + w * U;
        const float *before = at.before + moment * U;
        for (Index u = 0; u < U; u += WIDTH) {
            const Vec reset = load(gates + u), update = load(gates + U + u), fresh = load(gates + 2 * U + u);
            const Vec given = load(carry + u), state = load(inner + 2 * U + u);
            const Vec d_fresh = given * (1.0f - update) * (1.0f - fresh * fresh);
            const Vec d_update = given * (load(before + u) - fresh) * update * (1.0f - update);
            const Vec d_reset = d_fresh * state * reset * (1.0f - reset);
            store(gates + u, d_reset), store(inner + u, d_reset);
            store(gates + U + u, d_update), store(inner + U + u, d_update);
            store(gates + 2 * U + u, d_fresh), store(inner + 2 * U + u, d_fresh * reset);
            store(carry + u, given * update);
        }
    }

    // The hidden weights' product stands apart in the candidate, so it has a gradient of its own.
    static float *inner_gradient(const Workspace &at) { return at.inner; }
};

struct Lstm {
    static float *cell_after(const Sizes &sizes, const Workspace &at, Index w, Index t) {
        return t + 1 < sizes.steps ? at.cells + moment_of(sizes, w, t + 1) * at.units : at.cell_carry + w * at.units;
    }

    static void forward(const Sizes &sizes, const Workspace &at, Index w, Index t) {
        const Index moment = moment_of(sizes, w, t), U = at.units;
        float *gates = at.gates + moment * at.width, *after = state_after(sizes, at, w, t);
        float *cell_next = cell_after(sizes, at, w, t), *squashed = at.squashed + moment * U;
        const float *inner = at.inner + moment * at.width, *cells = at.cells + moment * U;
        for (Index u = 0; u < U; u += WIDTH) {
            const Vec let_in = sigmoid(load(gates + u) + load(inner + u));
            const Vec forget = sigmoid(load(gates + U + u) + load(inner + U + u));
            const Vec fresh = hyperbolic_tangent(load(gates + 2 * U + u) + load(inner + 2 * U + u));
            const Vec let_out = sigmoid(load(gates + 3 * U + u) + load(inner + 3 * U + u));
            const Vec cell = forget * load(cells + u) + let_in * fresh, bounded = hyperbolic_tangent(cell);
            store(gates + u, let_in);
            store(gates + U + u, forget);
            store(gates + 2 * U + u, fresh);
            store(gates + 3 * U + u, let_out);
            store(cell_next + u, cell);
            store(squashed + u, bounded);
            store(after + u, let_out * bounded);
        }
    }

    static void backward(const Sizes &sizes, const Workspace &at, Index w, Index t) {
        const Index moment = moment_of(sizes, w, t), U = at.units;
        float *gates = at.gates + moment * at.width, *carry = at.carry + w * U, *cell_carry = at.cell_carry + w * U;
        const float *cells = at.cells + moment * U, *squashed = at.squashed + moment * U;
        for (Index u = 0; u < U; u += WIDTH) {
            const Vec let_in = load(gates + u), forget = load(gates + U + u), fresh = load(gates + 2 * U + u);
            const Vec let_out = load(gates + 3 * U + u), bounded = load(squashed + u), given = load(carry + u);
            const Vec d_cell = load(cell_carry + u) + given * let_out * (1.0f - bounded * bounded);
            store(gates + u, d_cell * fresh * let_in * (1.0f - let_in));
            store(gates + U + u, d_cell * load(cells + u) * forget * (1.0f - forget));
            store(gates + 2 * U + u, d_cell * let_in * (1.0f - fresh * fresh));
            store(gates + 3 * U + u, given * bounded * let_out * (1.0f - let_out));
            store(cell_carry + u, d_cell * forget);
            store(carry + u, Vec{});
        }
    }

    // Inputs and states are added up before the gates: one gradient for both.
    static float *inner_gradient(const Workspace &at) { return at.gates; }
};

} // namespace tidecast::TIDECAST_LEVEL

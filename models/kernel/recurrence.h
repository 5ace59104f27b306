// A layer through time, there and back. The way there reads the recurrent weights once a step for all runs that go in step; sums, gates and
// the new state stay in registers, two registers of units at a time.
#pragma once

#include "ahead.h"
#include "cells.h"
#include "product.h"
#include "workspace.h"

namespace tidecast::TIDECAST_LEVEL {

// One run through one layer. Rows lie `input_row` and `kept_row` floats apart; 0 keeps nothing for a way back.
struct Track {
    const float *inputs;
    Index input_row;
    float *states, *cells, *kept;
    Index kept_row;
};

// Registers of units at a time: as many as leave every sum in a register.
constexpr int tile_of(int runs) { return runs == 1 || REGISTERS == 32 ? 2 : 1; }

template <class Cell, int RUNS, int VECTORS>
INLINE void tile(const Layer &layer, Index hidden, Index units, const Track *tracks, Index t, Index u) {
    // One run has few sums, and each waits for itself: two of each halve the wait.
    constexpr int CHAINS = RUNS == 1 ? 2 : 1;
    const Index width = Cell::GATES * units;
    Vec sums[CHAINS][RUNS][Cell::SUMS][VECTORS] = {};
    UNROLLED for (int g = 0; g < Cell::GATES; ++g)
        UNROLLED for (int v = 0; v < VECTORS; ++v) {
            const Index place = g * units + u + v * WIDTH;
            const Vec bias = load(layer.weights[BIAS] + place), inner = load(layer.weights[HIDDEN_BIAS] + place);
            UNROLLED for (int r = 0; r < RUNS; ++r) {
                sums[0][r][g][v] += inner;
                sums[0][r][Cell::input_sum(g)][v] += bias;
            }
        }
    for (Index f = 0; f < layer.features; ++f) {
        float inputs[RUNS];
        for (int r = 0; r < RUNS; ++r) inputs[r] = tracks[r].inputs[t * tracks[r].input_row + f];
        UNROLLED for (int g = 0; g < Cell::GATES; ++g)
            UNROLLED for (int v = 0; v < VECTORS; ++v) {
                const Vec weights = load(layer.weights[INPUT] + f * width + g * units + u + v * WIDTH);
                UNROLLED for (int r = 0; r < RUNS; ++r) sums[0][r][Cell::input_sum(g)][v] += inputs[r] * weights;
            }
    }
    const float *hidden_weights = layer.weights[HIDDEN] + u, *states[RUNS];
    for (int r = 0; r < RUNS; ++r) states[r] = tracks[r].states + t * units;
    const auto add = [&](int c, Index k) __attribute__((always_inline)) {
        float before[RUNS];
        UNROLLED for (int r = 0; r < RUNS; ++r) before[r] = states[r][k];
        UNROLLED for (int g = 0; g < Cell::GATES; ++g)
            UNROLLED for (int v = 0; v < VECTORS; ++v) {
                const float *place = hidden_weights + k * width + g * units + v * WIDTH;
                const Vec weights = RUNS > 1 ? load_once(place) : load(place);
                UNROLLED for (int r = 0; r < RUNS; ++r) sums[c][r][g][v] += before[r] * weights;
            }
    };
    Index k = 0;
    for (; k + CHAINS <= hidden; k += CHAINS)
        UNROLLED for (int c = 0; c < CHAINS; ++c) add(c, k + c);
    for (; k < hidden; ++k) add(0, k);
    UNROLLED for (int r = 0; r < RUNS; ++r)
        UNROLLED for (int v = 0; v < VECTORS; ++v) {
            const Track &track = tracks[r];
            const Index place = t * units + u + v * WIDTH;
            Vec total[Cell::SUMS];
            UNROLLED for (int s = 0; s < Cell::SUMS; ++s) {
                total[s] = sums[0][r][s][v];
                UNROLLED for (int c = 1; c < CHAINS; ++c) total[s] += sums[c][r][s][v];
            }
            Cell::forward(total, {track.states + place, track.states + place + units, track.cells + place,
                                  track.cells + place + units, track.kept + t * track.kept_row + u + v * WIDTH, units});
        }
}

// UNITS is the number of hidden units where it is known to the compiler, else 0.
template <class Cell, Index UNITS, int RUNS>
static void forward(const Sizes &sizes, const Layer &layer, const Track *tracks, Index steps, Ahead &next) {
    const Index hidden = UNITS ? UNITS : sizes.hidden, units = UNITS ? UNITS : padded(hidden);
    constexpr int VECTORS = tile_of(RUNS);
    for (Index t = 0; t < steps; ++t) {
        next.ask();
        Index u = 0;
        for (; u + VECTORS * WIDTH <= units; u += VECTORS * WIDTH) tile<Cell, RUNS, VECTORS>(layer, hidden, units, tracks, t, u);
        for (; u < units; u += WIDTH) tile<Cell, RUNS, 1>(layer, hidden, units, tracks, t, u);
    }
}

// Learnt run r through layer l, from the gradient of its last state in `carry`; `from_above` says that a layer above gives each of its states
// a gradient.
template <class Cell, Index UNITS>
static void backward(const Sizes &sizes, const Workspace &at, Index l, Index r, bool from_above, Ahead &next) {
    const Index hidden = UNITS ? UNITS : sizes.hidden, units = UNITS ? UNITS : padded(hidden), row = Cell::KEPT * units;
    const float *weights = at.layers[l].weights[HIDDEN];
    float *carry = at.carry + r * units, *cell_carry = at.cell_carry + r * units;
    for (Index t = sizes.steps; t-- > 0;) {
        next.ask();
        float *states = at.states(l, r) + t * units, *cells = at.cells(l, r) + t * units, *kept = at.kept(l, r) + t * row;
        const float *above = at.given(l, r) + t * units;
        for (Index u = 0; u < units; u += WIDTH) {
            Vec given = load(carry + u);
            if (from_above) given += load(above + u);
            store(carry + u, Cell::backward(given, cell_carry + u, {states + u, nullptr, cells + u, nullptr, kept + u, units}));
        }
        if (t > 0) add_dot_products(hidden, Cell::GATES * units, weights, Cell::GATES * units, kept, carry);
    }
}

// One layer's weight gradients from the sums' gradients of runs 1..R-1, and what its inputs are given if a layer lies below.
template <class Cell> static void gather(const Sizes &sizes, const Workspace &at, Index l, const Track *tracks) {
    static const float one = 1;
    const Layer &layer = at.layers[l];
    const Index S = sizes.steps, units = at.units, width = at.width, row = Cell::KEPT * units;
    for (Index r = 1; r < sizes.windows; ++r) {
        const float *states = at.states(l, r), *kept = at.kept(l, r);
        const auto start = [r](float *gradient, Index apart) { return Panel{r > 1 ? gradient : nullptr, apart}; };
        const auto sum_up = [&](Index rows, Left left, float *gradient, Index to, Index from, Index gates) {
            gradient += to * units;
            product(rows, S, gates * units, left, {kept + from * units, row}, start(gradient, width), {gradient, width});
        };
        sum_up(sizes.hidden, {states, 1, units}, layer.gradients[HIDDEN], 0, 0, Cell::GATES);
        sum_up(1, {&one, 0, 0}, layer.gradients[HIDDEN_BIAS], 0, 0, Cell::GATES);
        // Where a gate's two sums are one, so are their gradients; the last gate's may be apart.
        const Left inputs{tracks[r].inputs, 1, tracks[r].input_row};
        constexpr int LAST = Cell::GATES - 1;
        sum_up(layer.features, inputs, layer.gradients[INPUT], 0, 0, LAST);
        sum_up(layer.features, inputs, layer.gradients[INPUT], LAST, Cell::input_sum(LAST), 1);
        sum_up(1, {&one, 0, 0}, layer.gradients[BIAS], LAST, Cell::input_sum(LAST), 1);
        std::memcpy(layer.gradients[BIAS], layer.gradients[HIDDEN_BIAS], LAST * units * sizeof(float));
        if (l == 0) continue;
        float *given = at.given(l - 1, r);
        std::memset(given, 0, S * units * sizeof(float));
        for (Index t = 0; t < S; ++t, kept += row, given += units) {
            const float *input_weights = layer.weights[INPUT];
            add_dot_products(sizes.hidden, LAST * units, input_weights, width, kept, given);
            add_dot_products(sizes.hidden, units, input_weights + LAST * units, width, kept + Cell::input_sum(LAST) * units, given);
        }
    }
}

} // namespace tidecast::TIDECAST_LEVEL

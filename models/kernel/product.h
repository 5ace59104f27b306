// Small matrix products, the bulk of the work. A block of the result stays in registers while the depth runs by.
#pragma once

#include "lanes.h"

namespace tidecast::TIDECAST_LEVEL {

// Element (r, k) of the left factor is at[r * row + k * depth]: strides let it be read transposed, or repeated (0).
struct Left {
    const float *at;
    Index row, depth;
};

// Rows of whole registers, this many floats apart.
struct Panel {
    const float *at;
    Index row;
};

struct Into {
    float *at;
    Index row;
};

// Registers of a block's rows: with four rows, as many as leave room for the factors among the processor's registers.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int BROAD = 6;
#else
constexpr int BROAD = 3;
#endif
constexpr int TALL = 4;

template <int ROWS, int VECTORS> INLINE void block(Index depth, Left left, Panel right, Panel start, Into into) {
    Vec sums[ROWS][VECTORS];
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < VECTORS; ++v) sums[r][v] = start.at ? load(start.at + r * start.row + v * WIDTH) : Vec{};
    for (Index k = 0; k < depth; ++k) {
        Vec line[VECTORS];
        for (int v = 0; v < VECTORS; ++v) line[v] = load(right.at + k * right.row + v * WIDTH);
        for (int r = 0; r < ROWS; ++r) {
            const float factor = left.at[r * left.row + k * left.depth];
            for (int v = 0; v < VECTORS; ++v) sums[r][v] += factor * line[v];
        }
    }
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < VECTORS; ++v) store(into.at + r * into.row + v * WIDTH, sums[r][v]);
}

// A strip of the result, VECTORS registers wide.
template <int VECTORS> static void strip(Index rows, Index depth, Left left, Panel right, Panel start, Into into) {
    while (rows > 0) {
        const Index taken = rows < TALL ? rows : TALL;
        switch (taken) {
        case 1: block<1, VECTORS>(depth, left, right, start, into); break;
        case 2: block<2, VECTORS>(depth, left, right, start, into); break;
        case 3: block<3, VECTORS>(depth, left, right, start, into); break;
        default: block<TALL, VECTORS>(depth, left, right, start, into); break;
        }
        rows -= taken;
        left.at += taken * left.row;
        start.at += start.at ? taken * start.row : 0;
        into.at += taken * into.row;
    }
}

// into [rows, width] = start + left [rows, depth] * right [depth, width]; no start is zero; width in whole registers. start and into
// may be one.
static void product(Index rows, Index depth, Index width, Left left, Panel right, Panel start, Into into) {
    while (width > 0) {
        Index taken = WIDTH;
        if (width >= BROAD * WIDTH) {
            strip<BROAD>(rows, depth, left, right, start, into);
            taken = BROAD * WIDTH;
        } else if (BROAD > 2 && width >= 2 * WIDTH) {
            strip<2>(rows, depth, left, right, start, into);
            taken = 2 * WIDTH;
        } else {
            strip<1>(rows, depth, left, right, start, into);
        }
        width -= taken;
        right.at += taken;
        start.at += start.at ? taken : 0;
        into.at += taken;
    }
}

} // namespace tidecast::TIDECAST_LEVEL

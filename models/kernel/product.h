// Small matrix products, the bulk of the work. A block of the result stays in registers while the depth runs by.
#pragma once

#include "lanes.h"

namespace tidecast::TIDECAST_LEVEL {

// Element (r, k) of the left factor is at[r * row + k * depth]: strides let it be read transposed, or repeated (0).
struct Left {
    const float *at;
    Index row, depth;
};

// Rows of whole registers, this many floats apart. Where they are further apart than wide, or nearer, that is the caller's affair.
struct Panel {
    const float *at;
    Index row;
};

struct Into {
    float *at;
    Index row;
};

// Registers of a block's rows: with four rows, as many as leave room for the factors among the processor's registers.
constexpr int BROAD = REGISTERS == 32 ? 6 : 3;
constexpr int TALL = 4;

// Sums that do not wait for each other, so that a small block too has enough of them to keep the multipliers busy.
constexpr int chains_of(int sums) { return sums >= 8 ? 1 : sums >= 4 ? 2 : 4; }

template <int ROWS, int VECTORS> INLINE void block(Index depth, Left left, Panel right, Panel start, Into into) {
    constexpr int CHAINS = chains_of(ROWS * VECTORS);
    Vec sums[CHAINS][ROWS][VECTORS] = {};
    if (start.at)
        UNROLLED for (int r = 0; r < ROWS; ++r)
            UNROLLED for (int v = 0; v < VECTORS; ++v) sums[0][r][v] = load(start.at + r * start.row + v * WIDTH);
    const auto add = [&](int c, Index k) __attribute__((always_inline)) {
        Vec line[VECTORS];
        UNROLLED for (int v = 0; v < VECTORS; ++v) line[v] = load(right.at + k * right.row + v * WIDTH);
        UNROLLED for (int r = 0; r < ROWS; ++r) {
            const float factor = left.at[r * left.row + k * left.depth];
            UNROLLED for (int v = 0; v < VECTORS; ++v) sums[c][r][v] += factor * line[v];
        }
    };
    Index k = 0;
    for (; k + CHAINS <= depth; k += CHAINS)
        UNROLLED for (int c = 0; c < CHAINS; ++c) add(c, k + c);
    for (; k < depth; ++k) add(0, k);
    UNROLLED for (int r = 0; r < ROWS; ++r)
        UNROLLED for (int v = 0; v < VECTORS; ++v) {
            Vec total = sums[0][r][v];
            UNROLLED for (int c = 1; c < CHAINS; ++c) total += sums[c][r][v];
            store(into.at + r * into.row + v * WIDTH, total);
        }
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
    constexpr int EVEN = REGISTERS == 32 ? 4 : 2;
    while (width > 0) {
        Index taken = WIDTH;
        if (width >= BROAD * WIDTH && width % (EVEN * WIDTH) != 0) {
            strip<BROAD>(rows, depth, left, right, start, into);
            taken = BROAD * WIDTH;
        } else if (width >= EVEN * WIDTH) {
            strip<EVEN>(rows, depth, left, right, start, into);
            taken = EVEN * WIDTH;
        } else if (width >= 2 * WIDTH) {
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

// into [rows] += matrix [rows, width] * vector [width], the matrix's rows `row` floats apart, width in whole registers: as many rows at a
// time as a register has lanes, each with a register of partial sums. So no matrix need be transposed, and nothing be broadcast.
INLINE void add_dot_products(Index rows, Index width, const float *matrix, Index row, const float *vector, float *into) {
    for (Index r = 0; r < rows; r += WIDTH) {
        Vec sums[WIDTH] = {};
        const float *at = matrix + r * row;
        if (r + WIDTH <= rows) {
            for (Index i = 0; i < width; i += WIDTH) {
                const Vec factor = load(vector + i);
                UNROLLED for (int n = 0; n < WIDTH; ++n) sums[n] += factor * load(at + n * row + i);
            }
        } else {
            for (Index i = 0; i < width; i += WIDTH)
                UNROLLED for (int n = 0; n < WIDTH; ++n)
                    if (r + n < rows) sums[n] += load(vector + i) * load(at + n * row + i);
        }
        store(into + r, load(into + r) + sums_of(sums));
    }
}

} // namespace tidecast::TIDECAST_LEVEL

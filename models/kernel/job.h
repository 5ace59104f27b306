// What a call asks of the kernel: plain numbers and addresses, all checked by module.cpp. No functions here: this file is compiled for
// several instruction sets, and a function that the linker merges could carry one set's instructions to a processor without them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tidecast {

using Index = std::ptrdiff_t;

// Where recurrences begin and end (docs/fleet.md). In each, run 0 is forecast and runs 1..R-1 are learnt.
enum Policy : int {
    WINDOW,  // every run is a recurrence of its own from a state of zero
    JOINT,   // run 1 begins at a state of zero, run 0 goes on where it ends
    CARRIED, // run 0 begins at the newest stored state, run 1 at the oldest
};

constexpr Index MOST_WINDOWS = 64; // runs of a series
constexpr Index MOST_LAYERS = 2;

// The network and the policy of one call, named as in models/recurrent.py.
struct Sizes {
    bool lstm, squared;
    int policy;
    Index hidden, layers, features, horizon, levels, median;
    Index context; // L, what the skip sees: 0 where there is none
    Index windows; // R
    Index steps;   // S, of a learnt run
    Index ahead;   // of run 0; when carried, the most that a row has
    Index ring;    // stored states of a series; 0 but when carried
};

// Adam's constants and the norm that a gradient is clipped to. double, so that 1 - beta2 keeps its digits.
struct Constants {
    double clip, beta1, beta2, epsilon;
};

// Rows in a larger record: floats from one to the next.
struct Records {
    float *at;
    Index row;
};

struct Job {
    Sizes sizes;
    Constants constants;
    Index batch;
    Index parameters;           // weights, first and second moments of a series are this many floats each
    Records arena;              // [N, 3, parameters]
    const std::int64_t *rows;   // [B] places in the arena
    const float *inputs;        // window: [B, R, S, F]; joint: [B, S+ahead, F]; carried: [B, S, F], of run 1
    const float *centred;       // [B, R, L]
    const float *targets;       // [B, R-1, H]
    const float *known;         // [B, R-1, H]
    const std::uint8_t *learn;  // [B]
    const float *size;          // [B] Adam's rate over the first moment's bias
    const float *root;          // [B] root of the second moment's bias
    const float *keep;          // [B] what decay leaves of a weight
    const float *levels;        // [Q]
    float *quantiles;           // [B, H, Q], written
    Records states;             // [N, ring, layers, U or 2U], written; the last three when carried
    const std::int64_t *moment; // [B] steps that a series has taken: state m lies at m % ring
    const float *fresh;         // [B, ahead, F] its next steps
    const std::int64_t *counts; // [B] how many of them there are
    float *scratch;             // as many floats as Level::floats says, 64-byte aligned; zero when sizes or level change
};

// One compilation of the core.
struct Level {
    const char *name;
    Index (*floats)(const Sizes &, Index parameters);
    void (*step)(const Job &);
    void (*sigmoid)(const float *from, float *to, Index count);
    void (*tanh)(const float *from, float *to, Index count);
    double (*multiply_adds)(Index rounds); // floating point operations done
};

} // namespace tidecast

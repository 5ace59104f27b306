// What a call asks of the kernel: plain numbers and addresses, all checked by module.cpp. No functions here: this file is compiled for
// several instruction sets, and a function that the linker merges could carry one set's instructions to a processor without them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tidecast {

using Index = std::ptrdiff_t;

// The network of one call, named as in models/recurrent.py. windows is R: window 0 is forecast, the others are learnt.
struct Sizes {
    bool lstm;
    Index hidden, windows, steps, features, context, horizon, levels, median;
};

// Adam's constants and the norm that a gradient is clipped to. double, so that 1 - beta2 keeps its digits.
struct Constants {
    double clip, beta1, beta2, epsilon;
};

struct Job {
    Sizes sizes;
    Constants constants;
    Index batch;
    Index parameters;         // the arena's row: weights, first and second moments, this many floats each
    float *arena;             // [N, 3, parameters]
    const std::int64_t *rows; // [B] places in the arena
    const float *patches;     // [B, R, S, F]
    const float *centred;     // [B, R, L]
    const float *targets;     // [B, R-1, H]
    const float *known;       // [B, R-1, H]
    const std::uint8_t *learn; // [B]
    const float *size;        // [B] Adam's rate over the first moment's bias
    const float *root;        // [B] root of the second moment's bias
    const float *levels;      // [Q]
    float *quantiles;         // [B, H, Q], written
    float *scratch;           // as many floats as Level::floats says, 64-byte aligned; zero when sizes or level change
};

// One compilation of the core.
struct Level {
    const char *name;
    Index (*floats)(const Sizes &, Index parameters);
    void (*step)(const Job &);
    void (*sigmoid)(const float *from, float *to, Index count);
    void (*tanh)(const float *from, float *to, Index count);
};

} // namespace tidecast

// One Adam step (Kingma and Ba 2015) on one series, with decoupled weight decay (Loshchilov and Hutter 2019), as adam() of models/adam.py.
#pragma once

#include <cstring>

#include "lanes.h"

namespace tidecast::TIDECAST_LEVEL {

static float squared_norm(const float *values, Index count) {
    constexpr int CHAINS = 4; // sums that do not wait for each other
    Vec totals[CHAINS] = {};
    Index i = 0;
    for (; i + CHAINS * WIDTH <= count; i += CHAINS * WIDTH)
        for (int c = 0; c < CHAINS; ++c) {
            const Vec value = load(values + i + c * WIDTH);
            totals[c] += value * value;
        }
    for (; i < count; i += WIDTH) totals[0] += load(values + i) * load(values + i);
    return sum((totals[0] + totals[1]) + (totals[2] + totals[3]));
}

// A series' part of the step: the rate over the first moment's bias, the root of the second's, and what decay leaves of a weight.
struct Pace {
    float size, root, keep;
};

// states are weights, first and second moments, `count` floats each, a multiple of WIDTH. A gradient that is not finite counts as zero.
static void adam(float *states, float *gradient, Index count, const Constants &constants, Pace pace) {
    const float norm = __builtin_sqrtf(squared_norm(gradient, count));
    float scale = 1;
    if (!__builtin_isfinite(norm))
        std::memset(gradient, 0, count * sizeof(float));
    else if (norm > constants.clip)
        scale = static_cast<float>(constants.clip) / norm;
    const float beta1 = constants.beta1, beta2 = constants.beta2, epsilon = constants.epsilon;
    const float fresh1 = 1 - constants.beta1, fresh2 = 1 - constants.beta2, unroot = 1 / pace.root;
    float *weights = states, *first = states + count, *second = first + count;
    for (Index i = 0; i < count; i += WIDTH) {
        const Vec slope = scale * load(gradient + i);
        const Vec mean = beta1 * load(first + i) + fresh1 * slope;
        const Vec square = beta2 * load(second + i) + fresh2 * slope * slope;
        store(first + i, mean);
        store(second + i, square);
        const Vec room = unroot * rough_root(square) + epsilon;
        store(weights + i, pace.keep * load(weights + i) - pace.size * mean * reciprocal(room));
    }
}

} // namespace tidecast::TIDECAST_LEVEL

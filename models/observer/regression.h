// Recursive least squares with exact delayed updates, as models/least_squares.py defines it.
#pragma once

#include "reading.h"

namespace tidecast::TIDECAST_LEVEL {

typedef double Reals __attribute__((vector_size(WIDTH * sizeof(float))));
constexpr int PAIR = WIDTH / 2;

INLINE double dot(const double *a, const double *b, Int count) {
    Reals total = {};
    Int i = 0;
    for (; i + PAIR <= count; i += PAIR) {
        Reals left, right;
        std::memcpy(&left, a + i, sizeof left);
        std::memcpy(&right, b + i, sizeof right);
        total += left * right;
    }
    double sum = 0;
    for (int lane = 0; lane < PAIR; ++lane) sum += total[lane];
    for (; i < count; ++i) sum += a[i] * b[i];
    return sum;
}

struct Regression {
    const Series &series;
    const RegressionLayout &layout;
    Int width, horizon;
    double forgetting;

    double *ring(Int bytes, Int cutoff) const { return series.at<double>(bytes) + modulo(cutoff, horizon) * width; }

    // Takes the window's gain, and says [H] what is added to the newest value. `alive` [D] as for LeastSquares.forecast.
    void forecast(Int slot, const double *inputs, const std::uint8_t *alive, double unit, double *said) const {
        const Rates &rates = series.feed.rates;
        double *covariance = series.at<double>(layout.covariance);
        double product[WIDEST];
        for (Int j = 0; j < width; ++j) product[j] = dot(covariance + j * width, inputs, width);
        const double gain = 1.0 / (forgetting + dot(inputs, product, width));
        double trace = 0;
        for (Int i = 0; i < width; ++i) trace += covariance[i * width + i] - gain * product[i] * product[i];
        const double grow = trace / static_cast<double>(width) < rates.trace_limit ? 1.0 / forgetting : 1.0;
        for (Int i = 0; i < width; ++i) {
            double *row = covariance + i * width;
            const double factor = product[i];
            for (Int j = 0; j < width; ++j) row[j] = (row[j] - gain * (factor * product[j])) * grow; // symmetric to the bit
            if (!alive[i]) row[i] = rates.start_variance;
        }
        double *kept = ring(layout.inputs, slot), *gains = ring(layout.gains, slot);
        const double *coefficients = series.at<double>(layout.coefficients);
        for (Int i = 0; i < width; ++i) kept[i] = inputs[i], gains[i] = product[i] * gain;
        series.at<double>(layout.units)[modulo(slot, horizon)] = unit;
        for (Int h = 0; h < horizon; ++h) said[h] = dot(coefficients + h * width, inputs, width) * unit;
    }

    // Corrects the lead h (from 0) with its window's gain; `moved` is the target minus the value at that cutoff.
    void learn(Int h, Int cutoff, double moved) const {
        const Rates &rates = series.feed.rates;
        const double unit = series.at<double>(layout.units)[modulo(cutoff, horizon)];
        if (!(unit > 0)) return;
        const double target = held(moved / unit, rates.regression_target_limit);
        double *coefficients = series.at<double>(layout.coefficients) + h * width;
        const double *gains = ring(layout.gains, cutoff);
        const double error = held(target - dot(ring(layout.inputs, cutoff), coefficients, width), rates.regression_error_limit);
        for (Int i = 0; i < width; ++i) coefficients[i] += gains[i] * error;
    }
};

// The experts that a feed has, one after the other.
template <class Use> INLINE void each_regression(const Series &series, Use use) {
    const Shape &shape = series.feed.shape;
    const Rates &rates = series.feed.rates;
    const Int wide = shape.long_edges - 1 + shape.season_blocks + 4 + 2 * shape.long_harmonics + 1;
    const Int narrow = shape.quick_edges - 1 + 2 * shape.quick_harmonics + 1;
    if (shape.regressed >= 0) use(Regression{series, series.feed.steady, wide, shape.horizon, rates.forgetting}, shape.regressed);
    if (shape.quick >= 0) use(Regression{series, series.feed.quick, narrow, shape.horizon, rates.quick_forgetting}, shape.quick);
}

} // namespace tidecast::TIDECAST_LEVEL

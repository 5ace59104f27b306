// What an observation decides: errors of every expert, mixture weights, calibration, coverage; as models/scores.py, mixture.py and
// calibration.py define it.
#pragma once

#include "regression.h"

namespace tidecast::TIDECAST_LEVEL {

// Weights of one lead's experts after their absolute errors `losses`, by models.mixture.reweigh.
static void reweigh(const Feed &feed, Int h, const double *losses, const double *typical, double *weights) {
    const Int E = feed.shape.experts;
    const Rates &rates = feed.rates;
    double least = typical[0], best = std::numeric_limits<double>::infinity(), total = 0, squares[MOST_EXPERTS];
    for (Int e = 1; e < E; ++e) least = std::min(least, typical[e]);
    least = std::max(least, rates.least_square);
    for (Int e = 0; e < E; ++e) {
        squares[e] = std::min(losses[e] * losses[e] / least, rates.worst_loss);
        best = std::min(best, squares[e]);
    }
    for (Int e = 0; e < E; ++e) {
        weights[e] *= std::exp(-rates.mixture_rate * feed.pace[h] * (squares[e] - best));
        total += weights[e];
    }
    const double share = rates.mixture_share * feed.pace[h];
    for (Int e = 0; e < E; ++e) weights[e] = (1 - share) * weights[e] / total + share / static_cast<double>(E);
}

// One lead: what was said at `cutoff` about the target, in units of that cutoff. Returns the error of the median.
static double settle_lead(const Series &series, Int h, Int at, double target, double *covered) {
    const Feed &feed = series.feed;
    const Layout &layout = feed.layout;
    const Rates &rates = feed.rates;
    const Int E = feed.shape.experts, Q = feed.shape.levels, H = feed.shape.horizon;
    const float *points = series.at<float>(layout.points) + (at * H + h) * E;
    const float *quantiles = series.at<float>(layout.quantiles) + (at * H + h) * Q;
    double *errors = series.at<double>(layout.errors) + h * E, *squares = series.at<double>(layout.squares) + h * E;
    double *offsets = series.at<double>(layout.offsets) + h * Q, losses[MOST_EXPERTS];
    const double settled = static_cast<double>(++series.at<Int>(layout.settled)[h]), fresh = 1.0 / settled;
    for (Int e = 0; e < E; ++e) losses[e] = std::fabs(target - static_cast<double>(points[e]));
    if (settled > 1) reweigh(feed, h, losses, squares, series.at<double>(layout.weights) + h * E);
    const double rate = std::max(rates.error_rate, fresh), square_rate = std::max(rates.square_rate, fresh);
    for (Int e = 0; e < E; ++e) {
        squares[e] = std::max(squares[e] + square_rate * (losses[e] * losses[e] - squares[e]), rates.smallest * rates.smallest);
        errors[e] = std::max(errors[e] + rate * (losses[e] - errors[e]), rates.smallest);
    }
    const double pace = rates.calibration_rate + 1.0 / (settled + 10.0);
    for (Int q = 0; q < Q; ++q) {
        const double below = target <= static_cast<double>(quantiles[q]);
        offsets[q] += pace * (feed.levels[q] - below);
        covered[q] += below;
    }
    const double error = target - static_cast<double>(quantiles[feed.shape.median]);
    double &mixed = series.at<double>(layout.mixed)[h];
    mixed = std::max(mixed + rate * (std::fabs(error) - mixed), rates.smallest);
    return error;
}

// Scores._standardise for the lead-1 error in the series' own units.
static double standardise(const Series &series, double error, bool *judged) {
    const Rates &rates = series.feed.rates;
    double &slow = series.real(series.feed.layout.slow), size = std::fabs(error);
    const double settled = static_cast<double>(series.at<Int>(series.feed.layout.settled)[0]);
    *judged = slow > 0;
    const double standardised = *judged ? error / slow : 0.0;
    if (*judged && settled > 30) size = std::min(size, rates.score_outlier * slow);
    slow += std::max(rates.slow_rate, 4.0 / (settled + 3.0)) * (size - slow);
    return standardised;
}

// Everything that the value at `slot` decides. Returns the standardised lead-1 error, 0 where it is not `judged`.
static double settle(const Series &series, Int slot, double value, bool *judged) {
    const Feed &feed = series.feed;
    const Layout &layout = feed.layout;
    const Int H = feed.shape.horizon, Q = feed.shape.levels;
    double covered[MOST_LEVELS] = {}, standardised = 0, number = 0, fastest = 0;
    *judged = false;
    for (Int h = 0; h < H; ++h) {
        const Int cutoff = slot - 1 - h, at = modulo(cutoff, H);
        if (cutoff < 0 || series.at<Int>(layout.cutoff)[at] != cutoff) continue;
        const double moved = value - series.at<double>(layout.origin)[at], unit = series.at<double>(layout.scale)[at];
        each_regression(series, [&](const Regression &one, Int) { one.learn(h, cutoff, moved); });
        const double error = settle_lead(series, h, at, held(moved / unit, feed.rates.target_limit), covered);
        if (h == 0) standardised = standardise(series, error * unit, judged);
        number += 1;
        fastest = std::max(fastest, std::max(feed.rates.error_rate, 1.0 / static_cast<double>(series.at<Int>(layout.settled)[h])));
    }
    double *coverage = series.at<double>(layout.coverage);
    for (Int q = 0; q < Q && number > 0; ++q) coverage[q] += fastest * (covered[q] / number - coverage[q]);
    return standardised;
}

} // namespace tidecast::TIDECAST_LEVEL

// What an observation decides: errors of every expert, mixture weights, calibration, coverage; as models/scores.py, mixture.py and
// calibration.py define it.
#pragma once

#include "regression.h"

namespace tidecast::TIDECAST_LEVEL {

// Evidence of one lead's experts after their squared errors, by models.mixture.reweigh; `asleep` is the place of one that abstains, or -1.
static void reweigh(const Feed &feed, Int h, Int asleep, double settled, const double *squares, const double *typical, double *evidence) {
    const Int E = feed.shape.experts;
    const Rates &rates = feed.rates;
    double least = std::numeric_limits<double>::infinity(), low = least, top = 0, total = 0;
    for (Int e = 0; e < E; ++e) {
        if (e == asleep) continue;
        least = std::min(least, typical[e]), low = std::min(low, squares[e]), top = std::max(top, squares[e]);
    }
    const double unit = std::max(std::max(least, rates.least_square), top / rates.worst_loss);
    const double fall = (rates.mixture_rate + rates.early / std::sqrt(settled)) * feed.pace[h] / unit;
    const double rest = asleep < 0 ? 1.0 : 1.0 - evidence[asleep], awake = static_cast<double>(asleep < 0 ? E : E - 1);
    for (Int e = 0; e < E; ++e)
        if (e != asleep) total += evidence[e] *= std::exp(-fall * (squares[e] - low));
    const double share = rates.mixture_share * feed.pace[h] * std::min(1.0, (top - low) / unit);
    for (Int e = 0; e < E; ++e)
        if (e != asleep) evidence[e] = rest * ((1 - share) * evidence[e] / total + share / awake);
}

// The seasonal expert: its place, or -1; whether it sleeps; and the observations since it woke.
struct Season {
    Int place, past;
    bool sleeps;

    explicit Season(const Series &series) {
        const Layout &layout = series.feed.layout;
        const Int season = series.whole(layout.season);
        place = series.feed.shape.seasonal, past = series.whole(layout.run) - season, sleeps = past < 0 || season == 0;
    }
    Int asleep() const { return sleeps ? place : -1; }
};

// What squared errors do to one lead's evidence and records, by Scores._judge.
static void judge(const Series &series, const Season &season, Int h, double settled, double square_rate, const double *squares) {
    const Feed &feed = series.feed;
    const Rates &rates = feed.rates;
    const Int E = feed.shape.experts;
    double *typical = series.at<double>(feed.layout.squares) + h * E, best = std::numeric_limits<double>::infinity();
    if (settled > 1) reweigh(feed, h, season.asleep(), settled, squares, typical, series.at<double>(feed.layout.evidence) + h * E);
    for (Int e = 0; e < E; ++e) {
        double rate = square_rate;
        if (e == season.place) {
            if (season.sleeps) continue;
            rate = std::max(rate, 1.0 / (static_cast<double>(season.past) + rates.prior_errors));
        }
        typical[e] = std::max(typical[e] + rate * (squares[e] - typical[e]), rates.smallest * rates.smallest);
        best = std::min(best, typical[e]);
    }
    if (season.place >= 0 && season.sleeps) typical[season.place] = best;
    if (h > 0) return;
    double *moves = series.at<double>(feed.layout.moves);
    moves[0] += squares[0], moves[1] += squares[0] * squares[0];
}

// One lead: what was said at `cutoff` about the target, in units of that cutoff. Returns the error of the median.
static double settle_lead(const Series &series, const Season &season, Int h, Int at, double target, double *covered) {
    const Feed &feed = series.feed;
    const Layout &layout = feed.layout;
    const Rates &rates = feed.rates;
    const Int E = feed.shape.experts, Q = feed.shape.levels, H = feed.shape.horizon;
    const float *points = series.at<float>(layout.points) + (at * H + h) * E;
    const float *quantiles = series.at<float>(layout.quantiles) + (at * H + h) * Q;
    double *errors = series.at<double>(layout.errors) + h * E, *offsets = series.at<double>(layout.offsets) + h * Q;
    double squares[MOST_EXPERTS];
    const double settled = static_cast<double>(++series.at<Int>(layout.settled)[h]), fresh = 1.0 / settled;
    const double rate = std::max(rates.error_rate, fresh);
    for (Int e = 0; e < E; ++e) {
        const double loss = std::fabs(target - static_cast<double>(points[e]));
        squares[e] = loss * loss;
        errors[e] = std::max(errors[e] + rate * (loss - errors[e]), rates.smallest);
    }
    judge(series, season, h, settled, std::max(rates.square_rate, fresh), squares);
    const double pace = rates.calibration_rate * feed.pace[h] + 1.0 / (settled + 10.0);
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
    const Season season(series);
    for (Int h = 0; h < H; ++h) {
        const Int cutoff = slot - 1 - h, at = modulo(cutoff, H);
        if (cutoff < 0 || series.at<Int>(layout.cutoff)[at] != cutoff) continue;
        const double moved = value - series.at<double>(layout.origin)[at], unit = series.at<double>(layout.scale)[at];
        each_regression(series, [&](const Regression &one, Int) { one.learn(h, cutoff, moved); });
        const double error = settle_lead(series, season, h, at, held(moved / unit, feed.rates.target_limit), covered);
        if (h == 0) standardised = standardise(series, error * unit, judged);
        number += 1;
        fastest = std::max(fastest, std::max(feed.rates.error_rate, 1.0 / static_cast<double>(series.at<Int>(layout.settled)[h])));
    }
    double *coverage = series.at<double>(layout.coverage);
    for (Int q = 0; q < Q && number > 0; ++q) coverage[q] += fastest * (covered[q] / number - coverage[q]);
    return standardised;
}

} // namespace tidecast::TIDECAST_LEVEL

// What the least squares experts see of a window, as models/lags.py defines it.
#pragma once

#include "regression.h"

namespace tidecast::TIDECAST_LEVEL {

struct LagInputs {
    double wide[WIDEST], narrow[WIDEST];
    std::uint8_t wide_alive[WIDEST], narrow_alive[WIDEST];
    Int wide_count = 0, narrow_count = 0;

    LagInputs(const Series &series, const Ring &ring, Int season, Int time_us, Int step_us, double unit) {
        const Int period = season > 0 ? season * step_us : static_cast<Int>(series.feed.rates.week_us);
        whole = series.whole(series.feed.layout.count) * step_us >= period;
        const Feed &feed = series.feed;
        const Shape &shape = feed.shape;
        const double newest = *ring.values(0), limit = feed.rates.lag_limit;
        const auto centred = [&](Int lag) { return held((*ring.values(lag) - newest) / unit, limit); };
        const double reach = std::max(static_cast<double>(shape.sure_edge), feed.rates.seasons * static_cast<double>(season));
        double line[FURTHEST];
        const Int longest = std::max(feed.long_edges[shape.long_edges - 1], feed.quick_edges[shape.quick_edges - 1]);
        for (Int lag = 0; lag < longest; ++lag) line[lag] = centred(lag);
        for (Int i = 0; i + 1 < shape.long_edges; ++i) {
            const bool alive = static_cast<double>(feed.long_edges[i + 1]) <= reach;
            add_wide(alive ? mean(line, feed.long_edges[i], feed.long_edges[i + 1]) : 0.0, alive);
        }
        for (Int i = 0; i + 1 < shape.quick_edges; ++i) add_narrow(mean(line, feed.quick_edges[i], feed.quick_edges[i + 1]), true);
        last_season(shape, season, centred);
        harmonics(shape, time_us, period);
        add_wide(1.0, true), add_narrow(1.0, true);
    }

  private:
    bool whole; // a season, or a week, has been seen: the inputs about it mean something

    void add_wide(double value, bool alive) { wide_alive[wide_count] = alive, wide[wide_count++] = alive ? value : 0.0; }
    void add_narrow(double value, bool alive) { narrow_alive[narrow_count] = alive, narrow[narrow_count++] = alive ? value : 0.0; }

    static double mean(const double *line, Int from, Int to) {
        double total = 0;
        for (Int lag = from; lag < to; ++lag) total += line[lag];
        return total / static_cast<double>(to - from);
    }

    template <class Centred> void last_season(const Shape &shape, Int season, Centred centred) {
        const Int part = std::max<Int>(1, season / shape.season_part);
        for (Int block = 0; block < shape.season_blocks; ++block) {
            const Int last = season - (block + 1) * part + 1; // the nearest lag of the block
            const bool fits = whole && season > 0 && last >= 1;
            double total = 0;
            for (Int lag = last; fits && lag < last + part; ++lag) total += centred(lag);
            add_wide(total / static_cast<double>(part), fits);
        }
        for (const Int lag : {season - 1, season, 2 * season - 1, 2 * season}) {
            const bool fits = whole && season > 0 && lag >= 1 && lag < shape.capacity;
            add_wide(fits ? centred(lag) : 0.0, fits);
        }
    }

    void harmonics(const Shape &shape, Int time_us, Int period) {
        const double angle = static_cast<double>(modulo(time_us, period)) * (FULL_TURN / static_cast<double>(period));
        const double sine = std::sin(angle), cosine = std::cos(angle);
        double s = sine, c = cosine;
        for (Int order = 0; order < std::max(shape.long_harmonics, shape.quick_harmonics); ++order) {
            if (order < shape.long_harmonics) add_wide(s, whole), add_wide(c, whole);
            if (order < shape.quick_harmonics) add_narrow(s, whole), add_narrow(c, whole);
            const double next = s * cosine + c * sine;
            c = c * cosine - s * sine, s = next;
        }
    }
};

} // namespace tidecast::TIDECAST_LEVEL

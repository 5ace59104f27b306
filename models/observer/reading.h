// A series' record as numbers: windows by slot, and clocks.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "../kernel/lanes.h"
#include "record.h"

namespace tidecast::TIDECAST_LEVEL {

constexpr double FULL_TURN = 6.283185307179586476925286766559;
constexpr Int DAY_US = 86400000000, WEEK_US = 604800000000;

INLINE Int modulo(Int value, Int by) {
    const Int rest = value % by;
    return rest < 0 ? rest + by : rest;
}

INLINE double held(double value, double limit) { return value < -limit ? -limit : value > limit ? limit : value; }

// One series' record.
struct Series {
    const Feed &feed;
    std::uint8_t *record;

    template <class T> T *at(Int bytes) const { return reinterpret_cast<T *>(record + bytes); }
    Int &whole(Int bytes) const { return *at<Int>(bytes); }
    double &real(Int bytes) const { return *at<double>(bytes); }

    // Places in the ring of slots (models/windows.py)
    Int place(Int slot) const { return modulo(slot, feed.shape.capacity); }

    void push(Int slot, const double *values) const {
        const Shape &shape = feed.shape;
        const Int C = shape.channels, T = shape.capacity, last = whole(feed.layout.newest);
        double *ring = at<double>(feed.layout.values);
        std::uint8_t *marks = at<std::uint8_t>(feed.layout.seen);
        const double *before = last < 0 ? nullptr : ring + place(last) * C;
        if (before)
            for (Int gap = std::max(last + 1, slot - T); gap < slot; ++gap) {
                double *empty = ring + place(gap) * C;
                if (empty != before) std::copy(before, before + C, empty);
                marks[place(gap)] = 0;
            }
        double *here = ring + place(slot) * C;
        for (Int c = 0; c < C; ++c) here[c] = std::isnan(values[c]) ? (before ? before[c] : 0.0) : values[c];
        marks[place(slot)] = 1;
        whole(feed.layout.newest) = slot;
        whole(feed.layout.first) = std::max(last < 0 ? slot : whole(feed.layout.first), slot - T + 1);
    }
};

// The slots that a series' ring holds, counted back from the newest: a division for each slot would cost more than all else.
class Ring {
  public:
    explicit Ring(const Series &series)
        : newest(series.whole(series.feed.layout.newest)), depth(newest - series.whole(series.feed.layout.first)),
          values_(series.at<double>(series.feed.layout.values)), marks_(series.at<std::uint8_t>(series.feed.layout.seen)),
          capacity_(series.feed.shape.capacity), channels_(series.feed.shape.channels), end_(series.place(newest)) {}

    const Int newest, depth; // depth: the oldest slot, counted back

    // Slots before the first hold the first one's values, and count as unseen.
    const double *values(Int back) const { return values_ + place(back < depth ? back : depth) * channels_; }
    bool seen(Int back) const { return back <= depth && marks_[place(back)]; }
    bool has(Int back) const { return back >= 0 && seen(back); }

  private:
    Int place(Int back) const { return end_ < back ? end_ - back + capacity_ : end_ - back; }

    const double *values_;
    const std::uint8_t *marks_;
    Int capacity_, channels_, end_;
};

// Sine and cosine of the phase in day and week, from one moment to earlier ones by turning back.
class Calendar {
  public:
    Calendar(Int time_us, Int back_us) {
        for (int p = 0; p < 2; ++p) {
            const Int period = p ? WEEK_US : DAY_US;
            const double angle = modulo(time_us, period) * (FULL_TURN / period), turn = modulo(back_us, period) * (FULL_TURN / period);
            sine_[p] = std::sin(angle), cosine_[p] = std::cos(angle);
            turn_sine_[p] = std::sin(turn), turn_cosine_[p] = std::cos(turn);
        }
    }
    void put(float *to) const {
        for (int p = 0; p < 2; ++p) to[2 * p] = static_cast<float>(sine_[p]), to[2 * p + 1] = static_cast<float>(cosine_[p]);
    }
    void back() {
        for (int p = 0; p < 2; ++p) {
            const double sine = sine_[p] * turn_cosine_[p] - cosine_[p] * turn_sine_[p];
            cosine_[p] = cosine_[p] * turn_cosine_[p] + sine_[p] * turn_sine_[p];
            sine_[p] = sine;
        }
    }

  private:
    double sine_[2], cosine_[2], turn_sine_[2], turn_cosine_[2];
};

} // namespace tidecast::TIDECAST_LEVEL

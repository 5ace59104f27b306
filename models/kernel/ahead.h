// The states of the series that comes next, asked for while this one is worked on: in a fleet larger than the cache, the kernel would
// else wait for memory as long as it computes.
#pragma once

#include "job.h"

namespace tidecast::TIDECAST_LEVEL {

class Ahead {
  public:
    // Of `floats` at `from`, a part with each of the `calls` that follow.
    Ahead(const float *from, Index floats, Index calls)
        : at_(reinterpret_cast<const char *>(from)), end_(at_ + floats * sizeof(float)),
          part_((floats * sizeof(float) / calls / LINE + 1) * LINE) {}

    void ask() {
        const char *until = end_ - at_ > part_ ? at_ + part_ : end_;
        for (; at_ < until; at_ += LINE) __builtin_prefetch(at_, 0, 2);
    }

  private:
    static constexpr Index LINE = 64;
    const char *at_, *end_;
    Index part_;
};

} // namespace tidecast::TIDECAST_LEVEL

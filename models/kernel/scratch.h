// A thread's working memory, kept between calls: a fresh block would cost a page fault every 4 KiB, more than the work on one series.
#pragma once

#include <stdlib.h>

#include <cstring>

#include "job.h"

namespace tidecast {

class Scratch {
  public:
    Scratch() = default;
    Scratch(const Scratch &) = delete;
    Scratch &operator=(const Scratch &) = delete;
    ~Scratch() { free(memory_); }

    // At least this many floats, at a multiple of 64 bytes; zeroed where level or sizes are not those of the last call, as places that
    // were written to may then be padding. Null where there is no memory.
    float *fit(const Level *level, const Sizes &sizes, Index parameters, Index floats) {
        if (memory_ && level == level_ && parameters == parameters_ && same(sizes, sizes_)) return memory_;
        free(memory_);
        memory_ = nullptr;
        void *block = nullptr;
        const std::size_t bytes = static_cast<std::size_t>(floats) * sizeof(float);
        if (posix_memalign(&block, 64, bytes) != 0) return nullptr;
        memory_ = static_cast<float *>(std::memset(block, 0, bytes));
        level_ = level, sizes_ = sizes, parameters_ = parameters;
        return memory_;
    }

  private:
    static bool same(const Sizes &a, const Sizes &b) {
        return a.lstm == b.lstm && a.policy == b.policy && a.hidden == b.hidden && a.layers == b.layers && a.windows == b.windows &&
               a.steps == b.steps && a.ahead == b.ahead && a.features == b.features && a.context == b.context &&
               a.horizon == b.horizon && a.levels == b.levels;
    }

    float *memory_ = nullptr;
    const Level *level_ = nullptr;
    Sizes sizes_{};
    Index parameters_ = 0;
};

} // namespace tidecast

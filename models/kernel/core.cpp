// The fleet's step, one series at a time: its weights, activations and gradient stay in the cache from forecast to update. Compiled once
// for each instruction set (setup.py), each time in a namespace of its own.

#include "adam.h"
#include "head.h"
#include "recurrence.h"

namespace tidecast::TIDECAST_LEVEL {

constexpr int TOGETHER = 3; // runs in step

// A series of a call, on its way through the network of the sizes at hand.
template <class Cell, Index UNITS> class Series {
  public:
    Series(const Job &job, Workspace &at, Index b, Ahead next)
        : job_(job), sizes_(job.sizes), at_(at), b_(b), learn_(job.learn[b] && job.sizes.windows > 1), next_(next) {}

    void step() {
        float *weights = job_.arena.at + job_.rows[b_] * job_.arena.row;
        const float *centred = job_.centred + b_ * sizes_.windows * sizes_.context;
        take_weights(sizes_, at_, weights);
        encode();
        head_forward(sizes_, at_, centred, learn_ ? sizes_.windows : 1);
        stack_quantiles(sizes_, at_, 0, job_.quantiles + b_ * sizes_.horizon * sizes_.levels);
        if (!learn_) return; // who does not learn needs no forecast of the past
        lose();
        head_backward(sizes_, at_, centred);
        decode();
        gather_gradients(sizes_, at_);
        adam(weights, at_.flat, job_.parameters, job_.constants, {job_.size[b_], job_.root[b_], job_.keep[b_]});
    }

  private:
    void encode() {
        const Index F = sizes_.features, S = sizes_.steps, R = sizes_.windows;
        switch (sizes_.policy) {
        case WINDOW:
            for (Index r = 0; r < (learn_ ? R : 1); ++r) {
                begin(r);
                inputs_[r] = job_.inputs + (b_ * R + r) * S * F;
            }
            run(0, learn_ ? R : 1, S);
            break;
        case JOINT:
            inputs_[1] = job_.inputs + b_ * (S + sizes_.ahead) * F;
            inputs_[0] = inputs_[1] + S * F;
            begin(1);
            run(1, 1, S);
            for (Index l = 0; l < sizes_.layers; ++l) go_on(l);
            run(0, 1, sizes_.ahead);
            break;
        default:
            forecast_carried();
            if (!learn_) break;
            inputs_[1] = job_.inputs + b_ * S * F;
            recall(1, job_.moment[b_] + job_.counts[b_] - sizes_.ring + 1);
            run(1, 1, S);
        }
    }

    // Run r begins at zero.
    void begin(Index r) {
        for (Index l = 0; l < sizes_.layers; ++l) {
            std::memset(at_.states(l, r), 0, at_.units * sizeof(float));
            if (sizes_.lstm) std::memset(at_.cells(l, r), 0, at_.units * sizeof(float));
        }
    }

    // Run 0 begins where run 1 ended.
    void go_on(Index l) {
        const Index end = sizes_.steps * at_.units, bytes = at_.units * sizeof(float);
        std::memcpy(at_.states(l, 0), at_.states(l, 1) + end, bytes);
        if (sizes_.lstm) std::memcpy(at_.cells(l, 0), at_.cells(l, 1) + end, bytes);
    }

    float *stored(Index moment, Index l) const {
        const Index width = (sizes_.lstm ? 2 : 1) * sizes_.hidden;
        return job_.states.at + job_.rows[b_] * job_.states.row + (moment % sizes_.ring * sizes_.layers + l) * width;
    }

    // Run r begins at the state that was stored at a moment.
    void recall(Index r, Index moment) {
        begin(r); // the padding
        for (Index l = 0; l < sizes_.layers; ++l) {
            copy_run(stored(moment, l), at_.states(l, r), sizes_.hidden);
            if (sizes_.lstm) copy_run(stored(moment, l) + sizes_.hidden, at_.cells(l, r), sizes_.hidden);
        }
    }

    // The new steps, each of which leaves its state in the ring.
    void forecast_carried() {
        const Index count = job_.counts[b_];
        inputs_[0] = job_.fresh + b_ * sizes_.ahead * sizes_.features;
        recall(0, job_.moment[b_]);
        run(0, 1, count);
        for (Index l = 0; l < sizes_.layers; ++l)
            for (Index i = count < sizes_.ring ? 1 : count - sizes_.ring + 1; i <= count; ++i) {
                float *place = stored(job_.moment[b_] + i, l);
                copy_run(at_.states(l, 0) + i * at_.units, place, sizes_.hidden);
                if (sizes_.lstm) copy_run(at_.cells(l, 0) + i * at_.units, place + sizes_.hidden, sizes_.hidden);
            }
    }

    Track track(Index l, Index r) const {
        Track made{inputs_[r], sizes_.features, at_.states(l, r), at_.cells(l, r), at_.kept(l, r), 0};
        if (l > 0) made.inputs = at_.states(l - 1, r) + at_.units, made.input_row = at_.units;
        if (r > 0 && learn_) made.kept_row = Cell::KEPT * at_.units;
        return made;
    }

    // Runs first..first+count-1 from their first states, in step, through all layers; their last states are the head's.
    void run(Index first, Index count, Index steps) {
        for (Index l = 0; l < sizes_.layers; ++l)
            for (Index r = first, taken; r < first + count; r += taken) {
                taken = first + count - r < TOGETHER ? first + count - r : TOGETHER;
                Track tracks[TOGETHER];
                for (Index i = 0; i < taken; ++i) tracks[i] = track(l, r + i);
                switch (taken) {
                case 1: forward<Cell, UNITS, 1>(sizes_, at_.layers[l], tracks, steps, next_); break;
                case 2: forward<Cell, UNITS, 2>(sizes_, at_.layers[l], tracks, steps, next_); break;
                default: forward<Cell, UNITS, TOGETHER>(sizes_, at_.layers[l], tracks, steps, next_);
                }
            }
        for (Index r = first; r < first + count; ++r)
            std::memcpy(at_.last + r * at_.units, at_.states(sizes_.layers - 1, r) + steps * at_.units, at_.units * sizeof(float));
    }

    // Gradient of the loss by the head's output and the median, from quantiles and targets of runs 1..R-1.
    void lose() {
        const Index learnt = sizes_.windows - 1, H = sizes_.horizon;
        const float *targets = job_.targets + b_ * learnt * H, *known = job_.known + b_ * learnt * H;
        float count = 0;
        for (Index i = 0; i < learnt * H; ++i) count += known[i];
        const float share = 1 / ((count > 1 ? count : 1) * static_cast<float>(sizes_.levels));
        for (Index r = 1; r < sizes_.windows; ++r, targets += H, known += H) {
            stack_quantiles(sizes_, at_, r, at_.learnt);
            loss_gradient(sizes_, targets, known, job_.levels, share, at_.learnt);
            stack_gradient(sizes_, at_, r, at_.learnt);
        }
    }

    // Back through time on runs 1..R-1, from the top layer down.
    void decode() {
        Track tracks[MOST_WINDOWS];
        for (Index l = sizes_.layers; l-- > 0;) {
            const bool top = l == sizes_.layers - 1;
            std::memset(at_.cell_carry, 0, sizes_.windows * at_.units * sizeof(float));
            if (!top) std::memset(at_.carry, 0, sizes_.windows * at_.units * sizeof(float));
            for (Index r = 1; r < sizes_.windows; ++r) backward<Cell, UNITS>(sizes_, at_, l, r, !top, next_);
            for (Index r = 1; r < sizes_.windows; ++r) tracks[r] = track(l, r);
            gather<Cell>(sizes_, at_, l, tracks);
        }
    }

    const Job &job_;
    const Sizes &sizes_;
    Workspace &at_;
    Index b_;
    bool learn_;
    Ahead next_;
    const float *inputs_[MOST_WINDOWS];
};

// Steps of recurrence that a series takes, there and back: as often it asks for the next. A carried one may take none.
static Index steps_of(const Job &job, Index b) {
    const Sizes &s = job.sizes;
    const Index learnt = job.learn[b] ? 2 * s.steps * s.layers : 0;
    switch (s.policy) {
    case WINDOW: return learnt ? learnt : s.steps * s.layers;
    case JOINT: return (s.steps + s.ahead) * s.layers + learnt / 2;
    default: return job.counts[b] * s.layers + learnt + 1;
    }
}

static Ahead after(const Job &job, Index b) {
    if (b + 1 == job.batch) return {job.arena.at, 0, 1};
    const Index needed = job.learn[b + 1] ? 3 : 1; // a forecast reads no moments
    return {job.arena.at + job.rows[b + 1] * job.arena.row, needed * job.parameters, steps_of(job, b)};
}

// Of a row's ring, where it will begin to read and write: the newest state, the next one, and the oldest, which follows that.
static void ask_for_states(const Job &job, Index b) {
    const Sizes &s = job.sizes;
    if (s.policy != CARRIED || b >= job.batch) return;
    const Index floats = (s.lstm ? 2 : 1) * s.hidden * s.layers;
    for (Index i = 0; i < 3; ++i) {
        const float *state = job.states.at + job.rows[b] * job.states.row + (job.moment[b] + i) % s.ring * floats;
        for (Index f = 0; f < floats; f += 16) __builtin_prefetch(state + f, 0, 2);
    }
}

template <class Cell, Index UNITS> static void step_all(const Job &job) {
    Workspace at(job.sizes, job.parameters, job.scratch);
    for (Index b = 0; b < job.batch; ++b) {
        ask_for_states(job, b + 1);
        Series<Cell, UNITS>(job, at, b, after(job, b)).step();
    }
}

static void step(const Job &job) {
    const Flushing flushing;
    if (job.sizes.hidden == 32)
        job.sizes.lstm ? step_all<Lstm, 32>(job) : step_all<Gru, 32>(job);
    else
        job.sizes.lstm ? step_all<Lstm, 0>(job) : step_all<Gru, 0>(job);
}

static Index floats(const Sizes &sizes, Index parameters) { return Workspace(sizes, parameters, nullptr).floats; }

template <class Curve> static void apply(Curve curve, const float *from, float *to, Index count) {
    for (Index i = 0; i < count; i += WIDTH) {
        const Index taken = count - i < WIDTH ? count - i : WIDTH;
        Vec value{};
        std::memcpy(&value, from + i, taken * sizeof(float));
        value = curve(value);
        std::memcpy(to + i, &value, taken * sizeof(float));
    }
}

static void sigmoids(const float *from, float *to, Index count) {
    apply([](Vec x) { return sigmoid(x); }, from, to, count);
}

static void tangents(const float *from, float *to, Index count) {
    apply([](Vec x) { return hyperbolic_tangent(x); }, from, to, count);
}

// The peak that a benchmark measures against: sums in registers that do not wait for each other.
static double multiply_adds(Index rounds) {
    constexpr int SUMS = 12;
    Vec sums[SUMS], factor = splat(0.999f), term = splat(0.001f);
    for (int i = 0; i < SUMS; ++i) sums[i] = splat(static_cast<float>(i));
    for (Index n = 0; n < rounds; ++n)
        for (int i = 0; i < SUMS; ++i) sums[i] = sums[i] * factor + term;
    volatile float kept = 0;
    for (int i = 0; i < SUMS; ++i) kept = kept + sum(sums[i]);
    return 2.0 * WIDTH * SUMS * static_cast<double>(rounds);
}

#define TEXT_OF(word) #word
#define TEXT(macro) TEXT_OF(macro)
extern const Level level{TEXT(TIDECAST_LEVEL), floats, step, sigmoids, tangents, multiply_adds};

} // namespace tidecast::TIDECAST_LEVEL

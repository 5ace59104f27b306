// models._observer: what an observation does around the network, as a Python module in Python's stable interface. It checks the sizes of
// every argument, chooses the code for this processor, and lets other threads run meanwhile. models/_observer.pyi describes the arguments.
#include "../kernel/buffers.h"
#include "record.h"

namespace tidecast {

template <> struct Format<double> { static constexpr const char *letters = "d", *name = "float64"; };

#ifdef TIDECAST_X86
namespace avx2 { extern const Observing observing; }
namespace avx512 { extern const Observing observing; }
#endif
namespace baseline { extern const Observing observing; }

static const Observing *offered[3];
static int offered_count = 0;

static void find_levels() {
    offered_count = 0;
    offered[offered_count++] = &baseline::observing;
#ifdef TIDECAST_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) offered[offered_count++] = &avx2::observing;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma"))
        offered[offered_count++] = &avx512::observing;
#endif
}

static const Observing *level_of(int number) {
    if (number >= -1 && number < offered_count) return offered[number < 0 ? offered_count - 1 : number];
    PyErr_Format(PyExc_ValueError, "level %d: this processor has %d", number, offered_count);
    return nullptr;
}

static bool refuse(const char *message) {
    PyErr_SetString(PyExc_ValueError, message);
    return false;
}

static bool between(Int value, Int low, Int high) { return value >= low && value <= high; }

static bool sensible(const Shape &s) {
    if (!between(s.context, 1, MOST_CONTEXT) || !between(s.horizon, 1, MOST_LEADS) || !between(s.levels, 1, MOST_LEVELS) ||
        !between(s.channels, 1, MOST_CHANNELS) || !between(s.experts, 1, MOST_EXPERTS) || !between(s.median, 0, s.levels - 1))
        return refuse("a size is beyond what the compiled forecaster supports");
    if (!between(s.patch, 1, s.context) || !between(s.policy, 0, 2) || !between(s.replay, 0, 1 << 16) || s.truncation < 1 ||
        !between(s.capacity, s.context, 1 << 24) || s.learn_every < 1)
        return refuse("a size of the windows is not sensible");
    if (!between(s.season_blocks, 0, 64) || s.season_part < 1 || !between(s.long_harmonics, 0, 32) ||
        !between(s.quick_harmonics, 0, 32) || !between(s.long_edges, 1, 64) || !between(s.quick_edges, 1, 64))
        return refuse("a size of the lags is not sensible");
    for (const Int place : {s.seasonal, s.regressed, s.quick, s.network})
        if (!between(place, -1, s.experts - 1)) return refuse("an expert's place is not among the experts");
    return true;
}

// The feed's numbers from where they stand one after the other; what they point to lives as long as the arrays.
static bool unpack(const Array<Int> &ints, const Array<double> &reals, Py_ssize_t stride, Feed &feed) {
    constexpr Py_ssize_t OFFSETS = (sizeof(Layout) + 2 * sizeof(RegressionLayout)) / sizeof(Int), SIZES = sizeof(Shape) / sizeof(Int);
    if (ints.size(0) < OFFSETS + SIZES || reals.size(0) < static_cast<Py_ssize_t>(sizeof(Rates) / sizeof(double)))
        return refuse("the feed's numbers are too few");
    const Int *at = ints.at();
    for (Py_ssize_t i = 0; i < OFFSETS; ++i)
        if (!between(at[i], -1, stride - 1)) return refuse("a field lies outside of the record");
    std::memcpy(&feed.layout, at, sizeof feed.layout), at += sizeof(Layout) / sizeof(Int);
    std::memcpy(&feed.steady, at, sizeof feed.steady), at += sizeof(RegressionLayout) / sizeof(Int);
    std::memcpy(&feed.quick, at, sizeof feed.quick), at += sizeof(RegressionLayout) / sizeof(Int);
    std::memcpy(&feed.shape, at, sizeof feed.shape), at += SIZES;
    std::memcpy(&feed.rates, reals.at(), sizeof feed.rates);
    const Shape &s = feed.shape;
    if (!sensible(s)) return false;
    if (ints.size(0) != OFFSETS + SIZES + s.long_edges + s.quick_edges ||
        reals.size(0) != static_cast<Py_ssize_t>(sizeof(Rates) / sizeof(double)) + 2 * s.levels + s.horizon)
        return refuse("the feed's numbers are not as many as its sizes say");
    feed.long_edges = at, feed.quick_edges = at + s.long_edges;
    for (Int i = 0; i < s.long_edges + s.quick_edges; ++i)
        if (!between(at[i], 1, FURTHEST)) return refuse("an edge of the lags is too far back");
    feed.levels = reals.at() + sizeof(Rates) / sizeof(double);
    feed.normal = feed.levels + s.levels, feed.pace = feed.normal + s.levels;
    return true;
}

// The arguments that both calls have.
struct Common {
    Array<std::uint8_t> records;
    Array<Int> ints;
    Array<double> reals;
    Array<Int> rows, slots, step_us, phase_us, season;
    Feed feed{};
    Observed observed{};

    explicit Common(PyObject *const *o)
        : records(o[0], "records", 2, Lies::WRITTEN), ints(o[1], "ints", 1, Lies::READ), reals(o[2], "reals", 1, Lies::READ), rows(o[3], "rows", 1, Lies::READ),
          slots(o[4], "slots", 1, Lies::READ), step_us(o[5], "step_us", 1, Lies::READ), phase_us(o[6], "phase_us", 1, Lies::READ),
          season(o[7], "season", 1, Lies::READ) {}

    bool check() {
        const Py_ssize_t B = rows.size(0);
        if (!slots.has_shape({B}) || !step_us.has_shape({B}) || !phase_us.has_shape({B}) || !season.has_shape({B})) return false;
        if (!unpack(ints, reals, records.size(1), feed)) return false;
        observed = {records.at(), records.size(1), B, rows.at(), slots.at(), step_us.at(), phase_us.at(), season.at()};
        for (Index b = 0; b < B; ++b)
            if (!between(rows.at()[b], 0, records.size(0) - 1)) return refuse("rows holds a row that the arena does not have");
        return true;
    }
};

static bool slots_are_new(const Common &common) {
    for (Index b = 0; b < common.observed.batch; ++b) {
        Int newest;
        std::memcpy(&newest, common.observed.records + common.observed.rows[b] * common.observed.stride + common.feed.layout.newest,
                    sizeof newest);
        if (common.observed.slots[b] <= newest) return refuse("observe needs slots after the newest; use fill for older ones");
    }
    return true;
}

static PyObject *before(PyObject *, PyObject *arguments) {
    PyObject *o[20];
    int number = -1;
    if (!PyArg_ParseTuple(arguments, "OOOOOOOOOOOOOOOOOOOO|i", &o[0], &o[1], &o[2], &o[3], &o[4], &o[5], &o[6], &o[7], &o[8], &o[9],
                          &o[10], &o[11], &o[12], &o[13], &o[14], &o[15], &o[16], &o[17], &o[18], &o[19], &number))
        return nullptr;
    Common common(o);
    const Array<double> values(o[8], "values", 2, Lies::READ);
    const Array<Int> thin(o[9], "thin", 1, Lies::READ), counts(o[10], "counts", 1, Lies::READ);
    const Array<double> error(o[11], "error", 1, Lies::WRITTEN);
    const Array<std::uint8_t> known(o[12], "known", 1, Lies::WRITTEN);
    const Array<float> inputs(o[13], "inputs", 4, Lies::WRITTEN), fresh(o[14], "fresh", 3, Lies::WRITTEN), centred(o[15], "centred", 3, Lies::WRITTEN);
    const Array<float> targets(o[16], "targets", 3, Lies::WRITTEN), there(o[17], "there", 3, Lies::WRITTEN);
    const Array<std::uint8_t> learn(o[18], "learn", 1, Lies::WRITTEN);
    const Array<double> origin(o[19], "origin", 2, Lies::WRITTEN);
    const Observing *level = level_of(number);
    if (!level || PyErr_Occurred() || !common.check()) return nullptr;
    const Shape &s = common.feed.shape;
    const Py_ssize_t B = common.observed.batch, R = centred.size(1), S = inputs.size(2), F = s.patch * (s.channels + 1) + 4;
    const Py_ssize_t ahead = (s.horizon + s.patch - 1) / s.patch, whole = s.context / s.patch;
    const Py_ssize_t steps = s.policy == CARRIED ? s.truncation : s.policy == JOINT ? whole + ahead : whole;
    if (R != (s.policy == WINDOW ? 2 + s.replay : 2)) return refuse("centred has not one window for each run"), nullptr;
    if (!values.has_shape({B, s.channels}) || !thin.has_shape({B}) || !counts.has_shape({B}) || !error.has_shape({B}) ||
        !known.has_shape({B}) || !inputs.has_shape({B, s.policy == WINDOW ? R : 1, steps, F}) ||
        !fresh.has_shape({B, fresh.size(1), F}) || !centred.has_shape({B, R, s.context}) || !targets.has_shape({B, R - 1, s.horizon}) ||
        !there.has_shape({B, R - 1, s.horizon}) || !learn.has_shape({B}) || !origin.has_shape({B, 3}))
        return nullptr;
    for (Index b = 0; b < B; ++b)
        if (thin.at()[b] < 1 || !between(counts.at()[b], 0, fresh.size(1))) return refuse("thin or counts is out of range"), nullptr;
    if (!slots_are_new(common)) return nullptr;
    const Before asked{values.at(), thin.at(),  counts.at(),  R,          S,          F,          fresh.size(1), error.at(), known.at(),
                       inputs.at(), fresh.at(), centred.at(), targets.at(), there.at(), learn.at(), origin.at()};
    Py_BEGIN_ALLOW_THREADS
    level->before(common.feed, common.observed, asked);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *after(PyObject *, PyObject *arguments) {
    PyObject *o[14];
    int number = -1;
    if (!PyArg_ParseTuple(arguments, "OOOOOOOOOOOOOO|i", &o[0], &o[1], &o[2], &o[3], &o[4], &o[5], &o[6], &o[7], &o[8], &o[9], &o[10],
                          &o[11], &o[12], &o[13], &number))
        return nullptr;
    Common common(o);
    const Array<double> origin(o[8], "origin", 2, Lies::READ);
    const Array<float> network(o[9], "network", 3, Lies::READ);
    const Array<double> quantiles(o[10], "quantiles", 3, Lies::WRITTEN), weights(o[11], "weights", 2, Lies::WRITTEN);
    const Array<std::uint8_t> ready(o[12], "ready", 1, Lies::WRITTEN);
    const Array<double> said(o[13], "said", 3, Lies::WRITTEN);
    const Observing *level = level_of(number);
    if (!level || PyErr_Occurred() || !common.check()) return nullptr;
    const Shape &s = common.feed.shape;
    const Py_ssize_t B = common.observed.batch, H = s.horizon, Q = s.levels, E = s.experts;
    if (!origin.has_shape({B, 3}) || !network.has_shape({s.network >= 0 ? B : 0, H, Q}) || !quantiles.has_shape({B, H, Q}) ||
        !weights.has_shape({B, E}) || !ready.has_shape({B}) || !said.has_shape({said.size(0) ? B : 0, H, E}))
        return nullptr;
    const After asked{origin.at(), s.network >= 0 ? network.at() : nullptr, quantiles.at(), weights.at(), ready.at(),
                      said.size(0) ? said.at() : nullptr};
    Py_BEGIN_ALLOW_THREADS
    level->after(common.feed, common.observed, asked);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *level_names() {
    PyObject *names = PyTuple_New(offered_count);
    for (int i = 0; names && i < offered_count; ++i) {
        PyObject *name = PyUnicode_FromString(offered[i]->name);
        if (!name || PyTuple_SetItem(names, i, name) != 0) {
            Py_DECREF(names);
            return nullptr;
        }
    }
    return names;
}

static int fill_module(PyObject *module) {
    find_levels();
    PyObject *names = level_names();
    if (!names) return -1;
    const int failed = PyModule_AddObjectRef(module, "LEVELS", names);
    Py_DECREF(names);
    return failed;
}

static PyMethodDef methods[] = {
    {"before", before, METH_VARARGS, nullptr},
    {"after", after, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, reinterpret_cast<void *>(fill_module)}, {0, nullptr}};

static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "models._observer", nullptr, 0, methods, slots, nullptr, nullptr, nullptr};

} // namespace tidecast

PyMODINIT_FUNC PyInit__observer() { return PyModuleDef_Init(&tidecast::definition); }

// models._kernel: the compiled fleet as a Python module, in Python's stable interface. It checks every argument, chooses the code for
// this processor, and lets other threads run meanwhile. The arguments are described in models/_kernel.pyi.
#include "buffers.h"
#include "job.h"
#include "scratch.h"

namespace tidecast {

#ifdef TIDECAST_X86
namespace avx2 { extern const Level level; }
namespace avx512 { extern const Level level; }
#endif
namespace baseline { extern const Level level; }

// The levels that this processor has, slowest first.
static const Level *offered[3];
static int offered_count = 0;

static void find_levels() {
    offered_count = 0;
    offered[offered_count++] = &baseline::level;
#ifdef TIDECAST_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) offered[offered_count++] = &avx2::level;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma"))
        offered[offered_count++] = &avx512::level;
#endif
}

// Null, with ValueError set, where this processor has no such level. -1 is the fastest.
static const Level *level_of(int number) {
    if (number >= -1 && number < offered_count) return offered[number < 0 ? offered_count - 1 : number];
    PyErr_Format(PyExc_ValueError, "level %d: this processor has %d", number, offered_count);
    return nullptr;
}

static bool refuse(const char *message) {
    PyErr_SetString(PyExc_ValueError, message);
    return false;
}

static Index parameters_of(const Sizes &s) {
    const Index width = (s.lstm ? 4 : 3) * s.hidden, outputs = s.horizon * s.levels;
    const Index above = (s.layers - 1) * (2 * s.hidden + 2) * width;
    return (s.features + s.hidden + 2) * width + above + (s.hidden + 1) * outputs + s.context * s.horizon;
}

// Bounds that keep every product of sizes far from overflow; no feed comes near them.
static bool sensible(const Sizes &s) {
    constexpr Index LARGEST = 1 << 16;
    for (const Index size : {s.hidden, s.windows, s.steps, s.features, s.horizon, s.levels})
        if (size < 1 || size > LARGEST) return refuse("a size is not between 1 and 65536");
    if (s.context < 0 || s.context > LARGEST || s.ahead < 0 || s.ahead > LARGEST) return refuse("a size is not between 0 and 65536");
    if (s.layers < 1 || s.layers > MOST_LAYERS) return refuse("there are no such layers");
    if (s.median < 0 || s.median >= s.levels) return refuse("median is not the place of a level");
    if (s.squared && s.levels != 1) return refuse("the mean has one level");
    if (s.policy < WINDOW || s.policy > CARRIED) return refuse("there is no such policy");
    if (s.policy == WINDOW ? s.windows > MOST_WINDOWS : s.windows != 2) return refuse("the policy has no so many windows");
    return true;
}

static bool rows_exist(const std::int64_t *rows, Index batch, Index room) {
    for (Index b = 0; b < batch; ++b)
        if (rows[b] < 0 || rows[b] >= room) return refuse("rows holds a row that the arena does not have");
    return true;
}

// The arrays of a call to step.
struct Arrays {
    Array<float> arena;
    Array<std::int64_t> rows;
    Array<float> inputs, centred, targets, known;
    Array<std::uint8_t> learn;
    Array<float> size, root, keep, levels, quantiles, states;
    Array<std::int64_t> moment;
    Array<float> fresh;
    Array<std::int64_t> counts;

    explicit Arrays(PyObject *const *o)
        : arena(o[0], "arena", 3, Lies::IN_RECORDS), rows(o[1], "rows", 1, Lies::READ), inputs(o[2], "inputs", 4, Lies::READ),
          centred(o[3], "centred", 3, Lies::READ), targets(o[4], "targets", 3, Lies::READ), known(o[5], "known", 3, Lies::READ),
          learn(o[6], "learn", 1, Lies::READ), size(o[7], "size", 1, Lies::READ), root(o[8], "root", 1, Lies::READ),
          keep(o[9], "keep", 1, Lies::READ), levels(o[10], "levels", 1, Lies::READ),
          quantiles(o[11], "quantiles", 3, Lies::WRITTEN), states(o[12], "states", 4, Lies::IN_RECORDS),
          moment(o[13], "moment", 1, Lies::READ), fresh(o[14], "fresh", 3, Lies::READ), counts(o[15], "counts", 1, Lies::READ) {}

    // What the shapes say. `s.ahead` is given where the recurrence is joint.
    void measure(Sizes &s) const {
        s.windows = centred.size(1), s.context = centred.size(2), s.features = inputs.size(3);
        s.horizon = quantiles.size(1), s.levels = levels.size(0);
        if (s.policy == WINDOW) s.ahead = inputs.size(2);
        if (s.policy == CARRIED) s.ahead = fresh.size(1), s.ring = states.size(1);
        s.steps = inputs.size(2) - (s.policy == JOINT ? s.ahead : 0);
    }

    bool agree(const Sizes &s) const {
        const Index B = rows.size(0), parameters = arena.size(2), needed = parameters_of(s);
        if (parameters < needed || parameters % 32 != 0) { // a multiple of every register's width
            PyErr_Format(PyExc_ValueError, "arena has rows of %zd floats; needed are %zd, rounded up to a multiple of 32", parameters,
                         needed);
            return false;
        }
        return arena.has_shape({arena.size(0), 3, parameters}) &&
               inputs.has_shape({B, s.policy == WINDOW ? s.windows : 1, inputs.size(2), s.features}) &&
               centred.has_shape({B, s.windows, s.context}) && targets.has_shape({B, s.windows - 1, s.horizon}) &&
               known.has_shape({B, s.windows - 1, s.horizon}) && learn.has_shape({B}) && size.has_shape({B}) &&
               root.has_shape({B}) && keep.has_shape({B}) && quantiles.has_shape({B, s.horizon, s.levels}) &&
               rows_exist(rows.at(), B, arena.size(0)) && (s.policy != CARRIED || carry_on(s));
    }

    bool carry_on(const Sizes &s) const {
        const Index B = rows.size(0), ring = s.steps + s.horizon + 1;
        if (!states.has_shape({arena.size(0), ring, s.layers, (s.lstm ? 2 : 1) * s.hidden}) || !moment.has_shape({B}) ||
            !fresh.has_shape({B, s.ahead, s.features}) || !counts.has_shape({B}))
            return false;
        for (Index b = 0; b < B; ++b) {
            const std::int64_t before = moment.at()[b], count = counts.at()[b];
            if (before < 0 || before >> 62 || count < 0 || count > s.ahead) return refuse("moment or counts is out of bounds");
            if (learn.at()[b] && before + count < ring - 1) return refuse("a row learns before it has stored enough states");
        }
        return true;
    }

    void put_into(Job &job) const {
        job.batch = rows.size(0), job.parameters = arena.size(2);
        job.arena = {arena.at(), arena.row()}, job.rows = rows.at(), job.inputs = inputs.at(), job.centred = centred.at();
        job.targets = targets.at(), job.known = known.at(), job.learn = learn.at();
        job.size = size.at(), job.root = root.at(), job.keep = keep.at();
        job.levels = levels.at(), job.quantiles = quantiles.at();
        job.states = {states.at(), states.row()}, job.moment = moment.at(), job.fresh = fresh.at(), job.counts = counts.at();
    }
};

static PyObject *step(PyObject *, PyObject *arguments, PyObject *named) {
    static const char *names[] = {"arena", "rows",   "inputs",    "centred", "targets", "known",  "learn",  "size",
                                  "root",  "keep",   "levels",    "quantiles", "states", "moment", "fresh", "counts",
                                  "lstm",  "squared", "policy", "ahead", "hidden", "layers", "median", "constants", "level", nullptr};
    PyObject *o[16];
    int lstm = 0, squared = 0, number = -1;
    Job job{};
    Constants &c = job.constants;
    if (!PyArg_ParseTupleAndKeywords(arguments, named, "OOOOOOOOOOOOOOOO$ppinnnn(dddd)i", const_cast<char **>(names), &o[0], &o[1],
                                     &o[2], &o[3], &o[4], &o[5], &o[6], &o[7], &o[8], &o[9], &o[10], &o[11], &o[12], &o[13], &o[14],
                                     &o[15], &lstm, &squared, &job.sizes.policy, &job.sizes.ahead, &job.sizes.hidden,
                                     &job.sizes.layers, &job.sizes.median, &c.clip, &c.beta1, &c.beta2, &c.epsilon, &number))
        return nullptr;
    job.sizes.lstm = lstm != 0, job.sizes.squared = squared != 0;
    const Level *level = level_of(number);
    if (!level) return nullptr;
    const Arrays arrays(o);
    if (PyErr_Occurred()) return nullptr;
    arrays.measure(job.sizes);
    if (!sensible(job.sizes) || !arrays.agree(job.sizes)) return nullptr;
    arrays.put_into(job);
    if (job.batch == 0) Py_RETURN_NONE;

    static thread_local Scratch scratch;
    job.scratch = scratch.fit(level, job.sizes, job.parameters, level->floats(job.sizes, job.parameters));
    if (!job.scratch) return PyErr_NoMemory();
    Py_BEGIN_ALLOW_THREADS
    level->step(job);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *curve(PyObject *, PyObject *arguments) {
    PyObject *from_object, *to_object;
    int tanh = 0, number = -1;
    if (!PyArg_ParseTuple(arguments, "OOp|i", &from_object, &to_object, &tanh, &number)) return nullptr;
    const Level *level = level_of(number);
    if (!level) return nullptr;
    const Array<float> from(from_object, "values", 1, Lies::READ), to(to_object, "results", 1, Lies::WRITTEN);
    if (PyErr_Occurred() || !to.has_shape({from.size(0)})) return nullptr;
    (tanh ? level->tanh : level->sigmoid)(from.at(), to.at(), from.size(0));
    Py_RETURN_NONE;
}

static PyObject *multiply_adds(PyObject *, PyObject *arguments) {
    Py_ssize_t rounds = 0;
    int number = -1;
    if (!PyArg_ParseTuple(arguments, "n|i", &rounds, &number)) return nullptr;
    const Level *level = level_of(number);
    return level ? PyFloat_FromDouble(level->multiply_adds(rounds)) : nullptr;
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
    {"step", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(step)), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"curve", curve, METH_VARARGS, nullptr},
    {"multiply_adds", multiply_adds, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, reinterpret_cast<void *>(fill_module)}, {0, nullptr}};

static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "models._kernel", nullptr, 0, methods, slots, nullptr, nullptr, nullptr};

} // namespace tidecast

PyMODINIT_FUNC PyInit__kernel() { return PyModuleDef_Init(&tidecast::definition); }

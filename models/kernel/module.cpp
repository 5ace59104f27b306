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
    return (s.features + s.hidden + 2) * width + (s.hidden + 1) * outputs + s.context * s.horizon;
}

// Bounds that keep every product of sizes far from overflow; no feed comes near them.
static bool sensible(const Sizes &s) {
    constexpr Index LARGEST = 1 << 16;
    for (const Index size : {s.hidden, s.windows, s.steps, s.features, s.context, s.horizon, s.levels})
        if (size < 1 || size > LARGEST) return refuse("a size is not between 1 and 65536");
    if (s.median < 0 || s.median >= s.levels) return refuse("median is not the place of a level");
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
    Array<float> patches, centred, targets, known;
    Array<std::uint8_t> learn;
    Array<float> size, root, levels, quantiles;

    explicit Arrays(PyObject *const *o)
        : arena(o[0], "arena", 3, true), rows(o[1], "rows", 1, false), patches(o[2], "patches", 4, false),
          centred(o[3], "centred", 3, false), targets(o[4], "targets", 3, false), known(o[5], "known", 3, false),
          learn(o[6], "learn", 1, false), size(o[7], "size", 1, false), root(o[8], "root", 1, false),
          levels(o[9], "levels", 1, false), quantiles(o[10], "quantiles", 3, true) {}

    void measure(Sizes &sizes) const {
        sizes.windows = patches.size(1), sizes.steps = patches.size(2), sizes.features = patches.size(3);
        sizes.context = centred.size(2), sizes.horizon = quantiles.size(1), sizes.levels = levels.size(0);
    }

    bool agree(const Sizes &s) const {
        const Index B = rows.size(0), parameters = arena.size(2), needed = parameters_of(s);
        if (parameters < needed || parameters % 32 != 0) { // a multiple of every register's width
            PyErr_Format(PyExc_ValueError, "arena has rows of %zd floats; needed are %zd, rounded up to a multiple of 32", parameters,
                         needed);
            return false;
        }
        return arena.has_shape({arena.size(0), 3, parameters}) && patches.has_shape({B, s.windows, s.steps, s.features}) &&
               centred.has_shape({B, s.windows, s.context}) && targets.has_shape({B, s.windows - 1, s.horizon}) &&
               known.has_shape({B, s.windows - 1, s.horizon}) && learn.has_shape({B}) && size.has_shape({B}) &&
               root.has_shape({B}) && quantiles.has_shape({B, s.horizon, s.levels}) && rows_exist(rows.at(), B, arena.size(0));
    }

    void put_into(Job &job) const {
        job.batch = rows.size(0), job.parameters = arena.size(2);
        job.arena = arena.at(), job.rows = rows.at(), job.patches = patches.at(), job.centred = centred.at();
        job.targets = targets.at(), job.known = known.at(), job.learn = learn.at();
        job.size = size.at(), job.root = root.at(), job.levels = levels.at(), job.quantiles = quantiles.at();
    }
};

static PyObject *step(PyObject *, PyObject *arguments, PyObject *named) {
    static const char *names[] = {"arena", "rows",   "patches",   "centred", "targets", "known",  "learn",     "size", "root",
                                  "levels", "quantiles", "lstm", "hidden", "median",  "constants", "level", nullptr};
    PyObject *o[11];
    int lstm = 0, number = -1;
    Job job{};
    Constants &c = job.constants;
    if (!PyArg_ParseTupleAndKeywords(arguments, named, "OOOOOOOOOOO$pnn(dddd)i", const_cast<char **>(names), &o[0], &o[1], &o[2],
                                     &o[3], &o[4], &o[5], &o[6], &o[7], &o[8], &o[9], &o[10], &lstm, &job.sizes.hidden,
                                     &job.sizes.median, &c.clip, &c.beta1, &c.beta2, &c.epsilon, &number))
        return nullptr;
    job.sizes.lstm = lstm != 0;
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
    const Array<float> from(from_object, "values", 1, false), to(to_object, "results", 1, true);
    if (PyErr_Occurred() || !to.has_shape({from.size(0)})) return nullptr;
    (tanh ? level->tanh : level->sigmoid)(from.at(), to.at(), from.size(0));
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
    {"step", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(step)), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"curve", curve, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, reinterpret_cast<void *>(fill_module)}, {0, nullptr}};

static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "models._kernel", nullptr, 0, methods, slots, nullptr, nullptr, nullptr};

} // namespace tidecast

PyMODINIT_FUNC PyInit__kernel() { return PyModuleDef_Init(&tidecast::definition); }

// stream._encode: forecasts from columns to JSON, as stream/encode.py says. Python hands in the literal text between what differs from
// forecast to forecast; this fills in the rest. In Python's stable interface; the arguments are described in stream/_encode.pyi.
#include "columns.h"
#include "text.h"

#include <memory>
#include <vector>

namespace tidecast {

constexpr std::int64_t YEAR_10000_US = 253'402'300'800'000'000;
constexpr const char *STATES[] = {"warming", "ready", "stale"};
constexpr int LONGEST_STATE = 7, WEIGHT_DECIMALS = 4;
constexpr std::size_t OTHER_NUMBERS = 6; // of a message, beside quantiles and weights: offset, item, step, value, with room to spare

struct Text {
    const char *at = nullptr;
    Py_ssize_t size = 0;
};

// The texts of a list of bytes; what owns them is the list, which the caller holds. Sets an error where it is none.
static std::vector<Text> texts_of(PyObject *list) {
    const Py_ssize_t count = PyList_Size(list);
    std::vector<Text> texts(count < 0 ? 0 : count);
    for (std::size_t index = 0; index < texts.size(); ++index) {
        char *at = nullptr;
        if (PyBytes_AsStringAndSize(PyList_GetItem(list, index), &at, &texts[index].size) != 0) return {};
        texts[index].at = at;
    }
    return texts;
}

static std::size_t longest(const std::vector<Text> &texts) {
    Py_ssize_t most = 0;
    for (const Text &text : texts)
        if (text.size > most) most = text.size;
    return static_cast<std::size_t>(most);
}

struct Sizes {
    Py_ssize_t rows, horizon, levels, middle, experts;
};

struct Columns {
    std::vector<Text> pieces, sources, models;
    PyObject *series;
    Sizes sizes;
    Column<std::int32_t> source, item, model;
    Column<std::int64_t> offset, cutoff_us, step_us, decimals;
    Column<std::uint8_t> state;
    Column<double> value, quantiles, weights;

    Columns(PyObject *const *o, const Sizes &s)
        : pieces(texts_of(o[0])), sources(texts_of(o[1])), models(texts_of(o[2])), series(o[3]), sizes(s),
          source(o[4], "source", s.rows), item(o[6], "item", s.rows), model(o[13], "model", s.rows), offset(o[5], "offset", s.rows),
          cutoff_us(o[8], "cutoff_us", s.rows), step_us(o[9], "step_us", s.rows), decimals(o[12], "decimals", s.rows),
          state(o[7], "state", s.rows), value(o[10], "value", s.rows),
          quantiles(o[11], "quantiles", s.rows * s.horizon * s.levels), weights(o[14], "weights", s.rows * s.experts) {}

    bool good() const {
        if (PyErr_Occurred()) return false;
        if (static_cast<Py_ssize_t>(pieces.size()) != 8 + sizes.levels + sizes.experts) {
            PyErr_SetString(PyExc_ValueError, "pieces are not what stands around so many levels and experts");
            return false;
        }
        return source.within("source", 0, static_cast<std::int32_t>(sources.size())) &&
               model.within("model", 0, static_cast<std::int32_t>(models.size())) && state.within("state", 0, 3) &&
               cutoff_us.within("cutoff_us", 0, YEAR_10000_US) && decimals.within("decimals", -1, MOST_DECIMALS + 1);
    }

    // Bytes that a message takes at most, but for its series' name.
    std::size_t bound() const {
        std::size_t literal = 0;
        for (const Text &piece : pieces) literal += piece.size;
        const std::size_t numbers = (sizes.horizon * sizes.levels + sizes.experts + OTHER_NUMBERS) * (LONGEST_NUMBER + 1);
        return literal + numbers + longest(sources) + longest(models) + LONGEST_STATE + LONGEST_TIME;
    }
};

// Writes message after message. The pieces of literal text are taken in turn.
class Writer {
  public:
    explicit Writer(const Columns &columns) : c_(columns), bound_(columns.bound()) {}

    PyObject *message(Py_ssize_t row) {
        Text name;
        name.at = PyUnicode_AsUTF8AndSize(PyList_GetItem(c_.series, row), &name.size);
        if (!name.at) return nullptr;
        buffer_.resize(bound_ + 2 * LONGEST_ESCAPE * name.size);
        out_ = buffer_.data(), piece_ = 0;
        identify(row, name);
        literal(), out_ = put(out_, STATES[c_.state[row]], std::strlen(STATES[c_.state[row]]));
        literal(), out_ = put_time(out_, c_.cutoff_us[row]);
        literal(), out_ = put_shortest(out_, static_cast<double>(c_.step_us[row]) / 1e6);
        literal(), out_ = put_shortest(out_, c_.value[row]);
        literal(), level(row, c_.sizes.middle);
        for (Py_ssize_t q = 0; q < c_.sizes.levels; ++q)
            if (q != c_.sizes.middle) literal(), level(row, q);
        const Text &model = c_.models[c_.model[row]];
        literal(), out_ = put(out_, model.at, model.size);
        for (Py_ssize_t e = 0; e < c_.sizes.experts; ++e)
            literal(), out_ = put_rounded(out_, c_.weights[row * c_.sizes.experts + e], WEIGHT_DECIMALS);
        literal();
        return PyBytes_FromStringAndSize(buffer_.data(), out_ - buffer_.data());
    }

  private:
    void literal() {
        const Text &piece = c_.pieces[piece_++];
        out_ = put(out_, piece.at, piece.size);
    }

    void identify(Py_ssize_t row, const Text &name) {
        const Text &source = c_.sources[c_.source[row]];
        literal(), *out_++ = '"';
        out_ = put(out_, source.at, source.size), *out_++ = ':';
        out_ = put_integer(out_, c_.offset[row]), *out_++ = ':';
        out_ = put_integer(out_, c_.item[row]), *out_++ = ':';
        const char *begin = out_;
        out_ = put_escaped(out_, name.at, name.size), *out_++ = '"';
        const char *end = out_;
        literal(), *out_++ = '"';
        out_ = put(out_, begin, end - begin);
    }

    void level(Py_ssize_t row, Py_ssize_t q) {
        const Sizes &s = c_.sizes;
        const double *at = c_.quantiles.at() + row * s.horizon * s.levels + q;
        const int decimals = static_cast<int>(c_.decimals[row]);
        for (Py_ssize_t h = 0; h < s.horizon; ++h, at += s.levels) {
            out_ = put_rounded(out_, *at, decimals);
            *out_++ = ',';
        }
        --out_;
    }

    const Columns &c_;
    const std::size_t bound_;
    std::vector<char> buffer_;
    char *out_ = nullptr;
    std::size_t piece_ = 0;
};

static PyObject *encode(PyObject *, PyObject *arguments) {
    PyObject *o[15];
    Sizes s{};
    if (!PyArg_ParseTuple(arguments, "O!O!O!O!OOOOOOOOOOOnnn", &PyList_Type, &o[0], &PyList_Type, &o[1], &PyList_Type, &o[2],
                          &PyList_Type, &o[3], &o[4], &o[5], &o[6], &o[7], &o[8], &o[9], &o[10], &o[11], &o[12], &o[13], &o[14],
                          &s.horizon, &s.levels, &s.middle))
        return nullptr;
    s.rows = PyList_Size(o[3]);
    s.experts = PyList_Size(o[0]) - 8 - s.levels;
    if (s.horizon < 1 || s.levels < 1 || s.middle < 0 || s.middle >= s.levels || s.experts < 0) {
        PyErr_SetString(PyExc_ValueError, "there must be leads, levels and the middle one of them");
        return nullptr;
    }
    const Columns columns(o, s);
    if (!columns.good()) return nullptr;
    Writer writer(columns);
    PyObject *messages = PyList_New(s.rows);
    for (Py_ssize_t row = 0; messages && row < s.rows; ++row) {
        PyObject *message = writer.message(row);
        if (!message || PyList_SetItem(messages, row, message) != 0) {
            Py_DECREF(messages);
            return nullptr;
        }
    }
    return messages;
}

} // namespace tidecast

static PyMethodDef methods[] = {{"encode", tidecast::encode, METH_VARARGS, nullptr}, {}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "stream._encode", nullptr, 0, methods, nullptr, nullptr, nullptr, nullptr};

PyMODINIT_FUNC PyInit__encode() { return PyModule_Create(&definition); }

// A column of numbers from Python: a C-contiguous buffer, held and checked, so that no length can lead astray.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstdint>
#include <cstring>

namespace tidecast {

// The struct module's letters for a type ('l' and 'q' are one on most platforms).
template <class Element> constexpr const char *LETTERS = nullptr;
template <> inline constexpr const char *LETTERS<double> = "d";
template <> inline constexpr const char *LETTERS<std::int64_t> = "ql";
template <> inline constexpr const char *LETTERS<std::int32_t> = "il";
template <> inline constexpr const char *LETTERS<std::uint8_t> = "?B";

// Where taking it fails, a Python error is set; while one is set, nothing is taken.
template <class Element> class Column {
  public:
    Column(PyObject *object, const char *name, Py_ssize_t length) : length_(length) {
        if (PyErr_Occurred() || PyObject_GetBuffer(object, &view_, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) != 0) return;
        held_ = true;
        const char *format = view_.format ? view_.format : "B";
        const char *letter = *format == '@' || *format == '=' ? format + 1 : format;
        const bool fits = view_.itemsize == sizeof(Element) && *letter && !letter[1] && std::strchr(LETTERS<Element>, *letter);
        if (!fits || view_.len != length * view_.itemsize)
            PyErr_Format(PyExc_ValueError, "%s must have %zd numbers of %zd bytes, and be contiguous", name, length,
                         static_cast<Py_ssize_t>(sizeof(Element)));
    }
    ~Column() {
        if (held_) PyBuffer_Release(&view_);
    }
    Column(const Column &) = delete;
    Column &operator=(const Column &) = delete;

    const Element *at() const { return static_cast<const Element *>(view_.buf); }
    Element operator[](Py_ssize_t index) const { return at()[index]; }

    // Sets ValueError where a number is below `least`, or `limit` or more.
    bool within(const char *name, Element least, Element limit) const {
        for (Py_ssize_t index = 0; index < length_; ++index)
            if (at()[index] < least || at()[index] >= limit) {
                PyErr_Format(PyExc_ValueError, "%s is out of range in row %zd", name, index);
                return false;
            }
        return true;
    }

  private:
    Py_buffer view_{};
    Py_ssize_t length_;
    bool held_ = false;
};

} // namespace tidecast

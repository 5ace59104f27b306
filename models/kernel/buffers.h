// The arguments of a call: Python buffers, held while the kernel works and checked so that no size can lead it astray.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>

namespace tidecast {

// What an element must be: its size and the struct module's letters for it ('l' and 'q' are one on most platforms).
template <class Element> struct Format;
template <> struct Format<float> { static constexpr const char *letters = "f", *name = "float32"; };
template <> struct Format<std::int64_t> { static constexpr const char *letters = "ql", *name = "int64"; };
template <> struct Format<std::uint8_t> { static constexpr const char *letters = "?B", *name = "bool"; };

// A C-contiguous array. Where taking it fails, a Python error is set; while one is set, nothing is taken.
template <class Element> class Array {
  public:
    Array(PyObject *object, const char *name, int dimensions, bool writable) : name_(name) {
        if (PyErr_Occurred()) return;
        const int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
        if (PyObject_GetBuffer(object, &view_, flags) != 0) {
            if (PyErr_ExceptionMatches(PyExc_BufferError)) {
                PyErr_Clear();
                PyErr_Format(PyExc_ValueError, "%s must be contiguous and, where written to, writable", name_);
            }
            return;
        }
        held_ = true;
        if (view_.ndim != dimensions) {
            PyErr_Format(PyExc_ValueError, "%s has %d dimensions, needed %d", name_, view_.ndim, dimensions);
        } else if (!fits()) {
            PyErr_Format(PyExc_ValueError, "%s must be an array of %s", name_, Format<Element>::name);
        }
    }
    ~Array() {
        if (held_) PyBuffer_Release(&view_);
    }
    Array(const Array &) = delete;
    Array &operator=(const Array &) = delete;

    Element *at() const { return static_cast<Element *>(view_.buf); }
    Py_ssize_t size(int dimension) const { return view_.shape[dimension]; }

    // Sets ValueError where a dimension is another.
    bool has_shape(std::initializer_list<Py_ssize_t> shape) const {
        int dimension = 0;
        for (const Py_ssize_t size : shape) {
            if (view_.shape[dimension] != size) {
                PyErr_Format(PyExc_ValueError, "%s has %zd entries in dimension %d, needed %zd", name_, view_.shape[dimension],
                             dimension, size);
                return false;
            }
            ++dimension;
        }
        return true;
    }

  private:
    bool fits() const {
        const char *format = view_.format ? view_.format : "B";
        const char *letter = *format == '@' || *format == '=' ? format + 1 : format;
        return view_.itemsize == sizeof(Element) && *letter && !letter[1] && std::strchr(Format<Element>::letters, *letter);
    }

    const char *name_;
    Py_buffer view_{};
    bool held_ = false;
};

} // namespace tidecast

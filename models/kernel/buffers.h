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

// How an array lies: whole and C-contiguous, to be read or to be written, or to be written with C-contiguous rows that are part of
// larger records.
enum class Lies { READ, WRITTEN, IN_RECORDS };

// Where taking an array fails, a Python error is set; while one is set, nothing is taken.
template <class Element> class Array {
  public:
    Array(PyObject *object, const char *name, int dimensions, Lies lies) : name_(name) {
        if (PyErr_Occurred()) return;
        const int flags = (lies == Lies::IN_RECORDS ? PyBUF_STRIDES : PyBUF_C_CONTIGUOUS) | PyBUF_FORMAT |
                          (lies == Lies::READ ? 0 : PyBUF_WRITABLE);
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
        } else if (lies == Lies::IN_RECORDS && !has_whole_rows()) {
            PyErr_Format(PyExc_ValueError, "%s must have contiguous rows, a whole number of elements apart", name_);
        }
    }
    ~Array() {
        if (held_) PyBuffer_Release(&view_);
    }
    Array(const Array &) = delete;
    Array &operator=(const Array &) = delete;

    Element *at() const { return static_cast<Element *>(view_.buf); }
    Py_ssize_t size(int dimension) const { return view_.shape[dimension]; }
    // Elements from one row to the next.
    Py_ssize_t row() const { return view_.strides[0] / view_.itemsize; }

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

    bool has_whole_rows() const {
        Py_ssize_t needed = view_.itemsize;
        for (int dimension = view_.ndim - 1; dimension > 0; --dimension) {
            if (view_.shape[dimension] > 1 && view_.strides[dimension] != needed) return false;
            needed *= view_.shape[dimension];
        }
        return view_.shape[0] <= 1 || (view_.strides[0] >= needed && view_.strides[0] % view_.itemsize == 0);
    }

    const char *name_;
    Py_buffer view_{};
    bool held_ = false;
};

} // namespace tidecast

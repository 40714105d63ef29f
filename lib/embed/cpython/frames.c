/* SPDX-License-Identifier: MIT */
/*
 * frames.c [L7] - Python's stack.  Theory: frames.h.
 *   Owner   as in frames.h.
 *   Locks   none.  Orders: none.
 */
#define Py_BUILD_CORE_MODULE 1
#include "lib/embed/cpython/frames.h"

#include <Python.h>
#include <internal/pycore_frame.h>

/* Names are ASCII as a rule; of another string what CPython has encoded before: to encode it now would allocate. */
static const char *text_of(PyObject *string) {
    if (string == NULL || !PyUnicode_Check(string)) {
        return "?";
    }
    if (PyUnicode_IS_COMPACT_ASCII(string)) {
        return (const char *)PyUnicode_1BYTE_DATA(string);
    }
    const char *encoded = ((PyCompactUnicodeObject *)string)->utf8;
    return encoded != NULL ? encoded : "?";
}

int gi_cpython_python_frames(gi_cpython_frame *out, int max) {
    PyThreadState *state = _PyThreadState_UncheckedGet();
    int found = 0;
    if (state == NULL || state->cframe == NULL) {
        return 0;
    }
    for (_PyInterpreterFrame *frame = state->cframe->current_frame; frame != NULL && found < max;
         frame = frame->previous) {
        PyCodeObject *code = frame->f_code;
        if (!_PyFrame_IsIncomplete(frame)) {
            int line = PyCode_Addr2Line(code, _PyInterpreterFrame_LASTI(frame) * (int)sizeof(_Py_CODEUNIT));
            out[found++] = (gi_cpython_frame){text_of(code->co_qualname), text_of(code->co_filename), line};
        }
    }
    return found;
}

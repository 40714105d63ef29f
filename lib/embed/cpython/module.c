/* SPDX-License-Identifier: MIT */
/*
 * module.c [L7] - the extension module _gilloc: gilloc in an interpreter that runs already, and its figures.
 *   Owner   no state of its own.
 *   Locks   CPython's, held by whoever calls.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000 /* so that every later CPython can load it */
#include <Python.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "lib/embed/cpython/cpython.h"

/* The library is preloaded into programs without a CPython too, where these are missing. */
#pragma weak PyBool_FromLong
#pragma weak PyErr_NoMemory
#pragma weak PyErr_SetString
#pragma weak PyExc_RuntimeError
#pragma weak PyLong_FromSize_t
#pragma weak PyModule_Create2
#pragma weak PyUnicode_FromStringAndSize
#pragma weak _Py_NoneStruct
#pragma weak PyArg_ParseTuple
#pragma weak _PyArg_ParseTuple_SizeT

PyMODINIT_FUNC PyInit__gilloc(void);

static PyObject *install(PyObject *module, PyObject *none) {
    (void)module;
    (void)none;
    const char *problem =
        gi_cpython_is_here() ? gi_cpython_install(GI_CPYTHON_LATE) : "CPython's functions are missing";
    if (problem != NULL) {
        PyErr_SetString(PyExc_RuntimeError, problem);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *is_installed(PyObject *module, PyObject *none) {
    (void)module;
    (void)none;
    return PyBool_FromLong(gi_cpython_is_here() && gi_cpython_is_installed());
}

static PyObject *stats(PyObject *module, PyObject *arguments) {
    const char *format = "text";
    char *text = NULL;
    size_t length = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "|s", &format)) {
        return NULL;
    }
    if (strcmp(format, "text") != 0 && strcmp(format, "json") != 0) {
        PyErr_SetString(PyExc_RuntimeError, "the format is \"text\" or \"json\"");
        return NULL;
    }
    FILE *f = open_memstream(&text, &length);
    int failed = f == NULL || gi_cpython_print_stats(f, format) != 0;
    failed |= f != NULL && fclose(f) != 0;
    PyObject *result = failed ? PyErr_NoMemory() : PyUnicode_FromStringAndSize(text, (Py_ssize_t)length);
    free(text);
    return result;
}

static PyObject *purge(PyObject *module, PyObject *none) {
    (void)module;
    (void)none;
    return PyLong_FromSize_t(gi_cpython_purge());
}

static PyMethodDef methods[] = {
    {"install", install, METH_NOARGS,
     "install()\n--\n\nSmall blocks of mem and object are gilloc's from now on; RuntimeError says why not."},
    {"is_installed", is_installed, METH_NOARGS, "is_installed()\n--\n\nWhether gilloc serves this interpreter."},
    {"stats", stats, METH_VARARGS, "stats(format='text')\n--\n\ngilloc's figures, as 'text' or 'json'."},
    {"purge", purge, METH_NOARGS, "purge()\n--\n\nGives free memory back to the system; returns bytes."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_gilloc",
    .m_doc = "The memory allocator gilloc in this interpreter.",
    .m_size = -1,
    .m_methods = methods,
};

/* One gilloc for a process: where one is preloaded, its module is this one. */
PyMODINIT_FUNC PyInit__gilloc(void) {
    PyObject *(*first)(void) = NULL;
    void *found = dlsym(RTLD_DEFAULT, "PyInit__gilloc");
    Dl_info own, other;
    memcpy(&first, &found, sizeof(found));
    bool is_other = found != NULL && dladdr(found, &other) != 0 && dladdr(&definition, &own) != 0 &&
                    other.dli_fbase != own.dli_fbase;
    return is_other ? first() : PyModule_Create(&definition);
}

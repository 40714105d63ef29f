/* SPDX-License-Identifier: MIT */
/*
 * cpython_main.c [L7] - gilloc-python: python3.11 on gilloc.
 *   Owner   the main thread.
 *   Locks   none.
 * All arguments are CPython's, but for options of ours that come first.  gilloc is installed when CPython has read
 * what it must know before it allocates, so that PYTHONMALLOC and -X dev do not undo it.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/embed/cpython.h"

PyMODINIT_FUNC PyInit__gilloc(void);
int gilloc_python_main(int argc, char **argv);

static struct {
    bool stats;
    const char *record;
    pid_t process; /* a forked child prints nothing */
} options;

/* --- our options ------------------------------------------------------------------------------ */

static int fail(const char *option, const char *problem) {
    fprintf(stderr, "gilloc-python: %s: %s\n", option, problem);
    return 2;
}

/* The value of `option`, in this argument or the next; `*used` arguments are its.  NULL: it is another option. */
static const char *value_of(const char *option, char **argv, int *used) {
    size_t length = strlen(option);
    if (strncmp(argv[0], option, length) != 0 || (argv[0][length] != '\0' && argv[0][length] != '=')) {
        return NULL;
    }
    *used = argv[0][length] == '=' ? 1 : 2;
    const char *value = argv[0][length] == '=' ? argv[0] + length + 1 : argv[1];
    return value != NULL ? value : "";
}

/* How many arguments after the program's name are ours; -1: one is wrong. */
static int take_options(char **argv) {
    int taken = 0, used = 0;
    for (char **at = argv + 1; *at != NULL; at = argv + 1 + taken) {
        const char *file = value_of("--record", at, &used);
        if (strcmp(*at, "--stats") == 0) {
            options.stats = true;
            used = 1;
        } else if (file == NULL) {
            break;
        } else if (file[0] == '\0') {
            fail("--record", "the name of a file is wanted: --record FILE");
            return -1;
        } else {
            options.record = file;
        }
        taken += used;
    }
    return taken;
}

/* --- the end of the program -------------------------------------------------------------------- */

static PyObject *program_ends(PyObject *self, PyObject *none) {
    (void)self;
    (void)none;
    if (getpid() == options.process && options.stats) {
        gi_cpython_print_stats(stderr, "text");
    }
    Py_RETURN_NONE;
}

static PyMethodDef end_method = {"gilloc_program_ends", program_ends, METH_NOARGS, NULL};

/* Called when all that the program has registered itself has run, and everything is still there. */
static bool register_end(void) {
    PyObject *end = PyCFunction_New(&end_method, NULL);
    PyObject *module = PyImport_ImportModule("atexit");
    PyObject *done = module != NULL && end != NULL ? PyObject_CallMethod(module, "register", "O", end) : NULL;
    bool ok = done != NULL;
    Py_XDECREF(done);
    Py_XDECREF(module);
    Py_XDECREF(end);
    return ok;
}

/* --- CPython ----------------------------------------------------------------------------------- */

/* As Py_BytesMain(), with gilloc between its first step and its second. */
static PyStatus start(int argc, char **argv, const char **problem) {
    PyPreConfig before;
    PyPreConfig_InitPythonConfig(&before);
    PyStatus status = Py_PreInitializeFromBytesArgs(&before, argc, argv);
    if (PyStatus_Exception(status)) {
        return status;
    }
    *problem = gi_cpython_is_here() ? NULL : "CPython's functions are missing";
    if (*problem == NULL) {
        gi_cpython_take_debug_hooks();
        *problem = gi_cpython_install(GI_CPYTHON_EARLY);
    }
    if (*problem == NULL && options.record != NULL) {
        *problem = gi_cpython_record(options.record);
    }
    if (*problem != NULL) {
        return status;
    }
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    status = PyConfig_SetBytesArgv(&config, argc, argv);
    if (!PyStatus_Exception(status)) {
        status = Py_InitializeFromConfig(&config);
    }
    PyConfig_Clear(&config);
    return status;
}

/* Its name is what a preloaded libgilloc-python.so looks for. */
__attribute__((visibility("default"))) int gilloc_python_main(int argc, char **argv) {
    int taken = take_options(argv);
    if (taken < 0) {
        return 2;
    }
    options.process = getpid();
    argv[taken] = argv[0];
    argv += taken;
    argc -= taken;
    if (PyImport_AppendInittab("_gilloc", PyInit__gilloc) != 0) {
        return fail("start", "out of memory");
    }
    const char *problem = NULL;
    PyStatus status = start(argc, argv, &problem);
    if (problem != NULL) {
        return fail(options.record != NULL ? options.record : "start", problem);
    }
    if (PyStatus_IsExit(status)) {
        return status.exitcode;
    }
    if (PyStatus_Exception(status)) {
        Py_ExitStatusException(status);
    }
    if (options.stats && !register_end()) {
        PyErr_Print();
        return 1;
    }
    return Py_RunMain();
}

int main(int argc, char **argv) { return gilloc_python_main(argc, argv); }

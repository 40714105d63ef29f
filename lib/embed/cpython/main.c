/* SPDX-License-Identifier: MIT */
/*
 * main.c [L7] - gilloc-python: python3.11 on gilloc.
 *   Owner   the main thread.
 *   Locks   none.
 * All arguments are CPython's, but for options of ours that come first.  gilloc is installed when CPython has read
 * what it must know before it allocates, so that PYTHONMALLOC and -X dev do not undo it.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/embed/cpython/cpython.h"
#include "lib/embed/cpython/frames.h"
#include "lib/embed/cpython/record.h"

PyMODINIT_FUNC PyInit__gilloc(void);
int gilloc_python_main(int argc, char **argv);

/* A sample in so many bytes, for a profile. */
enum { SAMPLE_BYTES = 1 << 16, FRAMES = 16 };

static struct {
    bool stats;
    unsigned trace; /* frames; 0: not */
    const char *profile, *record;
    FILE *profile_file;
    pid_t process; /* a forked child prints nothing */
} options;

/* --- our options ------------------------------------------------------------------------------ */

/* Before CPython's own help.  tests/install compares it with the manual page and the documents. */
static const char help[] =
    "usage: gilloc-python [--stats] [--trace[=N]] [--profile FILE] [--record FILE] [PYTHON'S OPTION]... [ARGUMENT]...\n"
    "python3.11 with its memory from gilloc.  Options of gilloc's, before Python's:\n"
    "--stats        : as the program ends, write gilloc's figures to stderr\n"
    "--trace[=N]    : trace every block with N frames of Python's stack, 16 if N is left out; as the program ends,\n"
    "                 write to stderr who allocated what is alive\n"
    "--profile FILE : sample one byte in 65536, unless --trace is there too; as the program ends, write to FILE who\n"
    "                 allocated what is alive: a flame graph (.svg), folded stacks (.folded), for pprof (.pb.gz), or "
    "text\n"
    "--record FILE  : write every call to the three domains to FILE, a trace for gilloc's main job\n"
    "--help         : show this, and then Python's own help\n"
    "\n";

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

/* A value that may be left out: only after an equals sign. */
static bool take_trace(const char *argument) {
    char *end = NULL;
    if (argument[strlen("--trace")] == '\0') {
        options.trace = FRAMES;
        return true;
    }
    unsigned long frames = strtoul(argument + strlen("--trace="), &end, 10);
    options.trace = *end == '\0' && frames <= GI_CPYTHON_FRAMES ? (unsigned)frames : 0;
    return options.trace != 0;
}

/* The option at `argv`, if it is ours: how many arguments it has.  0: it is CPython's; -1: it is wrong. */
static int take_option(char **argv) {
    static const struct {
        const char *name;
        const char **file;
    } with_file[] = {{"--profile", &options.profile}, {"--record", &options.record}};
    if (strcmp(argv[0], "--stats") == 0) {
        options.stats = true;
        return 1;
    }
    if (strcmp(argv[0], "--help") == 0) {
        fputs(help, stdout);
        return 0; /* CPython has a help too */
    }
    if (strcmp(argv[0], "--trace") == 0 || strncmp(argv[0], "--trace=", strlen("--trace=")) == 0) {
        bool good = take_trace(argv[0]);
        return good ? 1 : (fail("--trace", "a number of frames from 1 to 128 is wanted: --trace=16"), -1);
    }
    for (size_t i = 0; i < sizeof(with_file) / sizeof(with_file[0]); i++) {
        int used = 0;
        const char *file = value_of(with_file[i].name, argv, &used);
        if (file != NULL && file[0] == '\0') {
            fail(with_file[i].name, "the name of a file is wanted");
            return -1;
        }
        if (file != NULL) {
            *with_file[i].file = file;
            return used;
        }
    }
    return 0;
}

/* How many arguments after the program's name are ours; -1: one is wrong. */
static int take_options(char **argv) {
    int taken = 0;
    while (argv[1 + taken] != NULL) {
        int used = take_option(argv + 1 + taken);
        if (used <= 0) {
            return used < 0 ? -1 : taken;
        }
        taken += used;
    }
    return taken;
}

static bool needs_end(void) { return options.stats || options.trace != 0 || options.profile != NULL; }

/* What is to be seen of the program is started.  NULL, or why not, of `*what`. */
static const char *watch(const char **what) {
    *what = "--profile";
    if (options.profile != NULL && (options.profile_file = fopen(options.profile, "we")) == NULL) {
        *what = options.profile;
        return strerror(errno);
    }
    if (options.trace != 0 || options.profile != NULL) {
        const char *problem = gi_cpython_trace(options.trace, SAMPLE_BYTES, gi_cpython_python_frames);
        if (problem != NULL) {
            return problem;
        }
    }
    *what = options.record;
    return options.record != NULL ? gi_cpython_record(options.record) : NULL;
}

/* --- the end of the program -------------------------------------------------------------------- */

/* The format that the suffix says, as of GILLOC_PROFILE. */
static const char *format_of(const char *path) {
    static const char *const formats[][2] = {{".svg", "svg"}, {".folded", "folded"}, {".pb.gz", "pprof"}};
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        size_t length = strlen(path), suffix = strlen(formats[i][0]);
        if (length >= suffix && strcmp(path + length - suffix, formats[i][0]) == 0) {
            return formats[i][1];
        }
    }
    return "text";
}

static PyObject *program_ends(PyObject *self, PyObject *none) {
    (void)self;
    (void)none;
    if (getpid() != options.process) {
        Py_RETURN_NONE;
    }
    if (options.trace != 0) {
        gi_cpython_write_trace(stderr, "text");
    }
    if (options.profile_file != NULL) {
        int failed = gi_cpython_write_trace(options.profile_file, format_of(options.profile));
        if ((fclose(options.profile_file) != 0) | failed) {
            fprintf(stderr, "gilloc-python: --profile: %s: %s\n", options.profile, strerror(errno));
        }
    }
    if (options.stats) {
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
static PyStatus start(int argc, char **argv, const char **problem, const char **what) {
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
    if (*problem == NULL) {
        *problem = watch(what);
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
    const char *problem = NULL, *what = "start";
    PyStatus status = start(argc, argv, &problem, &what);
    if (problem != NULL) {
        return fail(what, problem);
    }
    if (PyStatus_IsExit(status)) {
        return status.exitcode;
    }
    if (PyStatus_Exception(status)) {
        Py_ExitStatusException(status);
    }
    if (needs_end() && !register_end()) {
        PyErr_Print();
        return 1;
    }
    return Py_RunMain();
}

int main(int argc, char **argv) { return gilloc_python_main(argc, argv); }

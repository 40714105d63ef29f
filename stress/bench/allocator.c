/* SPDX-License-Identifier: MIT */
/*
 * allocator.c - fills the table of the allocator that is measured.
 *   Owner   the main thread, before it starts others.
 *   Locks   none.
 */
#define _GNU_SOURCE /* dladdr(), RTLD_DEFAULT */

#include "stress/bench/allocator.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

struct allocator allocator;

struct loading {
    char *error;
    size_t error_size;
};

/* `*target` becomes the function `name`; POSIX lets a pointer to data be one to a function. */
static bool find(struct loading *loading, void *target, const char *name) {
    void *function = dlsym(allocator.handle, name);
    if (function == NULL) snprintf(loading->error, loading->error_size, "the library has no %s", name);
    memcpy(target, &function, sizeof function);
    return function != NULL;
}

static bool find_family(struct loading *loading, enum allocator_domain domain, const char *prefix) {
    static const char *const names[] = {"malloc", "calloc", "realloc", "free"};
    struct allocator_family *family = &allocator.domains[domain];
    void *targets[] = {&family->malloc, &family->calloc, &family->realloc, &family->free};
    bool python = strncmp(prefix, "Py", 2) == 0;
    for (int i = 0; i < 4; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s", prefix, names[i]);
        if (python) name[strlen(prefix)] ^= 'a' ^ 'A'; /* PyMem_Malloc */
        if (!find(loading, targets[i], name)) return false;
    }
    return true;
}

static bool same_for_all(struct loading *loading, const char *prefix) {
    bool good = true;
    for (int i = 0; i < DOMAINS && good; i++) good = find_family(loading, i, prefix);
    return good;
}

static bool open_library(struct loading *loading, const char *path) {
    allocator.handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (allocator.handle == NULL) snprintf(loading->error, loading->error_size, "%s", dlerror());
    return allocator.handle != NULL;
}

/* --- malloc() itself -------------------------------------------------------------------------- */

/* The one of this process, which must be that of `path`: a library that cannot be preloaded is skipped in silence. */
static bool load_malloc(struct loading *loading, const char *path) {
    Dl_info info;
    char expected[PATH_MAX], actual[PATH_MAX];
    allocator.handle = RTLD_DEFAULT;
    if (!same_for_all(loading, "")) return false;
    if (path[0] == '\0') return true;
    void *function = dlsym(RTLD_DEFAULT, "malloc");
    if (dladdr(function, &info) == 0 || realpath(info.dli_fname, actual) == NULL) actual[0] = '\0';
    if (realpath(path, expected) == NULL) expected[0] = '\0';
    if (strcmp(actual, expected) == 0 && actual[0] != '\0') return true;
    snprintf(loading->error, loading->error_size, "malloc() is that of %s in spite of LD_PRELOAD=%s", actual, path);
    return false;
}

/* --- with CPython's interface ----------------------------------------------------------------- */

static bool load_python_names(struct loading *loading) {
    return find_family(loading, DOMAIN_RAW, "PyMem_Raw") && find_family(loading, DOMAIN_MEM, "PyMem_") &&
           find_family(loading, DOMAIN_OBJECT, "PyObject_") && find(loading, &allocator.ensure, "PyGILState_Ensure") &&
           find(loading, &allocator.release, "PyGILState_Release") &&
           find(loading, &allocator.save, "PyEval_SaveThread") &&
           find(loading, &allocator.restore, "PyEval_RestoreThread");
}

static bool load_gilloc(struct loading *loading, const char *path, int mode) {
    int (*set_mode)(int);
    if (!open_library(loading, path) || !load_python_names(loading) || !find(loading, &set_mode, "gilloc_set_mode") ||
        !find(loading, &allocator.safepoint, "gilloc_safepoint")) {
        return false;
    }
    if (set_mode(mode) != 0) {
        snprintf(loading->error, loading->error_size, "gilloc_set_mode(%d) failed", mode);
        return false;
    }
    allocator.ensure();
    return true;
}

/* CPython looks at its "drop the lock" request where Python code runs: the entry of a function is such a place. */
static void *python_function;
static void *(*python_call)(void *function);
static void (*python_drop)(void *object);

static void python_safepoint(void) { python_drop(python_call(python_function)); }

static bool load_pymalloc(struct loading *loading, const char *path) {
    int *flags[3];
    static const char *const flag_names[] = {"Py_NoSiteFlag", "Py_IsolatedFlag", "Py_IgnoreEnvironmentFlag"};
    void (*set_home)(const wchar_t *);
    void (*initialize)(int);
    int (*run)(const char *);
    void *(*add_module)(const char *), *(*attribute)(void *, const char *);
    if (!open_library(loading, path) || !load_python_names(loading) || !find(loading, &set_home, "Py_SetPythonHome") ||
        !find(loading, &initialize, "Py_InitializeEx") || !find(loading, &run, "PyRun_SimpleString") ||
        !find(loading, &add_module, "PyImport_AddModule") || !find(loading, &attribute, "PyObject_GetAttrString") ||
        !find(loading, &python_call, "PyObject_CallNoArgs") || !find(loading, &python_drop, "Py_DecRef")) {
        return false;
    }
    /* What is set for the contender must be heard. */
    bool heard = getenv("PYTHONMALLOC") != NULL || getenv("PYTHONTRACEMALLOC") != NULL;
    for (int i = 0; i < 3; i++) {
        if (!find(loading, &flags[i], flag_names[i])) return false;
        *flags[i] = i == 0 || !heard;
    }
    set_home(L"/usr"); /* Debian's: its standard library, whatever other Python is on PATH */
    initialize(0);
    if (run("def safepoint(): pass") != 0 ||
        (python_function = attribute(add_module("__main__"), "safepoint")) == NULL) {
        snprintf(loading->error, loading->error_size, "the interpreter does not run Python code");
        return false;
    }
    allocator.safepoint = python_safepoint;
    return true;
}

/* --- the limits ------------------------------------------------------------------------------- */

static bool load_limit(struct loading *loading, const char *path, const char *prefix) {
    int (*init)(void);
    if (!open_library(loading, path) || !same_for_all(loading, prefix)) return false;
    if (!find(loading, &init, "limit_library_init")) return false;
    if (init() != 0) snprintf(loading->error, loading->error_size, "no address space for the limit");
    return loading->error[0] == '\0';
}

int allocator_load(const char *contender, const char *path, char *error, size_t error_size) {
    struct loading loading = {error, error_size};
    bool good;
    error[0] = '\0';
    if (strcmp(contender, "gilloc-gil") == 0) {
        good = load_gilloc(&loading, path, 0);
    } else if (strcmp(contender, "gilloc-free") == 0) {
        good = load_gilloc(&loading, path, 1);
    } else if (strcmp(contender, "pymalloc") == 0) {
        good = load_pymalloc(&loading, path);
    } else if (strcmp(contender, "limit-call") == 0) {
        good = load_limit(&loading, path, "limit_library_");
    } else if (strcmp(contender, "mimalloc-own") == 0) {
        good = open_library(&loading, path) && same_for_all(&loading, "mi_");
    } else if (strcmp(contender, "null") == 0) {
        good = load_limit(&loading, path, "null_");
    } else {
        good = load_malloc(&loading, path);
    }
    if (!good && error[0] == '\0') snprintf(error, error_size, "%s cannot be set up", contender);
    return good ? 0 : -1;
}

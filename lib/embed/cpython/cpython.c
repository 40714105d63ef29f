/* SPDX-License-Identifier: MIT */
/*
 * cpython.c [L7] - gilloc under CPython.  Theory: cpython.h.
 *   Owner   as in cpython.h.
 *   Locks   none.
 *   Orders  none: counters alone, relaxed.
 */
#include "lib/embed/cpython/cpython.h"

#include <dlfcn.h>
#include <errno.h>
#include <gilloc/gilloc.h>
#include <gilloc/trace.h>
#include <stdlib.h>
#include <string.h>

#include "concurrency/atomic.h"
#include "concurrency/check.h"
#include "lib/api/pymem.h"
#include "lib/arena/address_map.h"
#include "lib/cache/thread_cache.h"
#include "lib/domain/domain.h"
#include "lib/embed/cpython/lock.h"

/* --- state ------------------------------------------------------------------------------------ */

enum { DOMAINS = PYMEM_DOMAIN_OBJ + 1 };

/* CPython's own functions.  Constant once found. */
static struct {
    void (*get)(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator);
    void (*set)(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator);
    void (*get_arena)(PyObjectArenaAllocator *allocator);
    void (*set_arena)(PyObjectArenaAllocator *allocator);
    int (*is_initialized)(void);
    const char *(*version)(void);
    const char *(*allocator_name)(void); /* may be NULL: it is not public */
} cpython;

static PyMemAllocatorEx installed[DOMAINS]; /* constant once installed */
static PyMemAllocatorEx before[DOMAINS];    /* late: whose all other blocks are; constant once installed */
static bool is_installed;                   /* written by who installs */
static PyObjectArenaAllocator arenas;       /* CPython's, while it starts */

static gi_atomic(uint64_t) raw_allocated; /* relaxed: a statistic */
static gi_atomic(uint64_t) raw_freed;     /* relaxed: a statistic */

/* --- early: all three domains ----------------------------------------------------------------- */

/* By the public functions, so that gilloc's hooks, tracing and error messages are as for any program; mem and object in
   the form of pymem.h. */
static void *count_raw(void *block) {
    if (block != NULL) {
        gi_fetch_add_relaxed(&raw_allocated, 1); /* relaxed: a statistic */
    }
    return block;
}
static void *raw_malloc(void *ctx, size_t size) {
    (void)ctx;
    return count_raw(PyMem_RawMalloc(size));
}
static void *raw_calloc(void *ctx, size_t count, size_t size) {
    (void)ctx;
    return count_raw(PyMem_RawCalloc(count, size));
}
static void *raw_realloc(void *ctx, void *block, size_t size) {
    (void)ctx;
    void *moved = PyMem_RawRealloc(block, size);
    return block == NULL ? count_raw(moved) : moved;
}
static void raw_free(void *ctx, void *block) {
    (void)ctx;
    if (block != NULL) {
        gi_fetch_add_relaxed(&raw_freed, 1); /* relaxed: a statistic */
    }
    PyMem_RawFree(block);
}

static const PyMemAllocatorEx early_raw = {NULL, raw_malloc, raw_calloc, raw_realloc, raw_free};
static const PyMemAllocatorEx *const early[DOMAINS] = {&early_raw, &gi_pymem_mem_table, &gi_pymem_object_table};

/* --- late: what is at gilloc's addresses, and all else ------------------------------------------ */

static bool is_ours(const void *block) {
    const gi_page_word *word = gi_address_word(block);
    return word != NULL && gi_load_relaxed(word) != GI_WORD_NO_ARENA; /* relaxed: address_map.h */
}

/* Large blocks are the system's with either owner; asked of the former one, so that each counts what it frees. */
#define LATE(name, domain, NAME)                                                            \
    static void *late_##name##_malloc(void *ctx, size_t size) {                             \
        (void)ctx;                                                                          \
        const PyMemAllocatorEx *other = &before[domain];                                    \
        return size > GI_SMALL_MAX ? other->malloc(other->ctx, size) : NAME##_Malloc(size); \
    }                                                                                       \
    static void *late_##name##_calloc(void *ctx, size_t count, size_t size) {               \
        (void)ctx;                                                                          \
        const PyMemAllocatorEx *other = &before[domain];                                    \
        bool large = size != 0 && count > GI_SMALL_MAX / size;                              \
        return large ? other->calloc(other->ctx, count, size) : NAME##_Calloc(count, size); \
    }                                                                                       \
    static void late_##name##_free(void *ctx, void *block) {                                \
        (void)ctx;                                                                          \
        const PyMemAllocatorEx *other = &before[domain];                                    \
        if (is_ours(block)) {                                                               \
            NAME##_Free(block);                                                             \
        } else {                                                                            \
            other->free(other->ctx, block);                                                 \
        }                                                                                   \
    }                                                                                       \
    static void *late_##name##_realloc(void *ctx, void *block, size_t size) {               \
        const PyMemAllocatorEx *other = &before[domain];                                    \
        if (block == NULL) {                                                                \
            return late_##name##_malloc(ctx, size);                                         \
        }                                                                                   \
        if (!is_ours(block)) {                                                              \
            return other->realloc(other->ctx, block, size);                                 \
        }                                                                                   \
        if (size <= GI_SMALL_MAX) {                                                         \
            return NAME##_Realloc(block, size);                                             \
        }                                                                                   \
        void *moved = other->malloc(other->ctx, size);                                      \
        if (moved != NULL) {                                                                \
            memcpy(moved, block, gilloc_usable_size(domain, block)); /* at most 512 */      \
            NAME##_Free(block);                                                             \
        }                                                                                   \
        return moved;                                                                       \
    }

LATE(mem, PYMEM_DOMAIN_MEM, PyMem)
LATE(object, PYMEM_DOMAIN_OBJ, PyObject)

static const PyMemAllocatorEx late_tables[DOMAINS] = {
    [PYMEM_DOMAIN_MEM] = {NULL, late_mem_malloc, late_mem_calloc, late_mem_realloc, late_mem_free},
    [PYMEM_DOMAIN_OBJ] = {NULL, late_object_malloc, late_object_calloc, late_object_realloc, late_object_free},
};
static const PyMemAllocatorEx *const late[DOMAINS] = {NULL, &late_tables[PYMEM_DOMAIN_MEM],
                                                      &late_tables[PYMEM_DOMAIN_OBJ]};

/* --- CPython's functions ---------------------------------------------------------------------- */

static bool find(void *function, const char *name) {
    void *found = dlsym(RTLD_DEFAULT, name);
    memcpy(function, &found, sizeof(found)); /* a pointer to an object, which C does not let be one to a function */
    return found != NULL;
}

bool gi_cpython_is_here(void) {
    find(&cpython.allocator_name, "_PyMem_GetCurrentAllocatorName");
    return find(&cpython.get, "PyMem_GetAllocator") && find(&cpython.set, "PyMem_SetAllocator") &&
           find(&cpython.get_arena, "PyObject_GetArenaAllocator") &&
           find(&cpython.set_arena, "PyObject_SetArenaAllocator") &&
           find(&cpython.is_initialized, "Py_IsInitialized") && find(&cpython.version, "Py_GetVersion") &&
           gi_cpython_lock_find(find);
}

bool gi_cpython_is_running(void) { return cpython.is_initialized() != 0; }

/* --- installing ------------------------------------------------------------------------------- */

/* The mode and the lock of gilloc are CPython's business here. */
static const char *prepare(void) {
    if (strstr(cpython.version(), "free-threading") != NULL) {
        return "this is a free-threaded CPython, whose collector walks the heap of its own allocator";
    }
    if (gilloc_set_mode(GILLOC_MODE_GIL) != 0 || gilloc_set_lock(&gi_cpython_lock) != 0) {
        return "gilloc is in use in this process already, with another lock";
    }
    gi_cache_keep_short(true);
    return NULL;
}

const char *gi_cpython_install(gi_cpython_way way) {
    const char *problem = is_installed ? NULL : prepare();
    if (is_installed || problem != NULL) {
        return problem;
    }
    if (way == GI_CPYTHON_LATE && !(gi_domain_is_default(PYMEM_DOMAIN_MEM) && gi_domain_is_default(PYMEM_DOMAIN_OBJ))) {
        return "PYTHONMALLOC asks for debug hooks or for the system's allocator, for which gilloc must be there from "
               "the "
               "start: use gilloc-python";
    }
    const PyMemAllocatorEx *const *tables = way == GI_CPYTHON_LATE ? late : early;
    int first = way == GI_CPYTHON_LATE ? PYMEM_DOMAIN_MEM : PYMEM_DOMAIN_RAW;
    for (int domain = first; domain < DOMAINS; domain++) {
        installed[domain] = *tables[domain];
        cpython.get((PyMemAllocatorDomain)domain, &before[domain]);
    }
    for (int domain = first; domain < DOMAINS; domain++) {
        cpython.set((PyMemAllocatorDomain)domain, &installed[domain]);
    }
    is_installed = true;
    return NULL;
}

bool gi_cpython_is_installed(void) {
    PyMemAllocatorEx now;
    if (!is_installed) {
        return false;
    }
    cpython.get(PYMEM_DOMAIN_OBJ, &now);
    return now.malloc == installed[PYMEM_DOMAIN_OBJ].malloc;
}

void gi_cpython_take_debug_hooks(void) {
    static const char suffix[] = "debug";
    const char *name = cpython.allocator_name != NULL ? cpython.allocator_name() : NULL;
    size_t length = name != NULL ? strlen(name) : 0;
    if (length >= sizeof(suffix) - 1 && strcmp(name + length - (sizeof(suffix) - 1), suffix) == 0) {
        PyMem_SetupDebugHooks();
    }
}

/* --- while CPython starts --------------------------------------------------------------------- */

/* CPython asks for its first arena early, whoever serves the domains (the stack of frames comes from there too), and
   after it has chosen by the environment and the command line who does. */
static void *first_arena(void *ctx, size_t size) {
    (void)ctx;
    cpython.set_arena(&arenas);
    if (!gi_cpython_is_installed()) {
        fputs(
            "gilloc: CPython does without gilloc here: PYTHONMALLOC, PYTHONDEVMODE or -X dev chose another allocator "
            "(leave them out, or use gilloc-python, which has debug hooks of its own for them)\n",
            stderr);
    }
    return arenas.alloc(arenas.ctx, size);
}

static void free_arena(void *ctx, void *arena, size_t size) {
    (void)ctx;
    arenas.free(arenas.ctx, arena, size);
}

void gi_cpython_warn_if_replaced(void) {
    cpython.get_arena(&arenas);
    cpython.set_arena(&(PyObjectArenaAllocator){NULL, first_arena, free_arena});
}

/* --- what gilloc-python and the module offer -------------------------------------------------- */

int gi_cpython_print_stats(FILE *f, const char *format) {
    if (gilloc_print_stats(f, format) != 0) {
        return -1;
    }
    uint64_t ever = gi_load_relaxed(&raw_allocated); /* relaxed: a statistic */
    uint64_t gone = gi_load_relaxed(&raw_freed);     /* relaxed: a statistic */
    if (strcmp(format, "text") == 0) {
        fprintf(f, "\nraw blocks: %llu now, %llu ever\n", (unsigned long long)(ever > gone ? ever - gone : 0),
                (unsigned long long)ever);
    }
    return fflush(f) == 0 ? 0 : -1;
}

size_t gi_cpython_purge(void) { return gilloc_purge(); }

static gi_cpython_frames python_frames; /* constant once tracing has started */

/* Where no Python runs there are none, and gilloc takes the native stack. */
static int get_frames(void *ctx, gilloc_frame *out, int max) {
    gi_cpython_frame frames[GI_CPYTHON_FRAMES];
    (void)ctx;
    int found =
        gi_cpython_lock.held(NULL) ? python_frames(frames, max < GI_CPYTHON_FRAMES ? max : GI_CPYTHON_FRAMES) : 0;
    for (int i = 0; i < found; i++) {
        out[i] = (gilloc_frame){frames[i].function, frames[i].file, frames[i].line, NULL};
    }
    return found;
}

const char *gi_cpython_trace(unsigned depth, size_t bytes, gi_cpython_frames frames) {
    python_frames = frames;
    gilloc_trace_set_frames(get_frames, NULL);
    int failed = depth != 0 ? gilloc_trace_start(depth) : gilloc_sample_start(bytes);
    return failed ? strerror(errno) : NULL;
}

int gi_cpython_write_trace(FILE *f, const char *format) { return gilloc_trace_write(f, format); }

void gi_cpython_put_around(void (*around)(int domain, void *table)) {
    for (int domain = 0; domain < DOMAINS; domain++) {
        around(domain, &installed[domain]);
        cpython.set((PyMemAllocatorDomain)domain, &installed[domain]);
    }
}

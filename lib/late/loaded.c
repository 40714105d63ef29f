/* SPDX-License-Identifier: MIT */
/*
 * loaded.c [L2] - libraries that are loaded as they are first needed.  Theory: late.h, loaded.h.
 */
#include "lib/late/loaded.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>

#include "concurrency/check.h"
#include "lib/late/late_json.h"
#include "lib/late/late_math.h"
#include "lib/late/late_unwind.h"
#include "lib/late/late_zlib.h"

/* --- one library ------------------------------------------------------------------------------ */

/* A table of functions is read as if it were of addresses. */
_Static_assert(sizeof(void (*)(void)) == sizeof(void *), "POSIX, dlsym()");

static void tell(gi_loaded *library) {
    const char *why = dlerror();
    if (gi_fetch_add_relaxed(&library->told, 1) == 0) { /* relaxed: as declared */
        gi_report(library->file, "cannot be loaded: %.300s" GI_DO("apt-get install %s"),
                  why != NULL ? why : "no reason", library->package);
    }
}

static bool look_up(const gi_loaded *library, void *handle, void **table) {
    for (size_t i = 0; i < library->count; i++) {
        table[i] = dlsym(handle, library->names[i]);
        if (table[i] == NULL) {
            return false;
        }
    }
    return true;
}

/* It stays loaded: what it gave is used for ever. */
static const void *load(gi_loaded *library) {
    int saved_errno = errno;
    void *handle = dlopen(library->file, RTLD_NOW | RTLD_LOCAL);
    void **table = handle != NULL ? calloc(library->count, sizeof(*table)) : NULL;
    const void *there = NULL;
    int failed = handle != NULL && table == NULL ? ENOMEM : 0;
    if (failed == 0 && (handle == NULL || !look_up(library, handle, table))) {
        tell(library);
        failed = ELIBACC;
    }
    /* order(late-table): release; pairs with acquire in gi_loaded_get() and load(). */
    if (failed != 0 || !gi_cas_release(&library->table, &there, (const void *)table)) {
        free(table);
        if (handle != NULL) {
            dlclose(handle);
        }
    }
    errno = failed != 0 ? failed : saved_errno;
    /* order(late-table): acquire; pairs with release in load(). */
    return failed != 0 ? NULL : gi_load_acquire(&library->table);
}

const void *gi_loaded_get(gi_loaded *library) {
    /* order(late-table): acquire; pairs with release in load(). */
    const void *table = gi_load_acquire(&library->table);
    return gi_likely(table != NULL) ? table : load(library);
}

/* --- those there are -------------------------------------------------------------------------- */

#define TEXT(word) #word
#define NAME(member, function) TEXT(function),
#define LOADED(library, FUNCTIONS, its_file, its_package)                                                             \
    const gi_late_##library *gi_late_get_##library(void) {                                                            \
        static const char *const names[] = {FUNCTIONS(NAME)};                                                         \
        static gi_loaded it = {                                                                                       \
            .file = (its_file), .package = (its_package), .names = names, .count = sizeof(names) / sizeof(names[0])}; \
        _Static_assert(sizeof(gi_late_##library) == sizeof(names), "a name for each member");                         \
        return gi_loaded_get(&it);                                                                                    \
    }

LOADED(math, GI_LATE_MATH, "libm.so.6", "libc6")
LOADED(unwind, GI_LATE_UNWIND, "libunwind.so.8", "libunwind8")
LOADED(zlib, GI_LATE_ZLIB, "libz.so.1", "zlib1g")
LOADED(json, GI_LATE_JSON, "libjansson.so.4", "libjansson4")

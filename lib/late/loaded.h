/* SPDX-License-Identifier: MIT */
/*
 * loaded.h [L2] - one library that is loaded as it is first needed.  Theory: late.h.
 *   Owner   the library: constant, but for `table` and `told`.
 *   Locks   none of its own: two threads may load it at the same time, and the table of one of them stays.
 *   Orders  late-table.
 */
#ifndef GI_LOADED_H
#define GI_LOADED_H

#include <stddef.h>
#include <stdint.h>

#include "concurrency/atomic.h"

typedef struct gi_loaded {
    const char *file;              /* as the loader is asked for it */
    const char *package;           /* Debian's */
    const char *const *names;      /* of functions, as the file has them */
    size_t count;                  /* of names */
    gi_atomic(const void *) table; /* addresses of functions, in the order of names; NULL: not loaded */
    gi_atomic(uint32_t) told;      /* that it cannot be, so often; relaxed: it orders nothing */
} gi_loaded;

/* Its table; NULL with errno ELIBACC or ENOMEM.  Any thread. */
const void *gi_loaded_get(gi_loaded *library);

#endif /* GI_LOADED_H */

/* SPDX-License-Identifier: MIT */
/*
 * mode.h - names of gilloc's modes, on command lines and in tables.
 *   Locks   none.
 */
#ifndef STRESS_MODE_H
#define STRESS_MODE_H

#include <gilloc/gilloc.h>
#include <string.h>

static inline const char *mode_name(gilloc_mode mode) { return mode == GILLOC_MODE_GIL ? "gil" : "free"; }
static inline gilloc_mode mode_named(const char *name) {
    return strcmp(name, "gil") == 0 ? GILLOC_MODE_GIL : GILLOC_MODE_FREE;
}

#endif /* STRESS_MODE_H */

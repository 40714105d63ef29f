/* SPDX-License-Identifier: MIT */
/*
 * lock.h [L7] - CPython's lock, as gilloc asks about it (gilloc_set_lock()).
 *   Owner   what waits between a release and its acquire belongs to the thread.
 *   Locks   CPython's.
 */
#ifndef GI_CPYTHON_LOCK_H
#define GI_CPYTHON_LOCK_H

#include <gilloc/gilloc.h>
#include <stdbool.h>

/* Finds CPython's functions by `find`, which writes to a pointer to a function.  False: one is missing. */
bool gi_cpython_lock_find(bool (*find)(void *function, const char *name));

extern const gilloc_lock gi_cpython_lock;

#endif /* GI_CPYTHON_LOCK_H */

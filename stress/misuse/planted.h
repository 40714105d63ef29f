/* SPDX-License-Identifier: MIT */
/*
 * planted.h - allocators that are wrong on purpose, to see that the probe finds it.
 *   Owner   the main thread.  Locks: none.
 */
#ifndef STRESS_MISUSE_PLANTED_H
#define STRESS_MISUSE_PLANTED_H

#include <stdbool.h>

/* Fills the table with the one of that name: "planted-sound" (the C library's), "planted-overlapping" (gives the last
   block once more, now and then), "planted-shifted" (half over it), "planted-writing" (writes to a block that is
   alive), "planted-dirty" (calloc leaves a byte); "planted-crashing", "planted-hanging", "planted-wordless" (abort()).
   Is there one? */
bool planted_load(const char *name);

#endif /* STRESS_MISUSE_PLANTED_H */

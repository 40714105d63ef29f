/* SPDX-License-Identifier: MIT */
/*
 * linked.c [L2] - the late libraries of a program that is linked with them.  Theory: late.h.
 *   Owner   nobody: constant.  Locks none.
 */
#include "lib/late/late_json.h"
#include "lib/late/late_math.h"
#include "lib/late/late_unwind.h"
#include "lib/late/late_zlib.h"

#define ADDRESS(member, function) .member = (function),
#define LINKED(library, FUNCTIONS)                                   \
    const gi_late_##library *gi_late_get_##library(void) {           \
        static const gi_late_##library table = {FUNCTIONS(ADDRESS)}; \
        return &table;                                               \
    }

LINKED(math, GI_LATE_MATH)
LINKED(unwind, GI_LATE_UNWIND)
LINKED(zlib, GI_LATE_ZLIB)
LINKED(json, GI_LATE_JSON)

/* SPDX-License-Identifier: MIT */
/*
 * late_unwind.h [L2] - what is used of libunwind: stacks, and names of functions.  Contract: late.h.
 */
#ifndef GI_LATE_UNWIND_H
#define GI_LATE_UNWIND_H

#define UNW_LOCAL_ONLY
#include <libunwind.h>

#include "lib/late/late.h"

/* unw_getcontext() is a function of the library on x86-64, and code in the caller's place elsewhere. */
#ifdef __x86_64__
#define GI_LATE_UNWIND_CONTEXT(FUNCTION) FUNCTION(get_context, unw_tdep_getcontext)
#define gi_late_unwind_context(unwind, context) ((unwind)->get_context(context))
#else
#define GI_LATE_UNWIND_CONTEXT(FUNCTION)
#define gi_late_unwind_context(unwind, context) ((void)(unwind), unw_getcontext(context))
#endif

#define GI_LATE_UNWIND(FUNCTION)         \
    FUNCTION(backtrace, unw_backtrace)   \
    GI_LATE_UNWIND_CONTEXT(FUNCTION)     \
    FUNCTION(init_local, unw_init_local) \
    FUNCTION(step, unw_step)             \
    FUNCTION(get_reg, unw_get_reg)       \
    FUNCTION(set_reg, unw_set_reg)       \
    FUNCTION(get_proc_name, unw_get_proc_name)

typedef struct gi_late_unwind {
    GI_LATE_UNWIND(GI_LATE_MEMBER)
} gi_late_unwind;

const gi_late_unwind *gi_late_get_unwind(void);

#endif /* GI_LATE_UNWIND_H */

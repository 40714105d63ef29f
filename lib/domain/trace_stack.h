/* SPDX-License-Identifier: MIT */
/*
 * trace_stack.h [L5] - the stack of the calling thread, for tracing and sampling.
 *
 *   One frame is the return address of the public function, which is at hand.  More are walked by libunwind, whose
 *   cache for each thread makes a frame 6 ns; glibc's backtrace() takes 500 to 800, and frame pointers are not there in
 *   optimised programs.  Or a runtime says its own frames, if it has set a function for it.
 *
 *   Calls of the library's own come first in a walk; they end where the caller of the public function is found.
 *   Locks   walk (GI_RANK_WALK), in parts: libunwind has mutexes of its own, so that a fork must find nobody inside.
 */
#ifndef GI_TRACE_STACK_H
#define GI_TRACE_STACK_H

#include <gilloc/trace.h>

#include "concurrency/atomic.h"
#include "concurrency/check.h"
#include "lib/domain/sites.h"

typedef struct gi_runtime_frames {
    gilloc_frames_function function;
    void *ctx;
    const struct gi_runtime_frames *before; /* those that were set before it */
} gi_runtime_frames;
/* By which function a runtime says its frames; NULL: stacks are native.  Kept for ever, since a call may be inside one.
 */
extern gi_atomic(const gi_runtime_frames *) gi_stack_runtime GI_INTERNAL; /* atomic, order(runtime-frames) */

/* The innermost `max` frames, at most GI_SITE_FRAMES_MAX; at least one.  `caller`: the return address of the public
   function (gi_domain_caller).  The thread's errno stays.  0: memory for a runtime's frame is out. */
uint32_t gi_stack_capture(const void *caller, gi_frame *frames, uint32_t max);

/* Before stacks of at most `max` frames are captured; 0, or an errno: what walks them is not there. */
int gi_stack_prepare(uint32_t max);

/* By which function a runtime says its frames; NULL: none.  Any thread. */
void gi_stack_set_runtime(gilloc_frames_function function, void *ctx);

/* The name of the function that a return address is in, and the place in it; false if there is none. */
bool gi_stack_symbol(const void *address, char *name, size_t size, uint64_t *offset);

void gi_stack_before_fork(void);
void gi_stack_after_fork(void);

#endif /* GI_TRACE_STACK_H */

/* SPDX-License-Identifier: MIT */
/*
 * trace_stack.c [L5] - the stack of the calling thread.  Theory: trace_stack.h.
 *   Locks   walk, in parts.
 *   Orders  runtime-frames.
 */
#include "lib/domain/trace_stack.h"

#include <errno.h>
#include <stdlib.h>

#include "concurrency/atomic.h"
#include "concurrency/check.h"
#include "concurrency/mutex.h"
#include "lib/late/late_unwind.h"

/* --- constants and state ---------------------------------------------------------------------- */

/* Frames of the library's own that may come before those of the program, in any build. */
enum { OWN_FRAMES_MAX = 16 };

/* Threads share them; in each, one thread walks at a time. */
#define WALK_PARTS 8u
#define PART GI_MUTEX_INIT(GI_RANK_WALK)
static gi_mutex walks[WALK_PARTS] = {PART, PART, PART, PART, PART, PART, PART, PART};
_Static_assert(WALK_PARTS == 8, "each has an initialiser");
static gi_atomic(uint32_t) next_part; /* relaxed: any number does */
static __thread gi_mutex *my_part __attribute__((tls_model("initial-exec")));

gi_atomic(const gi_runtime_frames *) gi_stack_runtime;

/* --- capture ---------------------------------------------------------------------------------- */

/* ThreadSanitizer's: not NULL in programs that have it. */
void __tsan_init(void) __attribute__((weak));

static gi_mutex *part_of_thread(void) {
    if (gi_unlikely(my_part == NULL)) {
        /* ThreadSanitizer sees what libunwind tells the C library, and not by what libunwind orders it: one part. */
        uint32_t part = __tsan_init == NULL ? gi_fetch_add_relaxed(&next_part, 1) : 0; /* relaxed: as declared */
        my_part = &walks[part % WALK_PARTS];
    }
    return my_part;
}

/* Return addresses, innermost first.  libunwind's cache for each thread is the last thing to go when a thread ends, by
   a mutex of which ThreadSanitizer, whose thread has ended by then, must not hear: there it is stepped without a cache.
   */
static int return_addresses(const gi_late_unwind *unwind, void **addresses, int max) {
    if (gi_likely(__tsan_init == NULL)) {
        return unwind->backtrace(addresses, max);
    }
    unw_context_t context;
    unw_cursor_t cursor;
    unw_word_t address;
    int count = 0;
    if (gi_late_unwind_context(unwind, &context) == 0 && unwind->init_local(&cursor, &context) == 0) {
        while (count < max && unwind->step(&cursor) > 0 && unwind->get_reg(&cursor, UNW_REG_IP, &address) == 0) {
            addresses[count++] = (void *)(uintptr_t)address;
        }
    }
    return count;
}

static __attribute__((noinline)) uint32_t walk(const void *caller, gi_frame *frames, uint32_t max) {
    void *addresses[GI_SITE_FRAMES_MAX + OWN_FRAMES_MAX];
    int saved_errno = errno, found = 0;
    const gi_late_unwind *unwind = gi_late_get_unwind();
    if (gi_likely(unwind != NULL)) {
        gi_mutex *mutex = part_of_thread();
        gi_mutex_lock(mutex);
        found = return_addresses(unwind, addresses, (int)(max + OWN_FRAMES_MAX));
        gi_mutex_unlock(mutex);
    }
    errno = saved_errno;
    int first = 0;
    while (first < found && addresses[first] != caller) {
        first++;
    }
    if (found <= 0) { /* there is one frame at least */
        frames[0] = (uintptr_t)caller;
        return 1;
    }
    first = first < found ? first : 0; /* what called for the caller has returned: better too many frames */
    uint32_t count = 0;
    for (; first < found && count < max; first++) {
        frames[count++] = (uintptr_t)addresses[first];
    }
    return count;
}

static uint32_t say(const gi_runtime_frames *how, gi_frame *frames, uint32_t max, bool *failed) {
    gilloc_frame said[GI_SITE_FRAMES_MAX];
    int count = how->function(how->ctx, said, (int)max);
    for (int i = 0; i < count && i < (int)max; i++) {
        bool native = said[i].function == NULL && said[i].file == NULL;
        frames[i] = native ? (uintptr_t)said[i].address : gi_frame_intern(said[i].function, said[i].file, said[i].line);
        *failed = *failed || (!native && frames[i] == 0);
    }
    return count <= 0 ? 0 : count < (int)max ? (uint32_t)count : max;
}

uint32_t gi_stack_capture(const void *caller, gi_frame *frames, uint32_t max) {
    max = max < GI_SITE_FRAMES_MAX ? max : GI_SITE_FRAMES_MAX;
    /* order(runtime-frames): acquire; pairs with release in gi_stack_set_runtime(). */
    const gi_runtime_frames *how = gi_load_acquire(&gi_stack_runtime);
    if (gi_unlikely(how != NULL)) {
        bool failed = false;
        uint32_t count = say(how, frames, max, &failed);
        if (count != 0) {
            return failed ? 0 : count;
        }
    }
    if (max == 1) {
        frames[0] = (uintptr_t)caller;
        return 1;
    }
    return walk(caller, frames, max);
}

int gi_stack_prepare(uint32_t max) { return max > 1 && gi_late_get_unwind() == NULL ? errno : 0; }

void gi_stack_set_runtime(gilloc_frames_function function, void *ctx) {
    static const gi_runtime_frames *all; /* guarded by the first part of walks */
    gi_runtime_frames *made = function != NULL ? malloc(sizeof(*made)) : NULL;
    if (function != NULL && made == NULL) {
        gi_fatal("gilloc_trace_set_frames", "out of memory");
    }
    gi_mutex_lock(&walks[0]);
    if (made != NULL) {
        *made = (gi_runtime_frames){function, ctx, all};
        all = made;
    }
    /* order(runtime-frames): release; pairs with acquire in gi_stack_capture(). */
    gi_store_release(&gi_stack_runtime, made);
    gi_mutex_unlock(&walks[0]);
}

/* --- names ------------------------------------------------------------------------------------ */

bool gi_stack_symbol(const void *address, char *name, size_t size, uint64_t *offset) {
    unw_context_t context;
    unw_cursor_t cursor;
    unw_word_t within = 0;
    const gi_late_unwind *unwind = gi_late_get_unwind();
    if (unwind == NULL) {
        return false;
    }
    gi_mutex *mutex = part_of_thread();
    gi_mutex_lock(mutex);
    /* A return address may be that of the next function, after a call that does not return. */
    bool found = gi_late_unwind_context(unwind, &context) == 0 && unwind->init_local(&cursor, &context) == 0 &&
                 unwind->set_reg(&cursor, UNW_REG_IP, (unw_word_t)(uintptr_t)address - 1) == 0 &&
                 unwind->get_proc_name(&cursor, name, size, &within) == 0;
    gi_mutex_unlock(mutex);
    *offset = within + 1;
    return found;
}

/* --- lifecycle -------------------------------------------------------------------------------- */

void gi_stack_before_fork(void) {
    for (unsigned i = 0; i < WALK_PARTS; i++) {
        gi_mutex_lock_each(&walks[i]);
    }
}

void gi_stack_after_fork(void) {
    for (unsigned i = 0; i < WALK_PARTS; i++) {
        gi_mutex_unlock_each(&walks[i]);
    }
}

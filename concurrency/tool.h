/* SPDX-License-Identifier: MIT */
/*
 * tool.h [L0] - the tool that watches the process, and what it must be told to see what the library does.
 *
 *   A program that is built with AddressSanitizer or ThreadSanitizer brings their functions with it, which are weak
 *   names here, so the library that is installed finds them when it runs.  Valgrind is asked by its requests,
 *   instructions without effect elsewhere, if its headers were there when the library was built.
 *
 *   what the library says      AddressSanitizer    Valgrind's memcheck     ThreadSanitizer
 *     hide: nobody's memory      poisoned            no access               -
 *     own: the allocator's       not poisoned        defined                 -
 *     alloc: the program's       not poisoned        a block, undefined      -
 *     free: no longer            poisoned            a freed block           written by this thread
 *     roots: may hold pointers   looked at           (looks at all)          -
 *     release, acquire           -                   -                       the one happens before the other
 *     enter, leave               -                   -                       who called
 *     lock_*                     -                   (helgrind) a mutex      a mutex
 *
 *   Owner   gi_tool_now is constant once the library is ready; before, no tool is told of anything.
 *   Locks   none.  In a library that is itself built with ThreadSanitizer, which sees all by itself, it is not told.
 */
#ifndef GI_TOOL_H
#define GI_TOOL_H

#include <stdbool.h>
#include <stddef.h>

#include "concurrency/check.h"

typedef enum {
    GI_TOOL_NONE,
    GI_TOOL_ASAN,
    GI_TOOL_TSAN,
    GI_TOOL_MEMCHECK,
    GI_TOOL_HELGRIND /* of blocks it is told nothing */
} gi_tool;

extern gi_tool gi_tool_now GI_INTERNAL;

/* The tool under which the process runs. */
gi_tool gi_tool_find(void);

/* Whether it is to be told of blocks. */
static inline bool gi_tool_sees_blocks(void) {
    return gi_unlikely(gi_tool_now != GI_TOOL_NONE && gi_tool_now != GI_TOOL_HELGRIND);
}
/* Whether it is to be told of locks. */
static inline bool gi_tool_sees_locks(void) {
    return gi_unlikely(gi_tool_now == GI_TOOL_TSAN || gi_tool_now == GI_TOOL_HELGRIND);
}

/* Memory that nobody may touch; that the allocator uses itself. */
void gi_tool_hide(const void *memory, size_t size);
void gi_tool_own(const void *memory, size_t size);
/* A block becomes the program's, as long as it was asked for; and is no longer.  The first `kept` bytes of a freed one
   may still be read and written. */
void gi_tool_alloc(const void *block, size_t size);
void gi_tool_free(const void *block, size_t size, size_t kept);
/* The range may hold pointers to blocks of malloc(), from now on or no longer. */
void gi_tool_roots(const void *memory, size_t size, bool are);
/* The same for ever, and also while no blocks are told of: blocks of the system's allocator hang on it alone. */
void gi_tool_root_for_ever(const void *memory, size_t size);
/* What was done before the release of a tag is done before what follows an acquire of it. */
void gi_tool_release(const void *tag);
void gi_tool_acquire(const void *tag);

/* Who called the library, for what the tool is told until gi_tool_leave(): it sees no calls by code that is not built
   with it. */
void gi_tool_enter(const void *caller);
void gi_tool_leave(void);

/* A lock of the library that is no pthread_mutex_t: before and after it is taken and dropped.  `try`: it was not waited
   for. */
void gi_tool_lock_begin(void *lock, bool try);
void gi_tool_lock_end(void *lock, bool try);
void gi_tool_unlock_begin(void *lock);
void gi_tool_unlock_end(void *lock);

#endif /* GI_TOOL_H */

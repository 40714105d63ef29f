/* SPDX-License-Identifier: MIT */
/*
 * sqlite.c [L7] - SQLite's allocator.  Contract: gilloc/sqlite.h.
 *
 *   SQLite allocates while it holds mutexes of its own, in threads of which gilloc may never have heard.  A thread that
 *   attached here would wait for the lock, or for a stopped world, while an attached thread may wait for its mutex: for
 *   ever.  So nothing is waited for:
 *
 *     allocate   by a thread that is attached to the main interpreter: mem domain; by any other: raw domain
 *     free       mem's block by such a thread: at once; by any other: into a list, which the next call of such a thread
 *                frees.  So what waits is at most what was alive at the last call of such a thread.
 *     resize     the same; mem's block by any other thread moves to the raw domain
 *
 *   A block has a word before it: how many bytes may be used, and from where it is.  They are a multiple of 16, and 8.
 *   Owner   none.  No locks.
 *   Orders  remote-free: what its last user did to a block in the list is seen by whoever frees it.  The list is never
 *           closed, so any thread may take it: each link goes to one.
 */
#include <gilloc/gilloc.h>
#include <gilloc/sqlite.h>
#include <limits.h>
#include <string.h>

#include "concurrency/remote_list.h"
#include "lib/api/runtime.h"
#include "lib/arena/size_class.h"

typedef struct header {
    uint64_t word; /* bytes that may be used, a multiple of 8, and FROM_MEM */
} header;

#define FROM_MEM 1u

/* Blocks of mem that other threads have freed, linked through the bytes that could be used. */
static gi_remote_list waiting;

/* --- blocks ----------------------------------------------------------------------------------- */

static inline header *header_of(void *block) { return (header *)block - 1; }
static inline size_t usable(const header *head) { return head->word & ~(uint64_t)(sizeof(header) - 1); }
static inline bool is_from_mem(const header *head) { return (head->word & FROM_MEM) != 0; }
/* What is asked of a domain: `size`, the header, and what is lost to alignment. */
static inline size_t whole(size_t size) {
    return (size + sizeof(header) + GI_ALIGNMENT - 1) & ~(size_t)(GI_ALIGNMENT - 1);
}

static inline void *finish(void *base, size_t bytes, unsigned from) {
    header *head = base;
    if (gi_unlikely(head == NULL)) {
        return NULL;
    }
    head->word = (bytes - sizeof(header)) | from;
    return head + 1;
}

/* --- who calls -------------------------------------------------------------------------------- */

static __attribute__((noinline)) void free_waiting(void) {
    gi_link *link = gi_remote_list_take_all(&waiting);
    while (link != NULL) {
        gi_link *next = gi_link_next(link);
        PyMem_Free(header_of(link));
        link = next;
    }
}

/* Whether this thread may use the mem domain, whose blocks are all the main interpreter's: then it frees what waits.
   With a runtime's own lock it holds that, and has used gilloc before, so that nothing attaches here. */
static inline bool enter(void) {
    PyThreadState *state = gi_runtime_current();
    if (state == NULL || state->interpreter != &gi_main_interpreter ||
        (gi_runtime_has_outer_lock() && !gi_runtime_outer_held())) {
        return false;
    }
    if (gi_unlikely(gi_remote_list_any(&waiting))) {
        free_waiting();
    }
    return true;
}

/* --- methods ---------------------------------------------------------------------------------- */

void *gilloc_sqlite_malloc(int size) {
    size_t bytes = whole((size_t)size);
    return enter() ? finish(PyMem_Malloc(bytes), bytes, FROM_MEM) : finish(PyMem_RawMalloc(bytes), bytes, 0);
}

void gilloc_sqlite_free(void *block) {
    header *head = header_of(block);
    bool attached = enter();
    if (!is_from_mem(head)) {
        PyMem_RawFree(head);
    } else if (attached) {
        PyMem_Free(head);
    } else {
        gi_link *link = block;
        (void)gi_remote_list_push(&waiting, link, link, 1);
    }
}

void *gilloc_sqlite_realloc(void *block, int size) {
    header *head = header_of(block);
    size_t bytes = whole((size_t)size), before = usable(head);
    bool attached = enter();
    if (!is_from_mem(head)) {
        return finish(PyMem_RawRealloc(head, bytes), bytes, 0);
    }
    if (attached) {
        return finish(PyMem_Realloc(head, bytes), bytes, FROM_MEM);
    }
    void *moved = gilloc_sqlite_malloc(size);
    if (moved != NULL) {
        memcpy(moved, block, before < (size_t)size ? before : (size_t)size);
        gilloc_sqlite_free(block);
    }
    return moved;
}

int gilloc_sqlite_size(void *block) { return block != NULL ? (int)usable(header_of(block)) : 0; }

int gilloc_sqlite_roundup(int size) {
    return size <= INT_MAX - 2 * GI_ALIGNMENT ? (int)(whole((size_t)size) - sizeof(header)) : size;
}

int gilloc_sqlite_init(void *unused) {
    (void)unused;
    return 0;
}

void gilloc_sqlite_shutdown(void *unused) {
    (void)unused;
    (void)enter();
}

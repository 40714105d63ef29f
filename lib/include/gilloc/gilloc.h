/* SPDX-License-Identifier: MIT */
/*
 * gilloc/gilloc.h - all of gilloc: memory, threads, and what CPython lacks.
 *
 * Environment, read once at the first call that needs it:
 *   PYTHON_GIL=0       start in GIL-free mode (1: gil mode, the default); any
 *                      other value: a line on stderr and exit status 1.
 *   GILLOC_RESERVE=N   bytes of address space to reserve for arenas (default
 *                      68719476736; 0: none, arenas are mapped one by one); no
 *                      memory is used by it.  A refused reservation is halved
 *                      until it fits.
 */
#ifndef GILLOC_GILLOC_H
#define GILLOC_GILLOC_H

#include <gilloc/pymem.h>
#include <gilloc/pystate.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- two modes ---------------------------------------------------------------- */

typedef enum {
    GILLOC_MODE_GIL = 0, /* one thread at a time is attached */
    GILLOC_MODE_FREE = 1 /* any number of threads is attached */
} gilloc_mode;

/* The mode.  Any thread. */
GILLOC_API gilloc_mode gilloc_get_mode(void);
/* Sets the mode, before the first thread state is made.  0, or -1 with errno
   EINVAL (no such mode) or EBUSY (a thread state has been made, or GIL-free
   mode is asked for while a lock of the caller's is set). */
GILLOC_API int gilloc_set_mode(gilloc_mode mode);

/* To be called often by an attached thread, wherever it holds nothing half done:
   gives up the lock if a waiter has asked for it and takes it again, is a
   quiescent state, and hands over remote frees that have waited.  Detached: a
   fatal error. */
GILLOC_API void gilloc_safepoint(void);

/* How long a waiter lets the holder run before it asks for the lock, in
   microseconds; default 5000 (CPython's sys.setswitchinterval()), 0 acts as 1.
   Any thread; waits under way keep the old value. */
GILLOC_API void gilloc_set_switch_interval(unsigned long microseconds);

/* A runtime's own global lock, for gilloc to use in place of its own. */
typedef struct {
    void *ctx;
    void (*acquire)(void *ctx); /* waits until this thread holds it */
    void (*release)(void *ctx);
    int (*held)(void *ctx); /* non-zero if this thread holds it */
} gilloc_lock;

/* Makes `*lock` (copied; NULL: gilloc's own again) the lock, before the first
   thread state is made and before other threads use gilloc.  The runtime goes on taking and dropping it by itself:
   a thread that calls a mem or object function while `held` says yes attaches
   by itself at its first call and detaches when it ends.  Each call that goes to
   the pools asks `held` again; one that is served from the thread's own cache
   does not, and harms nothing but the rule.  0, or -1 with errno EBUSY (too late, or
   the mode is GIL-free) or EINVAL (a function is NULL). */
GILLOC_API int gilloc_set_lock(const gilloc_lock *lock);

/* --- memory --------------------------------------------------------------------- */

/* Bytes that may be used in `block` of `domain`, at least those requested; 0 for
   NULL.  Mem and object: the caller must be attached.  If the domain's allocator
   has been replaced, or that of the raw domain for a large block, gilloc cannot know: 0. */
GILLOC_API size_t gilloc_usable_size(PyMemAllocatorDomain domain, const void *block);

/* Frees `block` of `domain`, which was requested, or resized last, with `size`
   bytes.  As the domain's free function; a size that the block cannot have been
   requested with is a fatal error.  Hooks see a plain free. */
GILLOC_API void gilloc_free_sized(PyMemAllocatorDomain domain, void *block, size_t size);

/* Blocks that are allocated by mem and object functions now, large ones included
   (sys.getallocatedblocks()).  Exact while no other thread is attached; else it
   may count free blocks that other threads hold in their caches.  Any thread. */
GILLOC_API size_t gilloc_allocated_blocks(void);

/* Gives all free memory that it can reach back to the system: this thread's
   cache, those of detached threads (in gil mode if the caller is attached or the
   lock is free), empty pools, empty arenas.  Bytes given back. */
GILLOC_API size_t gilloc_purge(void);

/* What gilloc has done so far.  Set `size` to sizeof(gilloc_stats) before the
   call; later versions append fields and fill only what fits. */
typedef struct {
    size_t size; /* in: sizeof(gilloc_stats); out: bytes filled */
    /* small blocks */
    uint64_t small_blocks; /* alive, as gilloc_allocated_blocks() says it */
    uint64_t large_blocks; /* alive, from the raw domain: above 512 bytes, or no arena */
    /* arenas and pools */
    uint64_t arenas;            /* now */
    uint64_t arenas_high;       /* most at one time */
    uint64_t arenas_acquired;   /* ever */
    uint64_t arenas_released;   /* ever */
    uint64_t pools;             /* in use now */
    uint64_t pools_free;        /* free in arenas now */
    uint64_t pools_orphaned;    /* handed to the shared heap by ended threads, ever */
    uint64_t pools_adopted;     /* taken from it in GIL-free mode, ever */
    uint64_t bytes_from_system; /* committed for arenas, ever */
    uint64_t bytes_to_system;   /* given back, ever */
    /* remote frees (GIL-free mode) */
    uint64_t remote_frees;   /* blocks handed to another thread's heap, ever */
    uint64_t remote_batches; /* atomic operations that took */
    /* threads and the lock */
    uint64_t thread_states;      /* now */
    uint64_t thread_states_ever; /* made, ever */
    uint64_t lock_takes;         /* acquisitions, ever */
    uint64_t lock_waits;         /* of which had to wait */
    uint64_t lock_handoffs;      /* given directly to a waiter */
    uint64_t lock_drop_requests; /* waiters that asked the holder to drop it */
} gilloc_stats;

/* Fills `*out`.  Any thread, never waits for a running thread. */
GILLOC_API void gilloc_get_stats(gilloc_stats *out);

/* Walks arenas, pools, heaps, caches and threads from the roots.  0, or -1 with
   each broken invariant on stderr.  Call it while no other thread is attached. */
GILLOC_API int gilloc_check(void);

#ifdef __cplusplus
}
#endif

#endif /* GILLOC_GILLOC_H */

/* SPDX-License-Identifier: MIT */
/*
 * gilloc/gilloc.h - all of gilloc: memory, threads, and what CPython lacks.
 *
 * Environment: gilloc_print_options(), docs/api.md.  Read once, at the first call
 * that needs it, or as the library is loaded if a variable concerns the raw domain;
 * a value that cannot be is a line on stderr and exit status 1.
 */
#ifndef GILLOC_GILLOC_H
#define GILLOC_GILLOC_H

#include <gilloc/pymem.h>
#include <gilloc/pystate.h>
#include <gilloc/trace.h>
#include <stdio.h>

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
/* Sets the mode: by an attached thread at any time, or by any thread before the
   first thread state is made.  While threads run it stops the world (so it is a
   safepoint of the caller), switches, and goes on; every block stays valid.  0, or
   -1 with errno EINVAL (no such mode) or EBUSY (the thread is detached and thread
   states have been made, or GIL-free mode is asked for while a lock of the
   caller's is set). */
GILLOC_API int gilloc_set_mode(gilloc_mode mode);

/* To be called often by an attached thread, wherever it holds nothing half done
   and no pointer that others may retire: gives up the lock if a waiter has asked
   for it and takes it again; is a quiescent state; parks while another thread has
   stopped the world; hands over remote frees that have waited; and, if what this
   thread has retired exceeds the limit, waits for a grace period and frees it.
   Detached: a fatal error. */
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
   the pools or is for a large block asks `held` again; one that is served from the
   thread's own cache, a resizing too, does not, and harms nothing but the rule.
   0, or -1 with errno EBUSY (too late, or the mode is GIL-free) or EINVAL (a
   function is NULL). */
GILLOC_API int gilloc_set_lock(const gilloc_lock *lock);

/* --- deferred frees ------------------------------------------------------------- */

/* Frees `p` of `domain` once every thread has passed a safepoint or been detached
   (CPython's _PyMem_FreeDelayed(), with no limit on who reads).  Until then no
   byte of the block is written by gilloc and none is handed out, so that threads
   that read without a lock may finish; in gil mode those of this interpreter alone,
   of which one is attached, and to drop a lock of the caller's is as to be detached.
   The caller must be attached; others must not be able to find `p` any more.  NULL does nothing.
   Never waits and never fails: what waits is bounded by the limit at the next
   safepoint or detach.  If memory for the list is refused and some 2,000 blocks
   have been retired since the last safepoint, further blocks stay allocated for
   ever (gilloc_stats.retired_lost).  A hook of the domain sees a plain free, later:
   at a safepoint or detach, or as a thread state is deleted, when it must not detach
   nor pass a safepoint. */
GILLOC_API void gilloc_retire(PyMemAllocatorDomain domain, void *p);

/* Waits for a grace period and frees all that this thread retired before the call,
   and what ended threads of its interpreter left.  Pools of type-stable kinds that
   this empties wait for the next grace period (gilloc_stats.retired_bytes).  A
   quiescent state of the caller, who must be attached. */
GILLOC_API void gilloc_reclaim(void);

/* How many bytes of retired blocks may wait in each thread; default 1048576.  One
   block more makes its thread wait for a grace period at its next safepoint or
   detach.  0: at each of them.  A block whose size cannot be known (its domain's
   allocator has been replaced) counts as 65536 bytes.  Any thread. */
GILLOC_API void gilloc_set_retire_limit(size_t bytes);

/* --- the stopped world ---------------------------------------------------------- */

/* Waits until no other thread is attached: each parks at its next safepoint, or
   stays detached, or is kept from attaching, until gilloc_start_the_world().  A
   safepoint of the caller.  Any thread, attached or not, but with a lock of the
   caller's only one that holds it; stops nest, and those of several threads go one
   after the other.  While the world is stopped its stopper must not detach, attach
   or end; the raw domain works in every thread. */
GILLOC_API void gilloc_stop_the_world(void);
/* Undoes one gilloc_stop_the_world(), by the same thread; the last one lets all
   threads go on. */
GILLOC_API void gilloc_start_the_world(void);

/* How long a stop waits, in microseconds, before it says on stderr for each thread
   that is late: its number and name, and where it last passed a safepoint or
   attached; then it waits on.  0, the default: never.  Any thread. */
GILLOC_API void gilloc_set_stop_deadline(unsigned long microseconds);

/* Called for each block; non-zero ends the walk. */
typedef int (*gilloc_visitor)(void *block, size_t block_size, void *arg);

/* Visits every live small block of `domain`: of all threads of all interpreters, of
   ended ones too, each exactly once, `block_size` being what may be used.  Large
   blocks (above 512 bytes) are not visited, nor are retired ones, but for those that
   are lost and those that a hook retires as others are freed for the walk.  0, or what the
   visitor returned to end the walk.  Stops the world for it (nested, if the caller
   has), and is a safepoint of the caller.  The visitor may read and write the blocks;
   it must not allocate, free or retire in mem, object or a kind, nor detach.  A
   fatal error for the raw domain. */
GILLOC_API int gilloc_visit_blocks(PyMemAllocatorDomain domain, gilloc_visitor visit, void *arg);

/* --- kinds ------------------------------------------------------------------------ */

/* Heaps of a runtime's own, kept apart by kind (CPython's free-threaded build has
   four heaps a thread, for the same reason): blocks of two kinds are never in one
   pool, so that each can be walked by itself. */

enum { GILLOC_KINDS_MAX = 12 }; /* how many can be made */

/* A pool of the kind that has become empty is not used for another size or kind,
   nor given back, until a grace period has passed: threads that read without a lock
   may look at freed blocks until their next safepoint, and find blocks of the same
   size class there (CPython's page_use_qsbr). */
#define GILLOC_KIND_TYPE_STABLE 1u

/* Makes a kind, for ever, and returns its domain, for the functions below and all
   others of this header that take one.  `name` (copied; at most 31 bytes) stands in
   messages.  `untouched`: how many bytes at the start of a freed block gilloc leaves
   as they were, at most 504; the smallest block of the kind is 8 bytes larger.
   -1 with errno EINVAL (a flag, a name or a number that cannot be) or ENOSPC
   (GILLOC_KINDS_MAX have been made).  Any thread, no lock needed. */
GILLOC_API int gilloc_new_kind(const char *name, unsigned flags, size_t untouched);

/* As PyMem_Malloc() and its family, in any domain.  Kinds follow the rules of mem and
   object: the caller must be attached, above 512 bytes comes from the raw domain.
   They have no hooks: PyMem_SetAllocator() does not know them. */
GILLOC_API void *gilloc_malloc(PyMemAllocatorDomain domain, size_t size);
GILLOC_API void *gilloc_calloc(PyMemAllocatorDomain domain, size_t count, size_t size);
GILLOC_API void *gilloc_realloc(PyMemAllocatorDomain domain, void *block, size_t size);
GILLOC_API void gilloc_free(PyMemAllocatorDomain domain, void *block);

/* --- memory --------------------------------------------------------------------- */

/* Bytes that may be used in `block` of `domain`, at least those requested; 0 for
   NULL.  Mem and object: the caller must be attached.  With PYTHONMALLOC=malloc, what
   the system says of its block.  If the domain's allocator has been replaced, or that
   of the raw domain for a large block, gilloc cannot know: 0. */
GILLOC_API size_t gilloc_usable_size(PyMemAllocatorDomain domain, const void *block);

/* Frees `block` of `domain`, which was requested, or resized last, with `size`
   bytes.  As the domain's free function; a size that the block cannot have been
   requested with is a fatal error.  Hooks see a plain free. */
GILLOC_API void gilloc_free_sized(PyMemAllocatorDomain domain, void *block, size_t size);

/* Blocks that are allocated by mem and object functions now, large ones included
   (sys.getallocatedblocks()).  Exact while no other thread is attached, nor has
   stopped the world; else it may count free blocks that other threads hold in
   their caches.  Any thread. */
GILLOC_API size_t gilloc_allocated_blocks(void);

/* Gives all free memory that it can reach back to the system: this thread's
   cache, those of detached threads (in gil mode if the caller is attached or the
   lock is free; not while another thread has stopped the world), empty pools,
   empty arenas.  Bytes given back. */
GILLOC_API size_t gilloc_purge(void);

/* Writes every variable of the environment that gilloc reads to `f`: its name and what it
   is set to, what it may be, what it does.  For the --help of programs that embed
   gilloc.  0, or -1 if `f` cannot be written.  Any thread. */
GILLOC_API int gilloc_print_options(FILE *f);

/* Waits for the lock by their length: `lock_wait_histogram[i]` has those of 2^i to
   2^(i+1) - 1 nanoseconds, the first those below too, the last those above. */
enum { GILLOC_WAIT_BUCKETS = 40 };

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
    /* deferred frees */
    uint64_t retired_blocks; /* ever */
    uint64_t retired_bytes;  /* of which wait to be freed now, pools in limbo included */
    uint64_t retired_lost;   /* blocks that stay allocated, since no memory was left for the list */
    uint64_t grace_periods;  /* waited for, ever */
    /* the stopped world */
    uint64_t world_stops; /* ever */
    /* more of blocks, pools and arenas */
    uint64_t cached_blocks; /* free, in stashes and in the caches that can be looked at (gilloc_allocated_blocks()) */
    uint64_t cached_bytes;  /* of these */
    uint64_t quarantined_blocks; /* freed, and kept from use by debug hooks */
    uint64_t pools_dirty;        /* free pools that hold memory, now */
    uint64_t arena_bytes;        /* address space of the arenas held now */
    /* more of threads and the lock; with several interpreters the sum or the most of all their locks */
    uint64_t threads_attached; /* now */
    uint64_t lock_holder;      /* the kernel's number of the thread that holds the main interpreter's lock; 0: nobody */
    uint64_t lock_waiting;     /* threads that wait for it now */
    uint64_t lock_wait_ns;     /* all waits that have ended, together */
    uint64_t lock_wait_max_ns; /* the longest */
    uint64_t lock_hold_max_ns; /* the longest hold that ended while somebody waited, as far as it is known */
    uint64_t lock_wait_histogram[GILLOC_WAIT_BUCKETS]; /* waits that have ended */
} gilloc_stats;

/* Fills `*out`.  Any thread, never waits for a running thread. */
GILLOC_API void gilloc_get_stats(gilloc_stats *out);

/* Small blocks of one domain and one size.  blocks_in_use + blocks_cached + blocks_free
   is what the pools have room for; exact when gilloc_allocated_blocks() is. */
typedef struct {
    size_t size;                 /* bytes of this struct in the library, which may be newer */
    PyMemAllocatorDomain domain; /* mem, object or a kind */
    const char *name;            /* "mem", "object", or the kind's */
    uint64_t block_size;
    uint64_t pools;
    uint64_t blocks_in_use; /* those that wait to be freed, and those in quarantine, included */
    uint64_t blocks_cached; /* as gilloc_stats.cached_blocks */
    uint64_t blocks_free;   /* in pools, those that have never been used included */
} gilloc_class_stats;

/* Called for each; non-zero ends the visit. */
typedef int (*gilloc_class_visitor)(const gilloc_class_stats *stats, void *arg);

/* Visits each domain and block size that has pools now, in this order, the smallest
   first.  0, or what the visitor returned.  Any thread, never waits for a running
   thread; the visitor may do what its caller may. */
GILLOC_API int gilloc_visit_classes(gilloc_class_visitor visit, void *arg);

typedef enum {
    GILLOC_THREAD_DETACHED = 0,
    GILLOC_THREAD_ATTACHED = 1,
    GILLOC_THREAD_PARKED = 2 /* at a safepoint: waits for the lock or for the world */
} gilloc_thread_status;

/* One thread state.  What has happened "ever" includes those that were deleted before and
   whose memory the state has. */
typedef struct {
    size_t size; /* bytes of this struct in the library, which may be newer */
    PyThreadState *state;
    uint64_t number;      /* 1, 2, ... in order of birth in its interpreter */
    uint64_t interpreter; /* 0: the main one; 1, 2, ... in order of birth */
    gilloc_thread_status status;
    int thread;               /* the kernel's number of the thread that attached last; 0: none has */
    int cache_known;          /* whether its cache could be looked at: it is the caller's, or detached and not in use */
    uint64_t cached_blocks;   /* free blocks in its cache; 0 if that is not known, as the next two */
    uint64_t cached_bytes;    /* of these */
    uint64_t remote_pending;  /* of these, freed for other threads and not handed over yet */
    uint64_t remote_waiting;  /* blocks that others have freed for it, and it has not taken in; about */
    uint64_t pools;           /* of its own heap (GIL-free mode) */
    uint64_t pool_blocks;     /* out of these pools: in use, or in whatever cache */
    uint64_t large_allocated; /* blocks from the raw domain, ever */
    uint64_t large_freed;     /* ever, by this thread: others may have allocated them */
    uint64_t remote_frees;    /* blocks handed to another thread's heap, ever */
    uint64_t remote_batches;  /* atomic operations that took */
    uint64_t retired_blocks;  /* ever */
    uint64_t retired_bytes;   /* wait to be freed now */
    uint64_t retired_lost;    /* stay allocated */
    uint64_t grace_periods;   /* waited for, ever */
} gilloc_thread_stats;

/* Called for each; non-zero ends the visit. */
typedef int (*gilloc_thread_visitor)(const gilloc_thread_stats *stats, void *arg);

/* Visits each thread state there is, of each interpreter the newest first.  0, or what
   the visitor returned.  Any thread, never waits for a running thread; the visitor may
   do what its caller may. */
GILLOC_API int gilloc_visit_threads(gilloc_thread_visitor visit, void *arg);

/* Writes all these figures to `file` by one write, as "text" (CPython's
   sys._debugmallocstats(), then sections of gilloc's own) or as "json".  0, or -1 with
   errno: EINVAL (another format), ENOMEM, ELIBACC (JSON is written by libjansson.so.4,
   which cannot be loaded; why is told on stderr), or what writing says.  Any thread,
   never waits for a running thread, but the first JSON for the loader's lock. */
GILLOC_API int gilloc_print_stats(FILE *file, const char *format);

/* Walks arenas, pools, heaps, caches and threads from the roots.  0, or -1 with
   each broken invariant on stderr.  Call it while no other thread is attached, or in
   a stopped world: it stops the world itself, and so is a safepoint of the caller,
   but with a lock of the caller's that the thread does not hold. */
GILLOC_API int gilloc_check(void);

#ifdef __cplusplus
}
#endif

#endif /* GILLOC_GILLOC_H */

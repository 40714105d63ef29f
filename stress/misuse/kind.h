/* SPDX-License-Identifier: MIT */
/*
 * kind.h - the kinds of misuse: what is done, with which blocks, and what a contender
 * must have for it.
 *   Owner   constant.  Locks: none.
 */
#ifndef STRESS_MISUSE_KIND_H
#define STRESS_MISUSE_KIND_H

#include <stddef.h>

/* What a contender has: bits. */
enum {
    HAS_DOMAINS = 1,      /* CPython's interface: domains, thread states, hooks, an arena allocator */
    HAS_OWN_HEAP = 2,     /* blocks that are not the C library's */
    HAS_PURGE = 4,        /* a call that gives free memory back to the system */
    HAS_SIZED = 8,        /* a free that is told the size */
    HAS_USABLE_SIZE = 16, /* a call that tells it */
    HAS_DESCRIPTOR = 32,  /* memory that describes small blocks, apart from them, and that this program can find */
    IS_OURS = 64,         /* what gilloc alone has */
};

/* Which cases a kind has: one for each domain and size that it is about. */
enum axes {
    ONCE,          /* one case */
    DOMAINS_ONLY,  /* mem, object, raw */
    PRIVATE_ONLY,  /* mem, object */
    BLOCKS,        /* mem, object, raw; a small block and a large one in each */
    PRIVATE_BLOCKS /* mem, object; a small block and a large one in each */
};

/* K(identifier, name, group, axes, what the contender must have, environment or NULL, text) */
#define KINDS(K)                                                                                                       \
    K(double_free, "double-free", "double free", BLOCKS, 0, NULL, "a block is freed twice in a row")                   \
    K(double_free_between, "double-free-between", "double free", BLOCKS, 0, NULL, "another is freed between the two")  \
    K(double_free_late, "double-free-late", "double free", BLOCKS, 0, NULL, "300 others are freed between the two")    \
    K(double_free_reused, "double-free-reused", "double free", BLOCKS, 0, NULL,                                        \
      "200 blocks are allocated between the two")                                                                      \
    K(double_free_thread, "double-free-thread", "double free", BLOCKS, 0, NULL, "here, then in another thread")        \
    K(double_free_remote, "double-free-remote", "double free", BLOCKS, 0, NULL, "in another thread, then here")        \
    K(double_free_orphan, "double-free-orphan", "double free", BLOCKS, 0, NULL,                                        \
      "a block of a thread that has ended is freed twice")                                                             \
    K(double_free_realloc, "double-free-realloc", "double free", BLOCKS, 0, NULL,                                      \
      "the old block is freed after realloc has moved it")                                                             \
    K(double_free_purge, "double-free-purge", "double free", BLOCKS, HAS_PURGE, NULL,                                  \
      "free memory is given back between the two")                                                                     \
    K(free_interior, "free-interior", "invalid free", BLOCKS, 0, NULL, "16 bytes into a live block")                   \
    K(free_unaligned, "free-unaligned", "invalid free", BLOCKS, 0, NULL, "1 byte into a live block")                   \
    K(free_before, "free-before", "invalid free", BLOCKS, 0, NULL, "16 bytes before a live block")                     \
    K(free_unused, "free-unused", "invalid free", BLOCKS, 0, NULL,                                                     \
      "where blocks of its like will be, but none has been yet")                                                       \
    K(free_stack, "free-stack", "invalid free", DOMAINS_ONLY, 0, NULL, "an array on the stack")                        \
    K(free_static, "free-static", "invalid free", DOMAINS_ONLY, 0, NULL, "a static array")                             \
    K(free_code, "free-code", "invalid free", DOMAINS_ONLY, 0, NULL, "a function")                                     \
    K(free_mapped, "free-mapped", "invalid free", DOMAINS_ONLY, 0, NULL, "the program's own mmap()")                   \
    K(free_unmapped, "free-unmapped", "invalid free", DOMAINS_ONLY, 0, NULL, "a page that is not mapped any more")     \
    K(free_past, "free-past", "invalid free", BLOCKS, 0, NULL, "32 MiB above a block: past its arena")                 \
    K(free_small_number, "free-small-number", "invalid free", DOMAINS_ONLY, 0, NULL, "the number 16")                  \
    K(free_filler, "free-filler", "invalid free", DOMAINS_ONLY, 0, NULL, "bytes of 0xdd, as in freed memory")          \
    K(free_foreign, "free-foreign", "invalid free", PRIVATE_BLOCKS, HAS_OWN_HEAP, NULL, "a block of the C library")    \
    K(free_other_domain, "free-other-domain", "invalid free", BLOCKS, HAS_DOMAINS, NULL,                               \
      "a block of another domain: object for mem, mem for object and raw")                                             \
    K(free_other_interpreter, "free-other-interpreter", "invalid free", PRIVATE_BLOCKS, IS_OURS, NULL,                 \
      "a block of another interpreter")                                                                                \
    K(realloc_freed, "realloc-freed", "invalid realloc", BLOCKS, 0, NULL, "a freed block")                             \
    K(realloc_interior, "realloc-interior", "invalid realloc", BLOCKS, 0, NULL, "16 bytes into a live block")          \
    K(realloc_unaligned, "realloc-unaligned", "invalid realloc", BLOCKS, 0, NULL, "1 byte into a live block")          \
    K(realloc_stack, "realloc-stack", "invalid realloc", DOMAINS_ONLY, 0, NULL, "an array on the stack")               \
    K(realloc_unmapped, "realloc-unmapped", "invalid realloc", DOMAINS_ONLY, 0, NULL,                                  \
      "a page that is not mapped any more")                                                                            \
    K(realloc_foreign, "realloc-foreign", "invalid realloc", PRIVATE_BLOCKS, HAS_OWN_HEAP, NULL,                       \
      "a block of the C library")                                                                                      \
    K(realloc_other_domain, "realloc-other-domain", "invalid realloc", BLOCKS, HAS_DOMAINS, NULL,                      \
      "a block of another domain")                                                                                     \
    K(sized_too_large, "sized-too-large", "wrong size", BLOCKS, HAS_SIZED, NULL, "freed as twice its size")            \
    K(sized_too_small, "sized-too-small", "wrong size", BLOCKS, HAS_SIZED, NULL, "freed as a quarter of its size")     \
    K(usable_size_freed, "usable-size-freed", "wrong size", BLOCKS, HAS_USABLE_SIZE, NULL,                             \
      "the usable size of a freed block is asked")                                                                     \
    K(free_null, "free-null", "legal, but odd", DOMAINS_ONLY, 0, NULL, "NULL is freed: does nothing")                  \
    K(malloc_huge, "malloc-huge", "legal, but odd", DOMAINS_ONLY, 0, NULL, "PY_SSIZE_T_MAX bytes: NULL")               \
    K(malloc_negative, "malloc-negative", "legal, but odd", DOMAINS_ONLY, 0, NULL, "(size_t)-1 bytes: NULL")           \
    K(calloc_overflow, "calloc-overflow", "legal, but odd", DOMAINS_ONLY, 0, NULL,                                     \
      "a product that wraps to a small number: NULL")                                                                  \
    K(realloc_huge, "realloc-huge", "legal, but odd", BLOCKS, 0, NULL, "to PY_SSIZE_T_MAX bytes: NULL, block kept")    \
    K(overrun_slack, "overrun-slack", "overrun", BLOCKS, 0, NULL, "by 1 byte, within what rounding has left")          \
    K(overrun_1, "overrun-1", "overrun", BLOCKS, 0, NULL, "by 1 byte, of a size that leaves nothing")                  \
    K(overrun_8, "overrun-8", "overrun", BLOCKS, 0, NULL, "by 8 bytes")                                                \
    K(overrun_16, "overrun-16", "overrun", BLOCKS, 0, NULL, "by 16 bytes")                                             \
    K(overrun_next, "overrun-next", "overrun", BLOCKS, 0, NULL, "over all of the next block")                          \
    K(overrun_free, "overrun-free", "overrun", BLOCKS, 0, NULL, "into the next block, which is free")                  \
    K(overrun_far, "overrun-far", "overrun", BLOCKS, 0, NULL, "by 20,000 bytes, over whatever is there")               \
    K(underrun_1, "underrun-1", "underrun", BLOCKS, 0, NULL, "by 1 byte")                                              \
    K(underrun_8, "underrun-8", "underrun", BLOCKS, 0, NULL, "by 8 bytes")                                             \
    K(underrun_16, "underrun-16", "underrun", BLOCKS, 0, NULL, "by 16 bytes")                                          \
    K(underrun_previous, "underrun-previous", "underrun", BLOCKS, 0, NULL, "over all of the block before")             \
    K(underrun_far, "underrun-far", "underrun", BLOCKS, 0, NULL, "by 20,000 bytes, over whatever is there")            \
    K(write_freed, "write-freed", "use after free", BLOCKS, 0, NULL, "8 bytes at the start, at once")                  \
    K(write_freed_inside, "write-freed-inside", "use after free", BLOCKS, 0, NULL, "8 bytes, 24 from the start")       \
    K(write_freed_late, "write-freed-late", "use after free", BLOCKS, 0, NULL, "all bytes, 300 frees later")           \
    K(write_freed_reused, "write-freed-reused", "use after free", BLOCKS, 0, NULL, "after 200 allocations")            \
    K(write_moved, "write-moved", "use after free", BLOCKS, 0, NULL, "to the old block after realloc has moved it")    \
    K(write_purged, "write-purged", "use after free", BLOCKS, HAS_PURGE, NULL, "after free memory was given back")     \
    K(read_freed, "read-freed", "use after free", BLOCKS, 0, NULL, "all bytes are read, at once")                      \
    K(read_freed_reused, "read-freed-reused", "use after free", BLOCKS, 0, NULL, "after 200 allocations")              \
    K(link_live, "link-live", "corruption", BLOCKS, 0, NULL, "the first word of a freed block becomes a live one's")   \
    K(link_stack, "link-stack", "corruption", BLOCKS, 0, NULL, "it becomes the address of an array on the stack")      \
    K(link_itself, "link-itself", "corruption", BLOCKS, 0, NULL, "it becomes the freed block's own address")           \
    K(link_inside, "link-inside", "corruption", BLOCKS, 0, NULL, "it becomes an address inside a live block")          \
    K(descriptor_zeroed, "descriptor-zeroed", "corruption", PRIVATE_ONLY, HAS_DESCRIPTOR, NULL,                        \
      "what describes a small block's pool is overwritten with 0")                                                     \
    K(descriptor_filled, "descriptor-filled", "corruption", PRIVATE_ONLY, HAS_DESCRIPTOR, NULL, "the same with 0xff")  \
    K(detached_malloc, "detached-malloc", "without the lock", PRIVATE_BLOCKS, HAS_DOMAINS, NULL,                       \
      "malloc after PyEval_SaveThread()")                                                                              \
    K(detached_calloc, "detached-calloc", "without the lock", PRIVATE_BLOCKS, HAS_DOMAINS, NULL, "calloc")             \
    K(detached_realloc, "detached-realloc", "without the lock", PRIVATE_BLOCKS, HAS_DOMAINS, NULL, "realloc")          \
    K(detached_free, "detached-free", "without the lock", PRIVATE_BLOCKS, HAS_DOMAINS, NULL, "free")                   \
    K(detached_free_null, "detached-free-null", "without the lock", PRIVATE_ONLY, HAS_DOMAINS, NULL, "free of NULL")   \
    K(detached_free_sized, "detached-free-sized", "without the lock", PRIVATE_BLOCKS, IS_OURS, NULL,                   \
      "gilloc_free_sized()")                                                                                           \
    K(detached_usable_size, "detached-usable-size", "without the lock", PRIVATE_BLOCKS, IS_OURS, NULL,                 \
      "gilloc_usable_size()")                                                                                          \
    K(stranger_malloc, "stranger-malloc", "without the lock", PRIVATE_BLOCKS, HAS_DOMAINS, NULL,                       \
      "malloc in a thread that was never attached, beside one that is")                                                \
    K(stranger_free, "stranger-free", "without the lock", PRIVATE_BLOCKS, HAS_DOMAINS, NULL, "free in such a thread")  \
    K(detached_safepoint, "detached-safepoint", "without the lock", ONCE, IS_OURS, NULL, "gilloc_safepoint()")         \
    K(detached_reclaim, "detached-reclaim", "without the lock", ONCE, IS_OURS, NULL, "gilloc_reclaim()")               \
    K(detached_get, "detached-get", "without the lock", ONCE, HAS_DOMAINS, NULL, "PyThreadState_Get()")                \
    K(detached_save, "detached-save", "without the lock", ONCE, HAS_DOMAINS, NULL, "PyEval_SaveThread() twice")        \
    K(release_unmatched, "release-unmatched", "thread states", ONCE, HAS_DOMAINS, NULL,                                \
      "PyGILState_Release() in a thread without an Ensure")                                                            \
    K(release_extra, "release-extra", "thread states", ONCE, HAS_DOMAINS, NULL, "one Release more than Ensures")       \
    K(release_detached, "release-detached", "thread states", ONCE, HAS_DOMAINS, NULL,                                  \
      "Ensure, PyEval_SaveThread(), Release")                                                                          \
    K(ensure_unbalanced, "ensure-unbalanced", "thread states", ONCE, HAS_DOMAINS, NULL,                                \
      "a thread ends without its Release")                                                                             \
    K(acquire_twice, "acquire-twice", "thread states", ONCE, HAS_DOMAINS, NULL,                                        \
      "PyEval_AcquireThread() of the current state")                                                                   \
    K(restore_another, "restore-another", "thread states", ONCE, HAS_DOMAINS, NULL,                                    \
      "PyEval_RestoreThread() of a second state while attached")                                                       \
    K(restore_null, "restore-null", "thread states", ONCE, HAS_DOMAINS, NULL, "PyEval_RestoreThread(NULL)")            \
    K(restore_deleted, "restore-deleted", "thread states", ONCE, HAS_DOMAINS, NULL, "of a deleted state")              \
    K(restore_taken, "restore-taken", "thread states", ONCE, HAS_DOMAINS, NULL,                                        \
      "of a state that is attached in another thread")                                                                 \
    K(release_wrong_state, "release-wrong-state", "thread states", ONCE, HAS_DOMAINS, NULL,                            \
      "PyEval_ReleaseThread() of another state")                                                                       \
    K(delete_current, "delete-current", "thread states", ONCE, HAS_DOMAINS, NULL,                                      \
      "PyThreadState_Delete() of the current state")                                                                   \
    K(delete_twice, "delete-twice", "thread states", ONCE, HAS_DOMAINS, NULL, "of a deleted state")                    \
    K(delete_null, "delete-null", "thread states", ONCE, HAS_DOMAINS, NULL, "of NULL")                                 \
    K(delete_taken, "delete-taken", "thread states", ONCE, HAS_DOMAINS, NULL, "of one attached in another thread")     \
    K(clear_detached, "clear-detached", "thread states", ONCE, HAS_DOMAINS, NULL, "PyThreadState_Clear() detached")    \
    K(delete_current_detached, "delete-current-detached", "thread states", ONCE, HAS_DOMAINS, NULL,                    \
      "PyThreadState_DeleteCurrent() detached")                                                                        \
    K(new_null, "new-null", "thread states", ONCE, HAS_DOMAINS, NULL, "PyThreadState_New(NULL)")                       \
    K(interpreter_delete_main, "interpreter-delete-main", "interpreters", ONCE, IS_OURS, NULL,                         \
      "PyInterpreterState_Delete() of the main one")                                                                   \
    K(interpreter_delete_own, "interpreter-delete-own", "interpreters", ONCE, IS_OURS, NULL,                           \
      "of the one that the thread is attached to")                                                                     \
    K(interpreter_delete_twice, "interpreter-delete-twice", "interpreters", ONCE, IS_OURS, NULL, "of a deleted one")   \
    K(interpreter_clear_other, "interpreter-clear-other", "interpreters", ONCE, IS_OURS, NULL,                         \
      "PyInterpreterState_Clear() of another one")                                                                     \
    K(start_unstopped, "start-unstopped", "world and fork", ONCE, IS_OURS, NULL,                                       \
      "gilloc_start_the_world() without a stop")                                                                       \
    K(detach_stopped, "detach-stopped", "world and fork", ONCE, IS_OURS, NULL, "the stopper detaches")                 \
    K(visit_raw, "visit-raw", "world and fork", ONCE, IS_OURS, NULL, "gilloc_visit_blocks() of the raw domain")        \
    K(domain_unknown, "domain-unknown", "world and fork", ONCE, IS_OURS, NULL, "gilloc_malloc() in a domain not made") \
    K(fork_after_only, "fork-after-only", "world and fork", ONCE, IS_OURS, NULL,                                       \
      "PyOS_AfterFork_Child() without PyOS_BeforeFork()")                                                              \
    K(fork_before_twice, "fork-before-twice", "world and fork", ONCE, IS_OURS, NULL, "PyOS_BeforeFork() twice")        \
    K(retire_twice, "retire-twice", "retire", PRIVATE_BLOCKS, IS_OURS, NULL, "a block is retired twice")               \
    K(retire_freed, "retire-freed", "retire", PRIVATE_BLOCKS, IS_OURS, NULL, "a freed block is retired")               \
    K(free_retired, "free-retired", "retire", PRIVATE_BLOCKS, IS_OURS, NULL, "a retired block is freed")               \
    K(retire_interior, "retire-interior", "retire", PRIVATE_BLOCKS, IS_OURS, NULL, "16 bytes into a live block")       \
    K(retire_other_domain, "retire-other-domain", "retire", PRIVATE_BLOCKS, IS_OURS, NULL,                             \
      "a block of the other domain")                                                                                   \
    K(retire_detached, "retire-detached", "retire", PRIVATE_BLOCKS, IS_OURS, NULL, "in a detached thread")             \
    K(hook_removed, "hook-removed", "hooks", BLOCKS, HAS_DOMAINS, NULL,                                                \
      "a hook that puts a header before blocks goes while one is alive")                                               \
    K(hook_late, "hook-late", "hooks", BLOCKS, HAS_DOMAINS, NULL, "such a hook comes while a block is alive")          \
    K(hook_null, "hook-null", "hooks", DOMAINS_ONLY, HAS_DOMAINS, NULL, "a hook whose malloc is NULL")                 \
    K(debug_late, "debug-late", "hooks", BLOCKS, HAS_DOMAINS, NULL, "PyMem_SetupDebugHooks() while blocks are alive")  \
    K(arena_refused, "arena-refused", "arenas", ONCE, HAS_DOMAINS, NULL, "the arena hook returns NULL: works")         \
    K(arena_misaligned, "arena-misaligned", "arenas", ONCE, HAS_DOMAINS, NULL, "it returns odd addresses: works")      \
    K(arena_twice, "arena-twice", "arenas", ONCE, HAS_DOMAINS, NULL, "it returns the same memory again")               \
    K(arena_overlapping, "arena-overlapping", "arenas", ONCE, HAS_DOMAINS, NULL, "each one half over the one before")  \
    K(arena_unmapped, "arena-unmapped", "arenas", ONCE, HAS_DOMAINS, NULL, "it returns memory it has unmapped")        \
    K(arena_pulled, "arena-pulled", "arenas", ONCE, HAS_DOMAINS, NULL, "it unmaps an arena that is in use")            \
    K(arena_null, "arena-null", "arenas", ONCE, HAS_DOMAINS, NULL, "an arena allocator whose functions are NULL")      \
    K(env_gil, "env-gil", "environment", ONCE, IS_OURS, "PYTHON_GIL=2", "PYTHON_GIL=2")                                \
    K(env_reserve, "env-reserve", "environment", ONCE, IS_OURS, "GILLOC_RESERVE=1G", "GILLOC_RESERVE=1G")              \
    K(env_deadline, "env-deadline", "environment", ONCE, IS_OURS, "GILLOC_STOP_DEADLINE=-1",                           \
      "GILLOC_STOP_DEADLINE=-1")                                                                                       \
    K(env_overflow, "env-overflow", "environment", ONCE, IS_OURS, "GILLOC_RETIRE_LIMIT=99999999999999999999",          \
      "GILLOC_RETIRE_LIMIT=99999999999999999999")                                                                      \
    K(env_malloc, "env-malloc", "environment", ONCE, HAS_DOMAINS, "PYTHONMALLOC=nonsense", "PYTHONMALLOC=nonsense")    \
    K(env_trace, "env-trace", "environment", ONCE, HAS_DOMAINS, "PYTHONTRACEMALLOC=-1", "PYTHONTRACEMALLOC=-1")        \
    K(env_harden, "env-harden", "environment", ONCE, IS_OURS, "GILLOC_HARDEN=maybe", "GILLOC_HARDEN=maybe")            \
    K(env_sample, "env-sample", "environment", ONCE, IS_OURS, "GILLOC_SAMPLE=often", "GILLOC_SAMPLE=often")            \
    K(trace_truncated, "trace-truncated", "trace files", ONCE, IS_OURS, NULL,                                          \
      "a trace for //stress that ends in a record")                                                                    \
    K(trace_no_trace, "trace-no-trace", "trace files", ONCE, IS_OURS, NULL, "a file that is something else")           \
    K(trace_corrupt, "trace-corrupt", "trace files", ONCE, IS_OURS, NULL, "its compressed bytes are changed")          \
    K(trace_record, "trace-record", "trace files", ONCE, IS_OURS, NULL, "a record that cannot be: frees no block")

struct kind {
    const char *name;
    const char *group;
    enum axes axes;
    unsigned needs;          /* bits of HAS_ and IS_ */
    const char *environment; /* "NAME=value", set for the case; or NULL */
    const char *text;
};

extern const struct kind kinds[];
extern const size_t kind_count;

/* A case of a kind: the domain, and the size of its blocks. */
enum { CASE_MEM, CASE_OBJECT, CASE_RAW, CASE_DOMAINS };
enum { CASE_SMALL, CASE_LARGE, CASE_SIZES };
#define CASES_MAX 6

struct misuse_case {
    int domain; /* CASE_MEM and others */
    int size;   /* CASE_SMALL, CASE_LARGE */
};

/* The cases of `kind` for a contender that has one family of functions or one for each domain: how many. */
size_t kind_cases(const struct kind *kind, int has_domains, struct misuse_case cases[CASES_MAX]);
/* "mem, small" and the like; "" where there is only one. */
const char *kind_case_name(const struct kind *kind, int has_domains, const struct misuse_case *one);
/* Is it about a file that the main job reads (done by the main program)? */
int kind_is_trace(const struct kind *kind);

/* Does its outcome differ from run to run?  What the C library says of a block that is not its own depends on the bytes
   before it, which are random in hardened mode. */
int kind_is_by_chance(const struct kind *kind, const struct misuse_case *one);

#endif /* STRESS_MISUSE_KIND_H */

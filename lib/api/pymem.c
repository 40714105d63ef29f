/* SPDX-License-Identifier: MIT */
/*
 * pymem.c [L6] - the memory functions under CPython's names.  Contracts: gilloc/pymem.h.
 *   Each mem and object function is the fast path and one call for all else.  No locks, no state.
 */
#include "lib/api/pymem.h"

#include "lib/api/runtime.h"
#include "lib/arena/arena.h"
#include "lib/cache/object_alloc.h"
#include "lib/cache/sample.h"
#include "lib/domain/debug_hooks.h"
#include "lib/domain/domain.h"

/* --- raw -------------------------------------------------------------------------------------- */

void *PyMem_RawMalloc(size_t size) { return gi_domain_malloc(PYMEM_DOMAIN_RAW, size, GI_CALLER); }

void *PyMem_RawCalloc(size_t count, size_t size) { return gi_domain_calloc(PYMEM_DOMAIN_RAW, count, size, GI_CALLER); }

void *PyMem_RawRealloc(void *block, size_t size) { return gi_domain_realloc(PYMEM_DOMAIN_RAW, block, size, GI_CALLER); }

void PyMem_RawFree(void *block) { gi_domain_free(PYMEM_DOMAIN_RAW, block, GI_CALLER); }

/* --- mem and object --------------------------------------------------------------------------- */

/* Where the public function was called from, in the functions that it ends with: they have its return address where
   calls at the end are jumps, else they are told. */
#ifdef GI_TAIL_CALLS
#define CALLER_PARAMETER
#define CALLER_ARGUMENT
#define CALLER_ARGUMENT_AGAIN
#define CALLER GI_CALLER
#else
#define CALLER_PARAMETER , const void *caller
#define CALLER_ARGUMENT , GI_CALLER
#define CALLER_ARGUMENT_AGAIN , caller
#define CALLER caller
#endif

/* What the fast path does not do is one call, in tail position, so that it needs no frame itself; each domain has calls
   of its own, so that there are no more arguments to pass on. */
#define ELSE(name, kind, domain)                                                                                   \
    static __attribute__((noinline)) void *name##_malloc_hardened(size_t size) {                                   \
        void *block = gi_object_malloc_hardened_fast(kind, size);                                                  \
        return gi_likely(block != NULL) ? block : gi_object_malloc_hardened(kind, size);                           \
    }                                                                                                              \
    static __attribute__((noinline)) void *name##_calloc_hardened(size_t bytes) {                                  \
        void *block = gi_object_malloc_hardened_fast(kind, bytes);                                                 \
        if (gi_unlikely(block == NULL)) {                                                                          \
            return gi_object_calloc_slow(kind, 1, bytes);                                                          \
        }                                                                                                          \
        ((gi_link *)block)->next = NULL; /* a request of 0 bytes has zeroed bytes too */                           \
        return memset(block, 0, bytes);                                                                            \
    }                                                                                                              \
    static __attribute__((noinline)) void name##_free_hardened(void *block) {                                      \
        if (gi_unlikely(!gi_object_free_hardened_fast(kind, block))) {                                             \
            gi_object_free_slow(kind, block);                                                                      \
        }                                                                                                          \
    }                                                                                                              \
    static __attribute__((noinline)) void *name##_malloc_counted(size_t size CALLER_PARAMETER) {                   \
        void *block = size <= GI_SMALL_MAX ? gi_object_malloc_swap_counted(kind, &gi_limits[kind], size)           \
                                           : gi_object_malloc_counted(size);                                       \
        return gi_likely(block != NULL) ? block : gi_domain_malloc(domain, size, CALLER);                          \
    }                                                                                                              \
    static __attribute__((noinline)) void *name##_calloc_counted(size_t count, size_t size CALLER_PARAMETER) {     \
        void *block = gi_object_calloc_counted(count * size);                                                      \
        return gi_likely(block != NULL) ? block : gi_domain_calloc(domain, count, size, CALLER);                   \
    }                                                                                                              \
    static __attribute__((noinline)) void name##_free_counted(void *block CALLER_PARAMETER) {                      \
        if (!gi_object_free_counted(block)) {                                                                      \
            gi_domain_free(domain, block, CALLER);                                                                 \
        }                                                                                                          \
    }                                                                                                              \
    static __attribute__((noinline)) void *name##_malloc_asked(size_t size CALLER_PARAMETER) {                     \
        void *block = gi_object_malloc_asked(&gi_limits[kind], size);                                              \
        return gi_likely(block != NULL) ? block : gi_domain_malloc(domain, size, CALLER);                          \
    }                                                                                                              \
    static __attribute__((noinline)) void *name##_calloc_asked(size_t count, size_t size CALLER_PARAMETER) {       \
        void *block = count * size > GI_SMALL_MAX ? gi_object_calloc_asked(&gi_limits[kind], count * size) : NULL; \
        return gi_likely(block != NULL) ? block : gi_domain_calloc(domain, count, size, CALLER);                   \
    }                                                                                                              \
    static __attribute__((noinline)) void name##_free_asked(void *block CALLER_PARAMETER) {                        \
        if (!gi_object_free_asked(&gi_limits[kind], block)) {                                                      \
            gi_domain_free(domain, block, CALLER);                                                                 \
        }                                                                                                          \
    }                                                                                                              \
    static __attribute__((noinline)) void *name##_malloc_slow(size_t size CALLER_PARAMETER) {                      \
        if (gi_unlikely(gi_object_is_hardened(&gi_limits[kind]))) {                                                \
            return name##_malloc_hardened(size);                                                                   \
        }                                                                                                          \
        if (gi_unlikely(gi_sample_is_watching())) {                                                                \
            return name##_malloc_counted(size CALLER_ARGUMENT_AGAIN);                                              \
        }                                                                                                          \
        void *block = gi_object_malloc_swap_slow(kind, &gi_limits[kind], size);                                    \
        return block != NULL ? block : gi_domain_malloc(domain, size, CALLER);                                     \
    }                                                                                                              \
    static __attribute__((noinline)) void *name##_malloc_small(size_t size CALLER_PARAMETER) {                     \
        void *block = gi_object_malloc_swap(kind, &gi_limits[kind], size);                                         \
        return gi_likely(block != NULL) ? block : name##_malloc_slow(size CALLER_ARGUMENT_AGAIN);                  \
    }                                                                                                              \
    static __attribute__((noinline)) void *name##_malloc_large(size_t size CALLER_PARAMETER) {                     \
        void *block = gi_object_malloc_large(&gi_limits[kind], size);                                              \
        return gi_likely(block != NULL)  ? block                                                                   \
               : gi_sample_is_watching() ? name##_malloc_counted(size CALLER_ARGUMENT_AGAIN)                       \
                                         : name##_malloc_asked(size CALLER_ARGUMENT_AGAIN);                        \
    }                                                                                                              \
    static __attribute__((noinline)) void *name##_calloc_else(size_t count, size_t size CALLER_PARAMETER) {        \
        size_t bytes = count * size; /* has been checked */                                                        \
        if (gi_unlikely(gi_object_is_hardened(&gi_limits[kind])) && bytes <= GI_SMALL_MAX) {                       \
            return name##_calloc_hardened(bytes);                                                                  \
        }                                                                                                          \
        void *block = bytes > GI_SMALL_MAX ? gi_object_calloc_large(&gi_limits[kind], bytes) : NULL;               \
        return gi_likely(block != NULL) ? block                                                                    \
               : gi_sample_is_watching() && bytes > GI_SMALL_MAX                                                   \
                   ? name##_calloc_counted(count, size CALLER_ARGUMENT_AGAIN)                                      \
                   : name##_calloc_asked(count, size CALLER_ARGUMENT_AGAIN);                                       \
    }                                                                                                              \
    static __attribute__((noinline)) void name##_free_else(void *block CALLER_PARAMETER) {                         \
        if (gi_object_free_large(&gi_limits[kind], block)) {                                                       \
            return;                                                                                                \
        }                                                                                                          \
        if (gi_unlikely(gi_object_is_hardened(&gi_limits[kind]))) {                                                \
            name##_free_hardened(block);                                                                           \
        } else if (!gi_object_free_other(kind, &gi_limits[kind], block)) {                                         \
            gi_sample_is_watching() ? name##_free_counted(block CALLER_ARGUMENT_AGAIN)                             \
                                    : name##_free_asked(block CALLER_ARGUMENT_AGAIN);                              \
        }                                                                                                          \
    }

ELSE(mem, GI_KIND_MEM, PYMEM_DOMAIN_MEM)
ELSE(object, GI_KIND_OBJECT, PYMEM_DOMAIN_OBJ)

typedef void *half(size_t size CALLER_PARAMETER);

/* These are inlined in every build, so that GI_CALLER is the public function's. */
static inline __attribute__((always_inline)) void *malloc_in(unsigned kind, size_t size, half *small, half *large) {
    void *block = gi_object_malloc_fast(kind, &gi_limits[kind], size);
    if (gi_likely(block != NULL)) {
        return block;
    }
    return size <= GI_SMALL_MAX ? small(size CALLER_ARGUMENT) : large(size CALLER_ARGUMENT);
}

static inline __attribute__((always_inline)) void *calloc_in(unsigned kind, size_t count, size_t size,
                                                             void *(*other)(size_t, size_t CALLER_PARAMETER)) {
    size_t bytes;
    if (gi_unlikely(__builtin_mul_overflow(count, size, &bytes))) {
        return NULL;
    }
    void *block = gi_object_calloc_fast(kind, &gi_limits[kind], bytes);
    return gi_likely(block != NULL) ? block : other(count, size CALLER_ARGUMENT);
}

static inline __attribute__((always_inline)) void *realloc_in(unsigned kind, PyMemAllocatorDomain domain, void *block,
                                                              size_t size) {
    void *moved = gi_object_realloc_fast(kind, &gi_limits[kind], block, size);
    return gi_likely(moved != NULL) ? moved : gi_domain_realloc(domain, block, size, GI_CALLER);
}

static inline __attribute__((always_inline)) void free_in(unsigned kind, void *block,
                                                          void (*other)(void *CALLER_PARAMETER)) {
    if (gi_unlikely(!gi_object_free_fast(kind, &gi_limits[kind], block))) {
        other(block CALLER_ARGUMENT);
    }
}

void *PyMem_Malloc(size_t size) { return malloc_in(GI_KIND_MEM, size, mem_malloc_small, mem_malloc_large); }

void *PyMem_Calloc(size_t count, size_t size) { return calloc_in(GI_KIND_MEM, count, size, mem_calloc_else); }

void *PyMem_Realloc(void *block, size_t size) { return realloc_in(GI_KIND_MEM, PYMEM_DOMAIN_MEM, block, size); }

void PyMem_Free(void *block) { free_in(GI_KIND_MEM, block, mem_free_else); }

void *PyObject_Malloc(size_t size) { return malloc_in(GI_KIND_OBJECT, size, object_malloc_small, object_malloc_large); }

void *PyObject_Calloc(size_t count, size_t size) { return calloc_in(GI_KIND_OBJECT, count, size, object_calloc_else); }

void *PyObject_Realloc(void *block, size_t size) { return realloc_in(GI_KIND_OBJECT, PYMEM_DOMAIN_OBJ, block, size); }

void PyObject_Free(void *block) { free_in(GI_KIND_OBJECT, block, object_free_else); }

/* --- the same in tables ------------------------------------------------------------------------- */

#define IN_TABLE(name, kind, domain)                                                                        \
    static void *name##_in_table_malloc(void *ctx, size_t size) {                                           \
        (void)ctx;                                                                                          \
        return malloc_in(kind, size, name##_malloc_small, name##_malloc_large);                             \
    }                                                                                                       \
    static void *name##_in_table_calloc(void *ctx, size_t count, size_t size) {                             \
        (void)ctx;                                                                                          \
        return calloc_in(kind, count, size, name##_calloc_else);                                            \
    }                                                                                                       \
    static void *name##_in_table_realloc(void *ctx, void *block, size_t size) {                             \
        (void)ctx;                                                                                          \
        return realloc_in(kind, domain, block, size);                                                       \
    }                                                                                                       \
    static void name##_in_table_free(void *ctx, void *block) {                                              \
        (void)ctx;                                                                                          \
        free_in(kind, block, name##_free_else);                                                             \
    }                                                                                                       \
    const PyMemAllocatorEx gi_pymem_##name##_table = {NULL, name##_in_table_malloc, name##_in_table_calloc, \
                                                      name##_in_table_realloc, name##_in_table_free};

IN_TABLE(mem, GI_KIND_MEM, PYMEM_DOMAIN_MEM)
IN_TABLE(object, GI_KIND_OBJECT, PYMEM_DOMAIN_OBJ)

/* --- allocators ------------------------------------------------------------------------------- */

void PyMem_GetAllocator(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator) { gi_domain_get(domain, allocator); }

void PyMem_SetAllocator(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator) { gi_domain_set(domain, allocator); }

void PyMem_SetupDebugHooks(void) {
    gi_runtime_ready();
    gi_debug_install(false);
}

/* The two structs are one shape, but the arena manager knows nothing of CPython's names. */
_Static_assert(sizeof(PyObjectArenaAllocator) == sizeof(gi_arena_allocator), "the same three words");

void PyObject_GetArenaAllocator(PyObjectArenaAllocator *allocator) {
    gi_arena_allocator current;
    gi_arena_get_allocator(&current);
    *allocator = (PyObjectArenaAllocator){current.ctx, current.alloc, current.free};
}

void PyObject_SetArenaAllocator(PyObjectArenaAllocator *allocator) {
    gi_runtime_ready();
    if (allocator->alloc == NULL || allocator->free == NULL) {
        gi_fatal("PyObject_SetArenaAllocator", "a function of the allocator is NULL" GI_DO(
                                                   "set both; PyObject_GetArenaAllocator() gives those in place"));
    }
    gi_arena_set_allocator(&(gi_arena_allocator){allocator->ctx, allocator->alloc, allocator->free});
}

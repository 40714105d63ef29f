/* SPDX-License-Identifier: MIT */
/*
 * pymem.c [L6] - the memory functions under CPython's names.  Contracts: gilloc/pymem.h.
 *   Each mem and object function is the fast path and one call for all else.  No locks, no state.
 */
#include "lib/api/pymem.h"

#include "lib/api/runtime.h"
#include "lib/arena/arena.h"
#include "lib/cache/hardened_alloc.h"
#include "lib/cache/large_alloc.h"
#include "lib/cache/object_alloc.h"
#include "lib/cache/sample.h"
#include "lib/domain/debug_hooks.h"
#include "lib/domain/domain.h"
#include "lib/domain/probes.h"
#include "lib/os/raw_alloc.h"

/* --- who called ------------------------------------------------------------------------------- */

/* A public function is its fast path, and ends with a call for all else, so that it needs no frame of its own; that
   call may end with another.  Where calls at the end are jumps they all find the caller of the public function as their
   own return address; else it is passed on. */
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

#define NOINLINE __attribute__((noinline))
#define INLINE inline __attribute__((always_inline)) /* so that GI_CALLER is the function's that it is inlined in */

/* --- raw -------------------------------------------------------------------------------------- */

/* Straight to the system's allocator; counted, where the sampler alone stands before it; or what the domain has. */

static INLINE bool raw_is_straight(size_t size) {
    return gi_likely(gi_below_relaxed(size, &gi_raw_limits.large)) && !gi_probes_wanted();
}
static INLINE bool raw_is_counted(size_t size) {
    return gi_below_relaxed(size, &gi_raw_limits.counted) && !gi_probes_wanted();
}
static INLINE bool raw_passes(size_t size) { return raw_is_counted(size) && gi_sample_passes(size != 0 ? size : 1); }

static NOINLINE void *raw_malloc_else(size_t size CALLER_PARAMETER) {
    return gi_likely(raw_passes(size)) ? gi_raw_malloc(NULL, size) : gi_domain_malloc(PYMEM_DOMAIN_RAW, size, CALLER);
}

static NOINLINE void *raw_calloc_else(size_t count, size_t size CALLER_PARAMETER) {
    size_t bytes;
    bool passes = !__builtin_mul_overflow(count, size, &bytes) && raw_passes(bytes);
    return gi_likely(passes) ? gi_raw_calloc(NULL, count, size)
                             : gi_domain_calloc(PYMEM_DOMAIN_RAW, count, size, CALLER);
}

static NOINLINE void *raw_realloc_else(void *block, size_t size CALLER_PARAMETER) {
    bool passes = !gi_sample_may_be(block) && raw_passes(size);
    return gi_likely(passes) ? gi_raw_realloc(NULL, block, size)
                             : gi_domain_realloc(PYMEM_DOMAIN_RAW, block, size, CALLER);
}

static NOINLINE void raw_free_else(void *block CALLER_PARAMETER) {
    if (gi_likely(raw_is_counted(0) && !gi_sample_may_be(block))) {
        gi_raw_free(NULL, block);
    } else {
        gi_domain_free(PYMEM_DOMAIN_RAW, block, CALLER);
    }
}

void *PyMem_RawMalloc(size_t size) {
    return raw_is_straight(size) ? gi_raw_malloc(NULL, size) : raw_malloc_else(size CALLER_ARGUMENT);
}

void *PyMem_RawCalloc(size_t count, size_t size) {
    size_t bytes;
    bool straight = !__builtin_mul_overflow(count, size, &bytes) && raw_is_straight(bytes);
    return straight ? gi_raw_calloc(NULL, count, size) : raw_calloc_else(count, size CALLER_ARGUMENT);
}

void *PyMem_RawRealloc(void *block, size_t size) {
    return raw_is_straight(size) ? gi_raw_realloc(NULL, block, size) : raw_realloc_else(block, size CALLER_ARGUMENT);
}

void PyMem_RawFree(void *block) {
    if (raw_is_straight(0)) {
        gi_raw_free(NULL, block);
    } else {
        raw_free_else(block CALLER_ARGUMENT);
    }
}

/* --- mem and object: the map ------------------------------------------------------------------ */

/*   malloc, calloc   a list has a block                         fast path
 *                      its list is empty                        _empty      the bin's lists change places
 *                        and lists are counted                  _counted    the same, for the sampler
 *                        and all is not well with the list      _slow       it is looked at; or what the domain has
 *                      not below the limit of small ones        _unlisted
 *                        hardened
 *                        straight to the system's allocator
 *                        counted, asked, or what it has         _large
 *   free             of the thread's heap, and there is room    fast path
 *                      of another heap, or what the domain has  _other
 *                      there is no room in its bin              _full
 *                      not in the reservation                   _unlisted   hardened, straight, counted, asked, or else
 *   realloc          gi_object_realloc_fast(), or what the domain has
 *
 * A domain that is hardened or closed has limits of 0, so all of its calls come to _unlisted.  Each domain has its own
 * functions for these (FUNCTIONS_OF, below), so that there are no more arguments to pass on. */

typedef void *malloc_function(size_t size CALLER_PARAMETER);
typedef void *calloc_function(size_t count, size_t size CALLER_PARAMETER);
typedef void free_function(void *block, uint64_t at CALLER_PARAMETER); /* an offset, or a gi_address_page() */

/* --- small ------------------------------------------------------------------------------------ */

static INLINE void *malloc_in(unsigned kind, size_t size, malloc_function *empty, malloc_function *unlisted) {
    if (gi_unlikely(!gi_below_relaxed(size, &gi_limits[kind].sizes))) {
        return unlisted(size CALLER_ARGUMENT);
    }
    void *block = gi_object_pop(kind, size);
    return gi_likely(block != NULL) ? block : empty(size CALLER_ARGUMENT);
}

static INLINE void *malloc_empty(unsigned kind, size_t size, malloc_function *counted,
                                 malloc_function *slow CALLER_PARAMETER) {
    if (gi_unlikely(!gi_below_relaxed(size, &gi_limits[kind].swaps))) {
        return counted(size CALLER_ARGUMENT_AGAIN);
    }
    void *block = gi_object_swap(kind, size);
    return gi_likely(block != NULL) ? block : slow(size CALLER_ARGUMENT_AGAIN);
}

static INLINE void *malloc_counted(unsigned kind, size_t size, malloc_function *slow CALLER_PARAMETER) {
    void *block = gi_object_swap_counted(kind, size);
    return gi_likely(block != NULL) ? block : slow(size CALLER_ARGUMENT_AGAIN);
}

static INLINE void *malloc_slow(unsigned kind, PyMemAllocatorDomain domain, size_t size CALLER_PARAMETER) {
    void *block = gi_probes_wanted() ? NULL : gi_object_malloc_swap_slow(kind, &gi_limits[kind], size);
    return block != NULL ? block : gi_domain_malloc(domain, size, CALLER);
}

static INLINE void *calloc_in(unsigned kind, size_t count, size_t size, calloc_function *empty,
                              calloc_function *unlisted) {
    size_t bytes;
    if (gi_unlikely(__builtin_mul_overflow(count, size, &bytes))) {
        return NULL;
    }
    if (gi_unlikely(!gi_below_relaxed(bytes, &gi_limits[kind].sizes))) {
        return unlisted(count, size CALLER_ARGUMENT);
    }
    void *block = gi_object_pop_zeroed(kind, bytes);
    return gi_likely(block != NULL) ? block : empty(count, size CALLER_ARGUMENT);
}

static INLINE void *realloc_in(unsigned kind, PyMemAllocatorDomain domain, void *block, size_t size) {
    void *moved = gi_object_realloc_fast(kind, &gi_limits[kind], block, size);
    return gi_likely(moved != NULL) ? moved : gi_domain_realloc(domain, block, size, GI_CALLER);
}

static INLINE void free_in(unsigned kind, void *block, free_function *other, free_function *unlisted) {
    uintptr_t base = gi_load_relaxed_u64(&gi_address_base); /* relaxed: as in gi_object_free_fast() */
    uint64_t page = gi_address_page(base, block);
    uint64_t offset;
    if (gi_unlikely(!gi_below_relaxed(page, &gi_limits[kind].pages))) {
        unlisted(block, page CALLER_ARGUMENT);
    } else if (gi_unlikely(!gi_object_push(kind, base, page, block, &offset))) {
        other(block, offset CALLER_ARGUMENT);
    }
}

static INLINE void free_other(unsigned kind, PyMemAllocatorDomain domain, void *block, uint64_t offset,
                              free_function *full CALLER_PARAMETER) {
    if (offset >= GI_WORD_CLASS_SPAN && gi_object_free_other(kind, block, &offset)) {
        return;
    }
    if (offset < GI_WORD_CLASS_SPAN) {
        full(block, offset CALLER_ARGUMENT_AGAIN);
    } else {
        gi_domain_free(domain, block, CALLER);
    }
}

static INLINE void free_full(unsigned kind, PyMemAllocatorDomain domain, void *block,
                             uint64_t offset CALLER_PARAMETER) {
    if (gi_unlikely(!gi_object_free_full(kind, block, offset))) {
        gi_domain_free(domain, block, CALLER);
    }
}

/* --- large ------------------------------------------------------------------------------------ */

static INLINE void *malloc_straight(PyMemAllocatorDomain domain, size_t size CALLER_PARAMETER) {
    gi_thread_cache *cache = gi_large_cache();
    return cache != NULL ? gi_large_malloc(cache, size) : gi_domain_malloc(domain, size, CALLER);
}

static INLINE void *malloc_large(unsigned kind, PyMemAllocatorDomain domain, size_t size CALLER_PARAMETER) {
    return gi_large_passes_else(&gi_limits[kind], NULL, size) ? malloc_straight(domain, size CALLER_ARGUMENT_AGAIN)
                                                              : gi_domain_malloc(domain, size, CALLER);
}

static INLINE void *calloc_straight(PyMemAllocatorDomain domain, size_t count, size_t size CALLER_PARAMETER) {
    gi_thread_cache *cache = gi_large_cache(); /* the product has been checked */
    return cache != NULL ? gi_large_calloc(cache, count * size) : gi_domain_calloc(domain, count, size, CALLER);
}

static INLINE void *calloc_large(unsigned kind, PyMemAllocatorDomain domain, size_t count,
                                 size_t size CALLER_PARAMETER) {
    return gi_large_passes_else(&gi_limits[kind], NULL, count * size)
               ? calloc_straight(domain, count, size CALLER_ARGUMENT_AGAIN)
               : gi_domain_calloc(domain, count, size, CALLER);
}

static INLINE void free_large(unsigned kind, PyMemAllocatorDomain domain, void *block, uint64_t page CALLER_PARAMETER) {
    if (!gi_large_passes_else(&gi_limits[kind], block, 0) || !gi_large_free(page, block)) {
        gi_domain_free(domain, block, CALLER);
    }
}

/* --- hardened --------------------------------------------------------------------------------- */

static INLINE void *malloc_hardened(unsigned kind, size_t size) {
    void *block = gi_hardened_malloc_fast(kind, size);
    return gi_likely(block != NULL) ? block : gi_object_malloc_hardened(kind, size);
}

static INLINE void *calloc_hardened(unsigned kind, size_t bytes) {
    gi_link *block = gi_hardened_malloc_fast(kind, bytes);
    if (gi_unlikely(block == NULL)) {
        return gi_object_calloc_slow(kind, 1, bytes);
    }
    block->next = NULL; /* a request of 0 bytes has zeroed bytes too */
    return memset(block, 0, bytes);
}

static INLINE void free_hardened(unsigned kind, void *block) {
    if (gi_unlikely(!gi_hardened_free_fast(kind, block))) {
        gi_object_free_slow(kind, block);
    }
}

/* --- not listed ------------------------------------------------------------------------------- */

/* Straight to the system's allocator first, as far as the compiler goes by what is likely, and without a jump: half of
   what a large block costs here is the way there. */

static INLINE void *malloc_unlisted(unsigned kind, PyMemAllocatorDomain domain, size_t size,
                                    malloc_function *large CALLER_PARAMETER) {
    const gi_fast_limits *limits = &gi_limits[kind];
    if (gi_unlikely(gi_below_relaxed(size, &limits->hardened))) {
        return malloc_hardened(kind, size);
    }
    return gi_likely(gi_large_is_straight(limits, size)) ? malloc_straight(domain, size CALLER_ARGUMENT_AGAIN)
                                                         : large(size CALLER_ARGUMENT_AGAIN);
}

static INLINE void *calloc_unlisted(unsigned kind, PyMemAllocatorDomain domain, size_t count, size_t size,
                                    calloc_function *large CALLER_PARAMETER) {
    const gi_fast_limits *limits = &gi_limits[kind];
    if (gi_unlikely(gi_below_relaxed(count * size, &limits->hardened))) {
        return calloc_hardened(kind, count * size);
    }
    return gi_likely(gi_large_is_straight(limits, count * size))
               ? calloc_straight(domain, count, size CALLER_ARGUMENT_AGAIN)
               : large(count, size CALLER_ARGUMENT_AGAIN);
}

static INLINE void free_unlisted(unsigned kind, PyMemAllocatorDomain domain, void *block, uint64_t page,
                                 free_function *large CALLER_PARAMETER) {
    const gi_fast_limits *limits = &gi_limits[kind];
    if (gi_unlikely(gi_below_relaxed(0, &limits->hardened)) && gi_likely(gi_hardened_is_ours(block))) {
        free_hardened(kind, block);
    } else if (gi_unlikely(!gi_large_is_straight(limits, 0))) {
        large(block, page CALLER_ARGUMENT_AGAIN);
    } else if (gi_unlikely(!gi_large_free(page, block))) {
        gi_domain_free(domain, block, CALLER);
    }
}

/* --- the functions of each domain -------------------------------------------------------------- */

#define FUNCTIONS_OF(name, kind, domain)                                                                  \
    static NOINLINE void *name##_malloc_slow(size_t size CALLER_PARAMETER) {                              \
        return malloc_slow(kind, domain, size CALLER_ARGUMENT_AGAIN);                                     \
    }                                                                                                     \
    static NOINLINE void *name##_malloc_counted(size_t size CALLER_PARAMETER) {                           \
        return malloc_counted(kind, size, name##_malloc_slow CALLER_ARGUMENT_AGAIN);                      \
    }                                                                                                     \
    static NOINLINE void *name##_malloc_empty(size_t size CALLER_PARAMETER) {                             \
        return malloc_empty(kind, size, name##_malloc_counted, name##_malloc_slow CALLER_ARGUMENT_AGAIN); \
    }                                                                                                     \
    static NOINLINE void *name##_malloc_large(size_t size CALLER_PARAMETER) {                             \
        return malloc_large(kind, domain, size CALLER_ARGUMENT_AGAIN);                                    \
    }                                                                                                     \
    static NOINLINE void *name##_malloc_unlisted(size_t size CALLER_PARAMETER) {                          \
        return malloc_unlisted(kind, domain, size, name##_malloc_large CALLER_ARGUMENT_AGAIN);            \
    }                                                                                                     \
    static NOINLINE void *name##_calloc_empty(size_t count, size_t size CALLER_PARAMETER) {               \
        return gi_domain_calloc(domain, count, size, CALLER);                                             \
    }                                                                                                     \
    static NOINLINE void *name##_calloc_large(size_t count, size_t size CALLER_PARAMETER) {               \
        return calloc_large(kind, domain, count, size CALLER_ARGUMENT_AGAIN);                             \
    }                                                                                                     \
    static NOINLINE void *name##_calloc_unlisted(size_t count, size_t size CALLER_PARAMETER) {            \
        return calloc_unlisted(kind, domain, count, size, name##_calloc_large CALLER_ARGUMENT_AGAIN);     \
    }                                                                                                     \
    static NOINLINE void name##_free_full(void *block, uint64_t offset CALLER_PARAMETER) {                \
        free_full(kind, domain, block, offset CALLER_ARGUMENT_AGAIN);                                     \
    }                                                                                                     \
    static NOINLINE void name##_free_other(void *block, uint64_t offset CALLER_PARAMETER) {               \
        free_other(kind, domain, block, offset, name##_free_full CALLER_ARGUMENT_AGAIN);                  \
    }                                                                                                     \
    static NOINLINE void name##_free_large(void *block, uint64_t page CALLER_PARAMETER) {                 \
        free_large(kind, domain, block, page CALLER_ARGUMENT_AGAIN);                                      \
    }                                                                                                     \
    static NOINLINE void name##_free_unlisted(void *block, uint64_t page CALLER_PARAMETER) {              \
        free_unlisted(kind, domain, block, page, name##_free_large CALLER_ARGUMENT_AGAIN);                \
    }

FUNCTIONS_OF(mem, GI_KIND_MEM, PYMEM_DOMAIN_MEM)
FUNCTIONS_OF(object, GI_KIND_OBJECT, PYMEM_DOMAIN_OBJ)

/* --- mem -------------------------------------------------------------------------------------- */

void *PyMem_Malloc(size_t size) { return malloc_in(GI_KIND_MEM, size, mem_malloc_empty, mem_malloc_unlisted); }

void *PyMem_Calloc(size_t count, size_t size) {
    return calloc_in(GI_KIND_MEM, count, size, mem_calloc_empty, mem_calloc_unlisted);
}

void *PyMem_Realloc(void *block, size_t size) { return realloc_in(GI_KIND_MEM, PYMEM_DOMAIN_MEM, block, size); }

void PyMem_Free(void *block) { free_in(GI_KIND_MEM, block, mem_free_other, mem_free_unlisted); }

/* --- object ----------------------------------------------------------------------------------- */

void *PyObject_Malloc(size_t size) {
    return malloc_in(GI_KIND_OBJECT, size, object_malloc_empty, object_malloc_unlisted);
}

void *PyObject_Calloc(size_t count, size_t size) {
    return calloc_in(GI_KIND_OBJECT, count, size, object_calloc_empty, object_calloc_unlisted);
}

void *PyObject_Realloc(void *block, size_t size) { return realloc_in(GI_KIND_OBJECT, PYMEM_DOMAIN_OBJ, block, size); }

void PyObject_Free(void *block) { free_in(GI_KIND_OBJECT, block, object_free_other, object_free_unlisted); }

/* --- the same in tables ----------------------------------------------------------------------- */

#define IN_TABLE(name, kind, domain)                                                                        \
    static void *name##_in_table_malloc(void *ctx, size_t size) {                                           \
        (void)ctx;                                                                                          \
        return malloc_in(kind, size, name##_malloc_empty, name##_malloc_unlisted);                          \
    }                                                                                                       \
    static void *name##_in_table_calloc(void *ctx, size_t count, size_t size) {                             \
        (void)ctx;                                                                                          \
        return calloc_in(kind, count, size, name##_calloc_empty, name##_calloc_unlisted);                   \
    }                                                                                                       \
    static void *name##_in_table_realloc(void *ctx, void *block, size_t size) {                             \
        (void)ctx;                                                                                          \
        return realloc_in(kind, domain, block, size);                                                       \
    }                                                                                                       \
    static void name##_in_table_free(void *ctx, void *block) {                                              \
        (void)ctx;                                                                                          \
        free_in(kind, block, name##_free_other, name##_free_unlisted);                                      \
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

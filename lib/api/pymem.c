/* SPDX-License-Identifier: MIT */
/*
 * pymem.c [L6] - the memory functions under CPython's names.  Contracts: gilloc/pymem.h.
 *   Each mem and object function is the fast path and one call for all else.  No locks, no state.
 */
#include <gilloc/pymem.h>

#include "lib/api/runtime.h"
#include "lib/arena/arena.h"
#include "lib/cache/object_alloc.h"
#include "lib/domain/domain.h"

/* --- raw -------------------------------------------------------------------------------------- */

void *PyMem_RawMalloc(size_t size) { return gi_domain_malloc(PYMEM_DOMAIN_RAW, size); }

void *PyMem_RawCalloc(size_t count, size_t size) { return gi_domain_calloc(PYMEM_DOMAIN_RAW, count, size); }

void *PyMem_RawRealloc(void *block, size_t size) { return gi_domain_realloc(PYMEM_DOMAIN_RAW, block, size); }

void PyMem_RawFree(void *block) { gi_domain_free(PYMEM_DOMAIN_RAW, block); }

/* --- mem and object --------------------------------------------------------------------------- */

/* One call, in tail position: the fast path needs no frame. */
static __attribute__((noinline)) void *malloc_else(unsigned kind, PyMemAllocatorDomain domain, size_t size) {
    void *block = gi_object_malloc_swap(kind, &gi_limits[kind], size);
    return gi_likely(block != NULL) ? block : gi_domain_malloc(domain, size);
}

static inline void *malloc_in(unsigned kind, PyMemAllocatorDomain domain, size_t size) {
    void *block = gi_object_malloc_fast(kind, &gi_limits[kind], size);
    return gi_likely(block != NULL) ? block : malloc_else(kind, domain, size);
}

static inline void *calloc_in(unsigned kind, PyMemAllocatorDomain domain, size_t count, size_t size) {
    size_t bytes;
    if (gi_unlikely(__builtin_mul_overflow(count, size, &bytes))) {
        return NULL;
    }
    void *block = gi_object_calloc_fast(kind, &gi_limits[kind], bytes);
    return gi_likely(block != NULL) ? block : gi_domain_calloc(domain, count, size);
}

static __attribute__((noinline)) void free_else(unsigned kind, PyMemAllocatorDomain domain, void *block) {
    if (!gi_object_free_other(kind, &gi_limits[kind], block)) {
        gi_domain_free(domain, block);
    }
}

static inline void free_in(unsigned kind, PyMemAllocatorDomain domain, void *block) {
    if (gi_unlikely(!gi_object_free_fast(kind, &gi_limits[kind], block))) {
        free_else(kind, domain, block);
    }
}

void *PyMem_Malloc(size_t size) { return malloc_in(GI_KIND_MEM, PYMEM_DOMAIN_MEM, size); }

void *PyMem_Calloc(size_t count, size_t size) { return calloc_in(GI_KIND_MEM, PYMEM_DOMAIN_MEM, count, size); }

void *PyMem_Realloc(void *block, size_t size) { return gi_domain_realloc(PYMEM_DOMAIN_MEM, block, size); }

void PyMem_Free(void *block) { free_in(GI_KIND_MEM, PYMEM_DOMAIN_MEM, block); }

void *PyObject_Malloc(size_t size) { return malloc_in(GI_KIND_OBJECT, PYMEM_DOMAIN_OBJ, size); }

void *PyObject_Calloc(size_t count, size_t size) { return calloc_in(GI_KIND_OBJECT, PYMEM_DOMAIN_OBJ, count, size); }

void *PyObject_Realloc(void *block, size_t size) { return gi_domain_realloc(PYMEM_DOMAIN_OBJ, block, size); }

void PyObject_Free(void *block) { free_in(GI_KIND_OBJECT, PYMEM_DOMAIN_OBJ, block); }

/* --- allocators ------------------------------------------------------------------------------- */

void PyMem_GetAllocator(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator) { gi_domain_get(domain, allocator); }

void PyMem_SetAllocator(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator) { gi_domain_set(domain, allocator); }

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

/* SPDX-License-Identifier: MIT */
/*
 * gilloc/inline.h - allocation and free of sizes that are known where they are
 * compiled, without a call: for a runtime, and for the machine code that it writes.
 *
 * They are the functions of the mem and object domains: the same heap, so a block
 * may be allocated by one and freed by the other; the same rules, hooks and fatal
 * errors.  What the inlined code cannot do it leaves to the public functions: a
 * detached thread, a domain with another allocator, tracing, hardened mode, a list
 * that is empty or full, a block of another thread.  So is everything where the
 * size is no constant or above GILLOC_INLINE_LARGEST, with another compiler than
 * GCC or Clang for x86-64, or where GILLOC_NO_INLINE is defined.
 *
 * The layout that a program is compiled with is that of GILLOC_INLINE_VERSION,
 * which stands in the names of the two variables: a library with another layout
 * lacks them, and such a program does not start.
 */
#ifndef GILLOC_INLINE_H
#define GILLOC_INLINE_H

#include <gilloc/gilloc.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GILLOC_INLINE_VERSION 2

/* For machine code.  With `cache` what gilloc_inline_cache_2 of the thread points to
   and `gate` the element of gilloc_inline_gate_2 of the domain (0 mem, 1 object):
     allocate   bin = cache + GILLOC_INLINE_MEM (or _OBJECT)
                      + (size + 15) / 16 * GILLOC_INLINE_BIN;
                block = *(bin + GILLOC_INLINE_ALLOC); call PyObject_Malloc(size) if
                (block & gate) is 0; *(bin + GILLOC_INLINE_ALLOC) = *block
     free       class = size is 0: 0, else (size - 1) / 16; bin as above, for
                (class + 1) * 16 bytes; page = cache + GILLOC_INLINE_PAGES
                + (domain * GILLOC_INLINE_CLASSES + class) * 8;
                call gilloc_inline_free_else() if (block & gate) is not *page;
                *block = *(bin + GILLOC_INLINE_FREE);
                *(bin + GILLOC_INLINE_FREE) = block
   All are 8 bytes wide.  Nothing of this is kept over a call that may detach or
   pass a safepoint, but the addresses of the two variables. */
typedef enum {
    GILLOC_INLINE_LARGEST = 512, /* bytes: the largest size */
    GILLOC_INLINE_CLASSES = 32,
    GILLOC_INLINE_MEM = 192, /* in the cache: the bins of each domain */
    GILLOC_INLINE_OBJECT = 1248,
    GILLOC_INLINE_PAGES = 14976, /* in the cache: the pages */
    GILLOC_INLINE_BIN = 32,      /* bytes from one bin to the next */
    GILLOC_INLINE_ALLOC = 0,     /* in a bin: the first block to be allocated */
    GILLOC_INLINE_FREE = 8       /* in a bin: the last block that was freed */
} gilloc_inline_layout;

/* Frees `block` of mem or object as gilloc_free_sized() does, and sees to it that the
   inlined code frees the next block from the same page. */
GILLOC_API void gilloc_inline_free_else(PyMemAllocatorDomain domain, void *block, size_t size);

#if defined(__GNUC__)
struct gilloc_inline_cache;
/* What the attached thread has; something without blocks or pages in a detached one.
   Its place is the same distance from every thread's thread pointer. */
extern GILLOC_API __thread struct gilloc_inline_cache *gilloc_inline_cache_2 __attribute__((tls_model("initial-exec")));
/* Of mem and object: a mask, or 0 while the inlined code may not serve the domain. */
extern GILLOC_API uintptr_t gilloc_inline_gate_2[2];
#endif

#if defined(__x86_64__) && defined(__LP64__) && defined(__GCC_ASM_FLAG_OUTPUTS__) && !defined(GILLOC_NO_INLINE)

/* Clang may move a load of the user's behind a store of another type; GCC does not, and can keep the cache's address in
   a register if the store has not changed it. */
#if defined(__clang__)
struct __attribute__((may_alias)) gilloc_inline_block {
#else
struct gilloc_inline_block {
#endif
    struct gilloc_inline_block *next;
};
struct gilloc_inline_bin {
    struct gilloc_inline_block *alloc, *free;
};

/* The bin at an offset of the cache. */
static inline __attribute__((always_inline)) struct gilloc_inline_bin *gilloc_inline_bin_at(size_t offset) {
    return (struct gilloc_inline_bin *)(void *)((char *)gilloc_inline_cache_2 + offset);
}

/* A block of the domain (0 mem, 1 object), whose bins are at that offset; NULL: call. */
static inline __attribute__((always_inline)) void *gilloc_inline_pop(unsigned domain, size_t bins, size_t size) {
    struct gilloc_inline_bin *bin = gilloc_inline_bin_at(bins + (size + 15) / 16 * GILLOC_INLINE_BIN);
    struct gilloc_inline_block *block = bin->alloc;
    int none;
    /* One instruction for two questions: is there a block, and may it be had. */
    __asm__ volatile("testq %2, %1" : "=@ccz"(none) : "m"(gilloc_inline_gate_2[domain]), "r"(block));
    if (__builtin_expect(none, 0)) {
        return NULL;
    }
    bin->alloc = block->next;
    return block;
}

/* Whether the block has been freed; 0: call. */
static inline __attribute__((always_inline)) int gilloc_inline_push(unsigned domain, size_t bins, void *block,
                                                                    size_t size) {
    size_t number = size == 0 ? 0 : (size - 1) / 16;
    const uintptr_t *pages =
        (const uintptr_t *)(const void *)((const char *)gilloc_inline_cache_2 + GILLOC_INLINE_PAGES);
    uintptr_t page = (uintptr_t)block & *(const volatile uintptr_t *)&gilloc_inline_gate_2[domain];
    if (__builtin_expect(page != pages[domain * GILLOC_INLINE_CLASSES + number], 0)) {
        return 0;
    }
    struct gilloc_inline_bin *bin = gilloc_inline_bin_at(bins + (number + 1) * GILLOC_INLINE_BIN);
    struct gilloc_inline_block *freed = (struct gilloc_inline_block *)block;
    freed->next = bin->free;
    bin->free = freed;
    return 1;
}

/* As PyMem_Malloc(size) and PyObject_Malloc(size). */
static inline __attribute__((always_inline)) void *gilloc_inline_mem_malloc(size_t size) {
    int is_inlined = __builtin_constant_p(size) && size <= GILLOC_INLINE_LARGEST;
    void *block = is_inlined ? gilloc_inline_pop(0, GILLOC_INLINE_MEM, size) : NULL;
    return block != NULL ? block : PyMem_Malloc(size);
}
static inline __attribute__((always_inline)) void *gilloc_inline_object_malloc(size_t size) {
    int is_inlined = __builtin_constant_p(size) && size <= GILLOC_INLINE_LARGEST;
    void *block = is_inlined ? gilloc_inline_pop(1, GILLOC_INLINE_OBJECT, size) : NULL;
    return block != NULL ? block : PyObject_Malloc(size);
}

/* As gilloc_free_sized(PYMEM_DOMAIN_MEM, block, size) and the same of the object domain:
   the size is that of the request, whatever function allocated the block. */
static inline __attribute__((always_inline)) void gilloc_inline_mem_free(void *block, size_t size) {
    if (!__builtin_constant_p(size) || size > GILLOC_INLINE_LARGEST) {
        gilloc_free_sized(PYMEM_DOMAIN_MEM, block, size);
    } else if (!gilloc_inline_push(0, GILLOC_INLINE_MEM, block, size)) {
        gilloc_inline_free_else(PYMEM_DOMAIN_MEM, block, size);
    }
}
static inline __attribute__((always_inline)) void gilloc_inline_object_free(void *block, size_t size) {
    if (!__builtin_constant_p(size) || size > GILLOC_INLINE_LARGEST) {
        gilloc_free_sized(PYMEM_DOMAIN_OBJ, block, size);
    } else if (!gilloc_inline_push(1, GILLOC_INLINE_OBJECT, block, size)) {
        gilloc_inline_free_else(PYMEM_DOMAIN_OBJ, block, size);
    }
}

#else

static inline void *gilloc_inline_mem_malloc(size_t size) { return PyMem_Malloc(size); }
static inline void *gilloc_inline_object_malloc(size_t size) { return PyObject_Malloc(size); }
static inline void gilloc_inline_mem_free(void *block, size_t size) {
    gilloc_free_sized(PYMEM_DOMAIN_MEM, block, size);
}
static inline void gilloc_inline_object_free(void *block, size_t size) {
    gilloc_free_sized(PYMEM_DOMAIN_OBJ, block, size);
}

#endif

#ifdef __cplusplus
}
#endif

#endif /* GILLOC_INLINE_H */

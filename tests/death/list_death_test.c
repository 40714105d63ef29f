/* SPDX-License-Identifier: MIT */
/*
 * list_death_test.c - what a program has done wrong shows in a list of free blocks, at the latest when the list is
 *                     used: blocks that were freed twice, pointers that were none, links that were overwritten.
 */
#include <string.h>

#include "tests/support/death.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/threads.h"

#define SIZE 64

#define DOUBLE_FREE(function)                      \
    "Fatal gilloc error: " function                \
    ": double free\n"                              \
    "  domain   mem\n"                             \
    "  block    X, of 64 bytes\n"                  \
    "  found    later, in a list of free blocks\n" \
    "  do       free each block once\n"
#define IN_ITS_POOL(function)                                                \
    "Fatal gilloc error: " function                                          \
    ": double free\n"                                                        \
    "  domain   mem\n"                                                       \
    "  block    X, of 64 bytes\n"                                            \
    "  found    in its pool, where it is since free memory was given back\n" \
    "  do       free each block once\n"
#define INSIDE(function, offset)                   \
    "Fatal gilloc error: " function                \
    ": invalid pointer\n"                          \
    "  domain   mem\n"                             \
    "  block    X, " offset                        \
    " bytes behind the start of one of 64 bytes\n" \
    "  found    later, in a list of free blocks\n" \
    "  do       free the pointer that the allocation returned\n"
#define INSIDE_AT_ONCE(function, offset)               \
    "Fatal gilloc error: " function                    \
    ": invalid pointer\n"                              \
    "  domain   mem\n"                                 \
    "  block    X, " offset                            \
    " bytes behind the start of a block of 64 bytes\n" \
    "  do       free each block once, and only pointers that an allocation returned\n"
#define CORRUPTED(function, link)   \
    "Fatal gilloc error: " function \
    ": corrupted free list\n"       \
    "  domain   mem\n"              \
    "  block    X, of 64 bytes\n"   \
    "  link     X, " link           \
    "\n"                            \
    "  do       look for a write to the block while it was free, or past the end of the one before it\n"

/* Allocates until the blocks that have been freed are used again. */
static void use_up(void) {
    for (int i = 0; i < 10000; i++) {
        EXPECT(PyMem_Malloc(SIZE) != NULL);
    }
}

static void end_thread(void) {
    PyThreadState *state = PyThreadState_Get();
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
}

/* --- freed twice ------------------------------------------------------------------------------ */

#ifndef GI_HOSTILE
static void twice_at_once(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    void *block = PyMem_Malloc(SIZE);
    PyMem_Free(block);
    PyMem_Free(block);
    use_up();
}

static void twice_with_another_between(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    void *block = PyMem_Malloc(SIZE), *other = PyMem_Malloc(SIZE);
    PyMem_Free(block);
    PyMem_Free(other);
    PyMem_Free(block);
    use_up();
}

#endif

/* --- pointers that are none ------------------------------------------------------------------- */

static const size_t sixteen = 16, eight = 8, one = 1;

static void free_inside(const void *offset) {
    PyGILState_Ensure();
    PyMem_Free((char *)PyMem_Malloc(SIZE) + *(const size_t *)offset);
    use_up();
}
static void realloc_inside(const void *offset) {
    PyGILState_Ensure();
    PyMem_Realloc((char *)PyMem_Malloc(SIZE) + *(const size_t *)offset, 200);
}
static void free_sized_inside(const void *offset) {
    PyGILState_Ensure();
    gilloc_free_sized(PYMEM_DOMAIN_MEM, (char *)PyMem_Malloc(SIZE) + *(const size_t *)offset, SIZE);
}
static void usable_size_inside(const void *offset) {
    PyGILState_Ensure();
    gilloc_usable_size(PYMEM_DOMAIN_MEM, (char *)PyMem_Malloc(SIZE) + *(const size_t *)offset);
}

/* In GIL-free mode, of another thread: by a remote slot. */
static void *make_block(void *arg) {
    PyGILState_STATE was = PyGILState_Ensure();
    *(void **)arg = PyMem_Malloc(SIZE);
    PyThreadState_Swap(NULL);
    (void)was;
    return NULL;
}
static void free_inside_another_threads(const void *offset) {
    void *block;
    threads_run(1, make_block, &block, 0);
    PyGILState_Ensure();
    PyMem_Free((char *)block + *(const size_t *)offset);
    end_thread();
}

/* --- where the next free is looked at ----------------------------------------------------------- */

static void twice_with_a_purge_between(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    void *other = PyMem_Malloc(SIZE), *block = PyMem_Malloc(SIZE);
    PyMem_Free(block);
    gilloc_purge(); /* the pool stays, for the sake of the other block */
    PyMem_Free(block);
    PyMem_Free(other);
}

#define HEADER 16
static PyMemAllocatorEx without_header;
static void *header_malloc(void *ctx, size_t size) {
    char *block = without_header.malloc(ctx, size + HEADER);
    return block == NULL ? NULL : block + HEADER;
}
static void *header_calloc(void *ctx, size_t count, size_t size) {
    char *block = without_header.calloc(ctx, 1, count * size + HEADER);
    return block == NULL ? NULL : block + HEADER;
}
static void *header_realloc(void *ctx, void *block, size_t size) {
    char *moved = without_header.realloc(ctx, block == NULL ? NULL : (char *)block - HEADER, size + HEADER);
    return moved == NULL ? NULL : moved + HEADER;
}
static void header_free(void *ctx, void *block) {
    without_header.free(ctx, block == NULL ? NULL : (char *)block - HEADER);
}

static void free_after_a_hook(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyMem_Free(PyMem_Malloc(SIZE));
    PyMem_GetAllocator(PYMEM_DOMAIN_MEM, &without_header);
    PyMemAllocatorEx header = {without_header.ctx, header_malloc, header_calloc, header_realloc, header_free};
    PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &header);
    void *block = PyMem_Malloc(SIZE - HEADER);
    PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &without_header);
    PyMem_Free(block);
}

/* --- links that were overwritten -------------------------------------------------------------- */

static void overwrite(const void *link) {
    PyGILState_Ensure();
    void *block = PyMem_Malloc(SIZE);
    PyMem_Free(block);
    memcpy(block, link, sizeof(void *));
}
static const uintptr_t unmapped = 0x4141414141414140;

static void write_to_a_free_block(const void *link) {
    overwrite(link);
    use_up();
}
static void write_to_a_free_block_and_end(const void *link) {
    overwrite(link);
    end_thread();
}
static void write_to_a_free_block_and_purge(const void *link) {
    overwrite(link);
    gilloc_purge();
}

#define BOTH(name, body, arg, text) \
    {name " (gil)", body, arg, GILLOC_MODE_GIL, 0, text}, { name " (free)", body, arg, GILLOC_MODE_FREE, 0, text }

static struct death_case cases[] = {
#ifndef GI_HOSTILE /* where a list of two blocks overflows before it is used again */
    BOTH("freed twice at once", twice_at_once, NULL, DOUBLE_FREE("PyMem_Malloc")),
    BOTH("freed twice, another between", twice_with_another_between, NULL, DOUBLE_FREE("PyMem_Malloc")),
#endif
    BOTH("PyMem_Free inside, by 16", free_inside, &sixteen, INSIDE("PyMem_Malloc", "16")),
    BOTH("PyMem_Free inside, by 8", free_inside, &eight, INSIDE("PyMem_Malloc", "8")),
    BOTH("PyMem_Realloc inside", realloc_inside, &sixteen, INSIDE_AT_ONCE("PyMem_Realloc", "16")),
    BOTH("gilloc_free_sized inside", free_sized_inside, &eight, INSIDE_AT_ONCE("gilloc_free_sized", "8")),
    BOTH("gilloc_usable_size inside", usable_size_inside, &one, INSIDE_AT_ONCE("gilloc_usable_size", "1")),
    {"PyMem_Free inside another thread's (free)", free_inside_another_threads, &sixteen, GILLOC_MODE_FREE, 0,
     INSIDE_AT_ONCE("PyMem_Free", "16")},
    BOTH("freed twice, a purge between", twice_with_a_purge_between, NULL, IN_ITS_POOL("PyMem_Free")),
    BOTH("freed after a hook with a header has gone", free_after_a_hook, NULL, INSIDE_AT_ONCE("PyMem_Free", "16")),
    BOTH("a link overwritten", write_to_a_free_block, &unmapped, CORRUPTED("PyMem_Malloc", "not mapped")),
    BOTH("a link overwritten, the thread ends", write_to_a_free_block_and_end, &unmapped,
         CORRUPTED("PyThreadState_Clear", "not mapped")),
    BOTH("a link overwritten, a purge", write_to_a_free_block_and_purge, &unmapped,
         CORRUPTED("gilloc_purge", "not mapped")),
};

int main(void) { return death_run_group("lists", cases, sizeof(cases) / sizeof(cases[0])); }

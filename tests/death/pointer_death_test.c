/* SPDX-License-Identifier: MIT */
/*
 * pointer_death_test.c - pointers that are no block of the domain, sizes that are not the block's, allocators that are
 * not whole.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/support/death.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/threads.h"

#define BAD_ID(function, made, asked, made_name, asked_name)                                               \
    "Fatal gilloc error: " function ": bad ID: Allocated using API '" made "', verified using API '" asked \
    "'\n"                                                                                                  \
    "  domain   " asked_name ", but the block is of " made_name                                            \
    "\n"                                                                                                   \
    "  block    X\n"                                                                                       \
    "  do       free a block by the family of functions that allocated it\n"

#define INVALID(function, domain, kind) \
    "Fatal gilloc error: " function     \
    ": invalid pointer\n"               \
    "  domain   " domain                \
    "\n"                                \
    "  block    X, " kind               \
    "\n"                                \
    "  do       free each block once, and only pointers that an allocation returned\n"

#define MISMATCH(domain, block, size)                        \
    "Fatal gilloc error: gilloc_free_sized: size mismatch\n" \
    "  domain   " domain                                     \
    "\n"                                                     \
    "  block    X, of " block                                \
    " bytes\n"                                               \
    "  size     " size                                       \
    " bytes\n"                                               \
    "  do       pass the size that the block was requested with\n"

/* --- the wrong domain ------------------------------------------------------------------------- */

static const size_t smallest = 0, small = 64, largest = 512;

static void object_free_of_mem(const void *size) {
    PyGILState_Ensure();
    PyObject_Free(PyMem_Malloc(*(const size_t *)size));
}
static void mem_free_of_object(const void *size) {
    PyGILState_Ensure();
    PyMem_Free(PyObject_Malloc(*(const size_t *)size));
}
static void object_realloc_of_mem(const void *size) {
    PyGILState_Ensure();
    PyObject_Realloc(PyMem_Malloc(*(const size_t *)size), 1000);
}
static void mem_realloc_of_object(const void *size) {
    PyGILState_Ensure();
    PyMem_Realloc(PyObject_Malloc(*(const size_t *)size), 1000);
}
static void usable_size_of_mem_as_object(const void *size) {
    PyGILState_Ensure();
    gilloc_usable_size(PYMEM_DOMAIN_OBJ, PyMem_Malloc(*(const size_t *)size));
}
static void free_sized_of_object_as_mem(const void *size) {
    PyGILState_Ensure();
    gilloc_free_sized(PYMEM_DOMAIN_MEM, PyObject_Malloc(*(const size_t *)size), *(const size_t *)size);
}

/* Of another thread, whose cache it is not in. */
static void *make_mem_block(void *arg) {
    PyGILState_STATE was = PyGILState_Ensure();
    *(void **)arg = PyMem_Malloc(64);
    PyGILState_Release(was);
    return NULL;
}
static void object_free_of_another_threads_mem(const void *unused) {
    (void)unused;
    void *block;
    threads_run(1, make_mem_block, &block, 0);
    PyGILState_Ensure();
    PyObject_Free(block);
}

/* --- no block --------------------------------------------------------------------------------- */

/* Hostile builds have smaller arenas. */
#ifdef GI_HOSTILE
#define ARENA_SIZE 32768
#define ARENA_BYTES "32768"
#else
#define ARENA_SIZE 262144
#define ARENA_BYTES "262144"
#endif

/* In the arena of the only block that is alive, and far from it.  gilloc's own arenas are aligned to their size. */
static char *unused_part_of_an_arena(void) {
    char *block = PyMem_Malloc(16);
    EXPECT(block != NULL);
    size_t offset = (size_t)block % ARENA_SIZE;
    return block - offset + (offset < ARENA_SIZE / 2 ? ARENA_SIZE - 16 : 0);
}

static void free_of_an_unused_part(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyMem_Free(unused_part_of_an_arena());
}
static void realloc_of_an_unused_part(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyMem_Realloc(unused_part_of_an_arena(), 100);
}
static void object_free_of_an_unused_part(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyObject_Free(unused_part_of_an_arena());
}
static void usable_size_of_an_unused_part(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    gilloc_usable_size(PYMEM_DOMAIN_MEM, unused_part_of_an_arena());
}

/* The arena has gone back, and the address is still in the reservation. */
static void free_in_a_released_arena(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    char *block = PyMem_Malloc(64);
    PyMem_Free(block);
    gilloc_purge();
    PyMem_Free(block);
}

/* --- the wrong size --------------------------------------------------------------------------- */

static const struct sizes {
    size_t requested;
    size_t freed;
} too_large = {64, 65}, too_small = {64, 16}, zero = {64, 0}, of_large = {64, 1000}, of_none = {0, 17},
  beyond_three_quarters = {512, 384};

static void free_sized(const void *arg) {
    const struct sizes *sizes = arg;
    PyGILState_Ensure();
    gilloc_free_sized(PYMEM_DOMAIN_MEM, PyMem_Malloc(sizes->requested), sizes->freed);
}
static void free_sized_object(const void *arg) {
    const struct sizes *sizes = arg;
    PyGILState_Ensure();
    gilloc_free_sized(PYMEM_DOMAIN_OBJ, PyObject_Malloc(sizes->requested), sizes->freed);
}

static void usable_size_of_no_domain(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    gilloc_usable_size((PyMemAllocatorDomain)3, NULL);
}
static void free_sized_of_no_domain(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    gilloc_free_sized((PyMemAllocatorDomain)-1, NULL, 0);
}

/* --- allocators that are not whole ------------------------------------------------------------ */

static void allocator_without_free(const void *unused) {
    (void)unused;
    PyMemAllocatorEx words;
    PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &words);
    words.free = NULL;
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &words);
}
static void allocator_without_calloc(const void *unused) {
    (void)unused;
    PyMemAllocatorEx words;
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &words);
    words.calloc = NULL;
    PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &words);
}
static void arena_allocator_without_alloc(const void *unused) {
    (void)unused;
    PyObjectArenaAllocator words;
    PyObject_GetArenaAllocator(&words);
    words.alloc = NULL;
    PyObject_SetArenaAllocator(&words);
}

/* An arena allocator that has one arena and gives it again and again. */
static void *same_arena(void *ctx, size_t size) {
    static void *arena;
    (void)ctx;
    if (arena == NULL) {
        arena = malloc(size);
    }
    return arena;
}
static void keep_arena(void *ctx, void *arena, size_t size) { (void)ctx, (void)arena, (void)size; }
static void the_same_arena_twice(const void *unused) {
    (void)unused;
    PyObjectArenaAllocator words = {NULL, same_arena, keep_arena};
    PyObject_SetArenaAllocator(&words);
    PyGILState_Ensure();
    for (;;) {
        EXPECT(PyMem_Malloc(512) != NULL);
    }
}

#define BOTH(name, body, arg, text) \
    {name " (gil)", body, arg, GILLOC_MODE_GIL, 0, text}, { name " (free)", body, arg, GILLOC_MODE_FREE, 0, text }

static struct death_case cases[] = {
    BOTH("PyObject_Free of mem, 0 bytes", object_free_of_mem, &smallest,
         BAD_ID("PyObject_Free", "m", "o", "mem", "object")),
    BOTH("PyObject_Free of mem", object_free_of_mem, &small, BAD_ID("PyObject_Free", "m", "o", "mem", "object")),
    BOTH("PyMem_Free of object", mem_free_of_object, &small, BAD_ID("PyMem_Free", "o", "m", "object", "mem")),
    BOTH("PyMem_Free of object, 512 bytes", mem_free_of_object, &largest,
         BAD_ID("PyMem_Free", "o", "m", "object", "mem")),
    BOTH("PyObject_Realloc of mem", object_realloc_of_mem, &small,
         BAD_ID("PyObject_Realloc", "m", "o", "mem", "object")),
    BOTH("PyMem_Realloc of object", mem_realloc_of_object, &small, BAD_ID("PyMem_Realloc", "o", "m", "object", "mem")),
    BOTH("gilloc_usable_size of mem as object", usable_size_of_mem_as_object, &small,
         BAD_ID("gilloc_usable_size", "m", "o", "mem", "object")),
    BOTH("gilloc_free_sized of object as mem", free_sized_of_object_as_mem, &small,
         BAD_ID("gilloc_free_sized", "o", "m", "object", "mem")),
    BOTH("PyObject_Free of another thread's mem", object_free_of_another_threads_mem, NULL,
         BAD_ID("PyObject_Free", "m", "o", "mem", "object")),

    BOTH("PyMem_Free of an unused part of an arena", free_of_an_unused_part, NULL,
         INVALID("PyMem_Free", "mem", "in an arena, where no block is now")),
    BOTH("PyMem_Realloc of an unused part of an arena", realloc_of_an_unused_part, NULL,
         INVALID("PyMem_Realloc", "mem", "in an arena, where no block is now")),
    BOTH("PyObject_Free of an unused part of an arena", object_free_of_an_unused_part, NULL,
         INVALID("PyObject_Free", "object", "in an arena, where no block is now")),
    BOTH("gilloc_usable_size of an unused part of an arena", usable_size_of_an_unused_part, NULL,
         INVALID("gilloc_usable_size", "mem", "in an arena, where no block is now")),
    BOTH("PyMem_Free in a released arena", free_in_a_released_arena, NULL,
         INVALID("PyMem_Free", "mem", "in gilloc's own memory, where no arena is")),

    BOTH("free_sized, too large", free_sized, &too_large, MISMATCH("mem", "64", "65")),
    BOTH("free_sized, too small", free_sized, &too_small, MISMATCH("mem", "64", "16")),
    BOTH("free_sized, zero", free_sized, &zero, MISMATCH("mem", "64", "0")),
    BOTH("free_sized, small as large", free_sized, &of_large, MISMATCH("mem", "64", "1000")),
    BOTH("free_sized, zero as small", free_sized_object, &of_none, MISMATCH("object", "16", "17")),
    BOTH("free_sized, less than a resize in place leaves", free_sized_object, &beyond_three_quarters,
         MISMATCH("object", "512", "384")),
    BOTH("gilloc_usable_size of no domain", usable_size_of_no_domain, NULL,
         "Fatal gilloc error: gilloc_usable_size: no such domain\n"
         "  domain   3\n"
         "  do       pass a PyMemAllocatorDomain, or what gilloc_new_kind() returned\n"),
    BOTH("gilloc_free_sized of no domain", free_sized_of_no_domain, NULL,
         "Fatal gilloc error: gilloc_free_sized: no such domain\n"
         "  domain   -1\n"
         "  do       pass a PyMemAllocatorDomain, or what gilloc_new_kind() returned\n"),

    BOTH("allocator without free", allocator_without_free, NULL,
         "Fatal gilloc error: PyMem_SetAllocator: a function of the allocator is NULL\n"
         "  domain   2\n"
         "  do       set all four; PyMem_GetAllocator() gives those in place\n"),
    BOTH("allocator without calloc", allocator_without_calloc, NULL,
         "Fatal gilloc error: PyMem_SetAllocator: a function of the allocator is NULL\n"
         "  domain   0\n"
         "  do       set all four; PyMem_GetAllocator() gives those in place\n"),
    BOTH("arena allocator without alloc", arena_allocator_without_alloc, NULL,
         "Fatal gilloc error: PyObject_SetArenaAllocator: a function of the allocator is NULL\n"
         "  do       set both; PyObject_GetArenaAllocator() gives those in place\n"),
    BOTH("the same arena twice", the_same_arena_twice, NULL,
         "Fatal gilloc error: PyObjectArenaAllocator.alloc: memory that is in use already\n"
         "  arena    X, " ARENA_BYTES " bytes\n"
         "  do       return each arena once until it has been freed\n"),
};

int main(void) { return death_run_group("pointers", cases, sizeof(cases) / sizeof(cases[0])); }

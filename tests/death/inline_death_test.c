/* SPDX-License-Identifier: MIT */
/*
 * inline_death_test.c - misuse through <gilloc/inline.h>: the texts of the public functions.
 *   Compiled with -O2: without it the compiler knows no sizes.
 */
#include <gilloc/inline.h>
#include <stddef.h>

#include "tests/support/death.h"
#include "tests/support/expect.h"
#include "tests/support/threads.h"

#define UNATTACHED(function, domain, fact)                       \
    "Fatal gilloc error: " function                              \
    ": Python memory allocator called without holding the GIL\n" \
    "  domain   " domain                                         \
    "\n"                                                         \
    "  " fact                                                    \
    "\n"                                                         \
    "  thread   X, detached\n"                                   \
    "  do       attach the thread first, by PyGILState_Ensure() or PyEval_RestoreThread()\n"
#define MISMATCH(domain, block, size)                        \
    "Fatal gilloc error: gilloc_free_sized: size mismatch\n" \
    "  domain   " domain                                     \
    "\n"                                                     \
    "  block    X, of " block                                \
    " bytes\n"                                               \
    "  size     " size                                       \
    " bytes\n"                                               \
    "  do       pass the size that the block was requested with\n"
#define WRONG_DOMAIN                                                                                   \
    "Fatal gilloc error: gilloc_free_sized: bad ID: Allocated using API 'm', verified using API 'o'\n" \
    "  domain   object, but the block is of mem\n"                                                     \
    "  block    X\n"                                                                                   \
    "  do       free a block by the family of functions that allocated it\n"

/* Attaches, with the pages of both sizes known and free blocks of them. */
static PyGILState_STATE attach(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (int i = 0; i < 10; i++) {
        gilloc_inline_mem_free(gilloc_inline_mem_malloc(40), 40);
        gilloc_inline_object_free(gilloc_inline_object_malloc(40), 40);
        gilloc_inline_object_free(gilloc_inline_object_malloc(100), 100);
    }
    return was;
}

static void malloc_detached(const void *unused) {
    (void)unused;
    PyGILState_Release(attach());
    EXPECT(gilloc_inline_object_malloc(40) == NULL);
}
static void free_detached(const void *unused) {
    (void)unused;
    PyGILState_STATE was = attach();
    void *block = gilloc_inline_mem_malloc(40);
    PyGILState_Release(was);
    gilloc_inline_mem_free(block, 40);
}
static void free_null_detached(const void *unused) {
    (void)unused;
    gilloc_inline_mem_free(NULL, 40);
}
static void free_of_a_smaller_size(const void *unused) {
    (void)unused;
    attach();
    gilloc_inline_object_free(gilloc_inline_object_malloc(100), 40);
}
static void free_of_a_larger_size(const void *unused) {
    (void)unused;
    attach();
    gilloc_inline_object_free(gilloc_inline_object_malloc(40), 100);
}
static void free_in_another_domain(const void *unused) {
    (void)unused;
    attach();
    gilloc_inline_object_free(gilloc_inline_mem_malloc(40), 40);
}
/* The page of the last free of 40 bytes was given back, and is one of 100 bytes now. */
static void free_of_a_size_that_the_page_had(const void *unused) {
    (void)unused;
    attach();
    gilloc_purge();
    gilloc_inline_object_free(gilloc_inline_object_malloc(100), 40);
}

static void *free_three(void *arg) {
    PyGILState_Ensure();
    void **blocks = arg;
    gilloc_inline_object_free(gilloc_inline_object_malloc(100), 100);
    gilloc_inline_object_free(gilloc_inline_object_malloc(40), 40);
    gilloc_inline_object_free(blocks[0], 100);
    gilloc_inline_object_free(blocks[1], 100);
    gilloc_inline_object_free(blocks[2], 40); /* where a block of its class is that was freed for the same heap */
    return NULL;
}
static void free_of_another_threads_block(const void *unused) {
    (void)unused;
    attach();
    void *blocks[3];
    for (int i = 0; i < 3; i++) {
        blocks[i] = gilloc_inline_object_malloc(100);
    }
    PyEval_SaveThread();
    thread_join(thread_start(free_three, blocks));
}

#define BOTH(body, text) \
    {#body " (gil)", body, NULL, GILLOC_MODE_GIL, 0, text}, { #body " (free)", body, NULL, GILLOC_MODE_FREE, 0, text }

int main(void) {
    static struct death_case cases[] = {
        BOTH(malloc_detached, UNATTACHED("PyObject_Malloc", "object", "size     40 bytes")),
        BOTH(free_detached, UNATTACHED("gilloc_free_sized", "mem", "block    X")),
        BOTH(free_null_detached, UNATTACHED("gilloc_free_sized", "mem", "block    (nil)")),
        BOTH(free_of_a_smaller_size, MISMATCH("object", "112", "40")),
        BOTH(free_of_a_larger_size, MISMATCH("object", "48", "100")),
        BOTH(free_of_another_threads_block, MISMATCH("object", "112", "40")),
        BOTH(free_in_another_domain, WRONG_DOMAIN),
        BOTH(free_of_a_size_that_the_page_had, MISMATCH("object", "112", "40")),
    };
    return death_run_group("inline_death", cases, sizeof(cases) / sizeof(cases[0]));
}

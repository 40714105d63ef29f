/* SPDX-License-Identifier: MIT */
/*
 * hardened_death_test.c - GILLOC_HARDEN=1: what is wrong with a small block is found as it is freed, resized or used
 *                         again.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/support/death.h"
#include "tests/support/expect.h"
#include "tests/support/threads.h"

#define SIZE 56 /* a block of 64 bytes, with its tail */

#ifdef GI_HOSTILE
#define POOL_SIZE 4096
#else
#define POOL_SIZE 16384
#endif

#define DOUBLE_FREE(function, domain, what)  \
    "Fatal gilloc error: " function          \
    ": double free\n"                        \
    "  domain   " domain                     \
    "\n"                                     \
    "  block    X, of 64 bytes, which " what \
    "\n"                                     \
    "  do       free each block once, and do not use it afterwards\n"
#define INVALID(function, what)     \
    "Fatal gilloc error: " function \
    ": invalid pointer\n"           \
    "  domain   mem\n"              \
    "  block    X, " what           \
    "\n"                            \
    "  do       free each block once, and only pointers that an allocation returned\n"
#define OVERRUN(function, domain)                  \
    "Fatal gilloc error: " function                \
    ": overrun\n"                                  \
    "  domain   " domain                           \
    "\n"                                           \
    "  block    X, of 56 bytes that may be used\n" \
    "  do       look for a write past the end of the block, or before the start of the one behind it\n"
#define WRITTEN(offset)                                    \
    "Fatal gilloc error: PyMem_Malloc: write after free\n" \
    "  domain   mem\n"                                     \
    "  block    X, of 64 bytes\n"                          \
    "  found    as it was to be used again, " offset       \
    " bytes behind its start\n"                            \
    "  do       look for a write to the block after it was freed, or past the end of the one before it\n"
#define CORRUPTED(function)                                 \
    "Fatal gilloc error: " function                         \
    ": corrupted free list\n"                               \
    "  domain   mem\n"                                      \
    "  block    one of 64 bytes that has been used since\n" \
    "  link     X, not mapped\n"                            \
    "  do       look for a write to the block while it was free, or past the end of the one before it\n"

static char *make(void) {
    PyGILState_Ensure();
    char *block = PyMem_Malloc(SIZE);
    EXPECT(block != NULL);
    memset(block, 0x5A, SIZE);
    return block;
}
static char *make_freed(void) {
    char *block = make();
    PyMem_Free(block);
    return block;
}

/* Others are allocated and freed meanwhile, but not so many that the block is used again. */
static void work(void) {
    for (int i = 0; i < 3; i++) {
        PyMem_Free(PyMem_Malloc(300));
    }
}

/* Frees until those that have been freed may be used again, and allocates until they are. */
static void use_up(void) {
    void *blocks[70];
    for (int i = 0; i < 70; i++) {
        blocks[i] = PyMem_Malloc(SIZE);
    }
    for (int i = 0; i < 70; i++) {
        PyMem_Free(blocks[i]);
    }
    for (int i = 0; i < 7000; i++) {
        EXPECT(PyMem_Malloc(SIZE) != NULL);
    }
}

/* --- freed twice ------------------------------------------------------------------------------ */

static void free_twice(const void *unused) {
    (void)unused;
    PyMem_Free(make_freed());
}
static void free_twice_later(const void *unused) {
    (void)unused;
    char *block = make_freed();
    work();
    PyMem_Free(block);
}
static void free_twice_after_a_purge(const void *unused) {
    (void)unused;
    char *other = make(), *block = make_freed(); /* one in the same pool stays */
    gilloc_purge();
    other[0] = 1;
    PyMem_Free(block);
}
static void free_twice_sized(const void *unused) {
    (void)unused;
    gilloc_free_sized(PYMEM_DOMAIN_MEM, make_freed(), SIZE);
}
static void realloc_freed(const void *unused) {
    (void)unused;
    PyMem_Realloc(make_freed(), 200);
}
static void realloc_freed_in_place(const void *unused) {
    (void)unused;
    PyMem_Realloc(make_freed(), SIZE - 1);
}
static void usable_size_of_freed(const void *unused) {
    (void)unused;
    gilloc_usable_size(PYMEM_DOMAIN_MEM, make_freed());
}

static void *make_and_free(void *arg) {
    PyGILState_STATE was = PyGILState_Ensure();
    *(void **)arg = PyMem_Malloc(SIZE);
    PyMem_Free(*(void **)arg);
    PyGILState_Release(was);
    return NULL;
}
static void free_what_another_thread_freed(const void *unused) {
    (void)unused;
    void *block, *other = make();
    Py_BEGIN_ALLOW_THREADS threads_run(1, make_and_free, &block, 0);
    Py_END_ALLOW_THREADS EXPECT(other != NULL);
    PyMem_Free(block);
}

static void retire_twice(const void *unused) {
    (void)unused;
    char *block = make();
    gilloc_retire(PYMEM_DOMAIN_MEM, block);
    gilloc_retire(PYMEM_DOMAIN_MEM, block);
}
static void free_retired(const void *unused) {
    (void)unused;
    char *block = make();
    gilloc_retire(PYMEM_DOMAIN_MEM, block);
    PyMem_Free(block);
}
static void retire_freed(const void *unused) {
    (void)unused;
    gilloc_retire(PYMEM_DOMAIN_MEM, make_freed());
}

/* Links behind 20 bytes that stay as they are. */
static void free_twice_in_a_kind(const void *unused) {
    (void)unused;
    PyMemAllocatorDomain kind = (PyMemAllocatorDomain)gilloc_new_kind("made", 0, 20);
    PyGILState_Ensure();
    void *block = gilloc_malloc(kind, SIZE);
    gilloc_free(kind, block);
    gilloc_free(kind, block);
}

/* --- no block --------------------------------------------------------------------------------- */

static const size_t sixteen = 16, eight = 8, one = 1;

static void free_inside(const void *offset) { PyMem_Free(make() + *(const size_t *)offset); }

static void free_what_has_never_been(const void *unused) {
    (void)unused;
    char *block = make();
    size_t offset = (uintptr_t)block % POOL_SIZE;
    PyMem_Free(block - offset + POOL_SIZE - 64);
}
static void free_a_small_number(const void *unused) {
    (void)unused;
    make();
    PyMem_Free((void *)(uintptr_t)4080);
}

/* --- written past the end --------------------------------------------------------------------- */

/* The null byte of a string that is one too long. */
static char *make_overrun(void) {
    char *block = make();
    block[SIZE] = 0;
    return block;
}
static void free_overrun(const void *unused) {
    (void)unused;
    PyMem_Free(make_overrun());
}
static void realloc_overrun(const void *unused) {
    (void)unused;
    PyMem_Realloc(make_overrun(), SIZE - 1);
}
static void retire_overrun(const void *unused) {
    (void)unused;
    gilloc_retire(PYMEM_DOMAIN_MEM, make_overrun());
}
static void free_overrun_in_a_kind(const void *unused) {
    (void)unused;
    PyMemAllocatorDomain kind = (PyMemAllocatorDomain)gilloc_new_kind("made", 0, 20);
    PyGILState_Ensure();
    char *block = gilloc_malloc(kind, SIZE);
    block[SIZE + 7] ^= 1;
    gilloc_free(kind, block);
}

/* --- written after the free ------------------------------------------------------------------- */

static const size_t at_link = 0, behind_link = 8, before_tail = 48, at_tail = 56;

static void write_to_freed(const void *offset) {
    memset(make_freed() + *(const size_t *)offset, 0x41, 8);
    use_up();
}

/* --- the environment -------------------------------------------------------------------------- */

static void wrong_value(const void *unused) {
    (void)unused;
    setenv("GILLOC_HARDEN", "yes", 1);
    PyGILState_Ensure();
}

#define BOTH(name, body, arg, text) \
    {name " (gil)", body, arg, GILLOC_MODE_GIL, 0, text}, { name " (free)", body, arg, GILLOC_MODE_FREE, 0, text }

static struct death_case cases[] = {
    BOTH("freed twice", free_twice, NULL, DOUBLE_FREE("PyMem_Free", "mem", "is free")),
    BOTH("freed twice, later", free_twice_later, NULL, DOUBLE_FREE("PyMem_Free", "mem", "is free")),
    BOTH("freed twice, after a purge", free_twice_after_a_purge, NULL, DOUBLE_FREE("PyMem_Free", "mem", "is free")),
    BOTH("freed twice, sized", free_twice_sized, NULL, DOUBLE_FREE("gilloc_free_sized", "mem", "is free")),
    BOTH("freed by two threads", free_what_another_thread_freed, NULL, DOUBLE_FREE("PyMem_Free", "mem", "is free")),
    BOTH("freed twice, in a kind", free_twice_in_a_kind, NULL, DOUBLE_FREE("gilloc_free", "made", "is free")),
    BOTH("resized after its free", realloc_freed, NULL, DOUBLE_FREE("PyMem_Realloc", "mem", "is free")),
    BOTH("resized in place after its free", realloc_freed_in_place, NULL,
         DOUBLE_FREE("PyMem_Realloc", "mem", "is free")),
    BOTH("the size of a freed one", usable_size_of_freed, NULL, DOUBLE_FREE("gilloc_usable_size", "mem", "is free")),
    BOTH("retired twice", retire_twice, NULL, DOUBLE_FREE("gilloc_retire", "mem", "has been retired")),
    BOTH("retired and freed", free_retired, NULL, DOUBLE_FREE("PyMem_Free", "mem", "has been retired")),
    BOTH("freed and retired", retire_freed, NULL, DOUBLE_FREE("gilloc_retire", "mem", "is free")),
    BOTH("inside, by 16", free_inside, &sixteen,
         INVALID("PyMem_Free", "16 bytes behind the start of a block of 64 bytes")),
    BOTH("inside, by 8", free_inside, &eight, INVALID("PyMem_Free", "8 bytes behind the start of a block of 64 bytes")),
    BOTH("inside, by 1", free_inside, &one, INVALID("PyMem_Free", "1 bytes behind the start of a block of 64 bytes")),
    BOTH("never a block", free_what_has_never_been, NULL,
         INVALID("PyMem_Free", "where no block of 64 bytes has been yet")),
    BOTH("a small number", free_a_small_number, NULL, INVALID("PyMem_Free", "not mapped")),
    BOTH("overrun by a null byte, freed", free_overrun, NULL, OVERRUN("PyMem_Free", "mem")),
    BOTH("overrun by a null byte, resized", realloc_overrun, NULL, OVERRUN("PyMem_Realloc", "mem")),
    BOTH("overrun by a null byte, retired", retire_overrun, NULL, OVERRUN("gilloc_retire", "mem")),
    BOTH("overrun by a bit, in a kind", free_overrun_in_a_kind, NULL, OVERRUN("gilloc_free", "made")),
    BOTH("the link of a freed one", write_to_freed, &at_link, CORRUPTED("PyMem_Malloc")),
    BOTH("written to behind the link", write_to_freed, &behind_link, WRITTEN("8")),
    BOTH("written to before the tail", write_to_freed, &before_tail, WRITTEN("48")),
    BOTH("written to at the tail", write_to_freed, &at_tail, WRITTEN("56")),
    {"a value that is none", wrong_value, NULL, CASE_MODE_OPEN, 1,
     "Fatal gilloc error: GILLOC_HARDEN: must be \"0\" or \"1\", not \"yes\"\n"},
};

int main(void) { return death_run_group("hardened", cases, sizeof(cases) / sizeof(cases[0])); }

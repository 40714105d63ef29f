/* SPDX-License-Identifier: MIT */
/*
 * kind_death_test.c - kinds, walks and deferred frees: no such domain, a block of another one, a detached thread.
 */
#include "tests/support/death.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"

static PyMemAllocatorDomain nodes(void) {
    int kind = gilloc_new_kind("nodes", GILLOC_KIND_TYPE_STABLE, 16);
    EXPECT(kind > 0);
    return (PyMemAllocatorDomain)kind;
}

static PyMemAllocatorDomain edges(void) {
    int kind = gilloc_new_kind("edges", 0, 0);
    EXPECT(kind > 0);
    return (PyMemAllocatorDomain)kind;
}

static int visit(void *block, size_t block_size, void *arg) {
    (void)block;
    (void)block_size;
    (void)arg;
    return 0;
}

/* --- no such domain --------------------------------------------------------------------------- */

#define NO_DOMAIN(function, number) \
    "Fatal gilloc error: " function \
    ": no such domain\n"            \
    "  domain   " number            \
    "\n"                            \
    "  do       pass a PyMemAllocatorDomain, or what gilloc_new_kind() returned\n"

static const int none_yet = 3, after_one = 4, last = 15, negative = -1;

static void make_one(PyMemAllocatorDomain domain) {
    if ((int)domain != none_yet) {
        nodes();
    }
}

#define OF_NO_DOMAIN(name, call)                                                    \
    static void name(const void *number) {                                          \
        PyMemAllocatorDomain domain = (PyMemAllocatorDomain) * (const int *)number; \
        make_one(domain);                                                           \
        call;                                                                       \
    }

OF_NO_DOMAIN(malloc_in_none, gilloc_malloc(domain, 10))
OF_NO_DOMAIN(calloc_in_none, gilloc_calloc(domain, 1, 10))
OF_NO_DOMAIN(realloc_in_none, gilloc_realloc(domain, NULL, 10))
OF_NO_DOMAIN(free_in_none, gilloc_free(domain, NULL))
OF_NO_DOMAIN(retire_in_none, gilloc_retire(domain, NULL))
OF_NO_DOMAIN(visit_none, gilloc_visit_blocks(domain, visit, NULL))
OF_NO_DOMAIN(usable_size_in_none, gilloc_usable_size(domain, NULL))
OF_NO_DOMAIN(free_sized_in_none, gilloc_free_sized(domain, NULL, 10))

static void all_kinds_made(const void *unused) {
    (void)unused;
    for (int i = 0; i < GILLOC_KINDS_MAX; i++) {
        nodes();
    }
    PyGILState_Ensure();
    gilloc_free(GILLOC_DOMAIN_LAST, gilloc_malloc(GILLOC_DOMAIN_LAST, 10));
    gilloc_free((PyMemAllocatorDomain)(GILLOC_DOMAIN_LAST + 1), NULL);
}

static void visit_raw(const void *unused) {
    (void)unused;
    gilloc_visit_blocks(PYMEM_DOMAIN_RAW, visit, NULL);
}

/* --- a block of another domain ---------------------------------------------------------------- */

#define BAD_ID(function, made, asked, made_name, asked_name)                                               \
    "Fatal gilloc error: " function ": bad ID: Allocated using API '" made "', verified using API '" asked \
    "'\n"                                                                                                  \
    "  domain   " asked_name ", but the block is of " made_name                                            \
    "\n"                                                                                                   \
    "  block    X\n"                                                                                       \
    "  do       free a block by the family of functions that allocated it\n"

static void mem_free_of_a_kind(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyMem_Free(gilloc_malloc(nodes(), 40));
}
static void object_realloc_of_a_kind(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    PyObject_Realloc(gilloc_malloc(nodes(), 40), 1000);
}
static void free_of_another_kind(const void *unused) {
    (void)unused;
    PyMemAllocatorDomain kind = nodes();
    PyGILState_Ensure();
    gilloc_free(edges(), gilloc_malloc(kind, 40));
}
static void realloc_of_another_kind(const void *unused) {
    (void)unused;
    PyMemAllocatorDomain kind = nodes();
    PyGILState_Ensure();
    gilloc_realloc(kind, gilloc_malloc(edges(), 40), 20);
}
static void free_of_mem_as_a_kind(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    gilloc_free(nodes(), PyMem_Malloc(1));
}
static void usable_size_of_another_kind(const void *unused) {
    (void)unused;
    PyMemAllocatorDomain kind = nodes();
    PyGILState_Ensure();
    gilloc_usable_size(edges(), gilloc_malloc(kind, 40));
}
static void free_sized_of_another_kind(const void *unused) {
    (void)unused;
    PyMemAllocatorDomain kind = nodes();
    PyGILState_Ensure();
    gilloc_free_sized(edges(), gilloc_malloc(kind, 40), 40);
}
static void retire_of_another_kind(const void *unused) {
    (void)unused;
    PyMemAllocatorDomain kind = nodes();
    PyGILState_Ensure();
    gilloc_retire(edges(), gilloc_malloc(kind, 40));
}
static void retire_of_mem_as_object(const void *unused) {
    (void)unused;
    PyGILState_Ensure();
    gilloc_retire(PYMEM_DOMAIN_OBJ, PyMem_Malloc(40));
}

/* --- no block --------------------------------------------------------------------------------- */

#define MISMATCH(domain, block, size)                        \
    "Fatal gilloc error: gilloc_free_sized: size mismatch\n" \
    "  domain   " domain                                     \
    "\n"                                                     \
    "  block    X, of " block                                \
    " bytes\n"                                               \
    "  size     " size                                       \
    " bytes\n"                                               \
    "  do       pass the size that the block was requested with\n"

static void free_sized_too_large(const void *unused) {
    (void)unused;
    PyMemAllocatorDomain kind = nodes();
    PyGILState_Ensure();
    gilloc_free_sized(kind, gilloc_malloc(kind, 0), 33); /* the smallest has 16 + 8 bytes, so 32 */
}

#define INSIDE                                                   \
    "Fatal gilloc error: gilloc_purge: invalid pointer\n"        \
    "  domain   nodes\n"                                         \
    "  block    X, inside one of blocks of 64 bytes\n"           \
    "  found    later, as free blocks went back to their pool\n" \
    "  do       free the pointer that the allocation returned\n"

static void free_inside_a_block(const void *unused) {
    (void)unused;
    PyMemAllocatorDomain kind = nodes();
    PyGILState_Ensure();
    gilloc_free(kind, (char *)gilloc_malloc(kind, 64) + 16);
    gilloc_purge();
}

static void free_twice(const void *unused) {
    (void)unused;
    PyMemAllocatorDomain kind = nodes();
    PyGILState_Ensure();
    void *block = gilloc_malloc(kind, 64), *other = gilloc_malloc(kind, 64);
    gilloc_free(kind, block);
    gilloc_purge();
    gilloc_free(kind, other);
    gilloc_purge(); /* the pool is empty, in limbo */
    gilloc_free(kind, block);
}

#define IN_LIMBO                                         \
    "Fatal gilloc error: gilloc_free: invalid pointer\n" \
    "  domain   nodes\n"                                 \
    "  block    X, in an arena, where no block is now\n" \
    "  do       free each block once, and only pointers that an allocation returned\n"

/* --- detached --------------------------------------------------------------------------------- */

#define UNATTACHED(function, domain, what)                       \
    "Fatal gilloc error: " function                              \
    ": Python memory allocator called without holding the GIL\n" \
    "  domain   " domain                                         \
    "\n"                                                         \
    "  " what                                                    \
    "\n"                                                         \
    "  thread   X, detached\n"                                   \
    "  do       attach the thread first, by PyGILState_Ensure() or PyEval_RestoreThread()\n"

static void malloc_detached(const void *unused) {
    (void)unused;
    gilloc_malloc(nodes(), 40);
}
static void calloc_detached(const void *unused) {
    (void)unused;
    gilloc_calloc(nodes(), 4, 10);
}
static void realloc_detached(const void *unused) {
    (void)unused;
    gilloc_realloc(nodes(), NULL, 40);
}

static PyMemAllocatorDomain detached_kind;

static void *block_of_a_kind(void) {
    detached_kind = nodes();
    PyGILState_STATE was = PyGILState_Ensure();
    void *block = gilloc_malloc(detached_kind, 40);
    PyGILState_Release(was);
    return block;
}
static void free_detached(const void *unused) {
    (void)unused;
    gilloc_free(nodes(), block_of_a_kind());
}
static void free_of_null_detached(const void *unused) {
    (void)unused;
    gilloc_free(nodes(), NULL);
}
static void retire_detached(const void *unused) {
    (void)unused;
    void *block = block_of_a_kind();
    gilloc_retire(detached_kind, block);
}
static void retire_of_null_detached(const void *unused) {
    (void)unused;
    gilloc_retire(PYMEM_DOMAIN_OBJ, NULL);
}

#define DETACHED(function)          \
    "Fatal gilloc error: " function \
    ": the thread is detached\n"    \
    "  do       call it between PyGILState_Ensure() and PyGILState_Release()\n"

static void retire_of_raw_detached(const void *unused) {
    (void)unused;
    gilloc_retire(PYMEM_DOMAIN_RAW, PyMem_RawMalloc(40));
}
static void retire_of_raw_null_detached(const void *unused) {
    (void)unused;
    gilloc_retire(PYMEM_DOMAIN_RAW, NULL);
}
static void reclaim_detached(const void *unused) {
    (void)unused;
    gilloc_reclaim();
}
static void reclaim_after_detach(const void *unused) {
    (void)unused;
    PyGILState_Release(PyGILState_Ensure());
    gilloc_reclaim();
}

#define BOTH(name, body, arg, text) \
    {name " (gil)", body, arg, GILLOC_MODE_GIL, 0, text}, { name " (free)", body, arg, GILLOC_MODE_FREE, 0, text }

static struct death_case cases[] = {
    BOTH("gilloc_malloc of no domain", malloc_in_none, &none_yet, NO_DOMAIN("gilloc_malloc", "3")),
    BOTH("gilloc_malloc of no domain yet", malloc_in_none, &after_one, NO_DOMAIN("gilloc_malloc", "4")),
    BOTH("gilloc_malloc of a negative domain", malloc_in_none, &negative, NO_DOMAIN("gilloc_malloc", "-1")),
    BOTH("gilloc_calloc of no domain", calloc_in_none, &after_one, NO_DOMAIN("gilloc_calloc", "4")),
    BOTH("gilloc_realloc of no domain", realloc_in_none, &last, NO_DOMAIN("gilloc_realloc", "15")),
    BOTH("gilloc_free of no domain", free_in_none, &none_yet, NO_DOMAIN("gilloc_free", "3")),
    BOTH("gilloc_retire of no domain", retire_in_none, &after_one, NO_DOMAIN("gilloc_retire", "4")),
    BOTH("gilloc_visit_blocks of no domain", visit_none, &none_yet, NO_DOMAIN("gilloc_visit_blocks", "3")),
    BOTH("gilloc_usable_size of no kind", usable_size_in_none, &after_one, NO_DOMAIN("gilloc_usable_size", "4")),
    BOTH("gilloc_free_sized of no kind", free_sized_in_none, &after_one, NO_DOMAIN("gilloc_free_sized", "4")),
    BOTH("one beyond the last kind", all_kinds_made, NULL, NO_DOMAIN("gilloc_free", "15")),
    BOTH("gilloc_visit_blocks of raw", visit_raw, NULL,
         "Fatal gilloc error: gilloc_visit_blocks: the raw domain is the system's\n"
         "  do       pass another domain\n"),

    BOTH("PyMem_Free of a kind", mem_free_of_a_kind, NULL, BAD_ID("PyMem_Free", "k", "m", "nodes", "mem")),
    BOTH("PyObject_Realloc of a kind", object_realloc_of_a_kind, NULL,
         BAD_ID("PyObject_Realloc", "k", "o", "nodes", "object")),
    BOTH("gilloc_free of another kind", free_of_another_kind, NULL, BAD_ID("gilloc_free", "k", "k", "nodes", "edges")),
    BOTH("gilloc_realloc of another kind", realloc_of_another_kind, NULL,
         BAD_ID("gilloc_realloc", "k", "k", "edges", "nodes")),
    BOTH("gilloc_free of mem as a kind", free_of_mem_as_a_kind, NULL, BAD_ID("gilloc_free", "m", "k", "mem", "nodes")),
    BOTH("gilloc_usable_size of another kind", usable_size_of_another_kind, NULL,
         BAD_ID("gilloc_usable_size", "k", "k", "nodes", "edges")),
    BOTH("gilloc_free_sized of another kind", free_sized_of_another_kind, NULL,
         BAD_ID("gilloc_free_sized", "k", "k", "nodes", "edges")),
    BOTH("gilloc_retire of another kind", retire_of_another_kind, NULL,
         BAD_ID("gilloc_retire", "k", "k", "nodes", "edges")),
    BOTH("gilloc_retire of mem as object", retire_of_mem_as_object, NULL,
         BAD_ID("gilloc_retire", "m", "o", "mem", "object")),

    BOTH("gilloc_free_sized of a kind, too large", free_sized_too_large, NULL, MISMATCH("nodes", "32", "33")),
    BOTH("gilloc_free inside a block of a kind", free_inside_a_block, NULL, INSIDE),
    BOTH("gilloc_free in a pool in limbo", free_twice, NULL, IN_LIMBO),

    BOTH("gilloc_malloc, detached", malloc_detached, NULL, UNATTACHED("gilloc_malloc", "nodes", "size     40 bytes")),
    BOTH("gilloc_calloc, detached", calloc_detached, NULL, UNATTACHED("gilloc_calloc", "nodes", "size     40 bytes")),
    BOTH("gilloc_realloc, detached", realloc_detached, NULL,
         UNATTACHED("gilloc_realloc", "nodes", "size     40 bytes")),
    BOTH("gilloc_free, detached", free_detached, NULL, UNATTACHED("gilloc_free", "nodes", "block    X")),
    BOTH("gilloc_free of NULL, detached", free_of_null_detached, NULL,
         UNATTACHED("gilloc_free", "nodes", "block    (nil)")),
    BOTH("gilloc_retire, detached", retire_detached, NULL, UNATTACHED("gilloc_retire", "nodes", "block    X")),
    BOTH("gilloc_retire of NULL, detached", retire_of_null_detached, NULL,
         UNATTACHED("gilloc_retire", "object", "block    (nil)")),
    BOTH("gilloc_retire of raw, detached", retire_of_raw_detached, NULL, DETACHED("gilloc_retire")),
    BOTH("gilloc_retire of raw NULL, detached", retire_of_raw_null_detached, NULL, DETACHED("gilloc_retire")),
    BOTH("gilloc_reclaim, detached", reclaim_detached, NULL, DETACHED("gilloc_reclaim")),
    BOTH("gilloc_reclaim after a detach", reclaim_after_detach, NULL, DETACHED("gilloc_reclaim")),
};

int main(void) { return death_run_group("kinds", cases, sizeof(cases) / sizeof(cases[0])); }

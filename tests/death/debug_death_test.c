/* SPDX-License-Identifier: MIT */
/*
 * debug_death_test.c - wrong use that debug hooks find: the dump and the message, whole.
 *   The callers in the dump are addresses in this program.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/child.h"
#include "tests/support/death.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/threads.h"

/* --- texts ------------------------------------------------------------------------------------ */

#define BLOCK(api, size)                           \
    "Debug memory block at address p=X: API '" api \
    "'\n"                                          \
    "    " size " bytes originally requested\n"
#define GOOD_FRONT "    The 7 pad bytes at p-7 are FORBIDDENBYTE, as expected.\n"
#define GOOD_BACK "    The 8 pad bytes at tail=X are FORBIDDENBYTE, as expected.\n"
#define BAD_FRONT "    The 7 pad bytes at p-7 are not all FORBIDDENBYTE (0xfd):\n"
#define BAD_BACK "    The 8 pad bytes at tail=X are not all FORBIDDENBYTE (0xfd):\n"
#define DATA_16 "    Data at p: cd cd cd cd cd cd cd cd cd cd cd cd cd cd cd cd\n"
#define DATA_16_WITH_PADS "    Data at p: cd cd cd cd cd cd cd cd fd fd fd fd fd fd fd fd\n"
#define DATA_1000 "    Data at p: cd cd cd cd cd cd cd cd ... cd cd cd cd cd cd cd cd\n"
#define DATA_10 "    Data at p: cd cd cd cd cd cd cd cd cd cd\n"
#define ALLOCATED "\nMemory block allocated at (most recent call first):\n  X in debug_death_test+X\n\n"
#define FREED_BLOCK(api)                                           \
    "Debug memory block at address p=X: API '" api "'\n" ALLOCATED \
    "Memory block freed at (most recent call first):\n  X in debug_death_test+X\n\n"
#define FATAL(function, message) "Fatal gilloc error: " function ": " message "\n"
#define DOMAIN_BLOCK(domain, block) "  domain   " domain "\n  block    X" block "\n"

#define BAD_ID(function, made, asked, made_name, asked_name, size, data)                    \
    BLOCK(made, size)                                                                       \
    GOOD_FRONT GOOD_BACK data ALLOCATED FATAL(                                              \
        function, "bad ID: Allocated using API '" made "', verified using API '" asked "'") \
        DOMAIN_BLOCK_OF(asked_name,                                                         \
                        made_name) "  do       free a block by the family of functions that allocated it\n"
#define DOMAIN_BLOCK_OF(asked, made) "  domain   " asked ", but the block is of " made "\n  block    X\n"

#define DOUBLE_FREE(function, api, domain) \
    FREED_BLOCK(api) FATAL(function, "double free") DOMAIN_BLOCK(domain, "") "  do       free each block once\n"
/* It has left the quarantine: who allocated it is not known any more. */
#define LATE_DOUBLE_FREE(function, api, domain)                                                                       \
    "Debug memory block at address p=X: API '" api                                                                    \
    "'\n"                                                                                                             \
    "\nMemory block freed at (most recent call first):\n  X in debug_death_test+X\n\n" FATAL(function, "double free") \
        DOMAIN_BLOCK(domain, "") "  do       free each block once\n"
#define USE_AFTER_FREE(function, api, domain) \
    FREED_BLOCK(api)                          \
    FATAL(function, "use after free")         \
    DOMAIN_BLOCK(domain, "")                  \
    "  do       use a block between its allocation and its free, and what realloc returned in its place\n"
#define WRITE_AFTER_FREE(function, api, domain, size, byte, at)       \
    FREED_BLOCK(api)                                                  \
    FATAL(function, "write after free")                               \
    DOMAIN_BLOCK(domain, ", of " size " bytes")                       \
    "  written  " byte " at p" at                                     \
    "\n"                                                              \
    "  do       look for who keeps a pointer to the block; found as " \
    "it left the quarantine, not as it was "                          \
    "written\n"
#define LEADING(function, domain, size)     \
    FATAL(function, "bad leading pad byte") \
    DOMAIN_BLOCK(domain, ", of " size " bytes") "  do       look for who writes before its start\n"
#define TRAILING(function, domain, size)     \
    FATAL(function, "bad trailing pad byte") \
    DOMAIN_BLOCK(domain, ", of " size " bytes") "  do       look for who writes past its end\n"
#define ONLY_ONCE "  do       free each block once, and only pointers that an allocation returned\n"
#define INSIDE(api, size, data, function, domain, at)                      \
    BLOCK(api, size)                                                       \
    GOOD_FRONT GOOD_BACK data ALLOCATED FATAL(function, "invalid pointer") \
        DOMAIN_BLOCK(domain, ", inside a block of " size " bytes, at p" at) ONLY_ONCE
#define INSIDE_FREED(api, function, domain, at) \
    FREED_BLOCK(api)                            \
    FATAL(function, "invalid pointer") DOMAIN_BLOCK(domain, ", inside a freed block, at p" at) ONLY_ONCE
#define INVALID(function, domain, kind) FATAL(function, "invalid pointer") DOMAIN_BLOCK(domain, ", " kind) ONLY_ONCE
#define SIZE_MISMATCH(size)                                                            \
    BLOCK("m", "16")                                                                   \
    GOOD_FRONT GOOD_BACK DATA_16 ALLOCATED FATAL("gilloc_free_sized", "size mismatch") \
        DOMAIN_BLOCK("mem", ", of 16 bytes") "  size     " size                        \
                                             " bytes\n  do       pass the size that the block was requested with\n"
#define UNATTACHED(function, fact)                                            \
    FATAL(function, "Python memory allocator called without holding the GIL") \
    "  domain   mem\n" fact                                                   \
    "  thread   X, detached\n"                                                \
    "  do       attach the thread first, by PyGILState_Ensure() or PyEval_RestoreThread()\n"

/* One byte too many in a block of 16 bytes. */
#define OVERRUN_16(function, traceback)                                                                         \
    BLOCK("m", "16")                                                                                            \
    GOOD_FRONT BAD_BACK                                                                                         \
        "        at tail+0: 0x78 *** OUCH\n"                                                                    \
        "        at tail+1: 0xfd\n"                                                                             \
        "        at tail+2: 0xfd\n"                                                                             \
        "        at tail+3: 0xfd\n"                                                                             \
        "        at tail+4: 0xfd\n"                                                                             \
        "        at tail+5: 0xfd\n"                                                                             \
        "        at tail+6: 0xfd\n"                                                                             \
        "        at tail+7: 0xfd\n" DATA_16 "\nMemory block allocated at (most recent call first):\n" traceback \
        "\n" TRAILING(function, "mem", "16")
#define FRAMES "  File \"inner.py\", line 3, in inner\n  File \"outer.py\", line 70\n"
#define NATIVE_FRAME "  X in debug_death_test+X\n"

/* --- bodies ----------------------------------------------------------------------------------- */

static const size_t small = 16, large = 1000;
#define SIZE(arg) (*(const size_t *)(arg))

/* The thread has a quarantine afterwards, so that the next frees may take the short way. */
static void attach(void) {
    PyGILState_Ensure();
    PyMem_SetupDebugHooks();
    PyMem_Free(PyMem_Malloc(1));
}

static void object_free_of_mem(const void *size) {
    attach();
    PyObject_Free(PyMem_Malloc(SIZE(size)));
}
static void mem_realloc_of_raw(const void *size) {
    attach();
    PyMem_Realloc(PyMem_RawMalloc(SIZE(size)), 5);
}
static void raw_free_of_object(const void *size) {
    attach();
    PyMem_RawFree(PyObject_Malloc(SIZE(size)));
}

static void overrun_by_one(const void *size) {
    attach();
    char *p = PyMem_Malloc(SIZE(size));
    p[SIZE(size)] = 'x';
    PyMem_Free(p);
}
/* The traceback of a runtime, and that of native code, while blocks are traced. */
static int say_frames(void *ctx, gilloc_frame *out, int max) {
    (void)ctx;
    EXPECT(max >= 2);
    out[0] = (gilloc_frame){"inner", "inner.py", 3, NULL};
    out[1] = (gilloc_frame){"", "outer.py", 70, NULL};
    return 2;
}
static void traced_overrun(const void *size) {
    gilloc_trace_set_frames(say_frames, NULL);
    EXPECT(gilloc_trace_start(2) == 0);
    overrun_by_one(size);
}
static void traced_overrun_seen_by_realloc(const void *size) {
    gilloc_trace_set_frames(say_frames, NULL);
    EXPECT(gilloc_trace_start(2) == 0);
    attach();
    char *p = PyMem_Malloc(SIZE(size));
    p[SIZE(size)] = 'x';
    PyMem_Realloc(p, 50);
}
static void traced_in_native_code(const void *size) {
    EXPECT(gilloc_trace_start(3) == 0);
    overrun_by_one(size);
}
static void no_longer_traced(const void *size) {
    EXPECT(gilloc_trace_start(3) == 0);
    attach();
    char *p = PyMem_Malloc(SIZE(size));
    gilloc_trace_stop();
    p[SIZE(size)] = 'x';
    PyMem_Free(p);
}

static void overrun_seen_by_realloc(const void *unused) {
    (void)unused;
    attach();
    char *p = PyObject_Malloc(16);
    memset(p + 16, 0, 8);
    PyObject_Realloc(p, 20);
}
static void underrun_by_one(const void *size) {
    attach();
    char *p = PyMem_RawMalloc(SIZE(size));
    p[-1] = 0;
    PyMem_RawFree(p);
}
static void underrun_of_the_id(const void *unused) {
    (void)unused;
    attach();
    char *p = PyMem_Malloc(16);
    p[-8] = 'o';
    PyMem_Free(p);
}
/* CPython would look for the pads behind as many bytes as stand there. */
static void underrun_of_the_size(const void *unused) {
    (void)unused;
    attach();
    char *p = PyMem_Malloc(16);
    memset(p - 16, 0x7f, 8);
    PyMem_Free(p);
}

/* Where the false size leads to there are eight bytes as pads are. */
static void underrun_of_the_size_to_one_that_fits(const void *unused) {
    (void)unused;
    attach();
    char *p = PyMem_Malloc(16);
    memset(p + 8, 0xfd, 8);
    p[-9] = 8;
    PyMem_Free(p);
}

static void free_twice(const void *size) {
    attach();
    void *p = PyMem_Malloc(SIZE(size));
    PyMem_Free(p);
    PyMem_Free(p);
}
static void raw_free_twice(const void *size) {
    attach();
    void *p = PyMem_RawMalloc(SIZE(size));
    PyMem_RawFree(p);
    PyMem_RawFree(p);
}
/* It has left the quarantine. */
static void free_twice_after_long(const void *unused) {
    (void)unused;
    attach();
    void *other = PyMem_Malloc(16), *p = PyMem_Malloc(16);
    PyMem_Free(p);
    gilloc_purge(); /* the pool stays, for the sake of the other block */
    PyMem_Free(p);
    PyMem_Free(other);
}
static void *free_it(void *p) {
    PyGILState_STATE was = PyGILState_Ensure();
    PyObject_Free(p);
    PyGILState_Release(was);
    return NULL;
}
static void two_threads_free(const void *unused) {
    (void)unused;
    attach();
    void *other = PyObject_Malloc(16), *p = PyObject_Malloc(16);
    PyThreadState *mine = PyEval_SaveThread();
    thread_join(thread_start(free_it, p));
    PyEval_RestoreThread(mine);
    PyObject_Free(p);
    PyObject_Free(other);
}
static void realloc_of_freed(const void *unused) {
    (void)unused;
    attach();
    void *p = PyMem_Malloc(16);
    PyMem_Free(p);
    PyMem_Realloc(p, 30);
}
static void realloc_twice(const void *unused) {
    (void)unused;
    attach();
    void *p = PyMem_Malloc(16);
    PyMem_Realloc(p, 400);
    PyMem_Realloc(p, 500);
}

static void write_after_free(const void *unused) {
    (void)unused;
    attach();
    char *p = PyMem_Malloc(16);
    PyMem_Free(p);
    p[3] = 1;
    for (int i = 0; i < 100000; i++) {
        PyMem_Free(PyMem_Malloc(16));
    }
}
static void write_after_free_seen_by_purge(const void *unused) {
    (void)unused;
    attach();
    char *p = PyMem_RawMalloc(1000);
    PyMem_RawFree(p);
    p[999] = 0;
    gilloc_purge();
}

static int visit_none(void *block, size_t size, void *arg) {
    (void)block;
    (void)size;
    (void)arg;
    return 0;
}
static void write_after_free_seen_by_a_walk(const void *unused) {
    (void)unused;
    attach();
    char *p = PyMem_Malloc(16);
    PyMem_Free(p);
    p[0] = 2;
    gilloc_visit_blocks(PYMEM_DOMAIN_OBJ, visit_none, NULL);
}

static void free_inside(const void *size) {
    attach();
    PyMem_Free((char *)PyMem_Malloc(SIZE(size)) + 16);
}
static void free_unaligned(const void *unused) {
    (void)unused;
    attach();
    PyMem_Free((char *)PyMem_Malloc(16) + 1);
}
static void free_inside_freed(const void *unused) {
    (void)unused;
    attach();
    char *p = PyMem_Malloc(16);
    PyMem_Free(p);
    PyMem_Free(p + 8);
}
/* A place inside a block, around which all is as around a live one. */
static void free_inside_of_a_copy(const void *unused) {
    (void)unused;
    attach();
    char *p = PyMem_Malloc(16), *q = PyMem_Malloc(100);
    memcpy(q + 16, p - 16, 40);
    PyMem_Free(q + 32);
}
static void free_of_the_stack(const void *unused) {
    (void)unused;
    char *here = __builtin_alloca(64); /* not where AddressSanitizer keeps arrays instead */
    attach();
    PyMem_Free((void *)(((size_t)here + 31) / 16 * 16));
}
static void raw_free_of_the_stack(const void *unused) {
    (void)unused;
    EXPECT(setenv("PYTHONMALLOC", "debug", 1) == 0);
    char *here = __builtin_alloca(64); /* not where AddressSanitizer keeps arrays instead */
    attach();
    PyMem_RawFree((void *)(((size_t)here + 31) / 16 * 16));
}

static const size_t seventeen = 17, fifteen = 15;
static void free_sized(const void *size) {
    attach();
    gilloc_free_sized(PYMEM_DOMAIN_MEM, PyMem_Malloc(16), SIZE(size));
}

static void malloc_detached(const void *unused) {
    (void)unused;
    PyMem_SetupDebugHooks();
    PyMem_Malloc(10);
}
static void free_detached(const void *unused) {
    (void)unused;
    PyMem_SetupDebugHooks();
    PyMem_Free(NULL);
}

static struct death_case cases[] = {
    {"object_free_of_mem", object_free_of_mem, &small, GILLOC_MODE_GIL, 0,
     BAD_ID("PyObject_Free", "m", "o", "mem", "object", "16", DATA_16)},
    {"object_free_of_mem, large", object_free_of_mem, &large, GILLOC_MODE_FREE, 0,
     BAD_ID("PyObject_Free", "m", "o", "mem", "object", "1000", DATA_1000)},
    {"mem_realloc_of_raw", mem_realloc_of_raw, &small, GILLOC_MODE_GIL, 0,
     BAD_ID("PyMem_Realloc", "r", "m", "raw", "mem", "16", DATA_16)},
    {"raw_free_of_object", raw_free_of_object, &small, GILLOC_MODE_GIL, 0,
     BAD_ID("PyMem_RawFree", "o", "r", "object", "raw", "16", DATA_16)},
    {"overrun_by_one", overrun_by_one, &small, GILLOC_MODE_GIL, 0,
     BLOCK("m", "16") GOOD_FRONT BAD_BACK
     "        at tail+0: 0x78 *** OUCH\n"
     "        at tail+1: 0xfd\n        at tail+2: 0xfd\n        at tail+3: 0xfd\n        at tail+4: 0xfd\n"
     "        at tail+5: 0xfd\n        at tail+6: 0xfd\n        at tail+7: 0xfd\n" DATA_16 ALLOCATED TRAILING(
         "PyMem_Free", "mem", "16")},
    {"overrun_by_one, large", overrun_by_one, &large, GILLOC_MODE_FREE, 0,
     BLOCK("m", "1000") GOOD_FRONT BAD_BACK
     "        at tail+0: 0x78 *** OUCH\n"
     "        at tail+1: 0xfd\n        at tail+2: 0xfd\n        at tail+3: 0xfd\n        at tail+4: 0xfd\n"
     "        at tail+5: 0xfd\n        at tail+6: 0xfd\n        at tail+7: 0xfd\n" DATA_1000 ALLOCATED TRAILING(
         "PyMem_Free", "mem", "1000")},
    {"overrun_seen_by_realloc", overrun_seen_by_realloc, NULL, GILLOC_MODE_GIL, 0,
     BLOCK("o", "16") GOOD_FRONT BAD_BACK
     "        at tail+0: 0x00 *** OUCH\n        at tail+1: 0x00 *** OUCH\n        at tail+2: 0x00 *** OUCH\n"
     "        at tail+3: 0x00 *** OUCH\n        at tail+4: 0x00 *** OUCH\n        at tail+5: 0x00 *** OUCH\n"
     "        at tail+6: 0x00 *** OUCH\n        at tail+7: 0x00 *** OUCH\n" DATA_16 ALLOCATED TRAILING(
         "PyObject_Realloc", "object", "16")},
    {"underrun_by_one", underrun_by_one, &small, GILLOC_MODE_GIL, 0,
     BLOCK("r", "16") BAD_FRONT
     "        at p-7: 0xfd\n        at p-6: 0xfd\n        at p-5: 0xfd\n        at p-4: 0xfd\n"
     "        at p-3: 0xfd\n        at p-2: 0xfd\n        at p-1: 0x00 *** OUCH\n" GOOD_BACK DATA_16 ALLOCATED LEADING(
         "PyMem_RawFree", "raw", "16")},
    {"underrun_of_the_id", underrun_of_the_id, NULL, GILLOC_MODE_GIL, 0,
     BLOCK("m", "16") GOOD_FRONT GOOD_BACK DATA_16 ALLOCATED LEADING("PyMem_Free", "mem", "16")},
    {"underrun_of_the_size", underrun_of_the_size, NULL, GILLOC_MODE_GIL, 0,
     BLOCK("m", "16") GOOD_FRONT GOOD_BACK DATA_16 ALLOCATED LEADING("PyMem_Free", "mem", "16")},
    {"underrun_of_the_size_to_one_that_fits", underrun_of_the_size_to_one_that_fits, NULL, GILLOC_MODE_GIL, 0,
     BLOCK("m", "16") GOOD_FRONT GOOD_BACK DATA_16_WITH_PADS ALLOCATED LEADING("PyMem_Free", "mem", "16")},
    {"free_twice", free_twice, &small, GILLOC_MODE_GIL, 0, DOUBLE_FREE("PyMem_Free", "m", "mem")},
    {"free_twice, large", free_twice, &large, GILLOC_MODE_FREE, 0, DOUBLE_FREE("PyMem_Free", "m", "mem")},
    {"raw_free_twice", raw_free_twice, &small, GILLOC_MODE_GIL, 0, DOUBLE_FREE("PyMem_RawFree", "r", "raw")},
    {"raw_free_twice, large", raw_free_twice, &large, GILLOC_MODE_GIL, 0, DOUBLE_FREE("PyMem_RawFree", "r", "raw")},
    {"free_twice_after_long", free_twice_after_long, NULL, GILLOC_MODE_GIL, 0,
     LATE_DOUBLE_FREE("PyMem_Free", "m", "mem")},
    {"two_threads_free (gil)", two_threads_free, NULL, GILLOC_MODE_GIL, 0,
     LATE_DOUBLE_FREE("PyObject_Free", "o", "object")},
    {"two_threads_free (free)", two_threads_free, NULL, GILLOC_MODE_FREE, 0,
     LATE_DOUBLE_FREE("PyObject_Free", "o", "object")},
    {"realloc_of_freed", realloc_of_freed, NULL, GILLOC_MODE_GIL, 0, USE_AFTER_FREE("PyMem_Realloc", "m", "mem")},
    {"realloc_twice", realloc_twice, NULL, GILLOC_MODE_FREE, 0, USE_AFTER_FREE("PyMem_Realloc", "m", "mem")},
    {"traced_overrun", traced_overrun, &small, GILLOC_MODE_GIL, 0, OVERRUN_16("PyMem_Free", FRAMES)},
    {"traced_overrun_seen_by_realloc", traced_overrun_seen_by_realloc, &small, GILLOC_MODE_FREE, 0,
     OVERRUN_16("PyMem_Realloc", FRAMES)},
    {"traced_in_native_code", traced_in_native_code, &small, GILLOC_MODE_GIL, 0,
     OVERRUN_16("PyMem_Free", NATIVE_FRAME NATIVE_FRAME NATIVE_FRAME)},
    {"no_longer_traced", no_longer_traced, &small, GILLOC_MODE_GIL, 0, OVERRUN_16("PyMem_Free", NATIVE_FRAME)},
    {"write_after_free", write_after_free, NULL, GILLOC_MODE_GIL, 0,
     WRITE_AFTER_FREE("PyMem_Free", "m", "mem", "16", "0x01", "+3")},
    {"write_after_free_seen_by_purge", write_after_free_seen_by_purge, NULL, GILLOC_MODE_FREE, 0,
     WRITE_AFTER_FREE("gilloc_purge", "r", "raw", "1000", "0x00", "+999")},
    {"write_after_free_seen_by_a_walk", write_after_free_seen_by_a_walk, NULL, GILLOC_MODE_GIL, 0,
     WRITE_AFTER_FREE("gilloc_visit_blocks", "m", "mem", "16", "0x02", "+0")},
    {"free_inside", free_inside, &large, GILLOC_MODE_GIL, 0,
     INSIDE("m", "1000", DATA_1000, "PyMem_Free", "mem", "+16")},
    {"free_inside, small", free_inside, &small, GILLOC_MODE_GIL, 0,
     INSIDE("m", "16", DATA_16, "PyMem_Free", "mem", "+16")},
    {"free_inside_of_a_copy", free_inside_of_a_copy, NULL, GILLOC_MODE_GIL, 0,
     INSIDE("m", "100", DATA_1000, "PyMem_Free", "mem", "+32")},
    {"free_unaligned", free_unaligned, NULL, GILLOC_MODE_GIL, 0, INSIDE("m", "16", DATA_16, "PyMem_Free", "mem", "+1")},
    {"free_inside_freed", free_inside_freed, NULL, GILLOC_MODE_GIL, 0, INSIDE_FREED("m", "PyMem_Free", "mem", "+8")},
    {"free_of_the_stack", free_of_the_stack, NULL, GILLOC_MODE_GIL, 0,
     INVALID("PyMem_Free", "mem", "on the stack of this thread")},
    {"raw_free_of_the_stack", raw_free_of_the_stack, NULL, CASE_MODE_OPEN, 0,
     INVALID("PyMem_RawFree", "raw", "on the stack of this thread")},
    {"free_sized, one more", free_sized, &seventeen, GILLOC_MODE_GIL, 0, SIZE_MISMATCH("17")},
    {"free_sized, one less", free_sized, &fifteen, GILLOC_MODE_FREE, 0, SIZE_MISMATCH("15")},
    {"malloc_detached", malloc_detached, NULL, GILLOC_MODE_GIL, 0, UNATTACHED("PyMem_Malloc", "  size     10 bytes\n")},
    {"free_detached", free_detached, NULL, GILLOC_MODE_FREE, 0, UNATTACHED("PyMem_Free", "  block    (nil)\n")},
};

/* --- each byte of a freed block ---------------------------------------------------------------- */

struct written {
    size_t size;
    ptrdiff_t at;
};

static void write_after_free_at(void *arg) {
    const struct written *written = arg;
    attach();
    unsigned char *p = PyMem_Malloc(written->size);
    PyMem_Free(p);
    p[written->at] ^= 1;
    gilloc_purge();
}

/* Sizes at which all of it is looked at in another way, and one more. */
static void a_write_to_any_byte_of_a_freed_block_is_found(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 7, 8, 16, 40, 41, 104, 105, 168, 169, 250, 488};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct written written = {.size = sizes[i]};
        for (written.at = -16; written.at < (ptrdiff_t)sizes[i] + 8; written.at++) {
            struct child_end end;
            child_run(&end, write_after_free_at, &written);
            assert_int_equal(end.signal, SIGABRT);
            assert_non_null(strstr(end.text, "write after free"));
            child_end_fini(&end);
        }
    }
}

/* --- PYTHONMALLOC, GILLOC_QUARANTINE ------------------------------------------------------------ */

static void use(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    unsigned char *p = PyMem_Malloc(10);
    EXPECT(p != NULL);
    PyMem_Free(p);
    PyGILState_Release(was);
}

static void set_and_use(const void *value) {
    EXPECT(setenv("PYTHONMALLOC", value, 1) == 0);
    use();
}
static void set_quarantine_and_use(const void *value) {
    EXPECT(setenv("GILLOC_QUARANTINE", value, 1) == 0);
    use();
}

#define UNKNOWN(value)                                             \
    "Fatal gilloc error: PYTHONMALLOC: unknown allocator \"" value \
    "\"\n"                                                         \
    "  do       set one of: default, debug, malloc, malloc_debug, pymalloc, pymalloc_debug\n"
#define MIMALLOC                                                   \
    "Fatal gilloc error: PYTHONMALLOC: mimalloc is not built in\n" \
    "  do       set one of: default, debug, malloc, malloc_debug, pymalloc, pymalloc_debug\n"

static struct death_case environment[] = {
    {"PYTHONMALLOC=x", set_and_use, "x", CASE_MODE_OPEN, 1, UNKNOWN("x")},
    {"PYTHONMALLOC=Debug", set_and_use, "Debug", CASE_MODE_OPEN, 1, UNKNOWN("Debug")},
    {"PYTHONMALLOC=debu", set_and_use, "debu", CASE_MODE_OPEN, 1, UNKNOWN("debu")},
    {"PYTHONMALLOC=debugs", set_and_use, "debugs", CASE_MODE_OPEN, 1, UNKNOWN("debugs")},
    {"PYTHONMALLOC='default debug'", set_and_use, "default debug", CASE_MODE_OPEN, 1, UNKNOWN("default debug")},
    {"PYTHONMALLOC=mimalloc", set_and_use, "mimalloc", CASE_MODE_OPEN, 1, MIMALLOC},
    {"PYTHONMALLOC=mimalloc_debug", set_and_use, "mimalloc_debug", CASE_MODE_OPEN, 1, MIMALLOC},
    {"GILLOC_QUARANTINE=1M", set_quarantine_and_use, "1M", CASE_MODE_OPEN, 1,
     "Fatal gilloc error: GILLOC_QUARANTINE: must be a number of bytes, not \"1M\"\n"},
};

int main(void) {
    const struct CMUnitTest each[] = {cmocka_unit_test(a_write_to_any_byte_of_a_freed_block_is_found)};
    int failed = death_run_group("debug_death", cases, sizeof(cases) / sizeof(cases[0]));
    failed |= cmocka_run_group_tests(each, NULL, NULL);
    return failed | death_run_group("environment_death", environment, sizeof(environment) / sizeof(environment[0]));
}

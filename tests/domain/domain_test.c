/* SPDX-License-Identifier: MIT */
/*
 * domain_test.c - the table of the three domains: who is installed, which sizes reach it, when the fast path is open,
 *                 and that a call sees one table whole while others install.
 *   The functions of the layer are called here, not the public ones on top of them.
 */
#include "lib/domain/domain.h"

#include <gilloc/gilloc.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cache/object_alloc.h"
#include "lib/domain/probes.h"
#include "tests/concurrency/unit.h"
#include "tests/os/system.h"
#include "tests/support/sanitizer.h"
#include "tests/support/threads.h"

static const PyMemAllocatorDomain all[GI_DOMAINS] = {PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};

static bool same(const PyMemAllocatorEx *a, const PyMemAllocatorEx *b) {
    return a->ctx == b->ctx && a->malloc == b->malloc && a->calloc == b->calloc && a->realloc == b->realloc &&
           a->free == b->free;
}

/* --- an allocator that counts ------------------------------------------------------------------------------------- */

struct counts {
    size_t mallocs, callocs, reallocs, frees;
    size_t count, size; /* of the last call */
    void *block;
};

static char answer[64]; /* what it gives */

static void *count_malloc(void *ctx, size_t size) {
    struct counts *counts = ctx;
    counts->mallocs++;
    counts->size = size;
    return answer;
}

static void *count_calloc(void *ctx, size_t count, size_t size) {
    struct counts *counts = ctx;
    counts->callocs++;
    counts->count = count;
    counts->size = size;
    return answer;
}

static void *count_realloc(void *ctx, void *block, size_t size) {
    struct counts *counts = ctx;
    counts->reallocs++;
    counts->block = block;
    counts->size = size;
    return answer;
}

static void count_free(void *ctx, void *block) {
    struct counts *counts = ctx;
    counts->frees++;
    counts->block = block;
}

static PyMemAllocatorEx counting(struct counts *counts) {
    return (PyMemAllocatorEx){counts, count_malloc, count_calloc, count_realloc, count_free};
}

/* --- get and set -------------------------------------------------------------------------------------------------- */

static void each_domain_has_an_allocator_of_its_own(void) {
    for (size_t d = 0; d < GI_DOMAINS; d++) {
        struct counts counts = {0};
        PyMemAllocatorEx before[GI_DOMAINS], now, words = counting(&counts);
        for (size_t i = 0; i < GI_DOMAINS; i++) {
            gi_domain_get(all[i], &before[i]);
            EXPECT(before[i].malloc != NULL && before[i].calloc != NULL && before[i].realloc != NULL &&
                   before[i].free != NULL);
            EXPECT(!gi_domain_is_replaced(all[i]));
        }
        gi_domain_set(all[d], &words);
        for (size_t i = 0; i < GI_DOMAINS; i++) {
            gi_domain_get(all[i], &now);
            EXPECT(same(&now, i == d ? &words : &before[i]));
            EXPECT(gi_domain_is_replaced(all[i]) == (i == d));
        }
        /* The words are copied. */
        PyMemAllocatorEx kept = words;
        memset(&words, 0, sizeof(words));
        gi_domain_get(all[d], &now);
        EXPECT(same(&now, &kept));
        gi_domain_set(all[d], &before[d]);
        EXPECT(!gi_domain_is_replaced(all[d]));
    }
}

static void an_unknown_domain_is_left_alone(void) {
    static const int unknown[] = {-1, 3, 1000, INT32_MAX, INT32_MIN};
    struct counts counts = {0};
    PyMemAllocatorEx words = counting(&counts), got;
    const PyMemAllocatorEx none = {NULL, NULL, NULL, NULL, NULL};
    for (size_t i = 0; i < LENGTH(unknown); i++) {
        EXPECT(!gi_domain_is_known((PyMemAllocatorDomain)unknown[i]));
        gi_domain_set((PyMemAllocatorDomain)unknown[i], &words);
        got = words;
        gi_domain_get((PyMemAllocatorDomain)unknown[i], &got);
        EXPECT(same(&got, &none));
    }
    for (size_t i = 0; i < GI_DOMAINS; i++) {
        EXPECT(gi_domain_is_known(all[i]));
        EXPECT(!gi_domain_is_replaced(all[i]));
    }
}

/* Tables are kept for ever, so one that comes back must be found again. */
static void swapping_for_ever_takes_no_more_memory(void) {
    struct counts counts[3] = {{0}};
    PyMemAllocatorEx words[4], now;
    for (size_t i = 0; i < 3; i++) {
        words[i] = counting(&counts[i]);
    }
    gi_domain_get(PYMEM_DOMAIN_OBJ, &words[3]); /* the default one */
    system_install();
    for (size_t i = 0; i < 20000; i++) {
        const PyMemAllocatorEx *next = &words[i % 4];
        gi_domain_set(PYMEM_DOMAIN_OBJ, next);
        gi_domain_set(PYMEM_DOMAIN_RAW, &words[i % 3]);
        gi_domain_get(PYMEM_DOMAIN_OBJ, &now);
        EXPECT(same(&now, next));
        EXPECT(gi_domain_is_replaced(PYMEM_DOMAIN_OBJ) == (i % 4 != 3));
    }
    EXPECT_EQ(shared_get(&system_counts.made[SYSTEM_MAP]), 1);
    /* And no memory at all is needed for one that was there before. */
    system_refuse_all();
    gi_domain_set(PYMEM_DOMAIN_MEM, &words[1]);
    gi_domain_get(PYMEM_DOMAIN_MEM, &now);
    EXPECT(same(&now, &words[1]));
}

/* Each of the five words makes a table another one. */
static void tables_differ_by_each_word(void) {
    struct counts counts[2] = {{0}};
    PyMemAllocatorEx raw, base = counting(&counts[0]), now;
    gi_domain_get(PYMEM_DOMAIN_RAW, &raw);
    for (int word = 0; word < 5; word++) {
        PyMemAllocatorEx other = base;
        switch (word) {
            case 0:
                other.ctx = &counts[1];
                break;
            case 1:
                other.malloc = raw.malloc;
                break;
            case 2:
                other.calloc = raw.calloc;
                break;
            case 3:
                other.realloc = raw.realloc;
                break;
            default:
                other.free = raw.free;
        }
        gi_domain_set(PYMEM_DOMAIN_MEM, &base);
        gi_domain_set(PYMEM_DOMAIN_MEM, &other);
        gi_domain_get(PYMEM_DOMAIN_MEM, &now);
        EXPECT(same(&now, &other));
    }
}

static PyMemAllocatorEx without(int word) {
    static struct counts counts;
    PyMemAllocatorEx words = counting(&counts);
    switch (word) {
        case 0:
            words.malloc = NULL;
            break;
        case 1:
            words.calloc = NULL;
            break;
        case 2:
            words.realloc = NULL;
            break;
        default:
            words.free = NULL;
    }
    return words;
}

static void set_without(PyMemAllocatorDomain domain, int word) {
    PyMemAllocatorEx words = without(word);
    gi_domain_set(domain, &words);
}

static void set_without_malloc(const void *arg) {
    (void)arg;
    set_without(PYMEM_DOMAIN_RAW, 0);
}

static void set_without_calloc(const void *arg) {
    (void)arg;
    set_without(PYMEM_DOMAIN_MEM, 1);
}

static void set_without_realloc(const void *arg) {
    (void)arg;
    set_without(PYMEM_DOMAIN_OBJ, 2);
}

static void set_without_free(const void *arg) {
    (void)arg;
    set_without(PYMEM_DOMAIN_OBJ, 3);
}

#define NULL_FUNCTION(domain)                                                       \
    "Fatal gilloc error: PyMem_SetAllocator: a function of the allocator is NULL\n" \
    "  domain   " domain                                                            \
    "\n"                                                                            \
    "  do       set all four; PyMem_GetAllocator() gives those in place\n"

static void set_without_memory(const void *arg) {
    (void)arg;
    struct counts counts = {0};
    PyMemAllocatorEx words = counting(&counts);
    system_install();
    system_refuse_all();
    gi_domain_set(PYMEM_DOMAIN_OBJ, &words);
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

static void calls_reach_the_allocator_as_they_are(void) {
    for (size_t d = 0; d < GI_DOMAINS; d++) {
        struct counts counts = {0};
        PyMemAllocatorEx before, words = counting(&counts);
        gi_domain_get(all[d], &before);
        gi_domain_set(all[d], &words);
        EXPECT(gi_domain_malloc(all[d], 0, NULL) == answer); /* 0 is its own to interpret */
        EXPECT_EQ(counts.size, 0);
        EXPECT(gi_domain_malloc(all[d], (size_t)PY_SSIZE_T_MAX, NULL) == answer);
        EXPECT_EQ(counts.size, (size_t)PY_SSIZE_T_MAX);
        EXPECT(gi_domain_calloc(all[d], 3, 5, NULL) == answer);
        EXPECT(counts.count == 3 && counts.size == 5); /* not multiplied */
        EXPECT(gi_domain_calloc(all[d], 0, 5, NULL) == answer);
        EXPECT(counts.count == 0 && counts.size == 5);
        EXPECT(gi_domain_calloc(all[d], SIZE_MAX, 0, NULL) == answer);
        EXPECT(counts.count == SIZE_MAX && counts.size == 0);
        EXPECT(gi_domain_realloc(all[d], NULL, 7, NULL) == answer);
        EXPECT(counts.block == NULL && counts.size == 7);
        EXPECT(gi_domain_realloc(all[d], answer, 0, NULL) == answer);
        EXPECT(counts.block == answer && counts.size == 0);
        gi_domain_free(all[d], answer, NULL);
        EXPECT(counts.block == answer);
        gi_domain_free(all[d], NULL, NULL); /* seen too */
        EXPECT(counts.block == NULL);
        EXPECT(counts.mallocs == 2 && counts.callocs == 3 && counts.reallocs == 2 && counts.frees == 2);
        gi_domain_set(all[d], &before);
    }
}

static void too_large_sizes_reach_nobody(void) {
    static const size_t too_large[] = {(size_t)PY_SSIZE_T_MAX + 1, SIZE_MAX - 15, SIZE_MAX};
    static const size_t products[][2] = {{2, (size_t)PY_SSIZE_T_MAX},
                                         {(size_t)PY_SSIZE_T_MAX, 2},
                                         {(size_t)1 << 32, (size_t)1 << 32},
                                         {SIZE_MAX, SIZE_MAX},
                                         {SIZE_MAX, 1},
                                         {1, SIZE_MAX},
                                         {(size_t)PY_SSIZE_T_MAX / 16 + 1, 16},
                                         {SIZE_MAX / 16 + 2, 16}}; /* the product is small when it wraps */
    for (size_t d = 0; d < GI_DOMAINS; d++) {
        struct counts counts = {0};
        PyMemAllocatorEx before, words = counting(&counts);
        for (int hooked = 0; hooked < 2; hooked++) {
            for (size_t i = 0; i < LENGTH(too_large); i++) {
                EXPECT(gi_domain_malloc(all[d], too_large[i], NULL) == NULL);
                EXPECT(gi_domain_realloc(all[d], NULL, too_large[i], NULL) == NULL);
                EXPECT(gi_domain_realloc(all[d], answer, too_large[i], NULL) == NULL);
            }
            for (size_t i = 0; i < LENGTH(products); i++) {
                EXPECT(gi_domain_calloc(all[d], products[i][0], products[i][1], NULL) == NULL);
            }
            if (hooked == 0) {
                gi_domain_get(all[d], &before);
                gi_domain_set(all[d], &words);
            }
        }
        EXPECT(counts.mallocs == 0 && counts.callocs == 0 && counts.reallocs == 0);
        /* The largest that there may be does reach it. */
        EXPECT(gi_domain_calloc(all[d], (size_t)PY_SSIZE_T_MAX / 16, 16, NULL) == answer);
        EXPECT(gi_domain_calloc(all[d], (size_t)PY_SSIZE_T_MAX, 1, NULL) == answer);
        gi_domain_set(all[d], &before);
    }
}

static void the_default_words_serve_when_they_are_called_through_a_hook(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t d = 0; d < GI_DOMAINS; d++) {
        struct counts counts = {0};
        PyMemAllocatorEx inner, words = counting(&counts);
        gi_domain_get(all[d], &inner);
        gi_domain_set(all[d], &words); /* the domain's own fast path is closed now */
        for (size_t size = 0; size < 600; size += 7) {
            char *block = inner.malloc(inner.ctx, size), *other = inner.calloc(inner.ctx, 1, size);
            EXPECT(block != NULL && other != NULL && block != other);
            memset(block, 0x11, size);
            for (size_t i = 0; i < size; i++) {
                EXPECT_EQ(other[i], 0);
            }
            block = inner.realloc(inner.ctx, block, size + 40);
            EXPECT(block != NULL);
            for (size_t i = 0; i < size; i++) {
                EXPECT_EQ(block[i], 0x11);
            }
            inner.free(inner.ctx, block);
            inner.free(inner.ctx, other);
        }
        inner.free(inner.ctx, NULL);
        gi_domain_set(all[d], &inner);
        /* Large requests of the other two go through the raw domain's functions, hooked or not; none was seen twice. */
        EXPECT(counts.mallocs == 0 && counts.callocs == 0 && counts.reallocs == 0 && counts.frees == 0);
    }
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
    EXPECT_EQ(gilloc_check(), 0);
}

/* --- the fast path is open for the default allocator alone -------------------------------------------------------- */

static bool is_open(unsigned kind) { return gi_load_relaxed(&gi_limits[kind].sizes) != 0; }

static void the_fast_path_is_open_for_the_default_allocator_alone(void) {
    struct counts counts = {0};
    PyMemAllocatorEx words = counting(&counts), mem, object, raw;
    gi_domain_get(PYMEM_DOMAIN_RAW, &raw);
    gi_domain_get(PYMEM_DOMAIN_MEM, &mem);
    gi_domain_get(PYMEM_DOMAIN_OBJ, &object);
    EXPECT(!is_open(GI_KIND_MEM) && !is_open(GI_KIND_OBJECT)); /* nothing is ready */
    gi_domain_set(PYMEM_DOMAIN_MEM, &words);
    gi_domain_set(PYMEM_DOMAIN_OBJ, &words);
    gi_domain_set(PYMEM_DOMAIN_OBJ, &object);
    EXPECT(!is_open(GI_KIND_MEM) && !is_open(GI_KIND_OBJECT));
    EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_GIL); /* first use */
    EXPECT(!is_open(GI_KIND_MEM) && is_open(GI_KIND_OBJECT));
    gi_domain_set(PYMEM_DOMAIN_MEM, &mem);
    EXPECT(is_open(GI_KIND_MEM) && is_open(GI_KIND_OBJECT));
    gi_domain_set(PYMEM_DOMAIN_OBJ, &words);
    EXPECT(is_open(GI_KIND_MEM) && !is_open(GI_KIND_OBJECT));
    gi_domain_set(PYMEM_DOMAIN_OBJ, &object);
    gi_domain_set(PYMEM_DOMAIN_RAW, &words);
    EXPECT(is_open(GI_KIND_MEM) && is_open(GI_KIND_OBJECT));
    gi_domain_set(PYMEM_DOMAIN_RAW, &raw);
}

/* A tracer counts the semaphore up from outside; the next call that comes by closes the fast path, or opens it. */
static void a_tracer_closes_the_fast_path(void) {
#ifdef GI_HAVE_SDT
    EXPECT_EQ(gilloc_get_mode(), GILLOC_MODE_GIL); /* first use */
    for (int i = 0; i < 3; i++) {
        EXPECT(is_open(GI_KIND_MEM) && is_open(GI_KIND_OBJECT));
        gilloc_alloc_semaphore++;
        void *block = gi_domain_malloc(PYMEM_DOMAIN_RAW, 1, NULL);
        EXPECT(!is_open(GI_KIND_MEM) && !is_open(GI_KIND_OBJECT));
        block = gi_domain_realloc(PYMEM_DOMAIN_RAW, block, 2, NULL);
        EXPECT(block != NULL && !is_open(GI_KIND_MEM) && !is_open(GI_KIND_OBJECT));
        gilloc_alloc_semaphore--;
        EXPECT(!is_open(GI_KIND_MEM) && !is_open(GI_KIND_OBJECT));
        gi_domain_free(PYMEM_DOMAIN_RAW, block, NULL);
    }
    EXPECT(is_open(GI_KIND_MEM) && is_open(GI_KIND_OBJECT));
#else
    print_message("SKIPPED: <sys/sdt.h> is missing (Debian: apt-get install systemtap-sdt-dev)\n");
#endif
}

/* The same of a thread that only allocates small blocks: it is seen as it needs more of them. */
static void a_tracer_closes_the_fast_path_as_blocks_run_out(void) {
#ifdef GI_HAVE_SDT
    enum { MANY = 10000, SIZE = 48 };
    static void *blocks[MANY];
    PyGILState_STATE state = PyGILState_Ensure();
    void *first = PyObject_Malloc(SIZE);
    EXPECT(is_open(GI_KIND_OBJECT));
    gilloc_alloc_semaphore++;
    size_t count = 0;
    while (count < MANY && is_open(GI_KIND_OBJECT)) {
        blocks[count++] = PyObject_Malloc(SIZE);
    }
    EXPECT(count > 0 && count < MANY);
    gilloc_alloc_semaphore--;
    PyObject_Free(first);
    while (count > 0) {
        PyObject_Free(blocks[--count]);
    }
    PyGILState_Release(state);
#else
    print_message("SKIPPED: <sys/sdt.h> is missing (Debian: apt-get install systemtap-sdt-dev)\n");
#endif
}

/* --- many threads ------------------------------------------------------------------------------------------------- */

/* Tables of five words that belong together: each function knows its number, and finds it in its context. */
#define TABLES 4

struct numbered {
    size_t number; /* plain: written before it is installed */
};

static struct numbered numbered[TABLES];

#define NUMBERED(n)                                                   \
    static void *malloc_##n(void *ctx, size_t size) {                 \
        (void)size;                                                   \
        EXPECT_EQ(((const struct numbered *)ctx)->number, (n) + 100); \
        return answer;                                                \
    }                                                                 \
    static void *calloc_##n(void *ctx, size_t count, size_t size) {   \
        (void)count;                                                  \
        return malloc_##n(ctx, size);                                 \
    }                                                                 \
    static void *realloc_##n(void *ctx, void *block, size_t size) {   \
        EXPECT(block == answer);                                      \
        return malloc_##n(ctx, size);                                 \
    }                                                                 \
    static void free_##n(void *ctx, void *block) {                    \
        EXPECT(block == answer);                                      \
        malloc_##n(ctx, 0);                                           \
    }
NUMBERED(0)
NUMBERED(1)
NUMBERED(2)
NUMBERED(3)

#define WORDS(n) \
    { &numbered[n], malloc_##n, calloc_##n, realloc_##n, free_##n }

static struct shared installing;

static void *install_in_turns(void *arg) {
    const size_t self = *(const size_t *)arg;
    static const PyMemAllocatorEx words[TABLES] = {WORDS(0), WORDS(1), WORDS(2), WORDS(3)};
    for (size_t i = 0; i < ROUNDS(20000); i++) {
        gi_domain_set(PYMEM_DOMAIN_OBJ, &words[(i + self) % TABLES]);
    }
    shared_add(&installing, (size_t)-1);
    return NULL;
}

static void *call_all_the_time(void *arg) {
    (void)arg;
    while (shared_get(&installing) != 0) {
        EXPECT(gi_domain_malloc(PYMEM_DOMAIN_OBJ, 10, NULL) == answer);
        EXPECT(gi_domain_calloc(PYMEM_DOMAIN_OBJ, 1, 10, NULL) == answer);
        EXPECT(gi_domain_realloc(PYMEM_DOMAIN_OBJ, answer, 10, NULL) == answer);
        gi_domain_free(PYMEM_DOMAIN_OBJ, answer, NULL);
        PyMemAllocatorEx words;
        gi_domain_get(PYMEM_DOMAIN_OBJ, &words);
        EXPECT(words.malloc(words.ctx, 10) == answer);
        words.free(words.ctx, answer);
    }
    return NULL;
}

static void a_call_sees_one_table_whole(void) {
    static size_t selves[2] = {0, 2};
    for (size_t i = 0; i < TABLES; i++) {
        numbered[i].number = i + 100;
    }
    shared_set(&installing, LENGTH(selves));
    gi_domain_set(PYMEM_DOMAIN_OBJ, &(PyMemAllocatorEx)WORDS(3));
    pthread_t callers[2];
    for (size_t i = 0; i < LENGTH(callers); i++) {
        callers[i] = thread_start(call_all_the_time, NULL);
    }
    threads_run(LENGTH(selves), install_in_turns, selves, sizeof(selves[0]));
    for (size_t i = 0; i < LENGTH(callers); i++) {
        thread_join(callers[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(each_domain_has_an_allocator_of_its_own),
        IN_CHILD(an_unknown_domain_is_left_alone),
        IN_CHILD(swapping_for_ever_takes_no_more_memory),
        IN_CHILD(tables_differ_by_each_word),
        DIES(set_without_malloc, NULL_FUNCTION("0")),
        DIES(set_without_calloc, NULL_FUNCTION("1")),
        DIES(set_without_realloc, NULL_FUNCTION("2")),
        DIES(set_without_free, NULL_FUNCTION("2")),
        DIES(set_without_memory, "Fatal gilloc error: PyMem_SetAllocator: out of memory\n  domain   2\n"),
        IN_CHILD(calls_reach_the_allocator_as_they_are),
        IN_CHILD(too_large_sizes_reach_nobody),
        IN_CHILD(the_default_words_serve_when_they_are_called_through_a_hook),
        IN_CHILD(the_fast_path_is_open_for_the_default_allocator_alone),
        IN_CHILD(a_tracer_closes_the_fast_path),
        IN_CHILD(a_tracer_closes_the_fast_path_as_blocks_run_out),
        IN_CHILD(a_call_sees_one_table_whole),
    };
    return cmocka_run_group_tests_name("domain", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/*
 * stats_test.c - figures: exact where nothing runs, sound where threads run, the same in the struct, by visit, as text
 *   and as JSON; what is printed by itself.
 */
#define _GNU_SOURCE /* gettid() */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/case.h"
#include "tests/support/child.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define CLASSES 32
#define DOMAINS_MAX (GILLOC_DOMAIN_LAST + 1)

static int is_free_mode(void) { return gilloc_get_mode() == GILLOC_MODE_FREE; }

/* Waits; a test whose condition never comes true does not end. */
#define WAIT_UNTIL(condition)  \
    do {                       \
        while (!(condition)) { \
            sched_yield();     \
        }                      \
    } while (0)

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* What gilloc_print_stats() writes; to be freed. */
static char *printed(const char *format) {
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    EXPECT(out != NULL);
    errno = 7;
    EXPECT_EQ(gilloc_print_stats(out, format), 0);
    EXPECT_EQ(errno, 7);
    EXPECT_EQ(fclose(out), 0);
    EXPECT_EQ(strlen(text), length);
    return text;
}

/* --- classes ---------------------------------------------------------------------------------- */

struct classes {
    gilloc_class_stats of[DOMAINS_MAX][CLASSES];
    uint64_t in_use, cached, pools;
    size_t count;
    int domain;          /* of the last one */
    uint64_t block_size; /* the same */
};

static int keep_class(const gilloc_class_stats *stats, void *arg) {
    struct classes *all = arg;
    EXPECT_EQ(stats->size, sizeof(*stats));
    EXPECT(stats->block_size % 16 == 0 && stats->block_size <= 512 && stats->pools != 0);
    /* In order. */
    EXPECT((int)stats->domain > all->domain ||
           ((int)stats->domain == all->domain && stats->block_size > all->block_size));
    all->domain = (int)stats->domain;
    all->block_size = stats->block_size;
    all->of[stats->domain][stats->block_size / 16 - 1] = *stats;
    all->in_use += stats->blocks_in_use;
    all->cached += stats->blocks_cached;
    all->pools += stats->pools;
    all->count++;
    uint64_t blocks = stats->blocks_in_use + stats->blocks_cached + stats->blocks_free;
    EXPECT_EQ(blocks % stats->pools, 0); /* each pool has room for as many */
    if (!UNDER_HOSTILE) {
        EXPECT_EQ(blocks, stats->pools * (16384 / stats->block_size));
    }
    return 0;
}

static struct classes visit_classes(void) {
    struct classes all = {.count = 0};
    EXPECT_EQ(gilloc_visit_classes(keep_class, &all), 0);
    return all;
}

#define BLOCKS 300

static void classes_are_exact(void) {
    EXPECT_EQ(visit_classes().count, 0);
    int kind = gilloc_new_kind("made", 0, 0);
    const int domain_of[] = {PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ, kind};
    PyGILState_STATE was = PyGILState_Ensure();
    static void *blocks[LENGTH(domain_of)][CLASSES][BLOCKS];
    for (size_t d = 0; d < LENGTH(domain_of); d++) {
        for (size_t c = 0; c < CLASSES; c++) {
            for (size_t i = 0; i < BLOCKS; i++) {
                blocks[d][c][i] = gilloc_malloc((PyMemAllocatorDomain)domain_of[d], 16 * (c + 1) - TAIL);
                EXPECT(blocks[d][c][i] != NULL);
            }
        }
    }
    /* Half of each back, in another number for each. */
    uint64_t left = 0;
    for (size_t d = 0; d < LENGTH(domain_of); d++) {
        for (size_t c = 0; c < CLASSES; c++) {
            size_t freed = 4 * d + c;
            for (size_t i = 0; i < freed; i++) {
                gilloc_free((PyMemAllocatorDomain)domain_of[d], blocks[d][c][i]);
            }
            left += BLOCKS - freed;
        }
    }
    struct classes all = visit_classes();
    EXPECT_EQ(all.count, LENGTH(domain_of) * CLASSES);
    EXPECT_EQ(all.in_use, left);
    for (size_t d = 0; d < LENGTH(domain_of); d++) {
        for (size_t c = 0; c < CLASSES; c++) {
            const gilloc_class_stats *class = &all.of[domain_of[d]][c];
            EXPECT_EQ(class->block_size, 16 * (c + 1));
            EXPECT_EQ(class->blocks_in_use, BLOCKS - 4 * d - c);
            EXPECT_EQ(strcmp(class->name, (const char *const[]){"mem", "object", "made"}[d]), 0);
        }
    }
    gilloc_stats stats = memory_stats();
    EXPECT_EQ(stats.small_blocks, left);
    EXPECT_EQ(stats.pools, all.pools);
    EXPECT_EQ(stats.cached_blocks, all.cached);
    for (size_t d = 0; d < LENGTH(domain_of); d++) {
        for (size_t c = 0; c < CLASSES; c++) {
            for (size_t i = 4 * d + c; i < BLOCKS; i++) {
                gilloc_free((PyMemAllocatorDomain)domain_of[d], blocks[d][c][i]);
            }
        }
    }
    EXPECT_EQ(visit_classes().in_use, 0);
    gilloc_purge();
    EXPECT_EQ(visit_classes().count, 0);
    PyGILState_Release(was);
}

/* Blocks of 0 bytes are of the first class; some wait in a list of their own. */
static void blocks_of_0_bytes_are_counted(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    void *zero = PyMem_Malloc(0), *one = PyMem_Malloc(1);
    struct classes all = visit_classes();
    EXPECT_EQ(all.of[PYMEM_DOMAIN_MEM][0].blocks_in_use, 2);
    EXPECT_EQ(all.in_use, 2);
    EXPECT_EQ(gilloc_allocated_blocks(), 2);
    PyMem_Free(zero);
    PyMem_Free(one);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(was);
}

static int end_at_second(const gilloc_class_stats *stats, void *arg) {
    (void)stats;
    /* It may do what its caller may. */
    void *block = PyObject_Malloc(500);
    EXPECT(block != NULL);
    PyObject_Free(block);
    return ++*(int *)arg == 2 ? 77 : 0;
}

static void a_visitor_ends_the_visit(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    void *blocks[] = {PyMem_Malloc(1), PyMem_Malloc(100), PyObject_Malloc(1)};
    int count = 0;
    EXPECT_EQ(gilloc_visit_classes(end_at_second, &count), 77);
    EXPECT_EQ(count, 2);
    PyMem_Free(blocks[0]);
    PyMem_Free(blocks[1]);
    PyObject_Free(blocks[2]);
    PyGILState_Release(was);
}

/* --- threads ---------------------------------------------------------------------------------- */

struct threads {
    gilloc_thread_stats of[THREADS_MAX];
    size_t count;
};

static int keep_thread(const gilloc_thread_stats *stats, void *arg) {
    struct threads *all = arg;
    EXPECT_EQ(stats->size, sizeof(*stats));
    EXPECT(all->count < THREADS_MAX);
    all->of[all->count++] = *stats;
    return 0;
}

static struct threads visit_threads(void) {
    struct threads all = {.count = 0};
    EXPECT_EQ(gilloc_visit_threads(keep_thread, &all), 0);
    return all;
}

static void states_are_told_by_number(void) {
    EXPECT_EQ(visit_threads().count, 0);
    PyThreadState *states[3];
    PyInterpreterState *other = PyInterpreterState_New();
    for (size_t i = 0; i < 3; i++) {
        states[i] = PyThreadState_New(i < 2 ? PyInterpreterState_Main() : other);
        EXPECT(states[i] != NULL);
    }
    PyEval_RestoreThread(states[1]);
    struct threads all = visit_threads();
    EXPECT_EQ(all.count, 3);
    static const int order[] = {2, 1, 0}; /* the newest first, of interpreters and of states */
    for (size_t i = 0; i < 3; i++) {
        const gilloc_thread_stats *stats = &all.of[i];
        EXPECT(stats->state == states[order[i]]);
        EXPECT_EQ(stats->interpreter, order[i] == 2);
        EXPECT_EQ(stats->number, order[i] == 1 ? 2 : 1);
        EXPECT_EQ(stats->status, order[i] == 1 ? GILLOC_THREAD_ATTACHED : GILLOC_THREAD_DETACHED);
        EXPECT_EQ(stats->thread, order[i] == 1 ? gettid() : 0);
        EXPECT_EQ(stats->cache_known, 1);
    }
    EXPECT_EQ(memory_stats().threads_attached, 1);
    PyEval_SaveThread();
    EXPECT_EQ(memory_stats().threads_attached, 0);
    all = visit_threads();
    EXPECT_EQ(all.of[1].status, GILLOC_THREAD_DETACHED);
    EXPECT_EQ(all.of[1].thread, gettid());
    PyThreadState_Delete(states[0]);
    all = visit_threads();
    EXPECT_EQ(all.count, 2);
    EXPECT(all.of[1].state == states[1]);
    PyThreadState_Delete(states[1]);
    PyThreadState_Delete(states[2]);
    EXPECT_EQ(visit_threads().count, 0);
    PyInterpreterState_Delete(other);
}

/* More states than are copied at a time. */
static int count_down(const gilloc_thread_stats *stats, void *arg) {
    uint64_t *number = arg;
    EXPECT_EQ(stats->number, *number);
    return --*number == 0 ? 5 : 0;
}

static void many_states_are_each_told_once(void) {
    static PyThreadState *states[200];
    for (size_t i = 0; i < LENGTH(states); i++) {
        states[i] = PyThreadState_New(PyInterpreterState_Main());
        EXPECT(states[i] != NULL);
    }
    uint64_t number = LENGTH(states);
    EXPECT_EQ(gilloc_visit_threads(count_down, &number), 5);
    for (size_t i = 0; i < LENGTH(states); i++) {
        PyThreadState_Delete(states[i]);
    }
}

/* What a cache holds is known while its thread is detached. */
static void caches_of_detached_threads_are_known(void) {
    PyThreadState *states[] = {PyThreadState_New(PyInterpreterState_Main()),
                               PyThreadState_New(PyInterpreterState_Main())};
    PyEval_RestoreThread(states[0]);
    void *blocks[10];
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        blocks[i] = PyMem_Malloc(64);
    }
    gilloc_thread_stats before = visit_threads().of[1];
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        PyMem_Free(blocks[i]);
    }
    void *large = PyMem_Malloc(1000);
    PyEval_SaveThread();
    PyEval_RestoreThread(states[1]);
    gilloc_thread_stats after = visit_threads().of[1];
    EXPECT(after.state == states[0] && before.state == states[0]);
    if (!UNDER_HOSTILE) { /* there some go back to their pool */
        EXPECT_EQ(after.cached_blocks, before.cached_blocks + 10);
    }
    EXPECT_EQ(after.cached_bytes, after.cached_blocks * (64 + 2 * TAIL)); /* the next class */
    EXPECT_EQ(after.large_allocated, 1);
    EXPECT_EQ(after.large_freed, 0);
    PyMem_Free(large); /* by another one than has allocated it */
    struct threads all = visit_threads();
    EXPECT_EQ(all.of[0].large_allocated, 0);
    EXPECT_EQ(all.of[0].large_freed, 1);
    EXPECT_EQ(memory_stats().large_blocks, 0);
    PyEval_SaveThread();
    PyThreadState_Delete(states[0]);
    PyThreadState_Delete(states[1]);
}

/* In GIL-free mode: blocks that are freed for another thread wait first here, then there. */
static void remote_frees_are_counted(void) {
    PyThreadState *states[] = {PyThreadState_New(PyInterpreterState_Main()),
                               PyThreadState_New(PyInterpreterState_Main())};
    PyEval_RestoreThread(states[0]);
    void *block = PyMem_Malloc(64);
    EXPECT(visit_threads().of[1].pools == 1 && visit_threads().of[1].pool_blocks != 0);
    PyEval_SaveThread();
    PyEval_RestoreThread(states[1]);
    PyMem_Free(block);
    struct threads all = visit_threads();
    EXPECT_EQ(all.of[0].remote_pending, 1);
    EXPECT_EQ(all.of[0].cached_blocks, 1);
    EXPECT_EQ(all.of[0].remote_frees, 0);
    EXPECT_EQ(all.of[1].remote_waiting, 0);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyEval_SaveThread(); /* hands it over */
    all = visit_threads();
    EXPECT_EQ(all.of[0].remote_pending, 0);
    EXPECT_EQ(all.of[0].remote_frees, 1);
    EXPECT_EQ(all.of[0].remote_batches, 1);
    EXPECT_EQ(all.of[1].remote_waiting, 1);
    EXPECT_EQ(memory_stats().remote_frees, 1);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyThreadState_Delete(states[0]);
    PyThreadState_Delete(states[1]);
}

static void retired_bytes_are_told(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    gilloc_retire(PYMEM_DOMAIN_OBJ, PyObject_Malloc(100));
    gilloc_retire(PYMEM_DOMAIN_MEM, PyMem_Malloc(16));
    gilloc_thread_stats stats = visit_threads().of[0];
    EXPECT_EQ(stats.retired_blocks, 2);
    EXPECT_EQ(stats.retired_bytes, 112 + 16);
    EXPECT_EQ(visit_classes().in_use, 2);
    gilloc_reclaim();
    stats = visit_threads().of[0];
    EXPECT_EQ(stats.retired_bytes, 0);
    EXPECT_EQ(stats.grace_periods, is_free_mode());
    EXPECT_EQ(visit_classes().in_use, 0);
    PyGILState_Release(was);
}

/* --- the lock --------------------------------------------------------------------------------- */

struct waiter {
    struct shared id; /* the kernel's */
    struct shared had;
};

static void *wait_for_the_lock(void *arg) {
    struct waiter *self = arg;
    shared_set(&self->id, (size_t)gettid());
    PyGILState_STATE was = PyGILState_Ensure();
    EXPECT_EQ(memory_stats().lock_holder, gettid());
    shared_set(&self->had, 1);
    PyGILState_Release(was);
    return NULL;
}

static uint64_t ended_waits(const gilloc_stats *stats) {
    uint64_t sum = 0;
    for (size_t i = 0; i < GILLOC_WAIT_BUCKETS; i++) {
        sum += stats->lock_wait_histogram[i];
    }
    return sum;
}

static void who_waits_and_who_holds_is_told(void) {
    const uint64_t held_for = 2000000;
    struct waiter waiter = {.had = {0}};
    EXPECT_EQ(memory_stats().lock_holder, 0);
    gilloc_set_switch_interval(60000000);
    PyGILState_STATE was = PyGILState_Ensure();
    gilloc_stats stats = memory_stats();
    EXPECT_EQ(stats.lock_holder, gettid());
    EXPECT(stats.lock_waiting == 0 && stats.lock_wait_max_ns == 0 && stats.lock_hold_max_ns == 0);
    uint64_t before = now_ns();
    pthread_t thread = thread_start(wait_for_the_lock, &waiter);
    WAIT_UNTIL(memory_stats().lock_waiting == 1);
    uint64_t waits_since = now_ns();
    stats = memory_stats();
    EXPECT_EQ(stats.lock_holder, gettid());
    EXPECT_EQ(stats.lock_waits, 1);
    EXPECT_EQ(ended_waits(&stats), 0);
    WAIT_UNTIL(now_ns() >= waits_since + held_for);
    PyGILState_Release(was);
    thread_join(thread);
    uint64_t after = now_ns();
    EXPECT_EQ(shared_get(&waiter.had), 1);
    stats = memory_stats();
    EXPECT_EQ(stats.lock_holder, 0);
    EXPECT_EQ(stats.lock_waiting, 0);
    EXPECT_EQ(stats.lock_waits, 1);
    EXPECT_EQ(ended_waits(&stats), 1);
    EXPECT(held_for <= stats.lock_wait_max_ns && stats.lock_wait_max_ns <= after - before);
    EXPECT(held_for <= stats.lock_hold_max_ns && stats.lock_hold_max_ns <= after - before);
    EXPECT_EQ(stats.lock_wait_ns, stats.lock_wait_max_ns);
    EXPECT_EQ(stats.lock_wait_histogram[63 - __builtin_clzll(stats.lock_wait_max_ns)], 1);
}

/* A stopper that is not attached holds all locks. */
static void *stop_and_start(void *arg) {
    (void)arg;
    gilloc_stop_the_world();
    EXPECT_EQ(memory_stats().lock_holder, is_free_mode() ? 0 : gettid());
    gilloc_start_the_world();
    EXPECT_EQ(memory_stats().lock_holder, 0);
    return NULL;
}

static void a_stopper_holds_the_lock(void) {
    for (int i = 0; i < 2; i++) {
        thread_join(thread_start(stop_and_start, NULL));
        stop_and_start(NULL);
    }
}

static void nobody_holds_the_lock_in_free_mode(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    gilloc_stats stats = memory_stats();
    EXPECT_EQ(stats.lock_holder, 0);
    EXPECT_EQ(stats.lock_takes, 0);
    EXPECT_EQ(stats.threads_attached, 1);
    PyGILState_Release(was);
}

/* --- text ------------------------------------------------------------------------------------- */

/* The number behind the '=' of the line that begins with these words. */
static uint64_t value_of(const char *text, const char *words) {
    char start[128];
    snprintf(start, sizeof(start), "\n%s", words);
    const char *line = strstr(text, start);
    EXPECT(line != NULL);
    line++;
    EXPECT_EQ(strcspn(line, "="), 35);
    EXPECT_EQ(strcspn(line, "\n"), 57);
    uint64_t value = 0;
    for (const char *at = line + 36; *at != '\n'; at++) {
        EXPECT(*at == ' ' || *at == ',' || (*at >= '0' && *at <= '9'));
        value = *at >= '0' && *at <= '9' ? value * 10 + (uint64_t)(*at - '0') : value;
    }
    return value;
}

struct table {
    uint64_t pools, in_use, avail, in_use_bytes, avail_bytes, unused, arenas, arena_bytes;
};

/* CPython's table at the head of a text: its lines as CPython writes them, its sums right. */
static struct table check_table(const char *text) {
    static const char head[] =
        "Small block threshold = 512, in 32 size classes.\n\n"
        "class   size   num pools   blocks in use  avail blocks\n"
        "-----   ----   ---------   -------------  ------------\n";
    struct table table = {.pools = 0};
    EXPECT_EQ(strncmp(text, head, strlen(head)), 0);
    const char *line = text + strlen(head);
    uint64_t lost = 0;
    for (; line[0] != '\n'; line += strcspn(line, "\n") + 1) {
        unsigned class, size;
        uint64_t pools, in_use, avail;
        EXPECT_EQ(
            sscanf(line, "%5u %6u %11" SCNu64 " %15" SCNu64 " %13" SCNu64 "\n", &class, &size, &pools, &in_use, &avail),
            5);
        char again[128];
        snprintf(again, sizeof(again), "%5u %6u %11zu %15zu %13zu\n", class, size, (size_t)pools, (size_t)in_use,
                 (size_t)avail);
        EXPECT_EQ(strncmp(line, again, strlen(again)), 0);
        EXPECT(size == 16 * (class + 1) && pools != 0);
        if (!UNDER_HOSTILE) {
            EXPECT_EQ(in_use + avail, pools * (16384 / size));
            lost += pools * (16384 % size);
        }
        table.pools += pools;
        table.in_use += in_use;
        table.avail += avail;
        table.in_use_bytes += in_use * size;
        table.avail_bytes += avail * size;
    }
    unsigned arena_size, pool_size;
    const char *arenas = strstr(line, " arenas * "), *unused = strstr(line, " unused pools * ");
    EXPECT(arenas != NULL && unused != NULL);
    EXPECT_EQ(sscanf(arenas, " arenas * %u bytes/arena", &arena_size), 1);
    EXPECT_EQ(sscanf(unused, " unused pools * %u bytes", &pool_size), 1);
    if (!UNDER_HOSTILE) {
        EXPECT(arena_size == 262144 && pool_size == 16384);
        EXPECT_EQ(value_of(line, "# bytes lost to quantization"), lost);
    }
    table.arenas = value_of(line, "# arenas allocated current");
    char words[64];
    snprintf(words, sizeof(words), "%" PRIu64 " arenas * %u bytes/arena", table.arenas, arena_size);
    table.arena_bytes = value_of(line, words);
    EXPECT_EQ(table.arena_bytes, table.arenas * arena_size);
    EXPECT_EQ(value_of(line, "# bytes in allocated blocks"), table.in_use_bytes);
    EXPECT_EQ(value_of(line, "# bytes in available blocks"), table.avail_bytes);
    while (unused[-1] != '\n') {
        unused--;
    }
    table.unused = strtoull(unused, NULL, 10);
    snprintf(words, sizeof(words), "%" PRIu64 " unused pools * %u bytes", table.unused, pool_size);
    EXPECT_EQ(value_of(line, words), table.unused * pool_size);
    EXPECT_EQ(value_of(line, "# bytes lost to pool headers"), 0);
    EXPECT_EQ(value_of(line, "Total"), table.arena_bytes);
    uint64_t total = table.in_use_bytes + table.avail_bytes + table.unused * pool_size +
                     value_of(line, "# bytes lost to quantization") + value_of(line, "# bytes lost to arena alignment");
    EXPECT_EQ(total, table.arena_bytes);
    EXPECT(value_of(line, "# arenas allocated total") >= value_of(line, "# arenas highwater mark"));
    EXPECT(value_of(line, "# arenas allocated total") >= value_of(line, "# arenas reclaimed"));
    return table;
}

static void text_says_what_the_struct_says(void) {
    int kind = gilloc_new_kind("made for the text", 0, 0);
    PyInterpreterState *other = PyInterpreterState_New();
    PyThreadState *state = PyThreadState_New(other);
    PyEval_RestoreThread(state);
    void *more = PyMem_Malloc(32);
    PyEval_SaveThread();
    PyGILState_STATE was = PyGILState_Ensure();
    static void *blocks[3][2000];
    for (size_t i = 0; i < LENGTH(blocks[0]); i++) {
        blocks[0][i] = PyMem_Malloc(i % 513);
        blocks[1][i] = PyObject_Malloc(i % 600);
        blocks[2][i] = gilloc_malloc((PyMemAllocatorDomain)kind, 48 - TAIL);
    }
    for (size_t i = 0; i < LENGTH(blocks[0]); i += 3) {
        PyMem_Free(blocks[0][i]);
        blocks[0][i] = NULL;
    }
    char *text = printed("text");
    struct table table = check_table(text);
    gilloc_stats stats = memory_stats();
    EXPECT_EQ(table.in_use, stats.small_blocks);
    EXPECT_EQ(stats.quarantined_blocks, 0);
    EXPECT_EQ(table.pools, stats.pools);
    EXPECT_EQ(table.arenas, stats.arenas);
    EXPECT_EQ(table.arena_bytes, stats.arena_bytes);
    EXPECT_EQ(value_of(text, "# arenas allocated total"), stats.arenas_acquired);
    EXPECT_EQ(value_of(text, "# arenas highwater mark"), stats.arenas_high);
    EXPECT_EQ(value_of(text, "# arenas reclaimed"), stats.arenas_released);
    EXPECT_EQ(value_of(text, "# large blocks in use"), stats.large_blocks);
    EXPECT_EQ(value_of(text, "# bytes from the system"), stats.bytes_from_system);
    EXPECT_EQ(value_of(text, "# held by thread"), stats.lock_holder);
    struct classes all = visit_classes();
    const gilloc_class_stats *made = &all.of[kind][2];
    char row[160];
    snprintf(row, sizeof(row), "\n%-31s %6d %11" PRIu64 " %15" PRIu64 " %13" PRIu64 " %13" PRIu64 "\n",
             "made for the text", 48, made->pools, made->blocks_in_use, made->blocks_cached, made->blocks_free);
    EXPECT(strstr(text, row) != NULL);
    snprintf(row, sizeof(row), "\n%11d %6d %10d %-8s ", 0, 1, gettid(), "attached");
    EXPECT(strstr(text, row) != NULL);
    snprintf(row, sizeof(row), "\n%11d %6d %10d %-8s ", 1, 1, gettid(), "detached");
    EXPECT(strstr(text, row) != NULL);
    free(text);
    for (size_t i = 0; i < LENGTH(blocks[0]); i++) {
        PyMem_Free(blocks[0][i]);
        PyObject_Free(blocks[1][i]);
        gilloc_free((PyMemAllocatorDomain)kind, blocks[2][i]);
    }
    PyGILState_Release(was);
    PyEval_RestoreThread(state);
    PyMem_Free(more);
    PyEval_SaveThread();
    text = printed("text");
    EXPECT_EQ(check_table(text).in_use, 0);
    free(text);
    PyThreadState_Delete(state);
    PyInterpreterState_Delete(other);
}

/* An arena from a hook that lies askew has room for a pool less. */
static void *alloc_askew(void *ctx, size_t size) {
    (void)ctx;
    char *memory = aligned_alloc(16384, size + 16384);
    return memory != NULL ? memory + 4096 : NULL;
}

static void free_askew(void *ctx, void *memory, size_t size) {
    (void)ctx;
    (void)size;
    free((char *)memory - 4096);
}

static void arena_alignment_is_told(void) {
    PyObjectArenaAllocator askew = {NULL, alloc_askew, free_askew};
    PyObject_SetArenaAllocator(&askew);
    PyGILState_STATE was = PyGILState_Ensure();
    void *block = PyMem_Malloc(10);
    char *text = printed("text");
    struct table table = check_table(text);
    EXPECT_EQ(table.arenas, 1);
    if (!UNDER_HOSTILE) {
        EXPECT_EQ(value_of(text, "# bytes lost to arena alignment"), 16384);
        EXPECT_EQ(table.unused, 14);
    }
    free(text);
    PyMem_Free(block);
    gilloc_purge();
    PyGILState_Release(was);
}

/* --- JSON ------------------------------------------------------------------------------------- */

static uint64_t number_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    EXPECT(json_is_integer(value) && json_integer_value(value) >= 0);
    return (uint64_t)json_integer_value(value);
}

static json_t *load(const char *text) {
    json_error_t error;
    json_t *all = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    EXPECT(all != NULL);
    return all;
}

#define STATS(X)          \
    X(small_blocks)       \
    X(large_blocks)       \
    X(arenas)             \
    X(arenas_high)        \
    X(arenas_acquired)    \
    X(arenas_released)    \
    X(pools)              \
    X(pools_free)         \
    X(pools_orphaned)     \
    X(pools_adopted)      \
    X(bytes_from_system)  \
    X(bytes_to_system)    \
    X(remote_frees)       \
    X(remote_batches)     \
    X(thread_states)      \
    X(thread_states_ever) \
    X(lock_takes)         \
    X(lock_waits)         \
    X(lock_handoffs)      \
    X(lock_drop_requests) \
    X(retired_blocks)     \
    X(retired_bytes)      \
    X(retired_lost)       \
    X(grace_periods)      \
    X(world_stops)        \
    X(cached_blocks)      \
    X(cached_bytes)       \
    X(quarantined_blocks) \
    X(pools_dirty)        \
    X(arena_bytes)        \
    X(threads_attached)   \
    X(lock_holder)        \
    X(lock_waiting)       \
    X(lock_wait_ns)       \
    X(lock_wait_max_ns)   \
    X(lock_hold_max_ns)

static void check_totals(const json_t *totals) {
    gilloc_stats stats = memory_stats();
    size_t fields = 1;
#define CHECK(field)                                   \
    EXPECT_EQ(number_of(totals, #field), stats.field); \
    fields++;
    STATS(CHECK)
#undef CHECK
    EXPECT_EQ(json_object_size(totals), fields);
    EXPECT_EQ(sizeof(stats), (fields + GILLOC_WAIT_BUCKETS) * 8); /* none is left out */
    const json_t *histogram = json_object_get(totals, "lock_wait_histogram");
    EXPECT_EQ(json_array_size(histogram), GILLOC_WAIT_BUCKETS);
    for (size_t i = 0; i < GILLOC_WAIT_BUCKETS; i++) {
        EXPECT_EQ(json_integer_value(json_array_get(histogram, i)), stats.lock_wait_histogram[i]);
    }
}

struct place {
    const json_t *array;
    size_t index;
};

static int check_class(const gilloc_class_stats *stats, void *arg) {
    struct place *place = arg;
    const json_t *row = json_array_get(place->array, place->index++);
    EXPECT_EQ(json_object_size(row), 7);
    EXPECT_EQ(strcmp(json_string_value(json_object_get(row, "name")), stats->name), 0);
    EXPECT_EQ(number_of(row, "domain"), stats->domain);
    EXPECT_EQ(number_of(row, "block_size"), stats->block_size);
    EXPECT_EQ(number_of(row, "pools"), stats->pools);
    EXPECT_EQ(number_of(row, "blocks_in_use"), stats->blocks_in_use);
    EXPECT_EQ(number_of(row, "blocks_cached"), stats->blocks_cached);
    EXPECT_EQ(number_of(row, "blocks_free"), stats->blocks_free);
    return 0;
}

#define THREAD_STATS(X) \
    X(number)           \
    X(interpreter)      \
    X(thread)           \
    X(cached_blocks)    \
    X(cached_bytes)     \
    X(remote_pending)   \
    X(remote_waiting)   \
    X(pools)            \
    X(pool_blocks)      \
    X(large_allocated)  \
    X(large_freed)      \
    X(remote_frees)     \
    X(remote_batches)   \
    X(retired_blocks)   \
    X(retired_bytes)    \
    X(retired_lost)     \
    X(grace_periods)

static int check_thread(const gilloc_thread_stats *stats, void *arg) {
    struct place *place = arg;
    const json_t *row = json_array_get(place->array, place->index++);
    size_t fields = 1;
    const char *status = json_string_value(json_object_get(row, "status"));
    EXPECT_EQ(strcmp(status, stats->status == GILLOC_THREAD_ATTACHED ? "attached" : "detached"), 0);
#define CHECK(field)                                 \
    EXPECT_EQ(number_of(row, #field), stats->field); \
    fields++;
    THREAD_STATS(CHECK)
#undef CHECK
    EXPECT_EQ(json_object_size(row), fields);
    return 0;
}

static void json_says_what_the_struct_says(void) {
    PyThreadState *state = PyThreadState_New(PyInterpreterState_Main());
    PyGILState_STATE was = PyGILState_Ensure();
    static void *blocks[1000];
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        blocks[i] = i % 2 == 0 ? PyMem_Malloc(i) : PyObject_Malloc(i);
    }
    char *text = printed("json");
    EXPECT(text[strlen(text) - 1] == '\n');
    json_t *all = load(text);
    EXPECT_EQ(json_object_size(all), 6);
    EXPECT_EQ(strcmp(json_string_value(json_object_get(all, "mode")), is_free_mode() ? "free" : "gil"), 0);
    check_totals(json_object_get(all, "totals"));
    EXPECT_EQ(number_of(all, "arena_size") * memory_stats().arenas, memory_stats().arena_bytes);
    EXPECT_EQ(number_of(all, "pool_size"), UNDER_HOSTILE ? number_of(all, "pool_size") : 16384);
    struct place place = {json_object_get(all, "classes"), 0};
    EXPECT_EQ(gilloc_visit_classes(check_class, &place), 0);
    EXPECT(json_array_size(place.array) == place.index && place.index > CLASSES);
    place = (struct place){json_object_get(all, "threads"), 0};
    EXPECT_EQ(gilloc_visit_threads(check_thread, &place), 0);
    EXPECT(json_array_size(place.array) == place.index && place.index == 2);
    json_decref(all);
    free(text);
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        (i % 2 == 0 ? PyMem_Free : PyObject_Free)(blocks[i]);
    }
    PyGILState_Release(was);
    PyThreadState_Delete(state);
}

/* --- calls ------------------------------------------------------------------------------------ */

static void what_cannot_be_printed(void) {
    errno = 0;
    EXPECT_EQ(gilloc_print_stats(stdout, "xml"), -1);
    EXPECT_EQ(errno, EINVAL);
    errno = 0;
    EXPECT_EQ(gilloc_print_stats(stdout, NULL), -1);
    EXPECT_EQ(errno, EINVAL);
    FILE *full = fopen("/dev/full", "w");
    EXPECT(full != NULL);
    for (int i = 0; i < 2; i++) {
        errno = 0;
        EXPECT_EQ(gilloc_print_stats(full, i == 0 ? "text" : "json"), -1);
        EXPECT_EQ(errno, ENOSPC);
    }
    fclose(full);
}

/* A caller that knows fewer fields gets these alone, one that knows more is told how many there are. */
static void old_and_new_callers_are_served(void) {
    struct {
        gilloc_stats known;
        uint64_t more;
    } newer;
    memset(&newer, 0xA5, sizeof(newer));
    newer.known.size = sizeof(newer);
    gilloc_get_stats(&newer.known);
    EXPECT_EQ(newer.known.size, sizeof(gilloc_stats));
    EXPECT_EQ(newer.more, 0xA5A5A5A5A5A5A5A5);
    memset(&newer, 0xA5, sizeof(newer));
    newer.known.size = offsetof(gilloc_stats, cached_blocks);
    gilloc_get_stats(&newer.known);
    EXPECT_EQ(newer.known.size, offsetof(gilloc_stats, cached_blocks));
    EXPECT_EQ(newer.known.world_stops, 0);
    EXPECT_EQ(newer.known.cached_blocks, 0xA5A5A5A5A5A5A5A5);
}

/* A block that debug hooks keep is freed for the program, and taken for its pool. */
static void quarantined_blocks_are_told(void) {
    PyMem_SetupDebugHooks();
    PyGILState_STATE was = PyGILState_Ensure();
    void *small = PyMem_Malloc(10), *large = PyMem_Malloc(1000);
    EXPECT_EQ(gilloc_allocated_blocks(), 2);
    PyMem_Free(small);
    PyMem_Free(large);
    gilloc_stats stats = memory_stats();
    EXPECT(stats.small_blocks == 0 && stats.large_blocks == 0);
    EXPECT_EQ(stats.quarantined_blocks, 2);
    EXPECT_EQ(visit_classes().in_use, 1);
    PyGILState_Release(was);
}

/* --- while threads run ------------------------------------------------------------------------ */

#define RUNNERS 4
#define LOOKS ROUNDS(300)

static struct shared stop;
static struct shared exchanged[64]; /* blocks that another thread is to free */

struct runner {
    size_t number;
    struct shared rounds;
};

static void *run(void *arg) {
    struct runner *self = arg;
    uint64_t random = self->number * 2 + 1;
    void *mine[64] = {NULL};
    while (!shared_get(&stop)) {
        PyGILState_STATE was = PyGILState_Ensure();
        for (int i = 0; i < 200; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            size_t slot = random >> 58, size = (random >> 40) % 700;
            PyObject_Free(mine[slot]);
            mine[slot] = PyObject_Malloc(size);
            if (i % 16 == 0) {
                void *theirs =
                    (void *)__atomic_exchange_n(&exchanged[slot].value, (size_t)mine[slot], __ATOMIC_ACQ_REL);
                mine[slot] = theirs;
            }
            if (i % 50 == 0) {
                gilloc_retire(PYMEM_DOMAIN_MEM, PyMem_Malloc(size));
                gilloc_safepoint();
            }
        }
        PyGILState_Release(was);
        shared_add(&self->rounds, 1);
    }
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < LENGTH(mine); i++) {
        PyObject_Free(mine[i]);
    }
    PyGILState_Release(was);
    return NULL;
}

#define SANE ((uint64_t)1 << 40) /* what went below 0 is above */

static void check_stats(const gilloc_stats *before, const gilloc_stats *now) {
#define CHECK(field) EXPECT(now->field < SANE);
    STATS(CHECK)
#undef CHECK
#define GROWS(field) EXPECT(now->field >= before->field);
    GROWS(arenas_high)
    GROWS(arenas_acquired)
    GROWS(arenas_released)
    GROWS(bytes_from_system)
    GROWS(bytes_to_system)
    GROWS(remote_frees)
    GROWS(remote_batches)
    GROWS(thread_states_ever)
    GROWS(lock_takes)
    GROWS(lock_waits)
    GROWS(lock_handoffs)
    GROWS(retired_blocks)
    GROWS(grace_periods)
    GROWS(pools_orphaned)
    GROWS(pools_adopted)
    GROWS(lock_wait_ns)
    GROWS(lock_wait_max_ns)
    GROWS(lock_hold_max_ns)
#undef GROWS
    EXPECT(ended_waits(now) <= now->lock_waits);
    EXPECT(now->arenas_high <= now->arenas_acquired && now->arenas_released <= now->arenas_acquired);
    for (size_t i = 0; i < GILLOC_WAIT_BUCKETS; i++) {
        EXPECT(now->lock_wait_histogram[i] >= before->lock_wait_histogram[i]);
    }
}

static int check_running_thread(const gilloc_thread_stats *stats, void *arg) {
    (void)arg;
    EXPECT(stats->cached_blocks < SANE && stats->cached_bytes < SANE && stats->remote_pending < SANE);
    EXPECT(stats->remote_waiting < SANE && stats->pools < SANE && stats->pool_blocks < SANE);
    EXPECT(stats->retired_bytes < SANE && stats->interpreter == 0 && stats->thread >= 0);
    return 0;
}

static int all_have_run(const struct runner *runners) {
    size_t count = 0;
    while (count < RUNNERS && shared_get(&runners[count].rounds) >= ROUNDS(200)) {
        count++;
    }
    return count == RUNNERS;
}

static void look_while_threads_run(void) {
    pthread_t threads[RUNNERS];
    struct runner runners[RUNNERS] = {{0}};
    for (size_t i = 0; i < RUNNERS; i++) {
        runners[i].number = i;
        threads[i] = thread_start(run, &runners[i]);
    }
    gilloc_stats before = memory_stats();
    for (size_t i = 0; i < LOOKS || !all_have_run(runners); i++) {
        gilloc_stats now = memory_stats();
        check_stats(&before, &now);
        before = now;
        visit_classes();
        EXPECT(gilloc_allocated_blocks() < 1000000);
        EXPECT_EQ(gilloc_visit_threads(check_running_thread, NULL), 0);
        if (i % 4 == 0) {
            char *text = printed("text");
            check_table(text);
            free(text);
            text = printed("json");
            json_decref(load(text));
            free(text);
        }
        sched_yield();
    }
    shared_set(&stop, 1);
    for (size_t i = 0; i < RUNNERS; i++) {
        thread_join(threads[i]);
    }
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < LENGTH(exchanged); i++) {
        PyObject_Free((void *)shared_get(&exchanged[i]));
    }
    gilloc_reclaim();
    gilloc_stats now = memory_stats();
    EXPECT_EQ(now.small_blocks + now.large_blocks, 0);
    EXPECT_EQ(ended_waits(&now), now.lock_waits);
    EXPECT_AT_MOST(visit_classes().in_use, now.quarantined_blocks);
    PyGILState_Release(was);
}

static void figures_are_sound_while_threads_run(void) { look_while_threads_run(); }

static void figures_are_sound_beside_debug_hooks(void) {
    PyMem_SetupDebugHooks();
    look_while_threads_run();
}

/* --- by itself -------------------------------------------------------------------------------- */

static void *kept[3000];

static void allocate_arenas(void *arg) {
    const char *const *settings = arg;
    for (; settings[0] != NULL; settings += 2) {
        EXPECT_EQ(setenv(settings[0], settings[1], 1), 0);
    }
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < LENGTH(kept); i++) {
        errno = 9;
        kept[i] = PyObject_Malloc(400);
        EXPECT(kept[i] != NULL);
        EXPECT_EQ(errno, 9);
    }
    PyGILState_Release(was);
}

static void *allocate_and_leave(void *arg) {
    (void)arg;
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < 3000; i++) {
        EXPECT(PyObject_Malloc(400) != NULL);
        if (i % 10 == 0) {
            gilloc_safepoint();
        }
        if (i % 100 == 0) {
            Py_BEGIN_ALLOW_THREADS Py_END_ALLOW_THREADS
        }
    }
    PyGILState_Release(was);
    return NULL;
}

static void allocate_arenas_in_threads(void *arg) {
    EXPECT_EQ(setenv("PYTHONMALLOCSTATS", "1", 1), 0);
    EXPECT_EQ(setenv("PYTHON_GIL", arg, 1), 0);
    int unused[RUNNERS] = {0};
    threads_run(RUNNERS, allocate_and_leave, unused, sizeof(unused[0]));
}

/* The system's allocator serves mem and object. */
static void allocate_from_the_system(void *arg) {
    (void)arg;
    EXPECT_EQ(setenv("PYTHONMALLOCSTATS", "1", 1), 0);
    PyMemAllocatorEx raw;
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &raw);
    PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &raw);
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &raw);
    PyGILState_STATE was = PyGILState_Ensure();
    PyMem_Free(PyMem_Malloc(100));
    PyObject_Free(PyObject_Malloc(100));
    PyGILState_Release(was);
}

static struct child_end child_with(const char *const *settings) {
    struct child_end end;
    child_run(&end, allocate_arenas, (void *)(uintptr_t)settings);
    return end;
}

static size_t count_of(const char *text, const char *word) {
    size_t count = 0;
    for (; (text = strstr(text, word)) != NULL; text++) {
        count++;
    }
    return count;
}

/* How many arenas 3,000 blocks of 400 bytes take. */
#define ARENAS_OF_3000 5

static void test_a_table_for_each_arena(void **state) {
    (void)state;
    for (int free_mode = 0; free_mode < 2; free_mode++) {
        const char *settings[] = {"PYTHONMALLOCSTATS", "1", "PYTHON_GIL", free_mode ? "0" : "1", NULL};
        struct child_end end = child_with(settings);
        assert_int_equal(end.status, 0);
        size_t tables = count_of(end.text, "Small block threshold");
        assert_int_equal(count_of(end.text, "\nTotal "), tables);
        assert_int_equal(count_of(end.text, "gilloc"), 0);
        if (!UNDER_HOSTILE) {
            assert_int_equal(tables, ARENAS_OF_3000 + 1);
        }
        /* Each is whole: one follows the other. */
        const char *at = end.text;
        for (size_t i = 0; i < tables; i++) {
            struct table table = check_table(at);
            assert_int_equal(table.arenas, i + 1 < tables ? i + 1 : i);
            at = strchr(strstr(at, "\nTotal ") + 1, '\n') + 1;
        }
        assert_int_equal(*at, '\0');
        child_end_fini(&end);
    }
}

/* Of threads that run at once, too, each is whole. */
static void test_tables_of_many_threads_are_whole(void **state) {
    (void)state;
    for (int free_mode = 0; free_mode < 2; free_mode++) {
        struct child_end end;
        child_run(&end, allocate_arenas_in_threads, free_mode ? "0" : "1");
        assert_int_equal(end.status, 0);
        size_t tables = count_of(end.text, "Small block threshold");
        assert_true(UNDER_HOSTILE || tables >= RUNNERS * (ARENAS_OF_3000 - 1));
        const char *at = end.text;
        for (size_t i = 0; i < tables; i++) {
            check_table(at);
            at = strchr(strstr(at, "\nTotal ") + 1, '\n') + 1;
        }
        assert_int_equal(*at, '\0');
        child_end_fini(&end);
    }
}

static void test_nothing_unless_asked(void **state) {
    (void)state;
    static const char *const settings[][7] = {
        {NULL},
        {"PYTHONMALLOCSTATS", "", "GILLOC_STATS", "", NULL},
        {"PYTHONMALLOCSTATS", "1", "PYTHONMALLOC", "malloc", NULL},
    };
    for (size_t i = 0; i < LENGTH(settings); i++) {
        struct child_end end = child_with(settings[i]);
        assert_int_equal(end.status, 0);
        assert_string_equal(end.text, "");
        child_end_fini(&end);
    }
    struct child_end end;
    child_run(&end, allocate_from_the_system, NULL);
    assert_int_equal(end.status, 0);
    assert_string_equal(end.text, "");
    child_end_fini(&end);
}

static void test_all_at_exit(void **state) {
    (void)state;
    struct child_end end = child_with((const char *[]){"GILLOC_STATS", "text", NULL});
    assert_int_equal(end.status, 0);
    assert_int_equal(count_of(end.text, "Small block threshold"), 1);
    assert_int_equal(check_table(end.text).in_use, 3000);
    assert_non_null(strstr(end.text, "\ngilloc, gil mode\n"));
    child_end_fini(&end);
    end = child_with((const char *[]){"GILLOC_STATS", "json", "PYTHON_GIL", "0", NULL});
    assert_int_equal(end.status, 0);
    json_t *all = load(end.text);
    assert_int_equal(number_of(json_object_get(all, "totals"), "small_blocks"), 3000);
    json_decref(all);
    child_end_fini(&end);
    end = child_with((const char *[]){"GILLOC_STATS", "xml", NULL});
    assert_int_equal(end.status, 1);
    assert_string_equal(end.text, "Fatal gilloc error: GILLOC_STATS: must be \"text\" or \"json\", not \"xml\"\n");
    child_end_fini(&end);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(classes_are_exact),
        IN_BOTH_MODES(blocks_of_0_bytes_are_counted),
        IN_BOTH_MODES(a_visitor_ends_the_visit),
        IN_BOTH_MODES(states_are_told_by_number),
        IN_BOTH_MODES(many_states_are_each_told_once),
        IN_BOTH_MODES(caches_of_detached_threads_are_known),
        IN_FREE_MODE(remote_frees_are_counted),
        IN_BOTH_MODES(retired_bytes_are_told),
        IN_GIL_MODE(who_waits_and_who_holds_is_told),
        IN_BOTH_MODES(a_stopper_holds_the_lock),
        IN_FREE_MODE(nobody_holds_the_lock_in_free_mode),
        IN_BOTH_MODES(text_says_what_the_struct_says),
        IN_BOTH_MODES(arena_alignment_is_told),
        IN_BOTH_MODES(json_says_what_the_struct_says),
        IN_BOTH_MODES(what_cannot_be_printed),
        IN_BOTH_MODES(old_and_new_callers_are_served),
        IN_BOTH_MODES(quarantined_blocks_are_told),
        IN_BOTH_MODES(figures_are_sound_while_threads_run),
        IN_BOTH_MODES(figures_are_sound_beside_debug_hooks),
        cmocka_unit_test(test_a_table_for_each_arena),
        cmocka_unit_test(test_tables_of_many_threads_are_whole),
        cmocka_unit_test(test_nothing_unless_asked),
        cmocka_unit_test(test_all_at_exit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

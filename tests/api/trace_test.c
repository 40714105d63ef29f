/* SPDX-License-Identifier: MIT */
/*
 * trace_test.c - tracing through the public interface: what is counted, from where, in which thread, started and
 *                stopped at any time.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/random.h"
#include "tests/support/random_work.h"
#include "tests/support/shared.h"
#include "tests/support/spy.h"
#include "tests/support/threads.h"

static size_t current(void) {
    size_t now;
    gilloc_trace_get_memory(&now, NULL);
    return now;
}

static size_t peak(void) {
    size_t most;
    gilloc_trace_get_memory(NULL, &most);
    return most;
}

/* --- start, stop ------------------------------------------------------------------------------ */

static void what_cannot_be_is_refused(void) {
    EXPECT(gilloc_trace_is_on() == 0);
    errno = 0;
    EXPECT(gilloc_trace_start(0) == -1 && errno == EINVAL);
    EXPECT(gilloc_trace_start(65536) == -1 && errno == EINVAL);
    EXPECT(gilloc_sample_start(((size_t)1 << 40) + 1) == -1 && errno == EINVAL);
    EXPECT(gilloc_trace_is_on() == 0 && gilloc_sample_is_on() == 0);
    EXPECT(gilloc_trace_start(65535) == 0);
    EXPECT_EQ(gilloc_trace_is_on(), GILLOC_FRAMES_MAX);
    EXPECT(gilloc_trace_start(3) == 0);
    EXPECT_EQ(gilloc_trace_is_on(), 3);
    EXPECT(gilloc_sample_start(0) == -1 && errno == EBUSY);
    gilloc_trace_stop();
    EXPECT(gilloc_trace_is_on() == 0);
    EXPECT(gilloc_sample_start(0) == 0);
    EXPECT_EQ(gilloc_sample_is_on(), GILLOC_SAMPLE_BYTES);
    EXPECT(gilloc_trace_start(1) == -1 && errno == EBUSY);
    gilloc_sample_stop();
    EXPECT_EQ(gilloc_sample_is_on(), 0);
    EXPECT(gilloc_trace_start(1) == 0);
    gilloc_trace_stop();
}

static void blocks_from_before_and_after_are_not_known(void) {
    void *before = PyMem_RawMalloc(100), *resized = PyMem_RawMalloc(50);
    EXPECT(gilloc_trace_start(1) == 0);
    EXPECT_EQ(current(), 0);
    PyMem_RawFree(before);
    EXPECT_EQ(current(), 0);
    resized = PyMem_RawRealloc(resized, 60); /* known from now on */
    EXPECT_EQ(current(), 60);
    void *within = PyMem_RawMalloc(7);
    EXPECT_EQ(current(), 67);
    gilloc_trace_stop();
    EXPECT_EQ(current(), 0);
    EXPECT_EQ(peak(), 0);
    EXPECT(gilloc_trace_start(1) == 0);
    EXPECT_EQ(current(), 0);
    PyMem_RawFree(within);
    PyMem_RawFree(resized);
    EXPECT_EQ(current(), 0);
}

/* --- what is counted -------------------------------------------------------------------------- */

static void each_call_is_counted(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    EXPECT(gilloc_trace_start(1) == 0);
    static const size_t sizes[] = {0, 1, 100, 512, 513, 100000};
    for (int i = 0; i < DOMAINS; i++) {
        const struct domain *domain = &domains[i];
        for (size_t j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++) {
            size_t size = sizes[j];
            void *made = domain->malloc(size);
            EXPECT_EQ(current(), size);
            void *zeroed = domain->calloc(3, size);
            EXPECT_EQ(current(), 4 * size);
            void *resized = domain->realloc(NULL, size);
            EXPECT_EQ(current(), 5 * size);
            for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
                resized = domain->realloc(resized, sizes[k]);
                EXPECT_EQ(current(), 4 * size + sizes[k]);
                EXPECT(domain->realloc(resized, (size_t)1 << 60) == NULL);
                EXPECT_EQ(current(), 4 * size + sizes[k]);
            }
            domain->free(resized);
            domain->free(NULL);
            EXPECT_EQ(current(), 4 * size);
            domain->free(made);
            domain->free(zeroed);
            EXPECT_EQ(current(), 0);
            EXPECT(domain->malloc((size_t)1 << 62) == NULL);
            EXPECT_EQ(current(), 0);
        }
    }
    EXPECT_EQ(gilloc_trace_get_lost(), 0);
    EXPECT(gilloc_trace_get_overhead() > 0);
    PyGILState_Release(state);
}

static void retired_blocks_are_alive_until_they_are_freed(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    EXPECT(gilloc_trace_start(1) == 0);
    void *block = PyObject_Malloc(40);
    gilloc_retire(PYMEM_DOMAIN_OBJ, block);
    EXPECT_EQ(current(), 40);
    gilloc_reclaim();
    EXPECT_EQ(current(), 0);
    PyGILState_Release(state);
}

static void hooks_come_and_go_under_it(void) {
    static struct spy spies[DOMAINS];
    PyMemAllocatorEx before[DOMAINS], seen;
    PyGILState_STATE state = PyGILState_Ensure();
    EXPECT(gilloc_trace_start(1) == 0);
    for (int i = 0; i < DOMAINS; i++) {
        PyMem_GetAllocator((PyMemAllocatorDomain)i, &before[i]);
        spy_install(&spies[i], (PyMemAllocatorDomain)i);
    }
    void *block = PyObject_Malloc(600);
    EXPECT_EQ(current(), 600); /* once, though two hooks have seen it */
    EXPECT_EQ(shared_get(&spies[PYMEM_DOMAIN_RAW].mallocs), 1);
    EXPECT_EQ(shared_get(&spies[PYMEM_DOMAIN_OBJ].mallocs), 1);
    gilloc_trace_stop();
    EXPECT(gilloc_trace_start(1) == 0);
    PyObject_Free(block);
    EXPECT_EQ(shared_get(&spies[PYMEM_DOMAIN_OBJ].frees), 1);
    for (int i = 0; i < DOMAINS; i++) {
        PyMem_SetAllocator((PyMemAllocatorDomain)i, &before[i]);
        PyMem_GetAllocator((PyMemAllocatorDomain)i, &seen);
        EXPECT(memcmp(&seen, &before[i], sizeof(seen)) == 0);
    }
    block = PyObject_Malloc(600);
    EXPECT_EQ(current(), 600);
    gilloc_trace_stop();
    PyObject_Free(block);
    PyGILState_Release(state);
}

static void the_peak_is_exact_in_one_thread(void) {
    EXPECT(gilloc_trace_start(1) == 0);
    struct random random = random_seeded(3);
    static char *blocks[300];
    size_t sizes[300] = {0}, sum = 0, most = 0;
    for (int i = 0; i < 20000; i++) {
        size_t at = random_below(&random, 300);
        PyMem_RawFree(blocks[at]);
        sum -= sizes[at];
        sizes[at] = random_below(&random, 50) == 0 ? random_below(&random, 300000) : random_below(&random, 100);
        sum += sizes[at];
        most = sum > most ? sum : most;
        blocks[at] = PyMem_RawMalloc(sizes[at]);
        EXPECT_EQ(current(), sum);
        EXPECT_EQ(peak(), most);
        if (i % 1000 == 0) {
            gilloc_trace_reset_peak();
            most = sum;
            EXPECT_EQ(peak(), most);
            EXPECT_EQ(current(), sum);
        }
    }
    gilloc_trace_clear();
    EXPECT_EQ(current(), 0);
    EXPECT_EQ(peak(), 0);
    for (int i = 0; i < 300; i++) {
        PyMem_RawFree(blocks[i]);
    }
    EXPECT_EQ(current(), 0);
}

/* --- blocks of other allocators --------------------------------------------------------------- */

static void others_blocks_are_tracked_by_domain_and_pointer(void) {
    EXPECT(PyTraceMalloc_Track(5, 16, 100) == -2);
    EXPECT(PyTraceMalloc_Untrack(5, 16) == -2);
    EXPECT(gilloc_trace_start(1) == 0);
    static const uintptr_t pointers[] = {0, 1, 16, 17, UINTPTR_MAX};
    static const unsigned numbers[] = {0, 1, 389047, ~0u};
    size_t sum = 0;
    for (size_t i = 0; i < sizeof(pointers) / sizeof(pointers[0]); i++) {
        for (size_t j = 0; j < sizeof(numbers) / sizeof(numbers[0]); j++) {
            EXPECT(PyTraceMalloc_Track(numbers[j], pointers[i], 1000) == 0);
            EXPECT_EQ(current(), sum + 1000);
            EXPECT(PyTraceMalloc_Track(numbers[j], pointers[i], 10) == 0); /* in its place */
            sum += 10;
            EXPECT_EQ(current(), sum);
        }
    }
    gilloc_snapshot *snapshot = gilloc_snapshot_take();
    gilloc_site site;
    size_t of_domain = 0;
    for (size_t i = 0; gilloc_snapshot_site(snapshot, i, &site) == 0; i++) {
        of_domain += site.domain == 389047 ? (size_t)site.blocks : 0;
    }
    EXPECT_EQ(of_domain, 5);
    gilloc_snapshot_free(snapshot);
    for (size_t i = 0; i < sizeof(pointers) / sizeof(pointers[0]); i++) {
        for (size_t j = 0; j < sizeof(numbers) / sizeof(numbers[0]); j++) {
            EXPECT(PyTraceMalloc_Untrack(numbers[j], pointers[i]) == 0);
            EXPECT(PyTraceMalloc_Untrack(numbers[j], pointers[i]) == 0);
        }
    }
    EXPECT_EQ(current(), 0);
    EXPECT(PyTraceMalloc_Track(9, 9, 9) == 0);
    gilloc_trace_clear();
    EXPECT_EQ(current(), 0);
    EXPECT(PyTraceMalloc_Untrack(9, 9) == 0);
    EXPECT_EQ(current(), 0);
}

/* A block whose free was not seen does not count twice when its address comes back. */
static void a_record_left_behind_is_replaced(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    EXPECT(gilloc_trace_start(1) == 0);
    void *block = PyMem_Malloc(48);
    PyMem_Free(block);
    for (int i = 0; i < 100; i++) { /* hardened mode keeps some */
        PyMem_Free(PyMem_Malloc(48));
    }
    EXPECT(PyTraceMalloc_Track(0, (uintptr_t)block, 1000) == 0);
    EXPECT_EQ(current(), 1000);
    void *blocks[5000];
    size_t sum = 0;
    bool again = false;
    for (int i = 0; i < 5000; i++) {
        blocks[i] = PyMem_Malloc(48);
        sum += 48;
        again = again || blocks[i] == block;
    }
    EXPECT_EQ(current(), sum + (again ? 0 : 1000));
    EXPECT(again);
    for (int i = 0; i < 5000; i++) {
        PyMem_Free(blocks[i]);
    }
    PyGILState_Release(state);
}

/* --- from where ------------------------------------------------------------------------------- */

static volatile int after_call; /* so that calls before it are no jumps */

static __attribute__((noinline)) void *inner_mem(size_t size) {
    void *block = PyMem_Malloc(size);
    after_call = 1;
    return block;
}
static __attribute__((noinline)) void *inner_object(size_t size) {
    void *block = PyObject_Calloc(1, size);
    after_call = 2;
    return block;
}
static __attribute__((noinline)) void *inner_raw(size_t size) {
    void *block = PyMem_RawRealloc(NULL, size);
    after_call = 3;
    return block;
}
static __attribute__((noinline)) void *inner_kind(size_t size) {
    void *block = gilloc_malloc(PYMEM_DOMAIN_OBJ, size);
    after_call = 4;
    return block;
}
static __attribute__((noinline)) void *outer(void *(*inner)(size_t), size_t size) {
    void *block = inner(size);
    after_call = 5;
    return block;
}

static void expect_within(const void *address, uintptr_t function) {
    size_t offset = (uintptr_t)address - function;
    EXPECT_AT_MOST(offset, 300); /* longer than it is, shorter than all before it */
}

static void the_caller_is_the_site(void) {
    static void *(*const functions[])(size_t) = {inner_mem, inner_object, inner_raw, inner_kind};
    static const int domain_of[] = {PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ, PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_OBJ};
    PyGILState_STATE state = PyGILState_Ensure();
    for (unsigned frames = 1; frames <= 3; frames++) {
        for (int i = 0; i < 4; i++) {
            for (size_t size = 40; size < 2000; size += 1000) {
                EXPECT(gilloc_trace_start(frames) == 0);
                void *blocks[2];
                volatile int two = 2; /* one call of outer(), not two */
                for (int j = 0; j < two; j++) {
                    blocks[j] = outer(functions[i], size);
                }
                gilloc_snapshot *snapshot = gilloc_snapshot_take();
                EXPECT_EQ(gilloc_snapshot_sites(snapshot), 1);
                gilloc_site site;
                EXPECT(gilloc_snapshot_site(snapshot, 0, &site) == 0);
                EXPECT(site.domain == 0 && site.blocks == 2 && site.bytes == 2 * (int64_t)size);
                EXPECT(site.blocks_ever == 2 && site.bytes_ever == 2 * (int64_t)size);
                EXPECT_EQ(site.frames, frames);
                gilloc_frame frame;
                EXPECT(gilloc_snapshot_frame(snapshot, 0, 0, &frame) == 0);
                EXPECT(frame.function == NULL && frame.file == NULL && frame.line == 0);
                expect_within(frame.address, (uintptr_t)functions[i]);
                if (frames > 1) {
                    EXPECT(gilloc_snapshot_frame(snapshot, 0, 1, &frame) == 0);
                    expect_within(frame.address, (uintptr_t)outer);
                }
                EXPECT(gilloc_snapshot_frame(snapshot, 0, frames, &frame) == -1);
                EXPECT(gilloc_snapshot_frame(snapshot, 1, 0, &frame) == -1);
                EXPECT(gilloc_snapshot_site(snapshot, 1, &site) == -1);
                gilloc_snapshot_free(snapshot);
                domains[domain_of[i]].free(blocks[0]);
                domains[domain_of[i]].free(blocks[1]);
                gilloc_trace_stop();
            }
        }
    }
    PyGILState_Release(state);
}

static int say_called;

static int say_two(void *ctx, gilloc_frame *out, int max) {
    EXPECT(ctx == &say_called);
    say_called++;
    static char name[2];
    strcpy(name, "f"); /* copied */
    void *own = PyMem_RawMalloc(5);
    out[0] = (gilloc_frame){name, "a.py", 10, NULL};
    if (max > 1) {
        out[1] = (gilloc_frame){NULL, "b.py", 0, NULL};
    }
    PyMem_RawFree(own);
    return 2; /* more than `max` is as `max` */
}

static int say_none(void *ctx, gilloc_frame *out, int max) {
    (void)ctx;
    (void)out;
    return max > 100 ? 1 : 0;
}

static void a_runtime_says_its_frames(void) {
    gilloc_trace_set_frames(say_two, &say_called);
    for (unsigned frames = 1; frames <= 2; frames++) {
        EXPECT(gilloc_trace_start(frames) == 0);
        void *block = PyMem_RawMalloc(10);
        EXPECT_EQ(current(), 10);
        gilloc_snapshot *snapshot = gilloc_snapshot_take();
        gilloc_site site;
        gilloc_frame frame;
        EXPECT(gilloc_snapshot_site(snapshot, 0, &site) == 0 && site.frames == frames);
        EXPECT(gilloc_snapshot_frame(snapshot, 0, 0, &frame) == 0);
        EXPECT(strcmp(frame.function, "f") == 0 && strcmp(frame.file, "a.py") == 0 && frame.line == 10);
        EXPECT(frame.address == NULL);
        if (frames == 2) {
            EXPECT(gilloc_snapshot_frame(snapshot, 0, 1, &frame) == 0);
            EXPECT(strcmp(frame.file, "b.py") == 0 && frame.line == 0);
        }
        gilloc_snapshot_free(snapshot);
        PyMem_RawFree(block);
        gilloc_trace_stop();
    }
    EXPECT_EQ(say_called, 2);
    for (int i = 0; i < 2; i++) {
        gilloc_trace_set_frames(i == 0 ? say_none : NULL, NULL);
        EXPECT(gilloc_trace_start(1) == 0);
        void *block = inner_raw(10);
        gilloc_snapshot *snapshot = gilloc_snapshot_take();
        gilloc_frame frame;
        EXPECT(gilloc_snapshot_frame(snapshot, 0, 0, &frame) == 0);
        expect_within(frame.address, (uintptr_t)inner_raw);
        gilloc_snapshot_free(snapshot);
        PyMem_RawFree(block);
        gilloc_trace_stop();
    }
    EXPECT_EQ(say_called, 2);
}

static void a_difference_is_by_site(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    EXPECT(gilloc_trace_start(1) == 0);
    void *goes[3] = {inner_mem(100), inner_mem(100), inner_mem(100)}, *stays = inner_raw(1000);
    gilloc_snapshot *before = gilloc_snapshot_take();
    EXPECT_EQ(gilloc_snapshot_sites(before), 2);
    for (int i = 0; i < 3; i++) {
        PyMem_Free(goes[i]);
    }
    void *comes = inner_object(50);
    gilloc_snapshot *after = gilloc_snapshot_take(), *difference = gilloc_snapshot_diff(before, after);
    EXPECT_EQ(gilloc_snapshot_sites(difference), 2); /* what stays is none */
    gilloc_site site;
    EXPECT(gilloc_snapshot_site(difference, 0, &site) == 0);
    EXPECT(site.blocks == -3 && site.bytes == -300);
    EXPECT(gilloc_snapshot_site(difference, 1, &site) == 0);
    EXPECT(site.blocks == 1 && site.bytes == 50);
    gilloc_snapshot *same = gilloc_snapshot_diff(after, after);
    EXPECT_EQ(gilloc_snapshot_sites(same), 0);
    gilloc_snapshot_free(before);
    gilloc_snapshot_free(difference);
    gilloc_snapshot_free(same);
    gilloc_trace_stop(); /* a snapshot stays good */
    gilloc_frame frame;
    EXPECT(gilloc_snapshot_frame(after, 0, 0, &frame) == 0);
    expect_within(frame.address, (uintptr_t)inner_raw);
    gilloc_snapshot_free(after);
    gilloc_snapshot_free(NULL);
    PyMem_RawFree(stays);
    PyObject_Free(comes);
    PyGILState_Release(state);
}

static void there_is_no_other_format(void) {
    FILE *f = fopen("/dev/null", "w");
    errno = 0;
    EXPECT(gilloc_trace_write(f, "gone") == -1 && errno == EINVAL);
    EXPECT(gilloc_trace_write(f, "text") == 0);
    EXPECT(gilloc_trace_write(f, "svg") == 0);
    EXPECT(gilloc_trace_write(f, "folded") == 0);
    EXPECT(gilloc_trace_write(f, "pprof") == 0);
    EXPECT(fclose(f) == 0);
    f = fopen("/dev/full", "w");
    EXPECT(gilloc_trace_write(f, "svg") == -1);
    fclose(f);
}

/* --- threads ---------------------------------------------------------------------------------- */

static void *allocate_raw(void *arg) {
    void **block = arg;
    *block = PyMem_RawMalloc(77);
    *block = PyMem_RawRealloc(*block, 99);
    EXPECT(PyTraceMalloc_Track(3, 3, 1) == 0);
    EXPECT(PyTraceMalloc_Untrack(3, 3) == 0);
    return NULL;
}

/* The thread is joined by one that holds the lock: if it waited for that, the test would not end. */
static void a_detached_thread_does_not_wait_for_the_lock(void) {
    EXPECT(gilloc_trace_start(4) == 0);
    PyGILState_STATE state = PyGILState_Ensure();
    void *block;
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, allocate_raw, &block) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    EXPECT_EQ(current(), 99);
    PyMem_RawFree(block); /* what an ended thread has counted goes on */
    EXPECT_EQ(current(), 0);
    PyGILState_Release(state);
}

enum { THREADS = 4, ROUNDS = 4000, KEPT = 8 };

/* Threads whose blocks take turns in the same addresses: a record is of the block that is there. */
static void *replace_raw(void *arg) {
    void **kept = arg;
    for (int i = 0; i < ROUNDS; i++) {
        PyMem_RawFree(kept[i % KEPT]);
        kept[i % KEPT] = PyMem_RawMalloc(24);
        kept[i % KEPT] = PyMem_RawRealloc(kept[i % KEPT], i % 3 == 0 ? 2000 : 24);
        kept[i % KEPT] = PyMem_RawRealloc(kept[i % KEPT], 24);
    }
    return NULL;
}

static void no_record_is_lost_as_an_address_changes_hands(void) {
    static void *kept[THREADS][KEPT];
    EXPECT(gilloc_trace_start(1) == 0);
    threads_run(THREADS, replace_raw, kept, sizeof(kept[0]));
    EXPECT_EQ(current(), THREADS * KEPT * 24);
    gilloc_snapshot *snapshot = gilloc_snapshot_take();
    int64_t blocks = 0;
    gilloc_site site;
    for (size_t i = 0; gilloc_snapshot_site(snapshot, i, &site) == 0; i++) {
        blocks += site.blocks;
    }
    EXPECT_EQ(blocks, THREADS * KEPT);
    gilloc_snapshot_free(snapshot);
    for (int i = 0; i < THREADS * KEPT; i++) {
        PyMem_RawFree(kept[i / KEPT][i % KEPT]);
    }
    EXPECT_EQ(current(), 0);
    EXPECT(peak() + (size_t)(THREADS - 1) * 65536 >= (size_t)THREADS * KEPT * 24);
}

static struct shared working;

static void *work(void *arg) {
    uint64_t seed = *(uint64_t *)arg;
    for (int i = 0; i < 6; i++) {
        PyGILState_STATE state = PyGILState_Ensure();
        random_work_do(
            &(struct random_work){.seed = seed + (uint64_t)i, .operations = 3000, .live = 100, .safepoint = 50});
        PyGILState_Release(state);
        void *raw = PyMem_RawMalloc(100);
        PyMem_RawFree(PyMem_RawRealloc(raw, 1000));
    }
    shared_add(&working, (size_t)-1);
    return NULL;
}

static void look(void) {
    gilloc_snapshot *snapshot = gilloc_snapshot_take();
    EXPECT(snapshot != NULL);
    gilloc_site site;
    for (size_t i = 0; gilloc_snapshot_site(snapshot, i, &site) == 0; i++) {
        EXPECT(site.blocks > 0 && site.frames >= 1);
    }
    gilloc_snapshot_free(snapshot);
    size_t now, most;
    gilloc_trace_get_memory(&now, &most);
    EXPECT(most + 65536 * THREADS >= now);
}

static void it_starts_and_stops_while_threads_allocate(void) {
    static uint64_t seeds[THREADS] = {100, 200, 300, 400};
    pthread_t threads[THREADS];
    shared_set(&working, THREADS);
    for (int i = 0; i < THREADS; i++) {
        threads[i] = thread_start(work, &seeds[i]);
    }
    for (unsigned i = 0; shared_get(&working) != 0; i++) {
        switch (i % 4) {
            case 0:
                EXPECT(gilloc_trace_start(1 + i % 3) == 0);
                break;
            case 1:
                look();
                gilloc_trace_reset_peak();
                break;
            case 2:
                gilloc_trace_clear();
                break;
            default:
                gilloc_trace_stop();
                break;
        }
    }
    for (int i = 0; i < THREADS; i++) {
        thread_join(threads[i]);
    }
    gilloc_trace_stop();
    EXPECT(gilloc_trace_start(1) == 0);
    EXPECT_EQ(current(), 0);
    gilloc_snapshot *snapshot = gilloc_snapshot_take();
    EXPECT_EQ(gilloc_snapshot_sites(snapshot), 0);
    gilloc_snapshot_free(snapshot);
    void *raw = PyMem_RawMalloc(3);
    EXPECT_EQ(current(), 3);
    PyMem_RawFree(raw);
}

/* All that has been allocated under one start has been freed under it. */
static void nothing_is_left_when_all_is_freed(void) {
    static uint64_t seeds[THREADS] = {1, 2, 3, 4};
    EXPECT(gilloc_trace_start(2) == 0);
    shared_set(&working, THREADS);
    threads_run(THREADS, work, seeds, sizeof(seeds[0]));
    EXPECT_EQ(current(), 0);
    gilloc_snapshot *snapshot = gilloc_snapshot_take();
    EXPECT_EQ(gilloc_snapshot_sites(snapshot), 0);
    gilloc_snapshot_free(snapshot);
}

static void sampling_starts_and_stops_while_threads_allocate(void) {
    static uint64_t seeds[THREADS] = {100, 200, 300, 400};
    pthread_t threads[THREADS];
    shared_set(&working, THREADS);
    for (int i = 0; i < THREADS; i++) {
        threads[i] = thread_start(work, &seeds[i]);
    }
    for (unsigned i = 0; shared_get(&working) != 0; i++) {
        switch (i % 4) {
            case 0:
                EXPECT(gilloc_sample_start(1 + i % 1000) == 0);
                break;
            case 1:
                gilloc_snapshot_free(gilloc_snapshot_take());
                break;
            case 2:
                gilloc_sample_stop();
                break;
            default:
                EXPECT(gilloc_trace_start(1) == 0);
                gilloc_trace_stop();
                break;
        }
    }
    for (int i = 0; i < THREADS; i++) {
        thread_join(threads[i]);
    }
    gilloc_trace_stop();
    EXPECT(gilloc_sample_start(100) == 0);
    gilloc_snapshot *snapshot = gilloc_snapshot_take();
    EXPECT_EQ(gilloc_snapshot_sites(snapshot), 0);
    gilloc_snapshot_free(snapshot);
    gilloc_sample_stop();
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
}

/* --- between two steps ------------------------------------------------------------------------ */

/* A hook of the raw domain that gives one of two places, and acts in the middle of a call, as another thread would that
   comes just then. */
static _Alignas(16) char places[2][64];
static int next_place;
static void (*in_between)(void); /* called once */

static void act(void) {
    void (*once)(void) = in_between;
    in_between = NULL;
    if (once != NULL) {
        once();
    }
}

static void *place_malloc(void *ctx, size_t size) {
    (void)ctx;
    (void)size;
    void *place = places[next_place];
    act();
    return place;
}

static void *place_calloc(void *ctx, size_t count, size_t size) { return place_malloc(ctx, count * size); }

/* Moves to the other place; the old one is free at once. */
static void *place_realloc(void *ctx, void *block, size_t size) {
    void *moved = places[block == places[0]];
    (void)ctx;
    (void)size;
    act();
    return moved;
}

static void place_free(void *ctx, void *block) {
    (void)ctx;
    (void)block;
    act();
}

static void *take_next_place(void *arg) {
    (void)arg;
    EXPECT(PyMem_RawMalloc(10) == places[next_place]);
    return NULL;
}

static void take_in_another_thread(void) { thread_join(thread_start(take_next_place, NULL)); }

static void install_places(void) {
    PyMemAllocatorEx allocator = {NULL, place_malloc, place_calloc, place_realloc, place_free};
    PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &allocator);
}

static void who_gets_a_freed_address_keeps_its_record(void) {
    install_places();
    EXPECT(gilloc_trace_start(1) == 0);
    void *block = PyMem_RawMalloc(40);
    in_between = take_in_another_thread;
    PyMem_RawFree(block);
    EXPECT_EQ(current(), 10);
    PyMem_RawFree(block);
    EXPECT_EQ(current(), 0);
}

static void who_gets_a_moved_blocks_address_keeps_its_record(void) {
    install_places();
    EXPECT(gilloc_trace_start(1) == 0);
    void *block = PyMem_RawMalloc(40);
    in_between = take_in_another_thread;
    EXPECT(PyMem_RawRealloc(block, 50) == places[1]);
    EXPECT_EQ(current(), 60);
    PyMem_RawFree(places[0]);
    EXPECT_EQ(current(), 50);
    PyMem_RawFree(places[1]);
    EXPECT_EQ(current(), 0);
}

static void start_again(void) {
    gilloc_trace_stop();
    EXPECT(gilloc_trace_start(1) == 0);
}

/* A call that began before a stop and ends after the next start. */
static void a_call_that_a_stop_overtakes_counts_for_nobody(void) {
    install_places();
    EXPECT(gilloc_trace_start(1) == 0);
    in_between = start_again;
    void *block = PyMem_RawMalloc(40);
    EXPECT_EQ(current(), 0);
    gilloc_snapshot *snapshot = gilloc_snapshot_take();
    EXPECT_EQ(gilloc_snapshot_sites(snapshot), 0);
    gilloc_snapshot_free(snapshot);
    PyMem_RawFree(block);
    EXPECT_EQ(current(), 0);
    block = PyMem_RawMalloc(7);
    EXPECT_EQ(current(), 7);
    in_between = gilloc_trace_clear;
    PyMem_RawFree(block);
    EXPECT_EQ(current(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_OPEN_MODE(what_cannot_be_is_refused),
        IN_OPEN_MODE(blocks_from_before_and_after_are_not_known),
        IN_BOTH_MODES(each_call_is_counted),
        IN_BOTH_MODES(retired_blocks_are_alive_until_they_are_freed),
        IN_BOTH_MODES(hooks_come_and_go_under_it),
        IN_OPEN_MODE(the_peak_is_exact_in_one_thread),
        IN_OPEN_MODE(others_blocks_are_tracked_by_domain_and_pointer),
        IN_BOTH_MODES(a_record_left_behind_is_replaced),
        IN_BOTH_MODES(the_caller_is_the_site),
        IN_OPEN_MODE(a_runtime_says_its_frames),
        IN_BOTH_MODES(a_difference_is_by_site),
        IN_OPEN_MODE(there_is_no_other_format),
        IN_GIL_MODE(a_detached_thread_does_not_wait_for_the_lock),
        IN_OPEN_MODE(who_gets_a_freed_address_keeps_its_record),
        IN_OPEN_MODE(who_gets_a_moved_blocks_address_keeps_its_record),
        IN_OPEN_MODE(a_call_that_a_stop_overtakes_counts_for_nobody),
        IN_OPEN_MODE(no_record_is_lost_as_an_address_changes_hands),
        IN_BOTH_MODES(it_starts_and_stops_while_threads_allocate),
        IN_BOTH_MODES(nothing_is_left_when_all_is_freed),
        IN_BOTH_MODES(sampling_starts_and_stops_while_threads_allocate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

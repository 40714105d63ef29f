/* SPDX-License-Identifier: MIT */
/*
 * trace_test.c - tracing when memory is out, at every site; huge sizes; forks of threads that trace.
 */
#include "lib/domain/trace.h"

#include <gilloc/gilloc.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/domain/ledger.h"
#include "tests/concurrency/unit.h"
#include "tests/domain/refusing.h"
#include "tests/support/domains.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

static size_t current(void) {
    size_t now;
    gilloc_trace_get_memory(&now, NULL);
    return now;
}

/* --- when memory is out ----------------------------------------------------------------------- */

/* Each request, with the k-th call of the system's allocator refused, and with all from the k-th on, until none is:
   the figure is that of the blocks that are there. */
static void try_all(void (*request)(void)) {
    for (int all = 0; all < 2; all++) {
        for (unsigned long k = 1, none = 0; none == 0; k++) {
            all != 0 ? refuse_from(k) : refuse_at(k);
            request();
            none = refused() == 0;
            refuse_nothing();
            EXPECT(k < 100);
        }
    }
}

static const struct domain *domain;
static size_t size;
static void *block;

static void malloc_and_count(void) {
    size_t before = current();
    block = domain->malloc(size);
    EXPECT_EQ(current(), before + (block != NULL ? size : 0));
}

static void calloc_and_count(void) {
    size_t before = current();
    block = domain->calloc(1, size);
    EXPECT_EQ(current(), before + (block != NULL ? size : 0));
}

static void resize_from_nothing(void) {
    size_t before = current();
    block = domain->realloc(NULL, size);
    EXPECT_EQ(current(), before + (block != NULL ? size : 0));
}

static void free_and_count(void) {
    size_t before = current();
    if (block != NULL) {
        domain->free(block);
        EXPECT_EQ(current(), before - size);
    }
}

static void malloc_and_free(void) {
    malloc_and_count();
    free_and_count();
}

static void calloc_and_free(void) {
    calloc_and_count();
    free_and_count();
}

static void resize_nothing_and_free(void) {
    resize_from_nothing();
    free_and_count();
}

static void for_each_domain_and_size(void (*request)(void)) {
    static const size_t sizes[] = {1, 40, 512, 513, 100000};
    PyGILState_STATE state = PyGILState_Ensure();
    for (int i = 0; i < DOMAINS; i++) {
        for (size_t j = 0; j < LENGTH(sizes); j++) {
            domain = &domains[i];
            size = sizes[j];
            EXPECT(gilloc_trace_start(1) == 0);
            try_all(request);
            EXPECT_EQ(current(), 0);
            gilloc_trace_stop();
        }
    }
    PyGILState_Release(state);
}

static void a_block_without_a_record_is_none(void) {
    for_each_domain_and_size(malloc_and_free);
    for_each_domain_and_size(calloc_and_free);
    for_each_domain_and_size(resize_nothing_and_free);
}

static void a_resized_block_stays_whatever_is_refused(void) {
    static const size_t sizes[] = {1, 100, 512, 513, 5000, 100000};
    PyGILState_STATE state = PyGILState_Ensure();
    for (int i = 0; i < DOMAINS; i++) {
        for (size_t from = 0; from < LENGTH(sizes); from++) {
            for (size_t to = 0; to < LENGTH(sizes); to++) {
                for (unsigned long k = 1, none = 0; none == 0; k++) {
                    EXPECT(gilloc_trace_start(1) == 0);
                    char *resized = domains[i].malloc(sizes[from]);
                    resized[0] = 'x';
                    refuse_at(k);
                    char *moved = domains[i].realloc(resized, sizes[to]);
                    none = refused() == 0;
                    refuse_nothing();
                    size_t expected = moved != NULL ? sizes[to] : sizes[from];
                    EXPECT(gilloc_trace_get_lost() <= 1);
                    EXPECT_EQ(current(), gilloc_trace_get_lost() != 0 ? 0 : expected);
                    moved = moved != NULL ? moved : resized;
                    EXPECT(moved[0] == 'x');
                    domains[i].free(moved);
                    EXPECT_EQ(current(), 0);
                    gilloc_trace_stop();
                }
            }
        }
    }
    PyGILState_Release(state);
}

static void track_without_memory(void) {
    EXPECT(gilloc_trace_start(1) == 0);
    for (uintptr_t i = 1; i < 200; i++) {
        refuse_from(1);
        EXPECT(PyTraceMalloc_Track(7, i, 10) == -1);
        refuse_nothing();
        EXPECT_EQ(current(), 0);
        EXPECT(PyTraceMalloc_Track(7, i, 10) == 0);
        EXPECT_EQ(current(), 10);
        EXPECT(PyTraceMalloc_Untrack(7, i) == 0);
        EXPECT_EQ(current(), 0);
    }
}

static void a_snapshot_without_memory_is_none(void) {
    EXPECT(gilloc_trace_start(1) == 0);
    void *raw = PyMem_RawMalloc(10);
    gilloc_snapshot *before = gilloc_snapshot_take(), *none;
    for (unsigned long k = 1; refuse_at(k), none = gilloc_snapshot_take(), refused() != 0; k++) {
        refuse_nothing();
        EXPECT(none == NULL);
    }
    refuse_nothing();
    EXPECT(none != NULL && gilloc_snapshot_sites(none) == 1);
    refuse_from(1);
    EXPECT(gilloc_snapshot_diff(before, none) == NULL);
    refuse_nothing();
    static const char *const formats[] = {"text", "folded", "svg", "pprof"};
    for (size_t i = 0; i < LENGTH(formats); i++) {
        FILE *f = fopen("/dev/null", "w");
        EXPECT(f != NULL);
        setvbuf(f, NULL, _IONBF, 0);
        int written = -1;
        for (unsigned long k = 1; written != 0; k++) {
            refuse_at(k);
            written = gilloc_snapshot_write(none, f, formats[i]);
            EXPECT(written == 0 || refused() != 0);
            EXPECT(k < 1000);
            refuse_nothing();
        }
        EXPECT(fclose(f) == 0);
    }
    gilloc_snapshot_free(before);
    gilloc_snapshot_free(none);
    PyMem_RawFree(raw);
}

/* --- figures ---------------------------------------------------------------------------------- */

static void the_largest_size_is_counted(void) {
    static const size_t most = (size_t)1 << 34, unit = (size_t)1 << 16;
    EXPECT(gilloc_trace_start(1) == 0);
    EXPECT(PyTraceMalloc_Track(1, 1, most - 1) == 0);
    EXPECT_EQ(current(), most - 1);
    EXPECT(PyTraceMalloc_Track(1, 1, most + 1) == 0);
    EXPECT_EQ(current(), most + unit);
    EXPECT(PyTraceMalloc_Track(1, 1, PY_SSIZE_T_MAX) == 0);
    EXPECT_EQ(current(), (most - 1) * unit);
    EXPECT(PyTraceMalloc_Untrack(1, 1) == 0);
    EXPECT_EQ(current(), 0);
}

/* --- forks ------------------------------------------------------------------------------------ */

static struct shared enough;

static void *trace_until_enough(void *arg) {
    (void)arg;
    while (shared_get(&enough) == 0) {
        void *raw = PyMem_RawMalloc(1000);
        EXPECT(PyTraceMalloc_Track(5, (uintptr_t)&raw, 5) == 0);
        EXPECT(PyTraceMalloc_Untrack(5, (uintptr_t)&raw) == 0);
        PyMem_RawFree(raw);
    }
    return NULL;
}

static void a_child_of_a_fork_traces(void) {
    EXPECT(gilloc_trace_start(20) == 0);
    pthread_t thread = thread_start(trace_until_enough, NULL);
    for (int i = 0; i < 60; i++) {
        pid_t child = fork();
        if (child == 0) {
            size_t before = current();
            void *raw = PyMem_RawMalloc(123);
            EXPECT_EQ(current(), before + 123);
            gilloc_snapshot *snapshot = gilloc_snapshot_take();
            EXPECT(snapshot != NULL && gilloc_snapshot_sites(snapshot) >= 1);
            PyMem_RawFree(raw);
            EXPECT_EQ(current(), before);
            _exit(0);
        }
        int status = -1;
        EXPECT(waitpid(child, &status, 0) == child && status == 0);
    }
    shared_set(&enough, 1);
    thread_join(thread);
    EXPECT_EQ(current(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(a_block_without_a_record_is_none),
        IN_CHILD(a_resized_block_stays_whatever_is_refused),
        IN_CHILD(track_without_memory),
        IN_CHILD(a_snapshot_without_memory_is_none),
        IN_CHILD(the_largest_size_is_counted),
        IN_CHILD(a_child_of_a_fork_traces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

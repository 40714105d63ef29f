/* SPDX-License-Identifier: MIT */
/*
 * trace_sample_test.c - sampling: estimates have no bias, whatever is allocated in whatever order and freed in between;
 *                       what a sample is to the rest of the library; when memory is out.
 *
 *   A sample of a block of s bytes is a matter of chance p = 1 - exp(-s / mean), and counts 1/p.  So the estimate of n
 *   blocks has the variance n (1 - p) / p, and the mean of r estimates with different seeds that divided by r.  Seeds
 *   are fixed: a test that passes once does so for ever; bounds are 5 deviations.
 */
#include "lib/domain/trace_sample.h"

#include <gilloc/gilloc.h>
#include <gilloc/inline.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cache/sample.h"
#include "tests/concurrency/unit.h"
#include "tests/domain/refusing.h"
#include "tests/support/domains.h"
#include "tests/support/random.h"
#include "tests/support/threads.h"

/* --- whose block it is ------------------------------------------------------------------------ */

/* Each allocation says by itself of which group it is: by a frame of the runtime that this file is. */
static __thread const char *group;

static int say_group(void *ctx, gilloc_frame *out, int max) {
    (void)ctx;
    EXPECT(max >= 1);
    out[0] = (gilloc_frame){group, "", 0, NULL};
    return group != NULL ? 1 : 0;
}

static gilloc_site site_of(const char *name) {
    gilloc_snapshot *snapshot = gilloc_snapshot_take();
    gilloc_site site = {0}, found = {0};
    EXPECT(snapshot != NULL);
    for (size_t i = 0; gilloc_snapshot_site(snapshot, i, &site) == 0; i++) {
        gilloc_frame frame;
        EXPECT(gilloc_snapshot_frame(snapshot, i, 0, &frame) == 0);
        if (frame.function != NULL && strcmp(frame.function, name) == 0) {
            found = site;
        }
    }
    gilloc_snapshot_free(snapshot);
    return found;
}

static double deviation(double count, double size, double mean) {
    double p = -expm1(-size / mean);
    return sqrt(count * (1 - p) / p);
}

static void expect_near(const char *what, double estimate, double truth, double deviations) {
    if (!(fabs(estimate - truth) <= 5 * deviations + 1)) {
        expect_failed(__FILE__, __LINE__, "%s: estimated %.0f, is %.0f, one deviation is %.1f", what, estimate, truth,
                      deviations);
    }
}

/* --- no bias ---------------------------------------------------------------------------------- */

enum { GROUPS = 10, EACH = 4000, SEEDS = 20, MEAN = 2000 };
static const size_t sizes[GROUPS] = {0, 1, 16, 40, 100, 250, 512, 513, 2000, 9000};
static const char *const names[GROUPS] = {"0", "1", "16", "40", "100", "250", "512", "513", "2000", "9000"};
static char *blocks[GROUPS][EACH];

static double sampled_as(size_t bytes) {
    return bytes <= SMALL_LIMIT ? (double)small_block_size(bytes) : (double)bytes;
}

static void *allocate(struct random *random, unsigned which) {
    size_t bytes = sizes[which];
    group = names[which];
    switch (random_below(random, 3)) {
        case 0:
            return PyObject_Calloc(1, bytes);
        case 1:
            return PyObject_Realloc(NULL, bytes);
        default:
            return PyObject_Malloc(bytes);
    }
}

/* Allocates all groups, mixed; and frees and allocates again, so that lists of all lengths are gone through. */
static void allocate_all(struct random *random) {
    for (unsigned i = 0; i < EACH; i++) {
        for (unsigned j = 0; j < GROUPS; j++) {
            unsigned which = (unsigned)random_below(random, GROUPS);
            for (which = (which + j) % GROUPS; blocks[which][i] != NULL; which = (which + 1) % GROUPS) {
            }
            blocks[which][i] = allocate(random, which);
        }
    }
}

/* Frees the blocks of every other place, or those that are left. */
static void free_all(unsigned first, unsigned step) {
    for (unsigned i = first; i < EACH; i += step) {
        for (unsigned j = 0; j < GROUPS; j++) {
            PyObject_Free(blocks[j][i]);
            blocks[j][i] = NULL;
        }
    }
}

static double sums[GROUPS][3];

static void estimate_once(uint64_t seed) {
    struct random random = random_seeded(seed);
    gi_sample_seed(seed);
    EXPECT(gilloc_sample_start(MEAN) == 0);
    allocate_all(&random);
    free_all(0, 2);
    for (unsigned j = 0; j < GROUPS; j++) {
        gilloc_site site = site_of(names[j]);
        double each = deviation(EACH, sampled_as(sizes[j]), MEAN);
        expect_near(names[j], (double)site.blocks_ever, EACH, each);
        expect_near(names[j], (double)site.blocks, EACH / 2.0, each);
        EXPECT(llabs(site.bytes - site.blocks * (int64_t)sizes[j]) <= (int64_t)sizes[j]);
        sums[j][0] += (double)site.blocks_ever;
        sums[j][1] += (double)site.blocks;
    }
    free_all(1, 2);
    for (unsigned j = 0; j < GROUPS; j++) {
        gilloc_site site = site_of(names[j]);
        EXPECT_EQ(site.blocks, 0);
        EXPECT_EQ(site.bytes, 0);
    }
    gilloc_sample_stop();
}

static void estimates_have_no_bias(gilloc_mode mode) {
    EXPECT(gilloc_set_mode(mode) == 0);
    gilloc_trace_set_frames(say_group, NULL);
    PyGILState_STATE state = PyGILState_Ensure();
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        estimate_once(seed);
    }
    for (unsigned j = 0; j < GROUPS; j++) {
        double each = deviation(EACH, sampled_as(sizes[j]), MEAN) / sqrt(SEEDS);
        expect_near(names[j], sums[j][0] / SEEDS, EACH, each);
        expect_near(names[j], sums[j][1] / SEEDS, EACH / 2.0, each / sqrt(2));
    }
    EXPECT(gilloc_check() == 0);
    PyGILState_Release(state);
}

static void estimates_have_no_bias_in_gil_mode(void) { estimates_have_no_bias(GILLOC_MODE_GIL); }
static void estimates_have_no_bias_in_free_mode(void) { estimates_have_no_bias(GILLOC_MODE_FREE); }

/* Two sites that take turns in one class, and free at once: who takes the first of each list is not sampled more. */
static void turns_have_no_bias(void) {
    enum { TURNS = 400000 };
    gilloc_trace_set_frames(say_group, NULL);
    PyGILState_STATE state = PyGILState_Ensure();
    gi_sample_seed(7);
    EXPECT(gilloc_sample_start(MEAN) == 0);
    for (int i = 0; i < TURNS; i++) {
        group = "even";
        void *even = PyMem_Malloc(64);
        group = "odd";
        void *odd = PyMem_Malloc(64);
        PyMem_Free(even);
        PyMem_Free(odd);
    }
    double each = deviation(TURNS, 64, MEAN);
    expect_near("even", (double)site_of("even").blocks_ever, TURNS, each);
    expect_near("odd", (double)site_of("odd").blocks_ever, TURNS, each);
    PyGILState_Release(state);
}

/* What a thread has counted and not used, since its lists are flushed all the time, is no bias. */
static void flushes_have_no_bias(void) {
    enum { ROUNDS = 20000 };
    gilloc_trace_set_frames(say_group, NULL);
    gi_sample_seed(11);
    EXPECT(gilloc_sample_start(MEAN) == 0);
    group = "flushed";
    PyGILState_STATE state = PyGILState_Ensure();
    for (int i = 0; i < ROUNDS; i++) {
        void *one = PyMem_Malloc(200), *other = PyMem_Malloc(200);
        PyMem_Free(one);
        PyMem_Free(other);
        if (i % 4 == 0) {
            gilloc_purge();
        }
    }
    expect_near("flushed", (double)site_of("flushed").blocks_ever, 2 * ROUNDS, deviation(2 * ROUNDS, 208, MEAN));
    PyGILState_Release(state);
}

/* Lists that inlined code has filled without counting are counted as they are handed out again. */
static void inlined_code_has_no_bias(void) {
    enum { TURNS = 400000 };
    gilloc_trace_set_frames(say_group, NULL);
    PyGILState_STATE state = PyGILState_Ensure();
    gi_sample_seed(17);
    EXPECT(gilloc_sample_start(MEAN) == 0);
    group = "inlined";
    for (int i = 0; i < TURNS; i++) {
        gilloc_inline_mem_free(gilloc_inline_mem_malloc(64), 64);
    }
    expect_near("inlined", (double)site_of("inlined").blocks_ever, TURNS, deviation(TURNS, 64, MEAN));
    group = "called";
    for (int i = 0; i < TURNS; i++) {
        gilloc_inline_mem_free(PyMem_Malloc(64), 64);
    }
    expect_near("called", (double)site_of("called").blocks_ever, TURNS, deviation(TURNS, 64, MEAN));
    group = "zero";
    for (int i = 0; i < TURNS; i++) {
        gilloc_inline_mem_free(gilloc_inline_mem_malloc(0), 0);
    }
    expect_near("zero", (double)site_of("zero").blocks_ever, TURNS, deviation(TURNS, 16, MEAN));
    EXPECT(gilloc_check() == 0);
    PyGILState_Release(state);
}

/* Blocks that a thread allocates and another one frees come back by lists whose length nobody knows. */
enum { HANDED = 60000 };
static void *handed[HANDED];

static void *free_handed(void *arg) {
    (void)arg;
    PyGILState_STATE state = PyGILState_Ensure();
    for (int i = 0; i < HANDED; i++) {
        PyMem_Free(handed[i]);
    }
    PyGILState_Release(state);
    return NULL;
}

static void remote_lists_have_no_bias(void) {
    enum { ROUNDS = 3 };
    EXPECT(gilloc_set_mode(GILLOC_MODE_FREE) == 0);
    gilloc_trace_set_frames(say_group, NULL);
    gi_sample_seed(13);
    EXPECT(gilloc_sample_start(MEAN) == 0);
    group = "handed";
    PyThreadState *mine = PyThreadState_New(PyInterpreterState_Main());
    for (int round = 0; round < ROUNDS; round++) {
        PyEval_RestoreThread(mine);
        for (int i = 0; i < HANDED; i++) {
            handed[i] = PyMem_Malloc(48);
        }
        PyEval_SaveThread();
        thread_join(thread_start(free_handed, NULL));
    }
    gilloc_site site = site_of("handed");
    expect_near("handed", (double)site.blocks_ever, ROUNDS * HANDED, deviation(ROUNDS * HANDED, 48, MEAN));
    EXPECT_EQ(site.blocks, 0);
    PyEval_RestoreThread(mine);
    PyThreadState_Clear(mine);
    PyThreadState_DeleteCurrent();
}

/* --- a sample is a block like any other -------------------------------------------------------- */

struct visited {
    void *blocks[200];
    size_t sizes[200];
    size_t count;
};

static int note(void *block, size_t size, void *arg) {
    struct visited *to = arg;
    EXPECT(to->count < LENGTH(to->blocks));
    to->blocks[to->count] = block;
    to->sizes[to->count++] = size;
    return 0;
}

static int stop_at_once(void *block, size_t size, void *arg) {
    (void)block;
    (void)size;
    ++*(int *)arg;
    return 9;
}

/* With a mean of one byte each block is a sample, but for one in some millions. */
static void a_walk_finds_samples(void) {
    static struct visited mem, object;
    PyGILState_STATE state = PyGILState_Ensure();
    EXPECT(gilloc_sample_start(1) == 0);
    char *small[100];
    for (size_t i = 0; i < 100; i++) {
        small[i] = i % 2 == 0 ? PyMem_Malloc(i) : PyObject_Malloc(i);
        memset(small[i], 'x', i);
    }
    void *large = PyObject_Malloc(1000);
    void *raw = PyMem_RawMalloc(10);
    EXPECT(gilloc_visit_blocks(PYMEM_DOMAIN_MEM, note, &mem) == 0);
    EXPECT(gilloc_visit_blocks(PYMEM_DOMAIN_OBJ, note, &object) == 0);
    EXPECT_EQ(mem.count, 50);
    EXPECT_EQ(object.count, 50);
    for (size_t i = 0; i < 100; i++) {
        const struct visited *in = i % 2 == 0 ? &mem : &object;
        size_t found = 0;
        for (size_t j = 0; j < in->count; j++) {
            if (in->blocks[j] == small[i]) {
                found++;
                EXPECT_EQ(in->sizes[j], small_block_size(i));
            }
        }
        EXPECT_EQ(found, 1);
        EXPECT(gilloc_usable_size(i % 2 == 0 ? PYMEM_DOMAIN_MEM : PYMEM_DOMAIN_OBJ, small[i]) >= small_block_size(i));
    }
    int calls = 0;
    EXPECT(gilloc_visit_blocks(PYMEM_DOMAIN_MEM, stop_at_once, &calls) == 9 && calls == 1);
    gilloc_sample_stop(); /* they stay blocks of their kind */
    mem.count = 0;
    EXPECT(gilloc_visit_blocks(PYMEM_DOMAIN_MEM, note, &mem) == 0);
    EXPECT_EQ(mem.count, 50);
    EXPECT(gilloc_trace_start(1) == 0);
    for (size_t i = 0; i < 100; i++) {
        i % 2 == 0 ? PyMem_Free(small[i]) : PyObject_Free(small[i]);
    }
    gilloc_trace_stop();
    mem.count = 0;
    EXPECT(gilloc_visit_blocks(PYMEM_DOMAIN_MEM, note, &mem) == 0);
    EXPECT_EQ(mem.count, 0);
    PyObject_Free(large);
    PyMem_RawFree(raw);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(state);
}

/* The rules of api.md for realloc hold for samples. */
static void samples_are_resized_as_other_blocks(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    EXPECT(gilloc_sample_start(1) == 0);
    for (size_t from = 0; from < 700; from += 7) {
        for (size_t to = 0; to < 700; to += 13) {
            char *block = PyObject_Malloc(from);
            memset(block, (int)(from % 251), from);
            char *moved = PyObject_Realloc(block, to);
            for (size_t i = 0; i < from && i < to; i++) {
                EXPECT(moved[i] == (char)(from % 251));
            }
            if (from <= SMALL_LIMIT && to <= SMALL_LIMIT && small_block_size(from) == small_block_size(to)) {
                EXPECT(moved == block);
            }
            memset(moved, 1, to);
            PyObject_Free(moved);
        }
    }
    EXPECT_EQ(gi_load_relaxed(&gi_sample_count), 0);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    PyGILState_Release(state);
}

static void a_zeroed_sample_is_zero(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    EXPECT(gilloc_sample_start(1) == 0);
    for (size_t bytes = 0; bytes < 2000; bytes++) {
        char *dirty = PyMem_Malloc(bytes);
        memset(dirty, 'x', bytes);
        PyMem_Free(dirty);
        char *zeroed = PyMem_Calloc(1, bytes);
        for (size_t i = 0; i < bytes; i++) {
            EXPECT(zeroed[i] == 0);
        }
        PyMem_Free(zeroed);
    }
    PyGILState_Release(state);
}

/* A hook that passes all on, so that what it makes lies anywhere. */
static struct {
    PyMemAllocatorEx inner;
    int calls;
} hook;

static void *hook_malloc(void *ctx, size_t size) {
    (void)ctx;
    hook.calls++;
    return hook.inner.malloc(hook.inner.ctx, size);
}
static void *hook_calloc(void *ctx, size_t count, size_t size) {
    (void)ctx;
    hook.calls++;
    return hook.inner.calloc(hook.inner.ctx, count, size);
}
static void *hook_realloc(void *ctx, void *block, size_t size) {
    (void)ctx;
    hook.calls++;
    return hook.inner.realloc(hook.inner.ctx, block, size);
}
static void hook_free(void *ctx, void *block) {
    (void)ctx;
    hook.calls++;
    hook.inner.free(hook.inner.ctx, block);
}

static void set_hook(PyMemAllocatorDomain domain) {
    PyMem_GetAllocator(domain, &hook.inner);
    PyMem_SetAllocator(domain, &(PyMemAllocatorEx){NULL, hook_malloc, hook_calloc, hook_realloc, hook_free});
    hook.calls = 0;
}

/* What is large goes the short way past the hooks only where there are none. */
static void hooks_see_large_blocks_beside_the_sampler(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    EXPECT(gilloc_sample_start((size_t)1 << 40) == 0);
    for (int i = 0; i < DOMAINS; i++) {
        set_hook((PyMemAllocatorDomain)i);
        void *block = domains[i].malloc(1000);
        void *zeroed = domains[i].calloc(1, 1000);
        EXPECT_EQ(hook.calls, 2);
        block = domains[i].realloc(block, 2000);
        EXPECT_EQ(hook.calls, 3);
        domains[i].free(block);
        domains[i].free(zeroed);
        EXPECT_EQ(hook.calls, 5);
        PyMem_SetAllocator((PyMemAllocatorDomain)i, &hook.inner);
    }
    PyGILState_Release(state);
}

static void use_large(int domain, size_t bytes) {
    char *block = domains[domain].malloc(bytes), *zeroed = domains[domain].calloc(1, bytes);
    memset(block, 'x', bytes);
    block = domains[domain].realloc(block, bytes * 3);
    EXPECT(block[0] == 'x' && block[bytes - 1] == 'x' && zeroed[0] == 0 && zeroed[bytes - 1] == 0);
    block = domains[domain].realloc(block, bytes / 2);
    EXPECT(block[0] == 'x' && block[bytes / 2 - 1] == 'x');
    domains[domain].free(block);
    domains[domain].free(zeroed);
}

/* Those that lie where samples do by chance alone are found as well. */
static void samples_are_found_wherever_they_lie(void) {
    enum { HOOKED = 50 };
    static void *hooked[HOOKED];
    PyGILState_STATE state = PyGILState_Ensure();
    EXPECT(gilloc_sample_start(1) == 0);
    for (int i = 0; i < DOMAINS; i++) {
        for (size_t bytes = 600; bytes < (size_t)1 << 20; bytes += bytes / 2) {
            use_large(i, bytes);
        }
    }
    EXPECT_EQ(gi_load_relaxed(&gi_sample_count), 0);
    set_hook(PYMEM_DOMAIN_RAW);
    for (int i = 0; i < HOOKED; i++) {
        hooked[i] = i % 2 == 0 ? PyMem_RawMalloc(1000) : PyMem_Malloc(1000);
    }
    PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &hook.inner);
    EXPECT_EQ(gi_load_relaxed(&gi_sample_count), HOOKED);
    for (int i = 0; i < HOOKED; i++) {
        i % 2 == 0 ? PyMem_RawFree(hooked[i]) : PyMem_Free(hooked[i]);
    }
    EXPECT_EQ(gi_load_relaxed(&gi_sample_count), 0);
    EXPECT_EQ(gi_load_relaxed(&gi_sample_grain), GI_SAMPLE_GRAIN); /* frees look at addresses again */
    PyGILState_Release(state);
}

/* --- when memory is out ----------------------------------------------------------------------- */

static void refusals_lose_samples_at_most(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    EXPECT(gilloc_sample_start(1) == 0);
    for (int i = 0; i < DOMAINS; i++) {
        for (size_t bytes = 0; bytes < 1200; bytes += 100) {
            for (unsigned long k = 1, none = 0; none == 0; k++) {
                refuse_at(k);
                void *block = domains[i].malloc(bytes);
                void *zeroed = domains[i].calloc(1, bytes);
                void *moved = block != NULL ? domains[i].realloc(block, bytes * 2) : NULL;
                none = refused() == 0;
                refuse_nothing();
                domains[i].free(moved != NULL ? moved : block);
                domains[i].free(zeroed);
                EXPECT(k < 100);
            }
        }
    }
    EXPECT_EQ(gi_load_relaxed(&gi_sample_count), 0);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    EXPECT(gilloc_check() == 0);
    PyGILState_Release(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(estimates_have_no_bias_in_gil_mode),
        IN_CHILD(estimates_have_no_bias_in_free_mode),
        IN_CHILD(turns_have_no_bias),
        IN_CHILD(flushes_have_no_bias),
        IN_CHILD(inlined_code_has_no_bias),
        IN_CHILD(remote_lists_have_no_bias),
        IN_CHILD(a_walk_finds_samples),
        IN_CHILD(samples_are_resized_as_other_blocks),
        IN_CHILD(a_zeroed_sample_is_zero),
        IN_CHILD(hooks_see_large_blocks_beside_the_sampler),
        IN_CHILD(samples_are_found_wherever_they_lie),
        IN_CHILD(refusals_lose_samples_at_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

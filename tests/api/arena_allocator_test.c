/* SPDX-License-Identifier: MIT */
/*
 * arena_allocator_test.c - PyObject_SetArenaAllocator(): what the hook is asked for, and that gilloc lives with all
 * that it may answer: NULL, misaligned memory, dirty memory.  How often and with what: arena_source.h checks.
 */
#include <string.h>

#include "tests/support/arena_source.h"
#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/none.h"
#include "tests/support/random_work.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shadow.h"
#include "tests/support/spy.h"
#include "tests/support/threads.h"

static struct arena_source sources[3];

/* Fills about `arenas` arenas with blocks of 512 bytes, a tail included. */
static void add_arenas(struct shadow *shadow, size_t arenas) {
    size_t start = memory_stats().arenas_acquired;
    while (memory_stats().arenas_acquired < start + arenas) {
        for (size_t i = 0; i < 16; i++) {
            shadow_add(shadow, &domains[PYMEM_DOMAIN_OBJ], PyObject_Malloc(504), 504);
        }
    }
}

/* --- memory of every kind --------------------------------------------------------------------- */

static void work_on(size_t misalign, int dirty) {
    struct arena_source *source = &sources[0];
    arena_source_init(source);
    source->misalign = misalign;
    source->dirty = dirty;
    arena_source_install(source);
    PyGILState_STATE was = PyGILState_Ensure();
    random_work_do(&(struct random_work){.seed = 3, .operations = ROUNDS(200000), .live = 8000, .safepoint = 100});
    EXPECT(source->given >= 3);
    memory_expect_all_back();
    PyGILState_Release(was);
    arena_source_fini(source);
}

static void arenas_at_a_page(void) { work_on(0, 0); }
static void arenas_at_a_page_and_dirty(void) { work_on(0, 1); }
static void arenas_at_16_bytes_and_dirty(void) { work_on(16, 1); }
static void arenas_at_an_odd_place(void) { work_on(4080, 1); }

static void calloc_trusts_no_arena(void) {
    static unsigned char *blocks[3000];
    arena_source_init(&sources[0]);
    sources[0].dirty = 1;
    sources[0].misalign = 48;
    arena_source_install(&sources[0]);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
        size_t size = i % 513;
        blocks[i] = PyMem_Calloc(1, size);
        EXPECT(blocks[i] != NULL);
        for (size_t byte = 0; byte < size; byte++) {
            EXPECT_EQ(blocks[i][byte], 0);
        }
    }
    for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
        PyMem_Free(blocks[i]);
    }
    EXPECT(sources[0].given > 0);
    memory_expect_all_back();
    PyGILState_Release(was);
    arena_source_fini(&sources[0]);
}

/* --- NULL ------------------------------------------------------------------------------------- */

static void null_leads_to_the_raw_domain(void) {
    struct arena_source *source = &sources[0];
    arena_source_init(source);
    source->fail_from = 1;
    arena_source_install(source);
    PyGILState_STATE was = PyGILState_Ensure();
    struct spy raw;
    spy_install(&raw, PYMEM_DOMAIN_RAW);
    struct shadow shadow;
    shadow_init(&shadow, 1);
    for (size_t d = PYMEM_DOMAIN_MEM; d <= PYMEM_DOMAIN_OBJ; d++) {
        const struct domain *domain = &domains[d];
        for (size_t size = 0; size <= SMALL_LIMIT; size += 3) {
            shadow_add(&shadow, domain, domain->malloc(size), size);
            EXPECT_EQ(shared_get(&raw.mallocs), 1);
            EXPECT(shared_get(&raw.last_size) >= size);
            spy_reset(&raw);
            unsigned char *zero = domain->calloc(size, 1);
            for (size_t i = 0; i < size; i++) {
                EXPECT_EQ(zero[i], 0);
            }
            shadow_add(&shadow, domain, zero, size);
        }
    }
    EXPECT_EQ(gilloc_allocated_blocks(), shadow.count);
    EXPECT(source->calls > 0);
    EXPECT_EQ(source->given, 0);
    /* They live as any other: usable, resized, freed with and without their size. */
    spy_reset(&raw);
    spy_remove(&raw); /* or gilloc_usable_size() of what is in the raw domain would be as of a hooked domain */
    for (size_t i = 0; i < shadow.count; i++) {
        struct shadow_block *block = shadow.blocks[i];
        EXPECT(gilloc_usable_size(block->domain->id, block->at) >= block->size);
        size_t size = block->size * (i % 3) + i % 2;
        shadow_resized(&shadow, block, block->domain->realloc(block->at, size), size);
    }
    while (shadow.count > 100) {
        struct shadow_block *block = shadow.blocks[shadow.count / 2];
        size_t size = block->size;
        PyMemAllocatorDomain id = block->domain->id;
        gilloc_free_sized(id, shadow_remove(&shadow, block), size);
    }
    /* Memory comes back; old blocks of the raw domain live on beside new ones of the pools. */
    source->fail_from = 0;
    add_arenas(&shadow, 2);
    EXPECT(source->given > 0);
    for (size_t i = 0; i < shadow.count; i++) {
        struct shadow_block *block = shadow.blocks[i];
        shadow_resized(&shadow, block, block->domain->realloc(block->at, block->size + 10), block->size + 10);
    }
    shadow_free_all(&shadow);
    shadow_fini(&shadow);
    memory_expect_all_back();
    PyGILState_Release(was);
    arena_source_fini(source);
}

/* Neither arenas nor raw memory: NULL, and after it all is as before. */
static void nothing_at_all_gives_null(void) {
    struct arena_source *source = &sources[0];
    arena_source_init(source);
    source->fail_from = 1;
    arena_source_install(source);
    PyGILState_STATE was = PyGILState_Ensure();
    PyMemAllocatorEx inner;
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &inner);
    PyMemAllocatorEx none = {inner.ctx, none_malloc, none_calloc, none_realloc, inner.free};
    unsigned char *kept = PyMem_Malloc(100); /* of the raw domain */
    pattern_fill(kept, 100, 4);
    PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &none);
    for (size_t size = 0; size < 1000; size += 9) {
        EXPECT(PyMem_Malloc(size) == NULL);
        EXPECT(PyObject_Malloc(size) == NULL);
        EXPECT(PyMem_Calloc(1, size) == NULL);
        EXPECT(PyMem_Realloc(NULL, size) == NULL);
        EXPECT(PyMem_Realloc(kept, size + 200) == NULL);
        EXPECT_EQ(gilloc_allocated_blocks(), 1);
    }
    PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &inner);
    pattern_check(kept, 100, 4);
    source->fail_from = 0;
    void *block = PyMem_Malloc(100);
    EXPECT(block != NULL);
    EXPECT(source->given > 0);
    PyMem_Free(block);
    PyMem_Free(kept);
    memory_expect_all_back();
    PyGILState_Release(was);
    arena_source_fini(source);
}

static void failures_at_random(void) {
    struct arena_source *source = &sources[0];
    arena_source_init(source);
    source->fail_tenths = 5;
    source->dirty = 1;
    arena_source_install(source);
    PyGILState_STATE was = PyGILState_Ensure();
    random_work_do(&(struct random_work){.seed = 4, .operations = ROUNDS(300000), .live = 8000});
    EXPECT(source->calls > source->given);
    EXPECT(source->given > 0);
    memory_expect_all_back();
    PyGILState_Release(was);
    arena_source_fini(source);
}

static void *work_in_thread(void *arg) {
    PyGILState_STATE was = PyGILState_Ensure();
    random_work_do(arg);
    PyGILState_Release(was);
    return NULL;
}

static void failures_at_random_in_threads(void) {
    struct arena_source *source = &sources[0];
    arena_source_init(source);
    source->fail_tenths = 5;
    source->misalign = 16;
    arena_source_install(source);
    struct random_work work[4];
    for (size_t i = 0; i < 4; i++) {
        work[i] = (struct random_work){.seed = 20 + i, .operations = ROUNDS(60000), .live = 3000, .safepoint = 50};
    }
    threads_run(4, work_in_thread, work, sizeof(work[0]));
    PyGILState_STATE was = PyGILState_Ensure();
    memory_expect_all_back();
    PyGILState_Release(was);
    arena_source_fini(source);
}

/* --- swapping --------------------------------------------------------------------------------- */

static void swapped_while_arenas_live(void) {
    PyObjectArenaAllocator before;
    PyObject_GetArenaAllocator(&before);
    EXPECT(before.alloc != NULL && before.free != NULL);
    PyGILState_STATE was = PyGILState_Ensure();
    struct shadow shadow;
    shadow_init(&shadow, 5);
    add_arenas(&shadow, 2); /* of the default allocator */
    for (size_t i = 0; i < 3; i++) {
        arena_source_init(&sources[i]);
        sources[i].misalign = i * 16;
    }
    for (size_t round = 0; round < 9; round++) {
        arena_source_install(&sources[round % 3]);
        PyObjectArenaAllocator now;
        PyObject_GetArenaAllocator(&now);
        EXPECT(now.ctx == &sources[round % 3]);
        size_t given = sources[round % 3].given;
        add_arenas(&shadow, 3);
        EXPECT_EQ(sources[round % 3].given, given + 3);
        /* Half of all goes; arenas go back to whoever gave them, or the source stops the test. */
        for (size_t i = shadow.count / 2; i > 0; i--) {
            const struct domain *domain = shadow.blocks[i - 1]->domain;
            domain->free(shadow_remove(&shadow, shadow.blocks[i - 1]));
        }
    }
    PyObject_SetArenaAllocator(&before);
    add_arenas(&shadow, 1);
    shadow_free_all(&shadow);
    shadow_fini(&shadow);
    memory_expect_all_back();
    PyGILState_Release(was);
    for (size_t i = 0; i < 3; i++) {
        EXPECT(sources[i].given >= 9);
        arena_source_fini(&sources[i]);
    }
}

static void swapped_while_others_allocate(void) {
    PyObjectArenaAllocator before;
    PyObject_GetArenaAllocator(&before);
    for (size_t i = 0; i < 3; i++) {
        arena_source_init(&sources[i]);
        sources[i].misalign = 16 * i;
    }
    struct random_work work[3];
    pthread_t threads[3];
    for (size_t i = 0; i < 3; i++) {
        work[i] = (struct random_work){.seed = 30 + i, .operations = ROUNDS(60000), .live = 3000, .safepoint = 50};
        threads[i] = thread_start(work_in_thread, &work[i]);
    }
    for (size_t i = 0; i < 1000; i++) {
        if (i % 4 == 3) {
            PyObject_SetArenaAllocator(&before);
        } else {
            arena_source_install(&sources[i % 4]);
        }
        PyObjectArenaAllocator now;
        PyObject_GetArenaAllocator(&now);
        EXPECT(now.ctx == (i % 4 == 3 ? before.ctx : (void *)&sources[i % 4]));
    }
    for (size_t i = 0; i < 3; i++) {
        thread_join(threads[i]);
    }
    PyGILState_STATE was = PyGILState_Ensure();
    memory_expect_all_back();
    PyGILState_Release(was);
    for (size_t i = 0; i < 3; i++) {
        arena_source_fini(&sources[i]);
    }
}

/* --- what a hook may do ----------------------------------------------------------------------- */

/* Wraps the default allocator. */
static struct {
    PyObjectArenaAllocator inner;
    size_t size;
    long alive;
} wrapper;

static void *wrapper_alloc(void *ctx, size_t size) {
    EXPECT(ctx == &wrapper);
    EXPECT(UNDER_HOSTILE || size == ARENA_SIZE);
    wrapper.size = size;
    void *arena = wrapper.inner.alloc(wrapper.inner.ctx, size);
    wrapper.alive += arena != NULL;
    return arena;
}

static void wrapper_free(void *ctx, void *arena, size_t size) {
    EXPECT(ctx == &wrapper);
    EXPECT_EQ(size, wrapper.size);
    wrapper.alive--;
    wrapper.inner.free(wrapper.inner.ctx, arena, size);
}

static void the_default_can_be_wrapped(void) {
    PyObject_GetArenaAllocator(&wrapper.inner);
    PyObjectArenaAllocator words = {&wrapper, wrapper_alloc, wrapper_free};
    PyObject_SetArenaAllocator(&words);
    PyGILState_STATE was = PyGILState_Ensure();
    random_work_do(&(struct random_work){.seed = 6, .operations = ROUNDS(100000), .live = 8000});
    EXPECT(wrapper.size != 0);
    memory_expect_all_back();
    EXPECT_EQ(wrapper.alive, 0);
    PyGILState_Release(was);
}

/* Takes its arenas from the raw domain, and asks the library while it is called: no lock of the library's is held. */
static void *raw_alloc(void *ctx, size_t size) {
    (void)ctx;
    EXPECT(memory_stats().arenas_acquired < 10000);
    EXPECT_EQ(PyGILState_Check(), 1);
    PyObjectArenaAllocator now;
    PyObject_GetArenaAllocator(&now);
    PyObject_SetArenaAllocator(&now);
    return PyMem_RawMalloc(size);
}

static void raw_free(void *ctx, void *arena, size_t size) {
    (void)ctx, (void)size;
    EXPECT(memory_stats().arenas_released < 10000);
    PyMem_RawFree(arena);
}

static void a_hook_may_call_the_raw_domain(void) {
    PyObjectArenaAllocator words = {NULL, raw_alloc, raw_free};
    PyObject_SetArenaAllocator(&words);
    PyGILState_STATE was = PyGILState_Ensure();
    random_work_do(&(struct random_work){.seed = 7, .operations = ROUNDS(100000), .live = 8000});
    memory_expect_all_back();
    PyGILState_Release(was);
}

/* Attaches: a detached thread that purges gives arenas back without the lock. */
static struct {
    PyObjectArenaAllocator inner;
    int attaches;
    size_t attached;
} attacher;

static void *attacher_alloc(void *ctx, size_t size) {
    (void)ctx;
    return attacher.inner.alloc(attacher.inner.ctx, size);
}

static void attacher_free(void *ctx, void *arena, size_t size) {
    (void)ctx;
    if (attacher.attaches) {
        PyGILState_STATE was = PyGILState_Ensure();
        attacher.attached++;
        PyGILState_Release(was);
    }
    attacher.inner.free(attacher.inner.ctx, arena, size);
}

static void a_hook_may_attach_in_a_detached_purge(void) {
    static void *blocks[9000];
    PyObject_GetArenaAllocator(&attacher.inner);
    PyObjectArenaAllocator words = {NULL, attacher_alloc, attacher_free};
    PyObject_SetArenaAllocator(&words);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t size = 16; size <= SMALL_LIMIT; size *= 2) {
        size_t count = size == 64 ? 9000 : 100;
        for (size_t i = 0; i < count; i++) {
            blocks[i] = PyMem_Malloc(size);
            EXPECT(blocks[i] != NULL);
        }
        for (size_t i = 0; i < count; i++) {
            PyMem_Free(blocks[i]);
        }
    }
    PyThreadState *state = PyEval_SaveThread();
    attacher.attaches = 1;
    EXPECT(gilloc_purge() > 0);
    attacher.attaches = 0;
    EXPECT(attacher.attached > 0);
    PyEval_RestoreThread(state);
    memory_expect_all_back();
    PyGILState_Release(was);
}

/* Keeps a record of each arena in a block of the very size that the arena is for. */
#define RECORDS 4096
#define RECORDED 20000
static struct {
    PyObjectArenaAllocator inner;
    size_t size;
    int nested;
    size_t count;
    void *records[RECORDS];
} recorder;

static void *recorder_alloc(void *ctx, size_t size) {
    (void)ctx;
    if (!recorder.nested) {
        recorder.nested = 1;
        void *record = PyMem_Malloc(recorder.size);
        recorder.nested = 0;
        EXPECT(record != NULL);
        EXPECT(recorder.count < RECORDS);
        pattern_fill(record, recorder.size, (uint32_t)recorder.count);
        recorder.records[recorder.count++] = record;
    }
    return recorder.inner.alloc(recorder.inner.ctx, size);
}

static void recorder_free(void *ctx, void *arena, size_t size) {
    (void)ctx;
    recorder.inner.free(recorder.inner.ctx, arena, size);
}

static void record(size_t size) {
    static void *blocks[RECORDED];
    PyObject_GetArenaAllocator(&recorder.inner);
    recorder.size = size;
    PyObjectArenaAllocator words = {NULL, recorder_alloc, recorder_free};
    PyObject_SetArenaAllocator(&words);
    PyGILState_STATE was = PyGILState_Ensure();
    for (size_t i = 0; i < RECORDED; i++) {
        blocks[i] = PyMem_Malloc(size);
        EXPECT(blocks[i] != NULL);
        pattern_fill(blocks[i], size, (uint32_t)(RECORDS + i));
    }
    EXPECT(recorder.count > 0);
    EXPECT_EQ(gilloc_allocated_blocks(), RECORDED + recorder.count);
    for (size_t i = 0; i < RECORDED; i++) {
        pattern_check(blocks[i], size, (uint32_t)(RECORDS + i));
        PyMem_Free(blocks[i]);
    }
    EXPECT_EQ(gilloc_allocated_blocks(), recorder.count);
    for (size_t i = 0; i < recorder.count; i++) {
        pattern_check(recorder.records[i], size, (uint32_t)i);
        PyMem_Free(recorder.records[i]);
    }
    memory_expect_all_back();
    PyGILState_Release(was);
}

static void a_hook_may_allocate_of_the_same_class(void) { record(64); }
static void a_hook_may_allocate_of_no_size(void) { record(0); }

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(arenas_at_a_page),
        IN_BOTH_MODES(arenas_at_a_page_and_dirty),
        IN_BOTH_MODES(arenas_at_16_bytes_and_dirty),
        IN_BOTH_MODES(arenas_at_an_odd_place),
        IN_BOTH_MODES(calloc_trusts_no_arena),
        IN_BOTH_MODES(null_leads_to_the_raw_domain),
        IN_BOTH_MODES(nothing_at_all_gives_null),
        IN_BOTH_MODES(failures_at_random),
        IN_BOTH_MODES(failures_at_random_in_threads),
        IN_BOTH_MODES(swapped_while_arenas_live),
        IN_BOTH_MODES(swapped_while_others_allocate),
        IN_BOTH_MODES(the_default_can_be_wrapped),
        IN_BOTH_MODES(a_hook_may_call_the_raw_domain),
        IN_BOTH_MODES(a_hook_may_attach_in_a_detached_purge),
        IN_BOTH_MODES(a_hook_may_allocate_of_the_same_class),
        IN_BOTH_MODES(a_hook_may_allocate_of_no_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

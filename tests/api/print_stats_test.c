/* SPDX-License-Identifier: MIT */
/*
 * print_stats_test.c - figures as text and as JSON: the same as in the struct and by visit; what is printed by itself.
 */
#define _GNU_SOURCE /* gettid() */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/case.h"
#include "tests/support/child.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/figures.h"
#include "tests/support/memory.h"
#include "tests/support/sanitizer.h"
#include "tests/support/threads.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static int is_free_mode(void) { return gilloc_get_mode() == GILLOC_MODE_FREE; }

/* --- text ------------------------------------------------------------------------------------- */

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
    char *text = figures_printed("text");
    struct figures_table table = figures_table(text);
    gilloc_stats stats = memory_stats();
    EXPECT_EQ(table.in_use, stats.small_blocks);
    EXPECT_EQ(stats.quarantined_blocks, 0);
    EXPECT_EQ(table.pools, stats.pools);
    EXPECT_EQ(table.arenas, stats.arenas);
    EXPECT_EQ(table.arena_bytes, stats.arena_bytes);
    EXPECT_EQ(figures_value(text, "# arenas allocated total"), stats.arenas_acquired);
    EXPECT_EQ(figures_value(text, "# arenas highwater mark"), stats.arenas_high);
    EXPECT_EQ(figures_value(text, "# arenas reclaimed"), stats.arenas_released);
    EXPECT_EQ(figures_value(text, "# large blocks in use"), stats.large_blocks);
    EXPECT_EQ(figures_value(text, "# bytes from the system"), stats.bytes_from_system);
    EXPECT_EQ(figures_value(text, "# held by thread"), stats.lock_holder);
    struct figures_classes all = figures_classes();
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
    text = figures_printed("text");
    EXPECT_EQ(figures_table(text).in_use, 0);
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
    char *text = figures_printed("text");
    struct figures_table table = figures_table(text);
    EXPECT_EQ(table.arenas, 1);
    if (!UNDER_HOSTILE) {
        EXPECT_EQ(figures_value(text, "# bytes lost to arena alignment"), 16384);
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

static void check_totals(const json_t *totals) {
    gilloc_stats stats = memory_stats();
    size_t fields = 1;
#define CHECK(field)                                   \
    EXPECT_EQ(number_of(totals, #field), stats.field); \
    fields++;
    FIGURES(CHECK)
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
    char *text = figures_printed("json");
    EXPECT(text[strlen(text) - 1] == '\n');
    json_t *all = load(text);
    EXPECT_EQ(json_object_size(all), 6);
    EXPECT_EQ(strcmp(json_string_value(json_object_get(all, "mode")), is_free_mode() ? "free" : "gil"), 0);
    check_totals(json_object_get(all, "totals"));
    EXPECT_EQ(number_of(all, "arena_size") * memory_stats().arenas, memory_stats().arena_bytes);
    EXPECT_EQ(number_of(all, "pool_size"), UNDER_HOSTILE ? number_of(all, "pool_size") : 16384);
    struct place place = {json_object_get(all, "classes"), 0};
    EXPECT_EQ(gilloc_visit_classes(check_class, &place), 0);
    EXPECT(json_array_size(place.array) == place.index && place.index > FIGURES_CLASSES);
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

/* --- by itself -------------------------------------------------------------------------------- */

#define RUNNERS 4

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
            struct figures_table table = figures_table(at);
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
            figures_table(at);
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
    assert_int_equal(figures_table(end.text).in_use, 3000);
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
        IN_BOTH_MODES(text_says_what_the_struct_says), IN_BOTH_MODES(arena_alignment_is_told),
        IN_BOTH_MODES(json_says_what_the_struct_says), IN_BOTH_MODES(what_cannot_be_printed),
        cmocka_unit_test(test_a_table_for_each_arena), cmocka_unit_test(test_tables_of_many_threads_are_whole),
        cmocka_unit_test(test_nothing_unless_asked),   cmocka_unit_test(test_all_at_exit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

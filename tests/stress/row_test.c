/* SPDX-License-Identifier: MIT */
/*
 * row_test.c - a row tells the truth: numbers of a sound run that are known
 * beforehand, and each thing that an allocator can break.
 *   A mode is for the life of a process, so each run is in a child.
 */
#include "stress/row.h"

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress/trace.h"
#include "tests/stress/files.h"

static char startup[] = "stress/traces/startup.trc.xz";
static char *traces[] = {startup};

/* --- a run in a child ------------------------------------------------------------------------- */

struct outcome {
    int status;     /* of the child, as exit status; -1: a signal */
    json_t *fault;  /* or NULL */
    json_t *result; /* or NULL */
    size_t progress_lines;
};

static struct outcome run(struct row_job job, void (*break_allocator)(void)) {
    struct outcome outcome = {0};
    int ends[2], status;
    job.traces = traces;
    job.trace_count = 1;
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(ends[0]);
        if (break_allocator != NULL) break_allocator();
        _exit(row_run(&job, ends[1]));
    }
    close(ends[1]);
    FILE *lines = fdopen(ends[0], "r");
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, lines) > 0) {
        json_t *json = json_loads(line, 0, NULL);
        assert_non_null(json);
        json_t *fault = json_object_get(json, "fault"), *result = json_object_get(json, "result");
        if (fault != NULL) assert_null(outcome.fault); /* the first one alone */
        if (fault != NULL) outcome.fault = json_incref(fault);
        if (result != NULL) outcome.result = json_incref(result);
        outcome.progress_lines += json_object_get(json, "progress") != NULL;
        json_decref(json);
    }
    free(line);
    fclose(lines);
    assert_int_equal(waitpid(child, &status, 0), child);
    outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return outcome;
}

static void outcome_free(struct outcome *outcome) {
    json_decref(outcome->fault);
    json_decref(outcome->result);
}

static json_int_t number(json_t *object, const char *name) {
    assert_true(json_is_integer(json_object_get(object, name)));
    return json_integer_value(json_object_get(object, name));
}

/* Calls of the allocator that `passes` over the startup trace make. */
static json_int_t calls(unsigned passes) {
    struct trace trace;
    char error[256];
    assert_int_equal(trace_load(&trace, startup, error, sizeof error), 0);
    json_int_t count = trace.count;
    /* What a record fills and none empties is freed at the end. */
    unsigned char *filled = calloc(trace.slots, 1);
    for (uint32_t i = 0; i < trace.count; i++) {
        filled[trace.records[i].slot] = trace_op(&trace.records[i]) != TRACE_FREE;
    }
    for (uint32_t i = 0; i < trace.slots; i++) count += filled[i];
    free(filled);
    trace_unload(&trace);
    return count * passes;
}

/* --- sound runs ------------------------------------------------------------------------------- */

static void assert_sound(gilloc_mode mode, unsigned threads, unsigned passes, unsigned remote_percent) {
    struct outcome outcome = run(
        (struct row_job){
            .mode = mode, .threads = threads, .passes = passes, .remote_percent = remote_percent, .seed = 1},
        NULL);
    if (outcome.fault != NULL) fail_msg("%s", json_string_value(outcome.fault));
    assert_int_equal(outcome.status, 0);
    json_t *result = outcome.result, *stats = json_object_get(result, "stats");
    assert_non_null(result);
    assert_int_equal(number(result, "passes"), passes);
    assert_int_equal(number(result, "operations"), calls(passes));
    assert_int_equal(number(result, "allocated_blocks"), 0);
    assert_int_equal(number(result, "check"), 0);
    assert_true(number(result, "rss_peak") >= number(result, "rss_start"));
    assert_true(number(result, "rss_start") > 0);
    assert_true(json_real_value(json_object_get(result, "operations_per_second")) > 0);
    assert_true(json_real_value(json_object_get(result, "cpu_ns_per_operation")) > 0);
    assert_int_equal(number(stats, "small_blocks"), 0);
    assert_int_equal(number(stats, "thread_states"), 0);
    /* Each thread makes a state of its own, and so does the main one at the end. */
    assert_int_equal(number(stats, "thread_states_ever"), passes + 1);
    if (remote_percent == 0) assert_int_equal(number(result, "remote_frees"), 0);
    if (remote_percent > 0 && passes > 1) assert_true(number(result, "remote_frees") > 0);
    if (mode == GILLOC_MODE_GIL) assert_true(number(stats, "lock_takes") > 0);
    if (mode == GILLOC_MODE_FREE) assert_int_equal(number(stats, "lock_takes"), 0);
    assert_true(outcome.progress_lines > 0);
    outcome_free(&outcome);
}

static void test_gil_mode(void **state) {
    (void)state;
    assert_sound(GILLOC_MODE_GIL, 1, 3, 10);
    assert_sound(GILLOC_MODE_GIL, 3, 6, 50);
}

static void test_free_mode(void **state) {
    (void)state;
    assert_sound(GILLOC_MODE_FREE, 1, 3, 10);
    assert_sound(GILLOC_MODE_FREE, 3, 6, 50);
}

static void test_more_threads_than_passes(void **state) {
    (void)state;
    assert_sound(GILLOC_MODE_FREE, 8, 2, 10);
}

static void test_nothing_changes_hands(void **state) {
    (void)state;
    assert_sound(GILLOC_MODE_GIL, 2, 4, 0);
    assert_sound(GILLOC_MODE_FREE, 2, 4, 0);
}

static void test_all_changes_hands(void **state) {
    (void)state;
    assert_sound(GILLOC_MODE_GIL, 2, 4, 100);
    assert_sound(GILLOC_MODE_FREE, 2, 4, 100);
}

/* Many heaps that free each other's blocks while their threads die: collisions that few threads never have. */
static void test_many_threads(void **state) {
    (void)state;
    assert_sound(GILLOC_MODE_GIL, 32, 64, 60);
    assert_sound(GILLOC_MODE_FREE, 32, 64, 60);
}

/* Time that is up before it begins: each thread still replays a part. */
static void test_no_time(void **state) {
    (void)state;
    struct outcome outcome =
        run((struct row_job){.mode = GILLOC_MODE_FREE, .threads = 2, .remote_percent = 10, .seed = 1}, NULL);
    assert_null(outcome.fault);
    assert_int_equal(outcome.status, 0);
    assert_true(number(outcome.result, "operations") > 4096);
    assert_true(number(outcome.result, "operations") <= calls(2));
    outcome_free(&outcome);
}

/* --- broken allocators ------------------------------------------------------------------------ */

/* An object domain that works, but for its `nth` call of one kind. */
static PyMemAllocatorEx sound;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long mallocs, frees, nth_malloc_none, nth_malloc_twice, nth_free_lost, nth_free_damages;
static void *last; /* block that malloc gave */
static size_t last_size;
static void *before_last;
static size_t before_last_size;
static bool abort_if_alike; /* when the last two blocks, filled by now, begin with the same 8 bytes */

static void *hook_malloc(void *ctx, size_t size) {
    (void)ctx;
    void *block = sound.malloc(sound.ctx, size);
    pthread_mutex_lock(&lock);
    mallocs++;
    if (abort_if_alike && last != NULL && before_last != NULL && last_size >= 8 && before_last_size >= 8) {
        if (memcmp(last, before_last, 8) == 0) abort();
    }
    before_last = last;
    before_last_size = last_size;
    if (mallocs == nth_malloc_none) {
        sound.free(sound.ctx, block);
        block = NULL;
    } else if (nth_malloc_twice != 0 && mallocs >= nth_malloc_twice && last != NULL && size == last_size && size > 0) {
        sound.free(sound.ctx, block);
        block = last;
        nth_malloc_twice = 0;
    }
    last = block;
    last_size = size;
    pthread_mutex_unlock(&lock);
    return block;
}
static void *hook_calloc(void *ctx, size_t count, size_t size) {
    (void)ctx;
    return sound.calloc(sound.ctx, count, size);
}
static void *hook_realloc(void *ctx, void *block, size_t size) {
    (void)ctx;
    pthread_mutex_lock(&lock);
    last = before_last = NULL;
    pthread_mutex_unlock(&lock);
    return sound.realloc(sound.ctx, block, size);
}
static void hook_free(void *ctx, void *block) {
    (void)ctx;
    pthread_mutex_lock(&lock);
    bool lost = ++frees == nth_free_lost;
    if (frees >= nth_free_damages && nth_free_damages != 0 && last != NULL && last != block && last_size > 0) {
        ((unsigned char *)last)[last_size - 1] ^= 1;
        nth_free_damages = 0;
    }
    if (last == block) last = NULL;
    if (before_last == block) before_last = NULL;
    pthread_mutex_unlock(&lock);
    if (!lost) sound.free(sound.ctx, block);
}

static void install(void) {
    PyMemAllocatorEx hook = {NULL, hook_malloc, hook_calloc, hook_realloc, hook_free};
    PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &sound);
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &hook);
}

static void break_nothing(void) { install(), abort_if_alike = true; }
static void break_memory(void) { install(), nth_malloc_none = 5000; }
static void break_uniqueness(void) { install(), nth_malloc_twice = 5000; }
static void break_free(void) { install(), nth_free_lost = 5000; }
static void break_contents(void) { install(), nth_free_damages = 5000; }

/* The run ends with status 1 and a fault with `text` in it. */
static void assert_broken(gilloc_mode mode, void (*break_allocator)(void), const char *text) {
    struct outcome outcome = run(
        (struct row_job){.mode = mode, .threads = 1, .passes = 2, .remote_percent = 10, .seed = 1}, break_allocator);
    assert_int_equal(outcome.status, 1);
    assert_non_null(outcome.fault);
    if (strstr(json_string_value(outcome.fault), text) == NULL) {
        fail_msg("'%s' is not in: %s", text, json_string_value(outcome.fault));
    }
    outcome_free(&outcome);
}

/* And no two blocks are filled alike. */
static void test_hooks_alone_break_nothing(void **state) {
    (void)state;
    struct outcome outcome = run((struct row_job){.threads = 1, .passes = 2, .remote_percent = 10}, break_nothing);
    assert_null(outcome.fault);
    assert_int_equal(outcome.status, 0);
    outcome_free(&outcome);
}

static void test_null_is_seen(void **state) {
    (void)state;
    assert_broken(GILLOC_MODE_GIL, break_memory, "PyObject_Malloc: NULL for ");
    assert_broken(GILLOC_MODE_FREE, break_memory, "PyObject_Malloc: NULL for ");
}

static void test_block_given_twice_is_seen(void **state) {
    (void)state;
    assert_broken(GILLOC_MODE_GIL, break_uniqueness, "object block of ");
}

static void test_lost_block_is_seen(void **state) {
    (void)state;
    assert_broken(GILLOC_MODE_GIL, break_free, "gilloc_allocated_blocks() is 1 after the last free");
    assert_broken(GILLOC_MODE_FREE, break_free, "gilloc_allocated_blocks() is 1 after the last free");
}

static void test_damage_is_seen(void **state) {
    (void)state;
    assert_broken(GILLOC_MODE_GIL, break_contents, "object block of ");
    assert_broken(GILLOC_MODE_FREE, break_contents, "object block of ");
}

static void test_bad_trace(void **state) {
    (void)state;
    char none[] = "stress/traces/none.trc.xz";
    traces[0] = none;
    struct outcome outcome = run((struct row_job){.threads = 1, .passes = 1}, NULL);
    traces[0] = startup;
    assert_int_equal(outcome.status, 1);
    assert_string_equal(json_string_value(outcome.fault),
                        "stress/traces/none.trc.xz: cannot open: No such file or directory; --trace takes the name of "
                        "a trace or a file");
    assert_null(outcome.result);
    outcome_free(&outcome);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gil_mode),
        cmocka_unit_test(test_free_mode),
        cmocka_unit_test(test_more_threads_than_passes),
        cmocka_unit_test(test_nothing_changes_hands),
        cmocka_unit_test(test_all_changes_hands),
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_no_time),
        cmocka_unit_test(test_hooks_alone_break_nothing),
        cmocka_unit_test(test_null_is_seen),
        cmocka_unit_test(test_block_given_twice_is_seen),
        cmocka_unit_test(test_lost_block_is_seen),
        cmocka_unit_test(test_damage_is_seen),
        cmocka_unit_test(test_bad_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

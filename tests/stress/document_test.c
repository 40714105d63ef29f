/* SPDX-License-Identifier: MIT */
/*
 * document_test.c - what is worked out of rounds: medians, net figures, ratios, the best peer.
 */
#include "stress/bench/document.h"

#include <limits.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "tests/stress/files.h"

#define EPSILON 1e-6F

static const struct figure time_figures[] = {{"ns/op", "", false}, {"M op/s", "", true}};
static const struct figure speed_figures[] = {{"wakes/s", "", true}};
static const struct workload timed = {"timed", "some", 0, 2, 0, time_figures, 2, "text"};
static const struct workload counted = {"counted", "some", 0, 1, 0, speed_figures, 1, "text"};

static json_t *new_document(void) {
    struct settings settings = {.rounds = 3, .percent = 100};
    return document_new(&settings);
}

/* Three rounds of the first figure; the second one is ten times it. */
static json_t *add(json_t *workload, const char *contender, double a, double b, double c) {
    json_t *result = document_add_result(workload, contender);
    json_object_set_new(result, "rounds", json_pack("[[ff][ff][ff]]", a, a * 10, b, b * 10, c, c * 10));
    return result;
}

static void test_work_out(void **state) {
    (void)state;
    json_t *document = new_document(), *workload = document_add_workload(document, &timed);
    add(workload, "gilloc-gil", 4, 5, 6);
    add(workload, "gilloc-free", 2, 20, 2);
    json_t *glibc = add(workload, "glibc", 8, 10, 12);
    add(workload, "null", 1, 1, 1);
    document_work_out(workload);
    assert_float_equal((float)document_number(glibc, "median", 0), 10, EPSILON);
    assert_float_equal((float)document_number(glibc, "median", 1), 100, EPSILON);
    assert_float_equal((float)document_number(glibc, "spread", 0), 0.4, EPSILON);
    assert_float_equal((float)document_number(glibc, "gil_by_it", 0), 0.5, EPSILON);
    assert_float_equal((float)document_number(glibc, "free_by_it", 0), 0.25, EPSILON);
    assert_float_equal((float)json_number_value(json_object_get(glibc, "net")), 9, EPSILON);
    assert_float_equal((float)document_ratio(workload, "gilloc-gil", "glibc"), 0.5, EPSILON);
    assert_true(isnan(document_ratio(workload, "gilloc-gil", "mimalloc")));
    assert_true(isnan(document_number(glibc, "median", 2)));
    json_decref(document);
}

/* The least or the greatest, no limit, nobody who failed, nobody whose threads take turns. */
static void test_best_peer(void **state) {
    (void)state;
    json_t *document = new_document(), *workload = document_add_workload(document, &timed);
    assert_null(document_best_peer(workload));
    add(workload, "limit-call", 1, 1, 1);
    add(workload, "glibc", 9, 9, 9);
    json_object_set_new(add(workload, "pymalloc", 2, 2, 2), "one_at_a_time", json_true());
    json_object_set_new(add(workload, "tcmalloc", 3, 3, 3), "problem", json_string("ended by signal 6"));
    json_t *best = add(workload, "mimalloc", 7, 8, 7);
    document_work_out(workload);
    assert_ptr_equal(document_best_peer(workload), best);

    workload = document_add_workload(document, &counted);
    add(workload, "glibc", 9, 9, 9);
    best = add(workload, "pymalloc", 10, 10, 10);
    document_work_out(workload);
    assert_ptr_equal(document_best_peer(workload), best);
    assert_null(json_object_get(best, "net"));
    json_decref(document);
}

static void test_merge(void **state) {
    (void)state;
    json_t *document = new_document(), *other = new_document();
    document_add_workload(document, &timed);
    add(document_add_workload(other, &timed), "glibc", 1, 2, 3);
    document_add_workload(other, &counted);
    document_merge(document, other);
    json_t *all = json_object_get(document, "workloads");
    assert_int_equal(json_array_size(all), 2);
    assert_non_null(document_result(json_array_get(all, 0), "glibc"));
    json_decref(document);
    json_decref(other);
}

/* What was written is read as it was. */
static void test_file(void **state) {
    (void)state;
    char path[PATH_MAX], error[PATH_MAX + 128];
    json_t *document = new_document(), *workload = document_add_workload(document, &timed);
    add(workload, "glibc", 1.25, 2.5, 3.75);
    document_work_out(workload);
    assert_int_equal(document_write(document, test_path(path, "document.json"), error, sizeof error), 0);
    json_t *read = document_read(path, error, sizeof error);
    assert_non_null(read);
    assert_true(json_equal(json_object_get(read, "workloads"), json_object_get(document, "workloads")));
    json_decref(read);
    json_decref(document);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_work_out),
        cmocka_unit_test(test_best_peer),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

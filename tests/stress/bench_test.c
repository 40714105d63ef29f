/* SPDX-License-Identifier: MIT */
/*
 * bench_test.c - the bench as its user sees it: a run of next to no operations,
 * its tables, JSON, plots and texts.  What it measures is not looked at.
 */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stress/bench/contender.h"
#include "stress/bench/plot.h"
#include "stress/bench/workload.h"
#include "tests/stress/files.h"
#include "tests/stress/outcome.h"

static char program[PATH_MAX];

#define RUN(...) outcome_run((char *[]){program, __VA_ARGS__, NULL}, NULL)

static const char *text_of(json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

/* The document that a run has written; the caller's. */
static json_t *read_document(const char *path) {
    json_error_t error;
    json_t *document = json_load_file(path, 0, &error);
    if (document == NULL) fail_msg("%s: line %d: %s", path, error.line, error.text);
    return document;
}

/* --- what is measured ------------------------------------------------------------------------- */

static json_t *find(json_t *array, const char *key, const char *value) {
    size_t i;
    json_t *element;
    json_array_foreach(array, i, element) {
        if (strcmp(text_of(element, key), value) == 0) return element;
    }
    return NULL;
}

/* All that a result must have. */
static void check_result(json_t *result, const struct workload *workload, const struct contender *contender) {
    const char *problem = text_of(result, "problem");
    if (problem != NULL) fail_msg("%s, %s: %s", workload->name, contender->name, problem);
    json_t *rounds = json_object_get(result, "rounds");
    assert_int_equal(json_array_size(rounds), 1);
    assert_int_equal(json_array_size(json_array_get(rounds, 0)), workload->figure_count);
    assert_int_equal(json_array_size(json_object_get(result, "median")), workload->figure_count);
    assert_int_equal(json_array_size(json_object_get(result, "spread")), workload->figure_count);
    assert_int_equal(json_array_size(json_object_get(result, "gil_by_it")), workload->figure_count);
    assert_int_equal(json_array_size(json_object_get(result, "free_by_it")), workload->figure_count);
    for (size_t i = 0; i < workload->figure_count; i++) {
        assert_true(json_is_number(json_array_get(json_array_get(rounds, 0), i)));
    }
    bool one = contender->one_at_a_time && workload_is_threaded(workload);
    assert_int_equal(json_is_true(json_object_get(result, "one_at_a_time")), one);
}

/* Every workload in every contender that can run it and is there. */
static void test_all(void **state) {
    (void)state;
    char path[PATH_MAX], option[PATH_MAX + 16];
    snprintf(option, sizeof option, "--json=%s", test_path(path, "all.json"));
    struct outcome outcome = RUN("--tiny", "--heap-max=4g", option);
    assert_string_equal(outcome_text(&outcome.err), "");
    json_t *document = read_document(path), *list = json_object_get(document, "contenders");
    assert_int_equal(json_array_size(list), contender_count);
    assert_int_equal(json_array_size(json_object_get(document, "workloads")), workload_count);
    for (size_t i = 0; i < workload_count; i++) {
        json_t *workload = find(json_object_get(document, "workloads"), "name", workloads[i].name);
        json_t *results = json_object_get(workload, "results");
        assert_int_equal(json_array_size(json_object_get(workload, "figures")), workloads[i].figure_count);
        for (size_t k = 0; k < contender_count; k++) {
            json_t *result = find(results, "contender", contenders[k].name);
            bool missing = json_object_get(find(list, "name", contenders[k].name), "missing") != NULL;
            if (!contender_can_run(&contenders[k], &workloads[i])) {
                assert_null(result);
            } else if (missing) {
                assert_true(contenders[k].is_peer || contenders[k].base != NULL);
                assert_true(json_is_true(json_object_get(result, "missing")));
            } else {
                assert_non_null(result);
                check_result(result, &workloads[i], &contenders[k]);
            }
        }
    }
    outcome_assert_good(&outcome);
    json_decref(document);
    outcome_free(&outcome);
}

/* --- tables ----------------------------------------------------------------------------------- */

static void assert_has(const char *text, const char *part) {
    if (strstr(text, part) == NULL) fail_msg("no \"%s\" in:\n%s", part, text);
}

static void test_tables(void **state) {
    (void)state;
    struct outcome outcome = RUN("--tiny", "--workload=pair-32,ring,lock-pair", "--contender=gilloc-gil,glibc,null");
    const char *out = outcome_text(&outcome.out);
    assert_string_equal(outcome_text(&outcome.err), "");
    outcome_assert_good(&outcome);
    assert_has(out, "\n--tiny: this tests the bench; the figures mean nothing\n");
    assert_has(out,
               "\npair-32: malloc of 32 bytes and its free\n"
               "  contender              ns/op   spread       net   gil by it  free by it\n"
               "  gilloc-gil    ");
    assert_has(out, "\n  glibc         ");
    assert_has(out, "\n  gilloc-gil   * ");
    assert_has(out, "\n  * one thread at a time: it has a lock\n");
    assert_has(out,
               "\n| workload | figure | gil | free | best peer | its | gil by it | free by it | gil by pymalloc | free "
               "by pymalloc | gil by limit | free by limit |\n"
               "|---|---|---|---|---|---|---|---|---|---|---|---|\n| pair-32 | ns/op | ");
    assert_has(out, "\n| lock-pair | ns/op | ");
    assert_null(strstr(out, "mimalloc"));
    outcome_free(&outcome);
}

/* What settings cost, by the same without them. */
static void test_overheads(void **state) {
    (void)state;
    struct outcome outcome =
        RUN("--tiny", "--workload=over-pair,over-startup", "--contender=gilloc-gil,gil-debug,gil-stats,null");
    const char *out = outcome_text(&outcome.out);
    assert_string_equal(outcome_text(&outcome.err), "");
    outcome_assert_good(&outcome);
    assert_has(out, "\n| setting | of | over-pair | net | over-startup | net | most of a trace | may be |\n");
    assert_has(out, "\n| PYTHONMALLOC=debug | gilloc-gil | ");
    assert_has(out, "\n| BENCH_STATISTICS=10 | gilloc-gil | ");
    assert_null(strstr(out, "GILLOC_HARDEN"));
    assert_null(strstr(out, "\n| over-pair"));
    outcome_free(&outcome);
}

/* A missing peer is named with its package, and is no failure. */
static void test_missing_peers(void **state) {
    (void)state;
    char directory[PATH_MAX], option[PATH_MAX + 16], line[PATH_MAX + 256];
    mkdir(test_path(directory, "nothing"), 0700);
    snprintf(option, sizeof option, "--libraries=%s", directory);
    struct outcome outcome = RUN("--tiny", "--workload=pair-32", option);
    assert_string_equal(outcome_text(&outcome.err), "");
    outcome_assert_good(&outcome);
    static const char *const missing[][3] = {
        {"pymalloc", "libpython3.11.so.1.0", "libpython3.11"},
        {"mimalloc", "libmimalloc.so.2", "libmimalloc2.0"},
        {"jemalloc", "libjemalloc.so.2", "libjemalloc2"},
        {"tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"},
        {"tbbmalloc", "libtbbmalloc_proxy.so.2", "libtbbmalloc2"},
    };
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        snprintf(line, sizeof line, "\nMISSING: %s: %s is not in %s (Debian: apt-get install %s)\n", missing[i][0],
                 missing[i][1], directory, missing[i][2]);
        assert_has(outcome_text(&outcome.out), line);
        snprintf(line, sizeof line, "\n  %-12s    missing\n", missing[i][0]);
        assert_has(outcome_text(&outcome.out), line);
    }
    outcome_free(&outcome);
}

/* A library that is none is told of in the table, and the others still run. */
static void test_broken_peer(void **state) {
    (void)state;
    char path[PATH_MAX], directory[PATH_MAX], option[PATH_MAX + 16];
    struct bytes bytes = {0};
    bytes_add(&bytes, "no library", 10);
    mkdir(test_path(directory, "broken"), 0700);
    write_file(test_path(path, "broken/libpython3.11.so.1.0"), &bytes);
    bytes_free(&bytes);
    snprintf(option, sizeof option, "--libraries=%s", directory);
    struct outcome outcome = RUN("--tiny", "--workload=pair-32", "--contender=pymalloc,glibc", option);
    assert_int_equal(outcome.status, 1);
    assert_has(outcome_text(&outcome.out), "\n  pymalloc        ");
    assert_has(outcome_text(&outcome.out), "file too short\n");
    assert_has(outcome_text(&outcome.out), "\n  glibc         ");
    outcome_free(&outcome);
}

/* --- files ------------------------------------------------------------------------------------ */

static void test_from(void **state) {
    (void)state;
    char path[PATH_MAX], json[PATH_MAX + 16], from[PATH_MAX + 16], error[PATH_MAX + 128];
    snprintf(json, sizeof json, "--json=%s", test_path(path, "some.json"));
    snprintf(from, sizeof from, "--from=%s", path);
    struct outcome first = RUN("--tiny", "--workload=pairs,latency", json);
    struct outcome second = RUN(from);
    outcome_assert_good(&second);
    assert_string_equal(outcome_text(&second.err), "");
    assert_string_equal(outcome_text(&second.out), outcome_text(&first.out));
    outcome_free(&first);
    outcome_free(&second);

    /* Of two files, all workloads, each once. */
    char more[PATH_MAX], more_json[PATH_MAX + 16], more_from[PATH_MAX + 16], both[PATH_MAX], both_json[PATH_MAX + 16];
    snprintf(more_json, sizeof more_json, "--json=%s", test_path(more, "more.json"));
    snprintf(more_from, sizeof more_from, "--from=%s", more);
    snprintf(both_json, sizeof both_json, "--json=%s", test_path(both, "both.json"));
    first = RUN("--tiny", "--workload=pair-32,ring", more_json);
    second = RUN(from, more_from, both_json);
    outcome_assert_good(&second);
    outcome_free(&first);
    outcome_free(&second);
    json_t *document = read_document(both);
    assert_int_equal(json_array_size(json_object_get(document, "workloads")), 4);
    json_decref(document);

    struct bytes bytes = {0};
    bytes_add(&bytes, "{}", 2);
    write_file(path, &bytes);
    bytes_free(&bytes);
    snprintf(error, sizeof error, "bench: %s: not written by --json of this bench\n", path);
    outcome_assert_unusable(RUN(from), error);
    unlink(path);
    snprintf(error, sizeof error, "bench: %s: cannot be read: No such file or directory\n", path);
    outcome_assert_unusable(RUN(from), error);
}

static void test_plots(void **state) {
    (void)state;
    char directory[PATH_MAX], option[PATH_MAX + 16], path[PATH_MAX], name[64];
    if (plot_check(path, sizeof path) != 0) {
        print_message("SKIPPED: %s\n", path);
        skip();
    }
    setenv("XDG_CACHE_HOME", test_path(directory, "cache"), 1); /* of the fonts */
    snprintf(option, sizeof option, "--plots=%s", test_path(directory, "plots"));
    struct outcome outcome = RUN("--tiny", option);
    assert_string_equal(outcome_text(&outcome.err), "");
    outcome_assert_good(&outcome);
    outcome_free(&outcome);
    static const char *const plots[] = {"pairs",         "batches",  "churn",    "threads", "traces",
                                        "traces-memory", "exchange", "requests", "scale",   "scale-cost",
                                        "heap",          "lock-io",  "course",   "latency"};
    for (size_t i = 0; i < sizeof plots / sizeof *plots; i++) {
        snprintf(name, sizeof name, "plots/%s.svg", plots[i]);
        struct bytes svg = read_file(test_path(path, name));
        assert_has(outcome_text(&svg), "</svg>");
        assert_has(outcome_text(&svg), "gilloc-gil");
        bytes_free(&svg);
        snprintf(name, sizeof name, "plots/%s.png", plots[i]);
        struct bytes png = read_file(test_path(path, name));
        assert_memory_equal(png.at, "\x89PNG", 4);
        bytes_free(&png);
    }
}

/* --- what cannot be used ---------------------------------------------------------------------- */

static void test_help(void **state) {
    (void)state;
    struct outcome outcome = RUN("--help");
    assert_string_equal(outcome_text(&outcome.err), "");
    outcome_assert_good(&outcome);
    for (size_t i = 0; i < workload_count; i++) {
        char line[256];
        snprintf(line, sizeof line, "\n    %-20s  %s\n", workloads[i].name, workloads[i].text);
        assert_has(outcome_text(&outcome.out), line);
    }
    for (const char *line = outcome_text(&outcome.out), *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        if (end - line > 110) fail_msg("%.*s", (int)(end - line), line);
    }
    outcome_free(&outcome);
}

static void test_unusable(void **state) {
    (void)state;
    outcome_assert_unusable(RUN("--rounds=0"), "bench: --rounds=0: give a number from 1 to 99\n");
    outcome_assert_unusable(RUN("--frobnicate"), "bench: --frobnicate: no such option; see --help\n");
    const char *kept = getenv("PATH");
    char *path = kept != NULL ? strdup(kept) : NULL;
    setenv("PATH", "", 1);
    outcome_assert_unusable(RUN("--tiny", "--plots=somewhere"),
                            "bench: --plots needs gnuplot, which is not there (Debian: apt-get install gnuplot-nox)\n");
    if (path != NULL) setenv("PATH", path, 1);
    free(path);
}

static void test_file_that_cannot_be_written(void **state) {
    (void)state;
    char directory[PATH_MAX], option[PATH_MAX + 16], error[PATH_MAX + 128];
    snprintf(option, sizeof option, "--json=%s/none/x.json", test_path(directory, "."));
    snprintf(error, sizeof error, "bench: %s/none/x.json: cannot be written: No such file or directory\n", directory);
    struct outcome outcome = RUN("--tiny", "--workload=pair-32", "--contender=glibc", option);
    assert_string_equal(outcome_text(&outcome.err), error);
    assert_int_equal(outcome.status, 2);
    outcome_free(&outcome);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),         cmocka_unit_test(test_tables),
        cmocka_unit_test(test_overheads),   cmocka_unit_test(test_missing_peers),
        cmocka_unit_test(test_broken_peer), cmocka_unit_test(test_from),
        cmocka_unit_test(test_plots),       cmocka_unit_test(test_help),
        cmocka_unit_test(test_unusable),    cmocka_unit_test(test_file_that_cannot_be_written),
    };
    if (realpath("stress/bench/bench", program) == NULL) {
        perror("stress/bench/bench");
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/*
 * main.c - misuse: every kind of misuse, each in a process of its own, for gilloc and
 * for others.
 *   Owner   the main thread; the only one of this process.
 *   Locks   none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <time.h>
#include <unistd.h>

#include "stress/command_line.h"
#include "stress/json_file.h"
#include "stress/misuse/document.h"
#include "stress/misuse/page.h"
#include "stress/misuse/report.h"
#include "stress/misuse/settings.h"
#include "stress/misuse/trial.h"

enum { EXIT_TRIED = 0, EXIT_INCOMPLETE = 1 };

#define PLANTED_HANGS_AFTER 3.0 /* seconds */

static int unusable(const char *error) { return command_line_unusable("misuse", error); }

/* --- progress --------------------------------------------------------------------------------- */

static void show_progress(size_t kind, size_t column) {
    static time_t begin;
    if (!isatty(STDERR_FILENO)) return;
    if (begin == 0) begin = time(NULL);
    fprintf(stderr, "\rkind %zu of %zu: %s, %s; %ld s\033[K", kind + 1, kind_count, kinds[kind].name,
            columns[column].name, (long)(time(NULL) - begin));
    fflush(stderr);
}

static void clear_progress(void) {
    if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
}

/* --- trying ----------------------------------------------------------------------------------- */

/* All cases of a kind for one contender; false if one could not be tried. */
static bool try_kind(struct document *document, size_t kind, size_t column) {
    struct outcome *outcome = &document->outcomes[kind][column];
    const struct settings *settings = document->settings;
    bool good = true;
    if (!column_can(&columns[column], &kinds[kind])) return true;
    show_progress(kind, column);
    outcome->count = kind_cases(&kinds[kind], column_has_domains(&columns[column]), outcome->cases);
    for (size_t i = 0; i < outcome->count; i++) {
        struct trial *trial = outcome->trials[i] = malloc(sizeof *trial);
        if (trial == NULL) abort();
        trial_run(trial, &columns[column], document->libraries[column], &kinds[kind], &outcome->cases[i],
                  settings->operations, settings->hangs_after);
        if (trial->letter != VERDICT_BROKEN) continue;
        clear_progress();
        fprintf(stderr, "misuse: %s, %s: %s\n", kinds[kind].name, columns[column].name, trial->end);
        good = false;
    }
    return good;
}

static void find_libraries(struct document *document) {
    for (size_t i = 0; i < column_count; i++) {
        if (!document->settings->contenders[i]) continue;
        document->libraries[i] = column_library(&columns[i], document->missing[i], sizeof document->missing[i]);
    }
}

static void report_one(const struct document *document, size_t kind) {
    clear_progress();
    if (document->settings->output == OUTPUT_TABLE) report_kind(stdout, document, kind);
    if (document->settings->output == OUTPUT_TEXT) report_text(stdout, document, kind);
    if (document->settings->output == OUTPUT_EXPECTED) report_expected(stdout, document, kind);
    fflush(stdout);
}

static int try_all(struct document *document) {
    bool good = true;
    find_libraries(document);
    if (document->settings->output == OUTPUT_TABLE) report_head(stdout, document);
    for (size_t k = 0; k < kind_count; k++) {
        if (!document->settings->kinds[k]) continue;
        for (size_t i = 0; i < column_count; i++) {
            if (document_has(document, i)) good = try_kind(document, k, i) && good;
        }
        report_one(document, k);
    }
    if (document->settings->output == OUTPUT_TABLE) report_counts(stdout, document);
    return good ? EXIT_TRIED : EXIT_INCOMPLETE;
}

/* --- planted faults --------------------------------------------------------------------------- */

static int selftest(const struct settings *settings) {
    static const char over[] = "handed out over a live block", changed[] = "was changed", zero[] = "is not zero";
    static const struct {
        const char *name;
        char letter;
        const char *end; /* part of how it ended: each check is seen by itself */
    } expected[] = {{"planted-sound", LETTER_RIGHT, "documented"},   {"planted-overlapping", LETTER_SILENT, over},
                    {"planted-shifted", LETTER_SILENT, over},        {"planted-writing", LETTER_SILENT, changed},
                    {"planted-dirty", LETTER_SILENT, zero},          {"planted-crashing", LETTER_UNCLEAR, "SIGSEGV"},
                    {"planted-wordless", LETTER_UNCLEAR, "SIGABRT"}, {"planted-hanging", LETTER_UNCLEAR, "hangs"}};
    struct misuse_case one = {CASE_RAW, CASE_SMALL};
    const struct kind *kind = kinds;
    bool good = true;
    while (strcmp(kind->name, "free-null") != 0) kind++;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        struct trial trial;
        const struct column *column = columns;
        while (strcmp(column->name, expected[i].name) != 0) column++;
        trial_run(&trial, column, "", kind, &one, settings->operations, PLANTED_HANGS_AFTER);
        printf("%-20s %c, %s\n", column->name, trial.letter, trial.end);
        good = good && trial.letter == expected[i].letter && strstr(trial.end, expected[i].end) != NULL;
    }
    puts(good ? "Each planted fault was found." : "A planted fault was NOT found.");
    return good ? EXIT_TRIED : EXIT_INCOMPLETE;
}

/* --- the program ------------------------------------------------------------------------------ */

static int run(const struct settings *settings, FILE *json, char *error, size_t error_size) {
    struct document *document = calloc(1, sizeof *document);
    if (document == NULL) return unusable("no memory");
    document->settings = settings;
    int status = try_all(document);
    if (json != NULL) {
        json_t *all = document_json(document);
        if (json_file_close(json, settings->json, all, error, error_size) != 0) status = unusable(error);
        json_decref(all);
    }
    if (settings->document != NULL && page_update(settings->document, document, error, error_size) != 0) {
        status = unusable(error);
    }
    document_free(document);
    return status;
}

int main(int argc, char **argv) {
    struct settings settings;
    char error[512];
    FILE *json;
    if (settings_parse(&settings, argc, argv, error, sizeof error) != 0) return unusable(error);
    if (settings.help) return settings_help(stdout), EXIT_TRIED;
    if (settings.output == OUTPUT_KINDS) return report_kinds(stdout, &settings), EXIT_TRIED;
    if (settings.output == OUTPUT_SELFTEST) return selftest(&settings);
    if (json_file_open(&json, settings.json, error, sizeof error) != 0) return unusable(error);
    /* The processes inherit it: with the same addresses in each run, the outcomes are the same. */
    personality(ADDR_NO_RANDOMIZE);
    return run(&settings, json, error, sizeof error);
}

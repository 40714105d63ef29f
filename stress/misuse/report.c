/* SPDX-License-Identifier: MIT */
/*
 * report.c - tables and texts.
 *   Owner   the main program.  Locks: none.
 */
#include "stress/misuse/report.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define NAME_WIDTH 24

/* In the order of the counts' columns. */
static const struct {
    char letter;
    const char *name;
} counted[] = {{LETTER_CLEAR, "clear"}, {LETTER_RIGHT, "right"},     {LETTER_CHECKED, "checked"},
               {LETTER_NONE, "none"},   {LETTER_UNCLEAR, "unclear"}, {LETTER_SILENT, "silent"}};
#define COUNTED (sizeof counted / sizeof *counted)

/* --- the table -------------------------------------------------------------------------------- */

/* A part of the name at its hyphen: 0, what is before it; 1, what is after. */
static void put_part(FILE *out, const char *name, int part) {
    size_t length = strcspn(name, "-");
    if (part == 0) fprintf(out, "  %-8.*s", (int)length, name);
    if (part == 1) fprintf(out, "  %-8s", name[length] == '-' ? name + length + 1 : "");
}

void report_head(FILE *out, const struct document *document) {
    for (size_t i = 0; i < column_count; i++) {
        if (document->settings->contenders[i] && !document_has(document, i)) {
            fprintf(out, "%s: %s\n", columns[i].name, document->missing[i]);
        }
    }
    for (int part = 0; part < 2; part++) {
        fprintf(out, "%-*s", NAME_WIDTH, part == 0 ? "kind" : "");
        for (size_t i = 0; i < column_count; i++) {
            if (document_has(document, i)) put_part(out, columns[i].name, part);
        }
        fputc('\n', out);
    }
}

void report_kind(FILE *out, const struct document *document, size_t kind) {
    char letters[CASES_MAX + 1];
    fprintf(out, "%-*s", NAME_WIDTH, kinds[kind].name);
    for (size_t i = 0; i < column_count; i++) {
        if (!document_has(document, i)) continue;
        document_letters(document, kind, i, letters);
        fprintf(out, "  %-8s", letters);
    }
    fputc('\n', out);
}

void report_counts(FILE *out, const struct document *document) {
    for (int counting = 0; counting < COUNTINGS; counting++) {
        fprintf(out, "\n%s\n%-16s %8s", counting_texts[counting], "contender", "all");
        for (size_t k = 0; k < COUNTED; k++) fprintf(out, " %8s", counted[k].name);
        fputc('\n', out);
        for (size_t i = 0; i < column_count; i++) {
            if (!document_has(document, i)) continue;
            fprintf(out, "%-16s %8zu", columns[i].name, document_count(document, i, counting, 0));
            for (size_t k = 0; k < COUNTED; k++) {
                fprintf(out, " %8zu", document_count(document, i, counting, counted[k].letter));
            }
            fputc('\n', out);
        }
    }
}

/* --- texts ------------------------------------------------------------------------------------ */

/* Whether two cases came to the same. */
static bool same(const struct trial *a, const struct trial *b) {
    char lines[2][512];
    if (a->letter != b->letter) return false;
    trial_line(a, lines[0], sizeof lines[0]);
    trial_line(b, lines[1], sizeof lines[1]);
    trial_mask(lines[0]);
    trial_mask(lines[1]);
    return strcmp(lines[0], lines[1]) == 0;
}

/* Is it the first of its like?  Then the names of all of these, with "; " between them. */
static bool first_of_its_like(const struct document *document, size_t kind, size_t column, size_t one, char *names,
                              size_t size) {
    const struct outcome *outcome = &document->outcomes[kind][column];
    names[0] = '\0';
    for (size_t i = 0; i < outcome->count; i++) {
        if (!same(outcome->trials[i], outcome->trials[one])) continue;
        if (i < one) return false;
        size_t length = strlen(names);
        snprintf(names + length, size - length, "%s%s", length > 0 ? "; " : "",
                 kind_case_name(&kinds[kind], column_has_domains(&columns[column]), &outcome->cases[i]));
    }
    return true;
}

void report_text(FILE *out, const struct document *document, size_t kind) {
    char names[256];
    fprintf(out, "%s: %s\n", kinds[kind].name, kinds[kind].text);
    for (size_t i = 0; i < column_count; i++) {
        const struct outcome *outcome = &document->outcomes[kind][i];
        for (size_t one = 0; one < outcome->count; one++) {
            const struct trial *trial = outcome->trials[one];
            if (!first_of_its_like(document, kind, i, one, names, sizeof names)) continue;
            fprintf(out, "  %s%s%s: %c, %s\n", columns[i].name, names[0] != '\0' ? ", " : "", names, trial->letter,
                    trial->end);
            for (const char *at = trial->text; *at != '\0'; at += strcspn(at, "\n"), at += *at == '\n') {
                fprintf(out, "    | %.*s\n", (int)strcspn(at, "\n"), at);
            }
        }
    }
}

void report_expected(FILE *out, const struct document *document, size_t kind) {
    char names[256], line[512], letters[CASES_MAX + 1];
    for (size_t i = 0; i < column_count; i++) {
        const struct outcome *outcome = &document->outcomes[kind][i];
        if (!document_has(document, i)) continue;
        document_letters(document, kind, i, letters);
        for (size_t one = 0; one < outcome->count; one++) {
            if (kind_is_by_chance(&kinds[kind], &outcome->cases[one])) letters[one] = '?';
        }
        fprintf(out, "%s %s %s\n", kinds[kind].name, columns[i].name, letters);
        for (size_t one = 0; one < outcome->count; one++) {
            const struct trial *trial = outcome->trials[one];
            if (trial->letter != LETTER_CLEAR && trial->letter != LETTER_CHECKED) continue;
            if (kind_is_by_chance(&kinds[kind], &outcome->cases[one])) continue;
            if (!first_of_its_like(document, kind, i, one, names, sizeof names)) continue;
            trial_line(trial, line, sizeof line);
            trial_mask(line);
            fprintf(out, "  %s%s%s\n", names, names[0] != '\0' ? ": " : "", line);
        }
    }
}

/* --- docs/safety.md --------------------------------------------------------------------------- */

static void put_row_head(FILE *out, const struct document *document, const char *first) {
    fprintf(out, "| %s |", first);
    for (size_t i = 0; i < column_count; i++) {
        if (document_has(document, i)) fprintf(out, " %s |", columns[i].name);
    }
    fputs("\n|---|", out);
    for (size_t i = 0; i < column_count; i++) {
        if (document_has(document, i)) fputs("---|", out);
    }
    fputc('\n', out);
}

static void put_rows(FILE *out, const struct document *document) {
    char letters[CASES_MAX + 1];
    put_row_head(out, document, "kind");
    for (size_t k = 0; k < kind_count; k++) {
        if (!document->settings->kinds[k]) continue;
        fprintf(out, "| %s: %s |", kinds[k].name, kinds[k].text);
        for (size_t i = 0; i < column_count; i++) {
            if (!document_has(document, i)) continue;
            document_letters(document, k, i, letters);
            fprintf(out, " %s |", letters);
        }
        fputc('\n', out);
    }
}

static void put_counts(FILE *out, const struct document *document) {
    for (int counting = 0; counting < COUNTINGS; counting++) {
        fprintf(out, "\n| %s | all |", counting_texts[counting]);
        for (size_t k = 0; k < COUNTED; k++) fprintf(out, " %s |", counted[k].name);
        fputs("\n|---|---|---|---|---|---|---|---|\n", out);
        for (size_t i = 0; i < column_count; i++) {
            if (!document_has(document, i)) continue;
            fprintf(out, "| %s | %zu |", columns[i].name, document_count(document, i, counting, 0));
            for (size_t k = 0; k < COUNTED; k++) {
                fprintf(out, " %zu |", document_count(document, i, counting, counted[k].letter));
            }
            fputc('\n', out);
        }
    }
}

/* gilloc's first lines, with X; those of a kind that are the same for several contenders once. */
static void put_lines(FILE *out, const struct document *document) {
    char names[256], line[512], seen[16384];
    fputs("\n| kind | gilloc says |\n|---|---|\n", out);
    for (size_t k = 0; k < kind_count; k++) {
        seen[0] = '\0';
        for (size_t i = 0; i < column_count; i++) {
            const struct outcome *outcome = &document->outcomes[k][i];
            for (size_t one = 0; column_is_ours(&columns[i]) && one < outcome->count; one++) {
                const struct trial *trial = outcome->trials[one];
                if (trial->letter != LETTER_CLEAR && trial->letter != LETTER_CHECKED) continue;
                if (!first_of_its_like(document, k, i, one, names, sizeof names)) continue;
                trial_line(trial, line, sizeof line);
                trial_mask(line);
                if (strstr(seen, line) != NULL) continue;
                size_t length = strlen(seen);
                snprintf(seen + length, sizeof seen - length, "%s`%s`", length > 0 ? "<br>" : "", line);
            }
        }
        if (seen[0] != '\0') fprintf(out, "| %s | %s |\n", kinds[k].name, seen);
    }
}

void report_document(FILE *out, const struct document *document) {
    put_rows(out, document);
    put_counts(out, document);
    put_lines(out, document);
}

void report_kinds(FILE *out, const struct settings *settings) {
    for (size_t k = 0; k < kind_count; k++) {
        if (settings->kinds[k])
            fprintf(out, "%-*s  %s: %s\n", NAME_WIDTH, kinds[k].name, kinds[k].group, kinds[k].text);
    }
}

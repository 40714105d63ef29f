/* SPDX-License-Identifier: MIT */
/*
 * document.c - counts, and the JSON of all that was tried.
 *   Owner   the main program.  Locks: none.
 */
#include "stress/misuse/document.h"

#include <stdio.h>
#include <stdlib.h>

const char *const counting_texts[COUNTINGS] = {
    [COUNT_OBJECT] = "kinds, by a small block of the object domain, or of the only one",
    [COUNT_COMMON] = "the same, of the kinds that all contenders of this table have",
    [COUNT_WORST] = "kinds, by the worst of their cases",
    [COUNT_CASES] = "cases",
};

bool document_has(const struct document *document, size_t column) { return document->libraries[column] != NULL; }

void document_letters(const struct document *document, size_t kind, size_t column, char letters[CASES_MAX + 1]) {
    const struct outcome *outcome = &document->outcomes[kind][column];
    bool any = false;
    for (size_t i = 0; i < outcome->count; i++) {
        letters[i] = outcome->trials[i]->letter;
        any = any || letters[i] != LETTER_NOT_APPLICABLE;
    }
    letters[outcome->count] = '\0';
    if (!any && document_has(document, column)) snprintf(letters, CASES_MAX + 1, "-");
}

/* --- counts ----------------------------------------------------------------------------------- */

/* The case that stands for the kind. */
static char object_letter(const struct outcome *outcome) {
    for (size_t i = 0; i < outcome->count; i++) {
        if (outcome->cases[i].domain == CASE_OBJECT && outcome->cases[i].size == CASE_SMALL) {
            return outcome->trials[i]->letter;
        }
    }
    if (outcome->count == 0) return LETTER_NOT_APPLICABLE;
    return outcome->trials[0]->letter;
}

static char worst_letter(const struct outcome *outcome) {
    static const char worst_first[] = {LETTER_SILENT, LETTER_UNCLEAR, LETTER_NONE,          LETTER_CHECKED,
                                       LETTER_CLEAR,  LETTER_RIGHT,   LETTER_NOT_APPLICABLE};
    for (size_t k = 0; k < sizeof worst_first; k++) {
        for (size_t i = 0; i < outcome->count; i++) {
            if (outcome->trials[i]->letter == worst_first[k]) return worst_first[k];
        }
    }
    return LETTER_NOT_APPLICABLE;
}

static bool is_common(const struct document *document, size_t kind) {
    for (size_t column = 0; column < column_count; column++) {
        if (!document_has(document, column)) continue;
        if (object_letter(&document->outcomes[kind][column]) == LETTER_NOT_APPLICABLE) return false;
    }
    return true;
}

static bool counts(char found, char letter) {
    return found != LETTER_NOT_APPLICABLE && found != VERDICT_BROKEN && (letter == 0 || letter == found);
}

size_t document_count(const struct document *document, size_t column, enum counting counting, char letter) {
    size_t total = 0;
    for (size_t kind = 0; kind < kind_count; kind++) {
        const struct outcome *outcome = &document->outcomes[kind][column];
        if (counting == COUNT_CASES) {
            for (size_t i = 0; i < outcome->count; i++) total += counts(outcome->trials[i]->letter, letter);
        } else if (counting == COUNT_WORST) {
            total += counts(worst_letter(outcome), letter);
        } else if (counting == COUNT_OBJECT || is_common(document, kind)) {
            total += counts(object_letter(outcome), letter);
        }
    }
    return total;
}

/* --- JSON ------------------------------------------------------------------------------------- */

static json_t *json_outcome(const struct kind *kind, const struct column *column, const struct outcome *outcome) {
    json_t *cases = json_array();
    for (size_t i = 0; i < outcome->count; i++) {
        const struct trial *trial = outcome->trials[i];
        char letter[2] = {trial->letter, '\0'};
        json_t *text = json_string(trial->text);
        /* Some dumps have bytes that are no text. */
        if (text == NULL) text = json_string("(bytes that are no UTF-8)");
        json_array_append_new(
            cases, json_pack("{sssssssO}", "case", kind_case_name(kind, column_has_domains(column), &outcome->cases[i]),
                             "letter", letter, "end", trial->end, "text", text));
        json_decref(text);
    }
    return cases;
}

static json_t *json_counts(const struct document *document, size_t column) {
    static const char *const names[COUNTINGS] = {"object", "common", "worst", "cases"};
    json_t *all = json_object();
    for (int counting = 0; counting < COUNTINGS; counting++) {
        json_t *counted = json_object();
#define COUNT(name, letter, text)                                                                          \
    if (letter != LETTER_NOT_APPLICABLE) {                                                                 \
        json_object_set_new(counted, (char[]){letter, '\0'},                                               \
                            json_integer((json_int_t)document_count(document, column, counting, letter))); \
    }
        LETTERS(COUNT)
        json_object_set_new(all, names[counting], counted);
    }
    return all;
}

json_t *document_json(const struct document *document) {
    json_t *contenders = json_array(), *list = json_array();
    for (size_t i = 0; i < column_count; i++) {
        if (!document->settings->contenders[i]) continue;
        json_t *contender = json_pack("{ssss}", "name", columns[i].name, "text", columns[i].text);
        if (!document_has(document, i)) json_object_set_new(contender, "missing", json_string(document->missing[i]));
        if (document_has(document, i)) json_object_set_new(contender, "counts", json_counts(document, i));
        json_array_append_new(contenders, contender);
    }
    for (size_t k = 0; k < kind_count; k++) {
        if (!document->settings->kinds[k]) continue;
        json_t *results = json_object();
        for (size_t i = 0; i < column_count; i++) {
            if (!document_has(document, i)) continue;
            json_object_set_new(results, columns[i].name,
                                json_outcome(&kinds[k], &columns[i], &document->outcomes[k][i]));
        }
        json_array_append_new(list, json_pack("{sssssssO}", "name", kinds[k].name, "group", kinds[k].group, "text",
                                              kinds[k].text, "results", results));
        json_decref(results);
    }
    return json_pack("{sIsoso}", "operations", (json_int_t)document->settings->operations, "contenders", contenders,
                     "kinds", list);
}

void document_free(struct document *document) {
    for (size_t k = 0; k < kind_count; k++) {
        for (size_t i = 0; i < column_all; i++) {
            for (size_t n = 0; n < document->outcomes[k][i].count; n++) free(document->outcomes[k][i].trials[n]);
        }
    }
    for (size_t i = 0; i < column_all; i++) free(document->libraries[i]);
    free(document);
}

/* SPDX-License-Identifier: MIT */
/*
 * document.h - all that was tried, what came of it, and how often each letter.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_MISUSE_DOCUMENT_H
#define STRESS_MISUSE_DOCUMENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "stress/misuse/column.h"
#include "stress/misuse/kind.h"
#include "stress/misuse/settings.h"
#include "stress/misuse/trial.h"

/* One kind for one contender. */
struct outcome {
    size_t count; /* of cases; 0: the contender is missing, or was not asked for */
    struct misuse_case cases[CASES_MAX];
    struct trial *trials[CASES_MAX];
};

struct document {
    const struct settings *settings;
    struct outcome outcomes[SETTINGS_MAX][32]; /* by kind, by column */
    char *libraries[32];                       /* by column; NULL: missing, or not asked for */
    char missing[32][256];
};

/* Is the column in the tables? */
bool document_has(const struct document *document, size_t column);
/* The letters of one kind, "" if it was not tried, "-" if it has no such call. */
void document_letters(const struct document *document, size_t kind, size_t column, char letters[CASES_MAX + 1]);

/* What is counted: */
enum counting {
    COUNT_OBJECT, /* kinds, by their small block of the object domain (or their only case) */
    COUNT_COMMON, /* the same, of the kinds that every contender of the table has */
    COUNT_WORST,  /* kinds, by the worst of their cases */
    COUNT_CASES,  /* cases */
    COUNTINGS
};
extern const char *const counting_texts[COUNTINGS];

/* How many have the letter; 0: how many are counted at all. */
size_t document_count(const struct document *document, size_t column, enum counting counting, char letter);

/* All of it. */
json_t *document_json(const struct document *document);
void document_free(struct document *document);

#endif /* STRESS_MISUSE_DOCUMENT_H */

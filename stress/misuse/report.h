/* SPDX-License-Identifier: MIT */
/*
 * report.h - what was tried, for people, for the documents and for tests.
 *   Owner   the main program.  Locks: none.
 */
#ifndef STRESS_MISUSE_REPORT_H
#define STRESS_MISUSE_REPORT_H

#include <stdio.h>

#include "stress/misuse/document.h"

/* The table: its head, the row of one kind, and the counts. */
void report_head(FILE *out, const struct document *document);
void report_kind(FILE *out, const struct document *document, size_t kind);
void report_counts(FILE *out, const struct document *document);
/* All that the contenders say of one kind. */
void report_text(FILE *out, const struct document *document, size_t kind);
/* One kind for the test: a line for each outcome. */
void report_expected(FILE *out, const struct document *document, size_t kind);
/* All of it for docs/safety.md. */
void report_document(FILE *out, const struct document *document);
/* The kinds by name. */
void report_kinds(FILE *out, const struct settings *settings);

#endif /* STRESS_MISUSE_REPORT_H */

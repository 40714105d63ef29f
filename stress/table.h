/* SPDX-License-Identifier: MIT */
/*
 * table.h - rows for people.
 *   Owner   the main program.  Locks: none.
 * A row is what row.h sends as its result, with "mode", "threads", "integrity"
 * ("ok" or what broke), or those three alone if the row ended before it could
 * send one.
 */
#ifndef STRESS_TABLE_H
#define STRESS_TABLE_H

#include <jansson.h>
#include <stdio.h>

void table_head(FILE *out);
void table_row(FILE *out, json_t *row);

/* `n` with commas between thousands. */
char *table_number(unsigned long long n, char text[32]);

#endif /* STRESS_TABLE_H */

/* SPDX-License-Identifier: MIT */
/*
 * table.c - rows for people.
 *   Owner   the main program.  Locks: none.
 */
#include "stress/table.h"

#include <string.h>

#define MIB (1024.0 * 1024.0)

/* --- values ----------------------------------------------------------------------------------- */

char *table_number(unsigned long long n, char text[32]) {
    char digits[24], *to = text;
    int length = snprintf(digits, sizeof digits, "%llu", n);
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return text;
}

static json_int_t integer(json_t *object, const char *name) {
    return json_integer_value(json_object_get(object, name));
}

/* The number `name` of `object`, right-aligned in `width` and the gap before it. */
static void put_number(FILE *out, int width, json_t *object, const char *name) {
    char text[32];
    fprintf(out, "  %*s", width, table_number((unsigned long long)integer(object, name), text));
}

/* --- the table -------------------------------------------------------------------------------- */

void table_head(FILE *out) {
    fprintf(out,
            "mode  threads    M ops  M ops/s   ns/op  lock takes      waits  hand-offs  remote frees  peak MiB"
            "    arenas  MiB back  blocks\n");
}

void table_row(FILE *out, json_t *row) {
    json_t *stats = json_object_get(row, "stats");
    const char *integrity = json_string_value(json_object_get(row, "integrity"));
    char arenas[48];
    fprintf(out, "%-4s  %7d", json_string_value(json_object_get(row, "mode")), (int)integer(row, "threads"));
    if (stats == NULL) {
        fprintf(out, "  no result: broken\n");
        return;
    }
    fprintf(out, "  %7.1f  %7.2f  %6.1f", (double)integer(row, "operations") * 1e-6,
            json_real_value(json_object_get(row, "operations_per_second")) * 1e-6,
            json_real_value(json_object_get(row, "cpu_ns_per_operation")));
    put_number(out, 10, stats, "lock_takes");
    put_number(out, 9, stats, "lock_waits");
    put_number(out, 9, stats, "lock_handoffs");
    put_number(out, 12, row, "remote_frees");
    snprintf(arenas, sizeof arenas, "%lld > %lld", (long long)integer(stats, "arenas_high"),
             (long long)integer(stats, "arenas"));
    fprintf(out, "  %8.1f  %8s  %8.1f  %s\n", (double)integer(row, "rss_peak") / MIB, arenas,
            (double)integer(stats, "bytes_to_system") / MIB, strcmp(integrity, "ok") == 0 ? "ok" : "broken");
}

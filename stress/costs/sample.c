/* SPDX-License-Identifier: MIT */
/*
 * sample.c - numbers that were measured, and what is said of them.
 *   Owner   one thread.  Locks: none.
 */
#include "stress/costs/sample.h"

#include <stdio.h>
#include <stdlib.h>

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void sample_add(struct sample *sample, double number) {
    if (sample->count == sample->room) {
        sample->room = sample->room * 2 + 64;
        sample->at = realloc(sample->at, sample->room * sizeof *sample->at);
        if (sample->at == NULL) {
            fputs("no memory for what was measured\n", stderr);
            abort();
        }
    }
    sample->at[sample->count++] = number;
}

void sample_free(struct sample *sample) {
    free(sample->at);
    *sample = (struct sample){0};
}

double sample_quantile(struct sample *sample, double part) {
    if (sample->count == 0) return 0;
    qsort(sample->at, sample->count, sizeof *sample->at, compare);
    size_t at = (size_t)(part * (double)sample->count);
    return sample->at[at < sample->count ? at : sample->count - 1];
}

json_t *sample_json(struct sample *sample) {
    return json_pack("{sIsfsfsfsfsfsf}", "count", (json_int_t)sample->count, "least", sample_quantile(sample, 0), "p10",
                     sample_quantile(sample, 0.1), "median", sample_quantile(sample, 0.5), "p90",
                     sample_quantile(sample, 0.9), "p99", sample_quantile(sample, 0.99), "worst",
                     sample_quantile(sample, 1));
}

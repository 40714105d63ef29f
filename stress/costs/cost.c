/* SPDX-License-Identifier: MIT */
/*
 * cost.c - what is measured, by name.
 *   Owner   constant.  Locks: none.
 */
#include "stress/costs/cost.h"

const struct cost *const costs[] = {
    &cost_retire, &cost_safepoint, &cost_attach, &cost_stop, &cost_visit, &cost_switch, &cost_statistics, NULL,
};

void cost_row(struct cost_job *job, const char *what, const char *unit, struct sample *sample) {
    json_array_append_new(job->rows, json_pack("{ssssso}", "what", what, "unit", unit, "sample", sample_json(sample)));
    sample_free(sample);
}

/* SPDX-License-Identifier: MIT */
/*
 * stats.h - gilloc_get_stats() as JSON.
 *   Locks   none.
 */
#ifndef STRESS_STATS_H
#define STRESS_STATS_H

#include <jansson.h>

/* An object with a number for each of STATS_FIELDS (stats_fields.h). */
json_t *stats_json(void);

#endif /* STRESS_STATS_H */

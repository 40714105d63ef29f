/* SPDX-License-Identifier: MIT */
/*
 * stats.c - gilloc_get_stats() as JSON.
 *   Locks   none.
 */
#include "stress/stats.h"

#include <gilloc/gilloc.h>

#include "stress/stats_fields.h"

json_t *stats_json(void) {
    gilloc_stats stats = {.size = sizeof stats};
    gilloc_get_stats(&stats);
    json_t *json = json_object();
#define STAT(name) json_object_set_new(json, #name, json_integer((json_int_t)stats.name));
    STATS_FIELDS(STAT)
#undef STAT
    return json;
}

/* SPDX-License-Identifier: MIT */
/*
 * late_json.h [L2] - what is used of Jansson: figures as JSON.  Contract: late.h.
 */
#ifndef GI_LATE_JSON_H
#define GI_LATE_JSON_H

#include <jansson.h>

#include "lib/late/late.h"

#define GI_LATE_JSON(FUNCTION)                        \
    FUNCTION(object, json_object)                     \
    FUNCTION(array, json_array)                       \
    FUNCTION(integer, json_integer)                   \
    FUNCTION(string, json_string)                     \
    FUNCTION(object_set_new, json_object_set_new)     \
    FUNCTION(array_append_new, json_array_append_new) \
    FUNCTION(dump_file, json_dumpf)                   \
    FUNCTION(destroy, json_delete)

typedef struct gi_late_json {
    GI_LATE_JSON(GI_LATE_MEMBER)
} gi_late_json;

const gi_late_json *gi_late_get_json(void);

#endif /* GI_LATE_JSON_H */

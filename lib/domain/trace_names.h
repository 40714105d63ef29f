/* SPDX-License-Identifier: MIT */
/*
 * trace_names.h [L5] - the names of the frames of a snapshot, each looked up once.
 *   Owner   the caller.  No locks while it is read.
 */
#ifndef GI_TRACE_NAMES_H
#define GI_TRACE_NAMES_H

#include "lib/domain/trace_snapshot.h"

typedef struct gi_name {
    gi_frame frame;
    char *function; /* the function's name, or an address and its file; in printable characters, without a semicolon */
    const char *file;
    int line;        /* 0: not known */
    uint64_t offset; /* in the function; 0: not known */
} gi_name;

typedef struct gi_names {
    gi_name *names; /* by their frames, upwards */
    size_t count;
} gi_names;

/* Of all frames of the snapshot.  False when memory is out. */
bool gi_names_init(gi_names *names, const gilloc_snapshot *snapshot);
void gi_names_fini(gi_names *names);
/* The name of a frame that is among them. */
const gi_name *gi_names_find(const gi_names *names, gi_frame frame);

#endif /* GI_TRACE_NAMES_H */

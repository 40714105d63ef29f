/* SPDX-License-Identifier: MIT */
/*
 * trace_snapshot.h [L5] - what was alive at one time, by call site: of tracing, or of the samples.
 *   Owner   the caller: made by one call, constant, freed by another.  No locks while it is read.
 */
#ifndef GI_TRACE_SNAPSHOT_H
#define GI_TRACE_SNAPSHOT_H

#include <gilloc/trace.h>

#include "lib/domain/sites.h"

typedef struct gi_snapshot_entry {
    const gi_site *site;
    int64_t blocks, bytes, blocks_ever, bytes_ever;
} gi_snapshot_entry;

struct gilloc_snapshot {
    size_t mean;  /* of samples; 0: all blocks were traced */
    size_t count; /* of entries; the most bytes, either way, first */
    gi_snapshot_entry entries[];
};

/* NULL when memory is out. */
gilloc_snapshot *gi_snapshot_take(void);
gilloc_snapshot *gi_snapshot_diff(const gilloc_snapshot *before, const gilloc_snapshot *after);
void gi_snapshot_free(gilloc_snapshot *snapshot);

/* Writes it in a format; 0, or an errno. */
int gi_snapshot_write(const gilloc_snapshot *snapshot, FILE *f, const char *format);

/* Each of the formats: trace_text.c, trace_svg.c, trace_pprof.c.  `ever`: of all blocks since the start, not of those
   that are alive.  0, or an errno. */
int gi_snapshot_write_text(const gilloc_snapshot *snapshot, FILE *f, bool ever);
int gi_snapshot_write_folded(const gilloc_snapshot *snapshot, FILE *f, bool ever);
int gi_snapshot_write_svg(const gilloc_snapshot *snapshot, FILE *f, bool ever);
int gi_snapshot_write_pprof(const gilloc_snapshot *snapshot, FILE *f, bool ever);

static inline int64_t gi_snapshot_bytes(const gi_snapshot_entry *entry, bool ever) {
    return ever ? entry->bytes_ever : entry->bytes;
}

#endif /* GI_TRACE_SNAPSHOT_H */

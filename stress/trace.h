/* SPDX-License-Identifier: MIT */
/*
 * trace.h - a recorded run of a real program: one record per allocator call
 * (traces/README.md has the format).
 *   Owner   the caller; read-only once loaded, so threads share it.
 *   Locks   none.  Orders: none.
 * A loaded trace is sound: records in range, a slot filled only while empty,
 * emptied or resized only in the domain that filled it.
 */
#ifndef STRESS_TRACE_H
#define STRESS_TRACE_H

#include <stddef.h>
#include <stdint.h>

enum trace_op { TRACE_MALLOC, TRACE_CALLOC, TRACE_REALLOC, TRACE_FREE, TRACE_OPS };

/* As in the file. */
struct trace_record {
    uint32_t what; /* op | domain << 3 | thread << 5 */
    uint32_t size;
    uint32_t slot;
};

struct trace {
    struct trace_record *records;
    uint32_t count;
    uint32_t slots;
};

static inline unsigned trace_op(const struct trace_record *record) { return record->what & 7; }
static inline unsigned trace_domain(const struct trace_record *record) { return record->what >> 3 & 3; }

/* Reads `path` into `*trace`.  0, or -1 with one line (no newline) in `error`
   that says what is wrong, where, and what to do. */
int trace_load(struct trace *trace, const char *path, char *error, size_t error_size);
void trace_unload(struct trace *trace);

#endif /* STRESS_TRACE_H */

/* SPDX-License-Identifier: MIT */
/*
 * trace_text.c [L5] - a snapshot as text, and as folded stacks.
 *   Owner   the caller.  No locks of its own.
 */
#include <errno.h>
#include <inttypes.h>

#include "lib/domain/trace_names.h"

/* So many sites stand in the text. */
enum { TEXT_SITES = 30 };

static void write_frame(FILE *f, const gi_name *name) {
    if (name->line != 0) {
        fprintf(f, "    %s (%s:%d)\n", name->function, name->file, name->line);
    } else if (name->offset != 0) {
        fprintf(f, "    %s+0x%" PRIx64 " (%s)\n", name->function, name->offset, name->file);
    } else {
        fprintf(f, "    %s\n", name->function);
    }
}

int gi_snapshot_write_text(const gilloc_snapshot *snapshot, FILE *f, bool ever) {
    gi_names names;
    if (!gi_names_init(&names, snapshot)) {
        return ENOMEM;
    }
    int64_t bytes = 0, blocks = 0;
    for (size_t i = 0; i < snapshot->count; i++) {
        bytes += gi_snapshot_bytes(&snapshot->entries[i], ever);
        blocks += ever ? snapshot->entries[i].blocks_ever : snapshot->entries[i].blocks;
    }
    fprintf(f, "%" PRId64 " bytes in %" PRId64 " blocks of %zu call sites%s\n", bytes, blocks, snapshot->count,
            snapshot->mean != 0 ? " (estimated from samples)" : "");
    for (size_t i = 0; i < snapshot->count && i < TEXT_SITES; i++) {
        const gi_snapshot_entry *entry = &snapshot->entries[i];
        fprintf(f, "%" PRId64 " bytes in %" PRId64 " blocks", gi_snapshot_bytes(entry, ever),
                ever ? entry->blocks_ever : entry->blocks);
        if (entry->site->domain != 0) {
            fprintf(f, " of domain %u", entry->site->domain);
        }
        fputs(", allocated at (most recent call first):\n", f);
        for (uint64_t j = 0; j < entry->site->count; j++) {
            write_frame(f, gi_names_find(&names, entry->site->frames[j]));
        }
    }
    if (snapshot->count > TEXT_SITES) {
        fprintf(f, "and %zu other call sites\n", snapshot->count - TEXT_SITES);
    }
    gi_names_fini(&names);
    return 0;
}

int gi_snapshot_write_folded(const gilloc_snapshot *snapshot, FILE *f, bool ever) {
    gi_names names;
    if (!gi_names_init(&names, snapshot)) {
        return ENOMEM;
    }
    for (size_t i = 0; i < snapshot->count; i++) {
        const gi_site *site = snapshot->entries[i].site;
        int64_t bytes = gi_snapshot_bytes(&snapshot->entries[i], ever);
        for (uint64_t j = site->count; bytes != 0 && j-- != 0;) {
            fprintf(f, "%s%s", gi_names_find(&names, site->frames[j])->function, j != 0 ? ";" : "");
        }
        if (bytes != 0) {
            fprintf(f, " %" PRId64 "\n", bytes);
        }
    }
    gi_names_fini(&names);
    return 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * trace_snapshot.c [L5] - what was alive at one time.  Theory: trace_snapshot.h.
 *   Owner   the caller.  Its memory is the system's, past every hook.
 */
#include "lib/domain/trace_snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/domain/trace.h"
#include "lib/domain/trace_sample.h"

/* --- sums by site ----------------------------------------------------------------------------- */

typedef struct sums {
    gi_snapshot_entry *by_number;
    uint32_t numbers; /* sites that were made later are left out: so were their blocks */
} sums;

static gi_snapshot_entry *sum_of(const sums *all, uint32_t number) {
    return number < all->numbers ? &all->by_number[number] : NULL;
}

static void add_block(uint32_t number, size_t size, void *arg) {
    gi_snapshot_entry *sum = sum_of(arg, number);
    if (sum != NULL) {
        sum->blocks++;
        sum->bytes += (int64_t)size;
    }
}

/* Of what is not below 0, but for what sums of doubles lose. */
static int64_t rounded(double figure) { return (int64_t)(figure + 0.5); }

static void add_samples(uint32_t number, const gi_sample_figures *figures, void *arg) {
    gi_snapshot_entry *sum = sum_of(arg, number);
    if (sum != NULL) {
        sum->blocks = rounded(figures->blocks);
        sum->bytes = rounded(figures->bytes);
        sum->blocks_ever = rounded(figures->blocks_ever);
        sum->bytes_ever = rounded(figures->bytes_ever);
    }
}

static bool is_nothing(const gi_snapshot_entry *entry) {
    return entry->blocks == 0 && entry->bytes == 0 && entry->blocks_ever == 0 && entry->bytes_ever == 0;
}

static uint64_t size_of_change(int64_t bytes) { return bytes < 0 ? 0 - (uint64_t)bytes : (uint64_t)bytes; }

/* The most bytes first; the order of those with as many is that of their sites. */
static int compare(const void *a, const void *b) {
    const gi_snapshot_entry *one = a, *other = b;
    uint64_t first = size_of_change(one->bytes), second = size_of_change(other->bytes);
    if (first == second) {
        first = size_of_change(one->bytes_ever);
        second = size_of_change(other->bytes_ever);
    }
    if (first != second) {
        return first > second ? -1 : 1;
    }
    return one->site->number < other->site->number ? -1 : 1;
}

static gilloc_snapshot *make(size_t entries) {
    gilloc_snapshot *made = malloc(sizeof(*made) + entries * sizeof(made->entries[0]));
    if (made != NULL) {
        made->mean = 0;
        made->count = 0;
    }
    return made;
}

static void add(gilloc_snapshot *to, const gi_snapshot_entry *entry) {
    if (!is_nothing(entry)) {
        to->entries[to->count++] = *entry;
    }
}

static gilloc_snapshot *finish(gilloc_snapshot *snapshot) {
    qsort(snapshot->entries, snapshot->count, sizeof(snapshot->entries[0]), compare);
    return snapshot;
}

/* --- take, diff, free ------------------------------------------------------------------------- */

gilloc_snapshot *gi_snapshot_take(void) {
    sums all = {NULL, gi_site_numbers()};
    all.by_number = calloc(all.numbers, sizeof(*all.by_number));
    if (all.by_number == NULL) {
        return NULL;
    }
    bool traced = gi_trace_each(add_block, &all);
    if (!traced) {
        gi_sample_each(add_samples, &all);
    }
    size_t count = 0;
    for (uint32_t i = 0; i < all.numbers; i++) {
        gi_snapshot_entry *entry = &all.by_number[i];
        entry->site = gi_site_of(i);
        if (traced) {
            entry->blocks_ever = entry->blocks;
            entry->bytes_ever = entry->bytes;
        }
        if (entry->site == NULL) { /* its thread is about to publish it */
            *entry = (gi_snapshot_entry){0};
        }
        count += !is_nothing(entry);
    }
    gilloc_snapshot *made = make(count);
    if (made != NULL) {
        made->mean = traced ? 0 : gi_sample_mean();
        for (uint32_t i = 0; i < all.numbers; i++) {
            add(made, &all.by_number[i]);
        }
        finish(made);
    }
    free(all.by_number);
    return made;
}

static int by_site(const void *a, const void *b) {
    const gi_snapshot_entry *one = a, *other = b;
    return one->site->number < other->site->number ? -1 : one->site->number > other->site->number;
}

static void subtract(gi_snapshot_entry *from, const gi_snapshot_entry *what) {
    from->blocks -= what->blocks;
    from->bytes -= what->bytes;
    from->blocks_ever -= what->blocks_ever;
    from->bytes_ever -= what->bytes_ever;
}

gilloc_snapshot *gi_snapshot_diff(const gilloc_snapshot *before, const gilloc_snapshot *after) {
    gilloc_snapshot *both = make(before->count + after->count);
    if (both == NULL) {
        return NULL;
    }
    /* 1. All entries, those of before with their signs changed; 2. those of one site side by side, and added up. */
    for (size_t i = 0; i < after->count; i++) {
        both->entries[i] = after->entries[i];
    }
    for (size_t i = 0; i < before->count; i++) {
        gi_snapshot_entry *entry = &both->entries[after->count + i];
        *entry = (gi_snapshot_entry){.site = before->entries[i].site};
        subtract(entry, &before->entries[i]);
    }
    size_t entries = before->count + after->count;
    qsort(both->entries, entries, sizeof(both->entries[0]), by_site);
    for (size_t i = 0; i < entries; i++) {
        gi_snapshot_entry sum = both->entries[i];
        if (i + 1 < entries && both->entries[i + 1].site == sum.site) {
            const gi_snapshot_entry *other = &both->entries[++i];
            gi_snapshot_entry negated = {.site = sum.site};
            subtract(&negated, other);
            subtract(&sum, &negated);
        }
        add(both, &sum);
    }
    both->mean = after->mean;
    return finish(both);
}

void gi_snapshot_free(gilloc_snapshot *snapshot) { free(snapshot); }

/* --- write ------------------------------------------------------------------------------------ */

int gi_snapshot_write(const gilloc_snapshot *snapshot, FILE *f, const char *format) {
    static const struct {
        const char *name;
        int (*write)(const gilloc_snapshot *snapshot, FILE *f, bool ever);
        bool ever;
    } formats[] = {
        {"text", gi_snapshot_write_text, false},     {"folded", gi_snapshot_write_folded, false},
        {"svg", gi_snapshot_write_svg, false},       {"pprof", gi_snapshot_write_pprof, false},
        {"text-ever", gi_snapshot_write_text, true}, {"folded-ever", gi_snapshot_write_folded, true},
        {"svg-ever", gi_snapshot_write_svg, true},
    };
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        if (strcmp(format, formats[i].name) == 0) {
            int failed = formats[i].write(snapshot, f, formats[i].ever);
            return failed == 0 && (fflush(f) != 0 || ferror(f) != 0) ? EIO : failed;
        }
    }
    return EINVAL;
}

/* SPDX-License-Identifier: MIT */
/*
 * trace.c [L6] - tracing, sampling and profiles, under their public names.  Contracts: gilloc/trace.h, gilloc/pymem.h.
 *   Owner   what the environment asked for is constant once the library is ready.  Locks none of its own.
 */
#include "lib/domain/trace.h"

#include <errno.h>
#include <gilloc/trace.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/api/options.h"
#include "lib/api/runtime.h"
#include "lib/domain/domain.h"
#include "lib/domain/trace_sample.h"
#include "lib/domain/trace_snapshot.h"
#include "lib/domain/trace_stack.h"
#include "lib/late/late_zlib.h"

/* What a function that has `failed` with an errno, or 0, returns. */
static int result(int failed) {
    if (failed != 0) {
        errno = failed;
        return -1;
    }
    return 0;
}

/* --- tracing ---------------------------------------------------------------------------------- */

int gilloc_trace_start(unsigned frames) {
    gi_runtime_ready();
    return result(gi_trace_start(frames));
}

void gilloc_trace_stop(void) { gi_trace_stop(); }

unsigned gilloc_trace_is_on(void) { return gi_trace_frames(); }

void gilloc_trace_clear(void) { gi_trace_clear(); }

void gilloc_trace_get_memory(size_t *current, size_t *peak) {
    size_t now, most;
    gi_trace_get_memory(&now, &most);
    if (current != NULL) {
        *current = now;
    }
    if (peak != NULL) {
        *peak = most;
    }
}

void gilloc_trace_reset_peak(void) { gi_trace_reset_peak(); }

size_t gilloc_trace_get_overhead(void) { return gi_trace_overhead(); }

size_t gilloc_trace_get_lost(void) { return gi_trace_lost(); }

int PyTraceMalloc_Track(unsigned int domain, uintptr_t ptr, size_t size) {
    return gi_trace_track(domain, ptr, size, GI_CALLER);
}

int PyTraceMalloc_Untrack(unsigned int domain, uintptr_t ptr) { return gi_trace_untrack(domain, ptr); }

void gilloc_trace_set_frames(gilloc_frames_function frames, void *ctx) { gi_stack_set_runtime(frames, ctx); }

/* --- sampling --------------------------------------------------------------------------------- */

int gilloc_sample_start(size_t mean_bytes) {
    gi_runtime_ready();
    return result(gi_sample_start(mean_bytes));
}

void gilloc_sample_stop(void) { gi_sample_stop(); }

size_t gilloc_sample_is_on(void) { return gi_sample_mean(); }

/* --- snapshots -------------------------------------------------------------------------------- */

gilloc_snapshot *gilloc_snapshot_take(void) { return gi_snapshot_take(); }

gilloc_snapshot *gilloc_snapshot_diff(const gilloc_snapshot *before, const gilloc_snapshot *after) {
    return gi_snapshot_diff(before, after);
}

void gilloc_snapshot_free(gilloc_snapshot *snapshot) { gi_snapshot_free(snapshot); }

size_t gilloc_snapshot_sites(const gilloc_snapshot *snapshot) { return snapshot->count; }

int gilloc_snapshot_site(const gilloc_snapshot *snapshot, size_t index, gilloc_site *out) {
    if (index >= snapshot->count) {
        return -1;
    }
    const gi_snapshot_entry *entry = &snapshot->entries[index];
    *out = (gilloc_site){
        .domain = entry->site->domain,
        .frames = (unsigned)entry->site->count,
        .blocks = entry->blocks,
        .bytes = entry->bytes,
        .blocks_ever = entry->blocks_ever,
        .bytes_ever = entry->bytes_ever,
    };
    return 0;
}

int gilloc_snapshot_frame(const gilloc_snapshot *snapshot, size_t index, unsigned frame, gilloc_frame *out) {
    if (index >= snapshot->count || frame >= snapshot->entries[index].site->count) {
        return -1;
    }
    gi_frame word = snapshot->entries[index].site->frames[frame];
    const gi_frame_record *record = gi_frame_record_of(word);
    *out = record != NULL ? (gilloc_frame){record->function, record->file, record->line, NULL}
                          : (gilloc_frame){NULL, NULL, 0, (void *)(uintptr_t)word};
    return 0;
}

int gilloc_snapshot_write(const gilloc_snapshot *snapshot, FILE *f, const char *format) {
    return result(gi_snapshot_write(snapshot, f, format));
}

static int take_and_write(FILE *f, const char *format) {
    gilloc_snapshot *snapshot = gi_snapshot_take();
    if (snapshot == NULL) {
        return ENOMEM;
    }
    int failed = gi_snapshot_write(snapshot, f, format);
    gi_snapshot_free(snapshot);
    return failed;
}

int gilloc_trace_write(FILE *f, const char *format) { return result(take_and_write(f, format)); }

/* --- the environment -------------------------------------------------------------------------- */

static pid_t profiled; /* constant once ready: a child of a fork writes none */

/* The format that a file's name asks for.  Of samples the profile is of all that was allocated. */
static const char *format_of(const char *file, bool ever) {
    static const struct {
        const char *suffix, *alive, *ever;
    } formats[] = {{".svg", "svg", "svg-ever"}, {".folded", "folded", "folded-ever"}, {".pb.gz", "pprof", "pprof"}};
    size_t length = strlen(file);
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        size_t suffix = strlen(formats[i].suffix);
        if (length >= suffix && strcmp(file + length - suffix, formats[i].suffix) == 0) {
            return ever ? formats[i].ever : formats[i].alive;
        }
    }
    return ever ? "text-ever" : "text";
}

static void write_profile(void) {
    const char *file = gi_option_text(GI_OPTION_PROFILE);
    bool traced = gi_trace_frames() != 0;
    if (getpid() != profiled || (!traced && gi_sample_mean() == 0)) {
        return;
    }
    FILE *f = fopen(file, "wbe");
    int failed = f == NULL ? errno : take_and_write(f, format_of(file, !traced));
    if (f != NULL && fclose(f) != 0 && failed == 0) {
        failed = errno;
    }
    if (failed != 0) {
        gi_report("GILLOC_PROFILE", "cannot write %.200s: %s", file, strerror(failed));
    }
}

void gi_runtime_start_tracing(void) {
    uint64_t frames = gi_option(GI_OPTION_TRACE), mean = gi_option(GI_OPTION_SAMPLE);
    if (frames != 0 && mean != 0) {
        gi_fatal_input("GILLOC_SAMPLE", "tracing is on, by PYTHONTRACEMALLOC");
    }
    int failed = frames != 0 ? gi_trace_start((unsigned)frames) : mean != 0 ? gi_sample_start(mean) : 0;
    if (failed == 0 && gi_option_text(GI_OPTION_PROFILE) != NULL) {
        profiled = getpid();
        /* What is missing for it is told now, and not when it is lost. */
        if (strcmp(format_of(gi_option_text(GI_OPTION_PROFILE), false), "pprof") == 0) {
            (void)gi_late_get_zlib();
        }
        (void)gi_stack_prepare(GILLOC_FRAMES_MAX); /* names of functions */
        failed = atexit(write_profile) != 0 ? ENOMEM : 0;
    }
    if (failed != 0) {
        gi_fatal("first use", "tracing cannot be started: %s", strerror(failed));
    }
}

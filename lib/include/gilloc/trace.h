/* SPDX-License-Identifier: MIT */
/*
 * gilloc/trace.h - who allocates: tracing of every block, sampling of a few, profiles.
 *
 * Tracing (CPython's tracemalloc) keeps size and call site of every live block of
 * the three domains; sampling those of one block in half a megabyte, by chance, and
 * estimates the rest without bias.  One of the two is on at a time; each starts and
 * stops at any time, in any thread, whatever hooks are installed.  Neither ever takes
 * the lock: raw blocks are traced in detached threads as in any other.
 *
 * Environment, read with the others (gilloc.h):
 *   PYTHONTRACEMALLOC=N   as gilloc_trace_start(N); 0 or empty: not.
 *   GILLOC_SAMPLE=BYTES   as gilloc_sample_start(BYTES); empty: not.
 *   GILLOC_PROFILE=FILE   at exit, if one of the two is on, the profile is written
 *                         to FILE, in the format that its suffix says: .folded, .svg,
 *                         .pb.gz (pprof), or any other for text.
 */
#ifndef GILLOC_TRACE_H
#define GILLOC_TRACE_H

#include <gilloc/pymem.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- tracing -------------------------------------------------------------------- */

enum {
    GILLOC_FRAMES_MAX = 128 /* frames of a call site that are kept, at most */
};

/* Starts tracing: from now on each block is recorded with its size and the innermost
   `frames` frames of the stack it was allocated from.  1 costs least: the place that
   called the public function.  More than GILLOC_FRAMES_MAX are as that many.  If it is on already
   only the number of frames changes.  Blocks that are alive are not known, and freed
   without a word.  0, or -1 with errno EINVAL (`frames` is 0 or above 65535, CPython's
   limit), EBUSY (sampling is on), ENOMEM, or ELIBACC (`frames` is above 1, and what
   walks stacks, libunwind.so.8, cannot be loaded; why is told on stderr).  Any thread,
   no lock needed. */
GILLOC_API int gilloc_trace_start(unsigned frames);
/* Stops it, and forgets all blocks.  Any thread. */
GILLOC_API void gilloc_trace_stop(void);
/* Whether tracing is on: the number of frames, or 0.  Any thread. */
GILLOC_API unsigned gilloc_trace_is_on(void);
/* Forgets the blocks recorded so far, goes on, and sets both figures below to 0
   (tracemalloc.clear_traces()).  Any thread. */
GILLOC_API void gilloc_trace_clear(void);

/* Bytes that the live blocks that are traced were requested with, and the most there
   have been at one time (tracemalloc.get_traced_memory()); 0 and 0 if it is off.
   `current` is exact when no other thread allocates.  `peak` is exact if one thread
   allocates; with n, it may be off by n - 1 times 65536 bytes.  Either may be NULL.
   Any thread. */
GILLOC_API void gilloc_trace_get_memory(size_t *current, size_t *peak);
/* The peak is the current figure again.  Any thread. */
GILLOC_API void gilloc_trace_reset_peak(void);
/* Bytes that tracing and sampling themselves take (tracemalloc.get_tracemalloc_memory()). */
GILLOC_API size_t gilloc_trace_get_overhead(void);
/* Live blocks that are not recorded, since memory for the record was refused as they
   were resized.  Any thread. */
GILLOC_API size_t gilloc_trace_get_lost(void);

/* --- a runtime's own frames ------------------------------------------------------ */

typedef struct {
    const char *function; /* NULL: a native frame, or not known */
    const char *file;     /* NULL: as above */
    int line;             /* 0: not known */
    void *address;        /* the return address of a native frame, else NULL */
} gilloc_frame;

/* Fills `out` with at most `max` frames of the calling thread, innermost first, and
   returns how many; the strings are copied.  0: take the native stack. */
typedef int (*gilloc_frames_function)(void *ctx, gilloc_frame *out, int max);

/* Has `frames` say the stack of every thread from now on; NULL: native stacks.  It is
   called as blocks are allocated, in any thread that allocates, with no lock of
   gilloc's held; what it allocates is not traced.  Any thread. */
GILLOC_API void gilloc_trace_set_frames(gilloc_frames_function frames, void *ctx);

/* --- sampling -------------------------------------------------------------------- */

enum {
    GILLOC_SAMPLE_BYTES = 524288 /* bytes between two samples on average, by default */
};

/* Starts sampling: each byte that is allocated starts a sample with a chance of one in
   `mean_bytes` (0: GILLOC_SAMPLE_BYTES), and the block that has it is recorded with
   its stack.  A small block is sampled by the bytes of its size class.  0, or -1 with
   errno EBUSY (tracing is on), EINVAL (above 2^40), ENOMEM, or ELIBACC (libunwind.so.8
   or libm.so.6 cannot be loaded; why is told on stderr).  Any thread. */
GILLOC_API int gilloc_sample_start(size_t mean_bytes);
/* Takes no more samples.  Those of live blocks stay, and go as the blocks do.  Any
   thread. */
GILLOC_API void gilloc_sample_stop(void);
/* Whether samples are taken: the mean, or 0.  Any thread. */
GILLOC_API size_t gilloc_sample_is_on(void);

/* --- snapshots -------------------------------------------------------------------- */

/* What was alive at one time, by call site.  While other threads allocate, a block
   that is alive all the time is in it once. */
typedef struct gilloc_snapshot gilloc_snapshot;

/* One call site of a snapshot.  Of samples the figures are estimates; of a difference
   they may be negative. */
typedef struct {
    unsigned domain;     /* 0, or that of PyTraceMalloc_Track() */
    unsigned frames;     /* how many there are */
    int64_t blocks;      /* alive */
    int64_t bytes;       /* that these were requested with */
    int64_t blocks_ever; /* of samples: allocated since the start; else as above */
    int64_t bytes_ever;
} gilloc_site;

/* A snapshot of what is traced, or else of what has been sampled; empty if neither.
   NULL when memory is out.  Any thread, no lock needed. */
GILLOC_API gilloc_snapshot *gilloc_snapshot_take(void);
/* What `after` has more than `before`, site by site.  NULL when memory is out. */
GILLOC_API gilloc_snapshot *gilloc_snapshot_diff(const gilloc_snapshot *before, const gilloc_snapshot *after);
GILLOC_API void gilloc_snapshot_free(gilloc_snapshot *snapshot);
/* How many call sites it has. */
GILLOC_API size_t gilloc_snapshot_sites(const gilloc_snapshot *snapshot);
/* The `index`th call site: the most bytes (either way) first.  0, or -1 if there is none. */
GILLOC_API int gilloc_snapshot_site(const gilloc_snapshot *snapshot, size_t index, gilloc_site *out);
/* Its `frame`th frame, 0 the innermost.  The strings stay valid for ever.  0, or -1 if there is none. */
GILLOC_API int gilloc_snapshot_frame(const gilloc_snapshot *snapshot, size_t index, unsigned frame, gilloc_frame *out);

/* Writes it to `f`: "text" (the sites with the most bytes, with their stacks),
   "folded" (a line a site: frames, outermost first, and the bytes; what flame graph
   programs read), "svg" (a flame graph, to be looked at in a browser), "pprof"
   (profile.proto, compressed).  These show what is alive; "text-ever", "folded-ever"
   and "svg-ever" show what was ever allocated, of samples; pprof has both.  0, or -1
   with errno (EINVAL: no such format; ELIBACC: pprof needs libz.so.1, which cannot be
   loaded; why is told on stderr). */
GILLOC_API int gilloc_snapshot_write(const gilloc_snapshot *snapshot, FILE *f, const char *format);
/* The same of gilloc_snapshot_take(). */
GILLOC_API int gilloc_trace_write(FILE *f, const char *format);

#ifdef __cplusplus
}
#endif

#endif /* GILLOC_TRACE_H */

/* SPDX-License-Identifier: MIT */
/*
 * trace.h [L5] - tracing: size and call site of every live block, whoever allocates.
 *
 *   A watcher stands before whatever serves the domains.  For each block of one session (from a start, or a clear, to
 *   the next or the stop) the ledger has a word:
 *
 *     63      site      40 39  session  35 34      size      0     the site's number; the session's lowest bits;
 *                                                                  the size, or above 16 GiB units of 64 KiB
 *
 *   malloc    the inner malloc, then the word; no word, no block
 *   free      the word is taken, then the inner free: the address cannot be another's yet
 *   realloc   the word is taken, the inner realloc, the new word; if it failed, the old one
 *
 *   So at no time is an address in the ledger whose block is free, and none is taken that belongs to who has got the
 *   address since.  A thread that a stop overtakes may leave a word of its session behind; it counts for nobody, and
 *   the next start clears it.  A nested call, of what serves a domain or of a runtime's frames, is not traced: the
 *   outer one is.
 *
 *   Each thread counts for itself: `total` is its part of the current figure.  For the peak it folds what it has
 *   `unfolded`, and the most that this has been, into a shared account when that exceeds FOLD_BYTES either way: so what
 *   each other thread has not told yet, FOLD_BYTES at most, is all that the peak can be wrong by.
 *
 *   Owner   the words: who owns the block.  A thread's account: the thread; kept when it ends, for another one.
 *   Locks   trace (GI_RANK_TRACE) for start, stop and clear; trace threads (GI_RANK_TRACE_THREADS); the ledger's; the
 *           sites'; walk; foreign (GI_RANK_FOREIGN).  None of them is held around a call of anybody else's.
 *   Orders  trace-state: what a start has set up is seen by who sees the session.  trace-thread: a thread's account is
 *           its session's when it says so.
 */
#ifndef GI_TRACE_H
#define GI_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 0, or an errno.  The library is ready, or becomes so in this call. */
int gi_trace_start(unsigned frames);
void gi_trace_stop(void);
void gi_trace_clear(void);
/* The number of frames; 0: off. */
unsigned gi_trace_frames(void);

void gi_trace_get_memory(size_t *current, size_t *peak);
void gi_trace_reset_peak(void);
size_t gi_trace_overhead(void);
size_t gi_trace_lost(void);

/* See PyTraceMalloc_Track(); `caller`: its return address. */
int gi_trace_track(unsigned domain, uintptr_t address, size_t size, const void *caller);
int gi_trace_untrack(unsigned domain, uintptr_t address);

/* Calls `visit` for each live block, with its site's number; false if tracing is off.  `visit` must not trace. */
bool gi_trace_each(void (*visit)(uint32_t site, size_t size, void *arg), void *arg);

/* The site of a live block, or of the one that this thread is freeing or resizing, or did last; NULL: not traced. */
const struct gi_site *gi_trace_site_of(const void *block);

/* Around fork(): the first of each takes what ranks below domains, the second the rest. */
void gi_trace_before_fork(void);
void gi_trace_after_fork(void);
void gi_trace_threads_before_fork(void);
void gi_trace_threads_after_fork(void);
/* In the child: the accounts of threads that it lacks are for others to go on with. */
void gi_trace_after_fork_child(void);

#endif /* GI_TRACE_H */

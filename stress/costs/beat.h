/* SPDX-License-Identifier: MIT */
/*
 * beat.h - threads that are attached and reach a safepoint about every 10 us.
 *   Owner   who has started them.  Locks: none.
 */
#ifndef STRESS_COSTS_BEAT_H
#define STRESS_COSTS_BEAT_H

struct beat;

/* Starts so many threads and waits until each is attached (in gil mode: has been). */
struct beat *beat_start(unsigned threads);
/* They end; the caller is detached. */
void beat_stop(struct beat *beat);

/* Works for about 10 us. */
void beat_work(void);

#endif /* STRESS_COSTS_BEAT_H */

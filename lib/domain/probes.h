/* SPDX-License-Identifier: MIT */
/*
 * probes.h [L5] - static probes for tracers (USDT) on blocks: `gilloc` for each one, `otel_memory` for sampled ones.
 *
 *   gilloc:alloc(block, size, domain), gilloc:free(block, domain) have a *semaphore*: a word that a tracer counts up as
 *   it attaches.  Nothing tells the library of that; it looks at the word in each call that allocates and leaves the
 *   fast path.  Then words that tell the tracer come before all others (domain.c), as a watcher's do, so that the fast
 *   paths are closed and all calls come by.  When the word is 0 again, the next call takes them away.  So a tracer sees
 *   all blocks of raw from the moment at which it attaches, those of mem and object from the first time on that a
 *   thread needs more blocks; kinds that were made are not seen.
 *
 *   otel_memory:alloc(block, size, weight), otel_memory:free(block) are what OpenTelemetry's profiler for heaps reads:
 *   the sampler fires them, for the blocks that it has chosen, each of which stands for `weight` bytes.
 *   Owner   the semaphore: tracers, from outside the process.
 */
#ifndef GI_PROBES_H
#define GI_PROBES_H

#include <stdbool.h>
#include <stddef.h>

#include "concurrency/atomic.h"
#include "concurrency/check.h"

/* How many tracers look at gilloc:alloc or gilloc:free. */
#ifdef GI_HAVE_SDT
extern unsigned short gilloc_alloc_semaphore GI_INTERNAL;
static inline bool gi_probes_wanted(void) { return gi_unlikely(*(volatile unsigned short *)&gilloc_alloc_semaphore); }
#else
static inline bool gi_probes_wanted(void) { return false; }
#endif

/* A block of a domain comes, as long as it was asked for, and goes. */
void gi_probe_alloc(const void *block, size_t size, int domain);
void gi_probe_free(const void *block, int domain);
/* The same of a block that a sampler has chosen. */
void gi_probe_sampled_alloc(const void *block, size_t size, size_t weight);
void gi_probe_sampled_free(const void *block);

#endif /* GI_PROBES_H */

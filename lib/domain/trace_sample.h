/* SPDX-License-Identifier: MIT */
/*
 * trace_sample.h [L5] - sampling: the samples that are alive, and what they say of all blocks.
 *
 *   Which allocations are samples: lib/cache/sample.h.  A watcher stands before the raw domain alone, where the samples
 *   of small blocks come too, so mem and object keep their fast path.  (Where the default allocators have none, all
 *   three are watched.)  A free there tells by one byte, for the block's address, whether to look for it.
 *
 *   A site's figures are sums of weights, of its live samples and of all: each sample stands for weight = 1 / chance
 *   blocks, so that the expectation of each sum is what it estimates.
 *
 *   After a stop the watcher stays: a live small sample is a block of its kind for a walk (gilloc_visit_blocks),
 *   wherever it lies, and so is one whose thread was on its way to the raw domain.
 *   Locks   trace, for start and stop; samples (GI_RANK_SAMPLES), under which only the system's allocator is called.
 *   Orders  sample-state: who sends a small block to the raw domain finds the watcher there.  The number of samples is
 *           relaxed: who frees a sample got it from who made it.
 */
#ifndef GI_TRACE_SAMPLE_H
#define GI_TRACE_SAMPLE_H

#include <gilloc/gilloc.h>
#include <stdbool.h>

#include "concurrency/atomic.h"
#include "concurrency/check.h"
#include "concurrency/mutex.h"

/* Held while a watcher starts or stops. */
extern gi_mutex gi_trace_mutex GI_INTERNAL;

/* 0, or an errno.  The library is ready. */
int gi_sample_start(size_t mean);
void gi_sample_stop(void);
/* The mean; 0: off. */
size_t gi_sample_mean(void);

/* Another watcher starts: false if sampling is on; else that watcher calls gi_sample_let_go() for each raw block before
   it is freed or resized.  It ends. */
bool gi_sample_give_way_locked(void);
void gi_sample_take_over_locked(void);
extern gi_atomic(uint64_t) gi_sample_count GI_INTERNAL; /* relaxed: live samples */
/* And it has these serve requests of the raw domain while gi_sampling.small is not 0. */
void *gi_sample_malloc(size_t size);
void *gi_sample_calloc(size_t count, size_t size);
void gi_sample_let_go_slow(const void *block);
static inline void gi_sample_let_go(const void *block) {
    if (gi_unlikely(gi_load_relaxed(&gi_sample_count) != 0)) { /* relaxed: as declared */
        gi_sample_let_go_slow(block);
    }
}

/* The class size of a small block that is a sample; 0: it is none. */
size_t gi_sample_class_size(const void *block);
/* In a stopped world: the live samples among the small blocks of a kind.  0, or what `visit` returned to end it. */
int gi_sample_visit(unsigned kind, gilloc_visitor visit, void *arg);

/* What is estimated of a site. */
typedef struct gi_sample_figures {
    double blocks, bytes;           /* alive */
    double blocks_ever, bytes_ever; /* since the start */
} gi_sample_figures;
/* Calls `visit` for each site that has any; it must not allocate by gilloc. */
void gi_sample_each(void (*visit)(uint32_t site, const gi_sample_figures *figures, void *arg), void *arg);
size_t gi_sample_bytes(void);

void gi_sample_before_fork(void);
void gi_sample_after_fork(void);

#endif /* GI_TRACE_SAMPLE_H */

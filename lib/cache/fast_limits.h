/* SPDX-License-Identifier: MIT */
/*
 * fast_limits.h [L4] - what the fast paths may serve.
 *
 *   A domain is *open* while its allocator is the default one and nothing stands before it; else its limits are 0, and
 *   the tests of sizes and addresses that a fast path makes anyway fail.  What is large goes *straight* to the system's
 *   allocator while nothing stands before that; *counted*, while nothing but the sampler does (sample.h); *asked*,
 *   while a runtime's own lock is in place, of which it is asked each time whether the caller holds it.
 *   Owner   the domain layer, which opens and closes.
 *   Orders  limits are relaxed: a call that runs while a domain is opened or closed may be served by either allocator,
 *           as if it had come earlier or later.
 */
#ifndef GI_FAST_LIMITS_H
#define GI_FAST_LIMITS_H

#include <stdbool.h>

#include "concurrency/atomic.h"
#include "concurrency/check.h"
#include "lib/arena/kind.h"

/* What a domain's fast path may serve; one line, read by every call and written when a domain is opened or closed. */
typedef struct gi_fast_limits {
    _Alignas(GI_CACHE_LINE) gi_atomic(uint64_t) sizes; /* requests below are small; 0: closed.  relaxed: see above */
    gi_atomic(uint64_t) pages;    /* pages of the reservation below may be ours; 0: closed.  relaxed: see above */
    gi_atomic(uint64_t) hardened; /* requests below are small in hardened mode; 0: the domain has another allocator than
                                     that mode's.  relaxed: see above */
    gi_atomic(uint64_t) large;    /* requests below that are not small go straight to the system's allocator; 0: the raw
                                  domain has a hook, or they are counted or asked for.  relaxed: see above */
    gi_atomic(uint64_t) swaps;    /* as `sizes`, but 0 while lists are to be counted for sampling as they change places.
                                  relaxed: see above */
    gi_atomic(uint64_t) counted;  /* as `large`, while those requests are to be counted for sampling; then that is 0.
                                    relaxed: see above */
    gi_atomic(uint64_t) asked;    /* as `large`, while a runtime's own lock is to be asked; then that is 0.
                                    relaxed: see above */
} gi_fast_limits;

extern gi_fast_limits gi_limits[GI_KIND_OBJECT + 1] GI_INTERNAL;
/* The raw domain's: of these only `large` and `counted`, for any size. */
extern gi_fast_limits gi_raw_limits GI_INTERNAL;
/* Those of an open domain, once the library is ready: for the default allocator when it is called through a hook. */
extern gi_fast_limits gi_open_limits GI_INTERNAL;

/* The library is ready: sets gi_open_limits. */
void gi_limits_ready(void);
/* Opens the fast path of a kind, the inlined one too; `large`: that of its large blocks too, with a question to the
   lock if that is `theirs`; `sampled`: lists and large blocks are counted (with both, large ones have no fast path). */
void gi_limits_open(unsigned kind, bool large, bool theirs, bool sampled);
/* Opens that of hardened mode. */
void gi_limits_open_hardened(unsigned kind, bool large);
void gi_limits_close(unsigned kind);
/* Opens or closes that of the raw domain; `sampled`: its blocks are counted. */
void gi_limits_open_raw(bool open, bool sampled);

#endif /* GI_FAST_LIMITS_H */

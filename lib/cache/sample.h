/* SPDX-License-Identifier: MIT */
/*
 * sample.h [L4] - which allocations are samples: each byte that is allocated starts one with a chance of 1 / mean.
 *
 *   Each thread has a countdown `left`, drawn from the exponential distribution: bytes up to the next sample.  It is
 *   counted down where blocks come from, not where they go:
 *
 *     raw blocks     by each allocation; the one in which it ends is the sample
 *     small blocks   by a whole list, as it becomes a bin's `alloc`.  If the countdown ends in the list's block k, the
 *                    list is cut before that block and the rest goes to the bin's `free`; the bin is `due`.  So the
 *                    fast path serves the k blocks before it, then finds `alloc` empty, and the next allocation of the
 *                    class takes the slow path and is the sample.
 *
 *   The bin of 0 bytes is counted by itself: what it borrows comes from blocks that have not been counted, or from
 *   counted ones that are no more used as such.
 *
 *   The distribution has no memory: what is left of a countdown is distributed as a new one.  So it is no bias that one
 *   countdown serves all classes, nor that blocks which were counted are never handed out (lists are flushed, threads
 *   end): each allocation of a class of s bytes is a sample with a chance of 1 - exp(-s / mean), independent of all
 *   others and of what the program does, and stands for the reciprocal of that many.
 *
 *   A small sample is served by the raw domain, as where no arena can be had: so its free leaves the fast path by
 *   itself.  Who sees to it there is lib/domain/trace_sample.h.  There samples are made *on the grain*, at multiples of
 *   1 KiB, so that a free tells by the address that 31 of 32 blocks are none, and by a byte of a table that nearly all
 *   others are.
 *   Owner   the thread.  Locks none.
 *   Orders  sample-state: who sends a small block to the raw domain finds there who records it.  Else the state is
 *           relaxed: who sees it late is sampled by the old mean, or not yet.
 */
#ifndef GI_SAMPLE_H
#define GI_SAMPLE_H

#include "lib/arena/size_class.h"
#include "lib/cache/bin.h"

/* The mean, below 2^41, 0: no samples are taken; and above it the number of the session, 0: there has been none.  In a
   line of its own, for it is read by all. */
extern gi_atomic(uint64_t) gi_sample_state GI_INTERNAL; /* relaxed: see above */
#define GI_SAMPLE_SESSION_SHIFT 48
#define GI_SAMPLE_MEAN_MASK (((uint64_t)1 << GI_SAMPLE_SESSION_SHIFT) - 1)

static inline bool gi_sample_is_on(void) {
    return (gi_load_relaxed_u64(&gi_sample_state) & GI_SAMPLE_MEAN_MASK) != 0; /* relaxed: as declared */
}
/* The state of a thread that is recording a sample, and of no session: all that it allocates is for the slow path. */
#define GI_SAMPLE_INSIDE UINT64_MAX
/* Whether samples are or have been taken. */
static inline bool gi_sample_is_watching(void) {
    return gi_load_relaxed_u64(&gi_sample_state) != 0; /* relaxed: as declared */
}

/* Whether lists are counted, if only up to a sample that never comes: small blocks are sampled where they come from,
   which they are not where the default allocators have no fast path. */
extern gi_atomic(bool) gi_sample_of_lists GI_INTERNAL; /* relaxed: set before a session begins */
static inline bool gi_sample_counts_lists(void) {
    return gi_sample_is_watching() && gi_load_relaxed(&gi_sample_of_lists); /* relaxed: as declared */
}

typedef struct gi_sample_thread {
    uint64_t seen; /* the state that `left` was drawn for; GI_SAMPLE_INSIDE */
    int64_t left;  /* bytes up to the next sample */
    uint64_t random;
    uint32_t small;  /* the raw request under way is a sample of 1 + this kind and class; 0: it is a raw one */
    uint32_t inside; /* a sample is being recorded: what that allocates is none */
} gi_sample_thread;
/* How many live samples there are whose addresses come to the same number here, so that a free of the raw domain tells
   by one byte whether to look for its block; one that has reached its most stays there. */
#define GI_SAMPLE_FILTER_BITS 15
extern gi_atomic(uint8_t) gi_sample_filter[1u << GI_SAMPLE_FILTER_BITS] GI_INTERNAL; /* relaxed: who frees a sample got
                                                                                         it from who made it */
static inline gi_atomic(uint8_t) *gi_sample_filter_of(const void *block) {
    return &gi_sample_filter[((uintptr_t)block >> 4) * 0x9e3779b97f4a7c15u >> (64 - GI_SAMPLE_FILTER_BITS)];
}
/* The bits that no sample's address has.  0 while one is alive elsewhere: somebody else's allocator has made it, or it
   was large and has been resized.  What the system's allocator has mapped begins 16 bytes behind a page: on the grain
   too. */
#define GI_SAMPLE_ALIGNMENT ((uintptr_t)1024)
#define GI_SAMPLE_GRAIN (GI_SAMPLE_ALIGNMENT - 1 - 16)
extern gi_atomic(uint64_t) gi_sample_grain GI_INTERNAL; /* relaxed: as above */
static inline bool gi_sample_is_on_grain(const void *block) { return ((uintptr_t)block & GI_SAMPLE_GRAIN) == 0; }
/* Whether the block may be a sample. */
static inline bool gi_sample_may_be(const void *block) {
    return gi_unlikely(((uintptr_t)block & gi_load_relaxed_u64(&gi_sample_grain)) == 0 && /* relaxed: as declared */
                       gi_load_relaxed(gi_sample_filter_of(block)) != 0);                 /* relaxed: as declared */
}

extern __thread gi_sample_thread gi_sampling GI_INTERNAL __attribute__((tls_model("initial-exec")));

/* Whether bytes that are allocated are counted, and have no sample in them; else they are for the slow path, which
   knows of all else. */
static inline bool gi_sample_passes(uint64_t bytes) {
    gi_sample_thread *thread = &gi_sampling;
    uint64_t state = gi_load_relaxed_u64(&gi_sample_state), left = (uint64_t)thread->left; /* relaxed: as declared */
    if (gi_unlikely(thread->seen != state || left < bytes)) {
        return false;
    }
    thread->left = (int64_t)(left - bytes);
    return true;
}

/* A new countdown; while no samples are taken, one that never ends. */
void gi_sample_draw(gi_sample_thread *thread, uint64_t state);
/* What threads draw from now on comes from `seed` and how many threads have drawn before; 0: from the clock. */
void gi_sample_seed(uint64_t seed);
/* Before anything is sampled; false with errno: what chance is computed by is not there. */
bool gi_sample_prepare(void);
/* How many allocations of `size` bytes a sample stands for. */
double gi_sample_weight(uint64_t state, size_t size);

/* Whether the request of a raw block of `size` bytes is a sample. */
static inline bool gi_sample_raw(gi_sample_thread *thread, uint64_t state, size_t size) {
    if (gi_unlikely(thread->seen != state)) {
        gi_sample_draw(thread, state);
    }
    if (gi_likely(size <= (uint64_t)thread->left)) {
        thread->left -= (int64_t)size;
        return false;
    }
    gi_sample_draw(thread, state);
    return true;
}

/* What bin->length is to `alloc`: nothing, for it is looked how many blocks there are; as many at most; as many. */
typedef enum gi_sample_length {
    GI_SAMPLE_LENGTH_OPEN,
    GI_SAMPLE_LENGTH_MOST,
    GI_SAMPLE_LENGTH_EXACT,
} gi_sample_length;

/* A list has become `alloc`: counts it, and cuts it; the rest goes to the `free` of `rest_to`.  False if the next
   allocation is the sample: then it is empty. */
bool gi_sample_list_slow(gi_bin *bin, gi_bin *rest_to, unsigned kind, unsigned size_class, gi_sample_length length,
                         const char *function);
static inline bool gi_sample_list(gi_bin *bin, gi_bin *rest_to, unsigned kind, unsigned size_class,
                                  gi_sample_length length, const char *function) {
    return gi_likely(length != GI_SAMPLE_LENGTH_OPEN && gi_sample_passes(bin->length * gi_class_size(size_class))) ||
           gi_sample_list_slow(bin, rest_to, kind, size_class, length, function);
}
/* Puts a list, which may be empty, onto the bin's `free`, which may hold as many more from now on as it needs to. */
void gi_sample_free_rest(gi_bin *bin, gi_link *rest, unsigned kind, unsigned size_class, const char *function);
/* Whether the next allocation of the bin, whose `alloc` has become empty, is the sample; it is no longer then. */
bool gi_sample_is_due_slow(gi_bin *bin);
static inline bool gi_sample_is_due(gi_bin *bin) { return gi_unlikely(bin->due != 0) && gi_sample_is_due_slow(bin); }
/* It will be. */
void gi_sample_make_due(gi_bin *bin);

static inline uint32_t gi_sample_small(unsigned kind, unsigned size_class) {
    return 1 + kind * GI_CLASSES + size_class;
}
static inline unsigned gi_sample_kind(uint32_t small) { return (small - 1) / GI_CLASSES; }
static inline unsigned gi_sample_class(uint32_t small) { return (small - 1) % GI_CLASSES; }

#endif /* GI_SAMPLE_H */

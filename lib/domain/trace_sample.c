/* SPDX-License-Identifier: MIT */
/*
 * trace_sample.c [L5] - sampling.  Theory: trace_sample.h, lib/cache/sample.h.
 *   Locks   trace, samples.
 *   Orders  sample-state.
 */
#include "lib/domain/trace_sample.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "concurrency/check.h"
#include "lib/cache/sample.h"
#include "lib/domain/domain.h"
#include "lib/domain/sites.h"
#include "lib/domain/trace_stack.h"
#include "lib/os/raw_alloc.h"

/* --- constants and state ---------------------------------------------------------------------- */

#define MEAN_MAX ((size_t)1 << 40)
#define FRAMES 64u
#define FIRST_FIGURES 64u
/* Samples up to this size are copied, or cleared, to lie on the grain. */
#define COPIED_MAX ((size_t)64 << 10)

/* uthash: memory comes from the system's allocator, past every hook; when it is out, a sample is not added. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

typedef struct sample {
    const void *block; /* the key */
    size_t size;       /* as requested */
    double weight;
    uint32_t site;
    uint32_t session;
    uint32_t small; /* gi_sample_small(); 0: a block of the raw domain, or a large one */
    UT_hash_handle hh;
} sample;

gi_mutex gi_trace_mutex = GI_MUTEX_INIT(GI_RANK_TRACE);
static bool away; /* guarded by gi_trace_mutex: another watcher is there */

static gi_mutex samples_mutex = GI_MUTEX_INIT(GI_RANK_SAMPLES);
static sample *samples;            /* guarded by samples_mutex: those that are alive */
static uint32_t odd_samples;       /* guarded by samples_mutex: those of them that are not on the grain */
static gi_sample_figures *figures; /* guarded by samples_mutex: by the site's number */
static uint32_t figure_count;      /* guarded by samples_mutex */
static uint32_t session;           /* guarded by gi_trace_mutex and, to write, by samples_mutex */

gi_atomic(uint64_t) gi_sample_count; /* relaxed: live samples */

/* --- figures ---------------------------------------------------------------------------------- */

static bool make_room_locked(uint32_t site) {
    if (site < figure_count) {
        return true;
    }
    uint32_t count = figure_count != 0 ? figure_count : FIRST_FIGURES;
    while (count <= site) {
        count *= 2;
    }
    gi_sample_figures *more = realloc(figures, count * sizeof(*more));
    if (more == NULL) {
        return false;
    }
    memset(more + figure_count, 0, (count - figure_count) * sizeof(*more));
    figures = more;
    figure_count = count;
    return true;
}

static void add_locked(const sample *of, double sign) {
    if (of->session == session) {
        gi_sample_figures *sums = &figures[of->site];
        sums->blocks += sign * of->weight;
        sums->bytes += sign * of->weight * (double)of->size;
        if (sign > 0) {
            sums->blocks_ever += of->weight;
            sums->bytes_ever += of->weight * (double)of->size;
        }
    }
}

/* --- samples ---------------------------------------------------------------------------------- */

/* A block has become a sample, or is none any more. */
static void note_locked(const void *block, int change) {
    if (!gi_sample_is_on_grain(block)) {
        odd_samples += (uint32_t)change;
        gi_store_relaxed(&gi_sample_grain, odd_samples == 0 ? GI_SAMPLE_GRAIN : 0); /* relaxed: as declared */
    }
    gi_atomic(uint8_t) *filter = gi_sample_filter_of(block);
    uint8_t before = gi_load_relaxed(filter); /* relaxed: as declared */
    if (before != UINT8_MAX) {
        gi_store_relaxed(filter, (uint8_t)(before + change)); /* relaxed: as declared */
    }
    gi_fetch_add_relaxed(&gi_sample_count, (uint64_t)change);
}

static bool put_locked(sample *added) {
    if (!make_room_locked(added->site)) {
        return false;
    }
    HASH_ADD(hh, samples, block, sizeof(added->block), added);
    bool done = added->hh.tbl != NULL;
    if (done) {
        note_locked(added->block, 1);
    }
    return done;
}

static bool put(sample *added) {
    gi_mutex_lock(&samples_mutex);
    bool done = put_locked(added);
    if (done) {
        add_locked(added, 1);
    }
    gi_mutex_unlock(&samples_mutex);
    return done;
}

static sample *find_locked(const void *block) {
    sample *found;
    HASH_FIND(hh, samples, &block, sizeof(block), found);
    return found;
}

/* The sample of the block, which is none any more; NULL: it was none. */
static sample *take(const void *block) {
    gi_mutex_lock(&samples_mutex);
    sample *taken = find_locked(block);
    if (taken != NULL) {
        HASH_DELETE(hh, samples, taken);
        add_locked(taken, -1);
        note_locked(block, -1);
    }
    gi_mutex_unlock(&samples_mutex);
    return taken;
}

/* A sample that was taken is one again: its block could not be resized.  If there is no memory for it, it is none. */
static void put_back(sample *taken) {
    gi_mutex_lock(&samples_mutex);
    if (put_locked(taken)) {
        if (taken->session == session) {
            figures[taken->site].blocks += taken->weight;
            figures[taken->site].bytes += taken->weight * (double)taken->size;
        }
        taken = NULL;
    }
    gi_mutex_unlock(&samples_mutex);
    free(taken);
}

void gi_sample_let_go_slow(const void *block) {
    if (gi_sample_may_be(block)) {
        free(take(block));
    }
}

/* Records a new block; false when memory is out. */
static bool record(const void *block, size_t size, uint32_t small, uint64_t state, const void *caller) {
    gi_frame frames[FRAMES];
    uint64_t seen = gi_sampling.seen;
    gi_sampling.seen = GI_SAMPLE_INSIDE;
    gi_sampling.inside++;
    uint32_t count = gi_stack_capture(caller, frames, FRAMES);
    gi_sampling.inside--;
    gi_sampling.seen = seen;
    const gi_site *site = count != 0 ? gi_site_intern(gi_site_hash(0, frames, count), 0, frames, count) : NULL;
    sample *added = site != NULL ? malloc(sizeof(*added)) : NULL;
    if (added == NULL) {
        return false;
    }
    size_t by = small != 0 ? gi_class_size(gi_sample_class(small)) : size;
    *added = (sample){
        .block = block,
        .size = size,
        .weight = gi_sample_weight(state, by),
        .site = site->number,
        .session = (uint32_t)(state >> GI_SAMPLE_SESSION_SHIFT),
        .small = small,
    };
    if (!put(added)) {
        free(added);
        return false;
    }
    return true;
}

/* --- the watcher ------------------------------------------------------------------------------ */

static PyMemAllocatorDomain domain_of(void *ctx) { return (PyMemAllocatorDomain)(uintptr_t)ctx; }
static void *domain_as_context(PyMemAllocatorDomain domain) { return (void *)(uintptr_t)domain; }

/* What serves mem or object may ask the raw domain, whose watcher is to look away then. */
static void look_away(PyMemAllocatorDomain domain) { gi_sampling.inside += domain != PYMEM_DOMAIN_RAW; }
static void look_again(PyMemAllocatorDomain domain) { gi_sampling.inside -= domain != PYMEM_DOMAIN_RAW; }

/* Whether the request of a raw or a large block is a sample. */
static bool is_raw_sample(size_t size, uint64_t *state) {
    gi_sample_thread *thread = &gi_sampling;
    *state = gi_load_relaxed(&gi_sample_state); /* relaxed: as declared */
    return thread->inside == 0 && gi_sample_raw(thread, *state, size != 0 ? size : 1);
}

/* Whether the request under way is a sample, and of which small block. */
static bool is_sample(size_t size, uint64_t *state, uint32_t *small) {
    *small = gi_sampling.small;
    if (gi_unlikely(*small != 0)) { /* whatever has been started or stopped since: a walk is to find it */
        gi_sampling.small = 0;
        *state = gi_load_relaxed(&gi_sample_state); /* relaxed: as declared */
        return true;
    }
    return is_raw_sample(size, state);
}

/* A small block has room for its class, as in a pool. */
static size_t room_for(size_t size, uint32_t small) {
    return small != 0 ? gi_class_size(gi_sample_class(small)) : size;
}

/* Whether the system's allocator makes the domain's blocks: then those that are to be samples are made on the grain. */
static bool is_of_system(PyMemAllocatorDomain domain) {
    return domain == PYMEM_DOMAIN_RAW && !gi_domain_is_replaced(domain);
}

static void *make(PyMemAllocatorDomain domain, size_t size) {
    const PyMemAllocatorEx *inner = gi_domain_watched(domain);
    return is_of_system(domain) ? gi_raw_malloc_aligned(GI_SAMPLE_ALIGNMENT, size) : inner->malloc(inner->ctx, size);
}

/* The product has been checked. */
static void *make_zeroed(PyMemAllocatorDomain domain, size_t count, size_t size) {
    const PyMemAllocatorEx *inner = gi_domain_watched(domain);
    if (!is_of_system(domain) || count * size > COPIED_MAX) { /* large ones are zero already */
        return inner->calloc(inner->ctx, count, size);
    }
    void *block = gi_raw_malloc_aligned(GI_SAMPLE_ALIGNMENT, count * size);
    return block != NULL ? memset(block, 0, count * size) : NULL;
}

/* Large ones grow where they are, as a rule, so they are not copied. */
static void *remake(PyMemAllocatorDomain domain, void *block, size_t size) {
    const PyMemAllocatorEx *inner = gi_domain_watched(domain);
    void *moved = inner->realloc(inner->ctx, block, size);
    bool stays = moved == NULL || gi_sample_is_on_grain(moved) || size > COPIED_MAX || !is_of_system(domain);
    void *copy = stays ? NULL : gi_raw_malloc_aligned(GI_SAMPLE_ALIGNMENT, size);
    if (copy == NULL) {
        return moved;
    }
    memcpy(copy, moved, size);
    gi_raw_free(NULL, moved);
    return copy;
}

/* Records a sample, which may be NULL.  A small one that cannot be recorded is none: a walk could not find it. */
static __attribute__((noinline)) void *sampled(PyMemAllocatorDomain domain, void *block, size_t size, uint64_t state,
                                               uint32_t small, const void *caller) {
    if (block != NULL && !record(block, size, small, state, caller) && small != 0) {
        const PyMemAllocatorEx *inner = gi_domain_watched(domain);
        inner->free(inner->ctx, block);
        return NULL;
    }
    return block;
}

static void *watch_malloc(void *ctx, size_t size) {
    PyMemAllocatorDomain domain = domain_of(ctx);
    const PyMemAllocatorEx *inner = gi_domain_watched(domain);
    const void *caller = gi_domain_caller; /* what serves the call may call too */
    uint64_t state;
    uint32_t small;
    bool is = is_sample(size, &state, &small);
    look_away(domain);
    void *block = gi_unlikely(is) ? make(domain, room_for(size, small)) : inner->malloc(inner->ctx, size);
    look_again(domain);
    return gi_unlikely(is) ? sampled(domain, block, size, state, small, caller) : block;
}

static void *watch_calloc(void *ctx, size_t count, size_t size) {
    PyMemAllocatorDomain domain = domain_of(ctx);
    const PyMemAllocatorEx *inner = gi_domain_watched(domain);
    const void *caller = gi_domain_caller;
    uint64_t state;
    uint32_t small;
    bool is = is_sample(count * size, &state, &small);
    look_away(domain);
    void *block = gi_likely(!is) ? inner->calloc(inner->ctx, count, size)
                  : small != 0   ? make_zeroed(domain, 1, room_for(0, small))
                                 : make_zeroed(domain, count, size);
    look_again(domain);
    return gi_unlikely(is) ? sampled(domain, block, count * size, state, small, caller) : block;
}

/* As far as samples go, a block that is resized is allocated anew. */
static void *watch_realloc(void *ctx, void *block, size_t size) {
    PyMemAllocatorDomain domain = domain_of(ctx);
    const PyMemAllocatorEx *inner = gi_domain_watched(domain);
    const void *caller = gi_domain_caller;
    uint64_t state;
    sample *before = gi_sample_may_be(block) ? take(block) : NULL;
    bool is = is_raw_sample(size, &state);
    look_away(domain);
    void *moved = gi_unlikely(is) ? remake(domain, block, size) : inner->realloc(inner->ctx, block, size);
    look_again(domain);
    if (gi_unlikely(is)) {
        moved = sampled(domain, moved, size, state, 0, caller);
    }
    if (gi_unlikely(before != NULL)) {
        if (moved == NULL) {
            put_back(before);
        } else {
            free(before);
        }
    }
    return moved;
}

static void watch_free(void *ctx, void *block) {
    const PyMemAllocatorEx *inner = gi_domain_watched(domain_of(ctx));
    if (gi_sample_may_be(block) && block != NULL) {
        free(take(block));
    }
    inner->free(inner->ctx, block);
}

#define WATCHER(domain) [domain] = {(void *)(uintptr_t)(domain), watch_malloc, watch_calloc, watch_realloc, watch_free}
static const PyMemAllocatorEx of_raw[GI_DOMAINS] = {WATCHER(PYMEM_DOMAIN_RAW)};
static const PyMemAllocatorEx of_all[GI_DOMAINS] = {WATCHER(PYMEM_DOMAIN_RAW), WATCHER(PYMEM_DOMAIN_MEM),
                                                    WATCHER(PYMEM_DOMAIN_OBJ)};

void *gi_sample_malloc(size_t size) { return watch_malloc(domain_as_context(PYMEM_DOMAIN_RAW), size); }

void *gi_sample_calloc(size_t count, size_t size) {
    return watch_calloc(domain_as_context(PYMEM_DOMAIN_RAW), count, size);
}

/* --- start, stop ------------------------------------------------------------------------------ */

static void watch_locked(void) { gi_domain_watch(session == 0 ? NULL : gi_domain_is_fast() ? of_raw : of_all); }

static void new_session_locked(void) {
    gi_mutex_lock(&samples_mutex);
    session = session == UINT16_MAX ? 1 : session + 1;
    if (figures != NULL) {
        memset(figures, 0, figure_count * sizeof(*figures));
    }
    gi_mutex_unlock(&samples_mutex);
}

int gi_sample_start(size_t mean) {
    mean = mean != 0 ? mean : GILLOC_SAMPLE_BYTES;
    if (mean > MEAN_MAX) {
        return EINVAL;
    }
    if (!gi_sample_prepare() || gi_stack_prepare(FRAMES) != 0) {
        return errno;
    }
    int failed = EBUSY;
    gi_mutex_lock(&gi_trace_mutex);
    if (!away) {
        failed = 0;
        new_session_locked();
        gi_store_relaxed(&gi_sample_of_lists, gi_domain_is_fast()); /* relaxed: published by the state */
        watch_locked();
        /* order(sample-state): release; pairs with acquire in refill_and_count(). */
        gi_store_release(&gi_sample_state, (uint64_t)session << GI_SAMPLE_SESSION_SHIFT | mean);
    }
    gi_mutex_unlock(&gi_trace_mutex);
    return failed;
}

void gi_sample_stop(void) {
    gi_mutex_lock(&gi_trace_mutex);
    if (gi_sample_is_on()) {
        gi_store_relaxed(&gi_sample_state, (uint64_t)session << GI_SAMPLE_SESSION_SHIFT); /* relaxed: as above */
    }
    gi_mutex_unlock(&gi_trace_mutex);
}

size_t gi_sample_mean(void) {
    /* relaxed: as above */
    return (size_t)(gi_load_relaxed(&gi_sample_state) & GI_SAMPLE_MEAN_MASK);
}

bool gi_sample_give_way_locked(void) {
    away = !gi_sample_is_on();
    return away;
}

void gi_sample_take_over_locked(void) {
    away = false;
    watch_locked();
}

/* --- what is known ---------------------------------------------------------------------------- */

size_t gi_sample_class_size(const void *block) {
    if (!gi_sample_may_be(block)) {
        return 0;
    }
    gi_mutex_lock(&samples_mutex);
    const sample *found = find_locked(block);
    size_t size = found != NULL && found->small != 0 ? gi_class_size(gi_sample_class(found->small)) : 0;
    gi_mutex_unlock(&samples_mutex);
    return size;
}

/* The sample of the kind with the lowest address above `after`, by its class size; 0: there is none. */
static size_t next_after(unsigned kind, const void **after) {
    const sample *best = NULL;
    size_t size = 0;
    gi_mutex_lock(&samples_mutex);
    for (const sample *one = samples; one != NULL; one = one->hh.next) {
        if (one->small != 0 && gi_sample_kind(one->small) == kind && one->block > *after &&
            (best == NULL || one->block < best->block)) {
            best = one;
        }
    }
    if (best != NULL) {
        *after = best->block;
        size = gi_class_size(gi_sample_class(best->small));
    }
    gi_mutex_unlock(&samples_mutex);
    return size;
}

int gi_sample_visit(unsigned kind, gilloc_visitor visit, void *arg) {
    const void *block = NULL;
    int result = 0;
    for (size_t size; result == 0 && (size = next_after(kind, &block)) != 0;) {
        result = visit((void *)(uintptr_t)block, size, arg);
    }
    return result;
}

void gi_sample_each(void (*visit)(uint32_t site, const gi_sample_figures *figures, void *arg), void *arg) {
    gi_mutex_lock(&samples_mutex);
    for (uint32_t site = 0; site < figure_count; site++) {
        if (figures[site].blocks_ever != 0) {
            visit(site, &figures[site], arg);
        }
    }
    gi_mutex_unlock(&samples_mutex);
}

size_t gi_sample_bytes(void) {
    gi_mutex_lock(&samples_mutex);
    size_t bytes = figure_count * sizeof(*figures);
    gi_mutex_unlock(&samples_mutex);
    return bytes + (size_t)gi_load_relaxed(&gi_sample_count) * sizeof(sample); /* relaxed: a statistic */
}

/* --- lifecycle -------------------------------------------------------------------------------- */

void gi_sample_before_fork(void) { gi_mutex_lock(&samples_mutex); }

void gi_sample_after_fork(void) { gi_mutex_unlock(&samples_mutex); }

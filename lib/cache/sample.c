/* SPDX-License-Identifier: MIT */
/*
 * sample.c [L4] - which allocations are samples.  Theory: sample.h.
 *   Owner   the thread.  Locks none.
 */
#include "lib/cache/sample.h"

#include <time.h>

#include "lib/cache/free_list.h"
#include "lib/late/late_math.h"

/* --- constants and state ---------------------------------------------------------------------- */

gi_atomic(uint64_t) gi_sample_state __attribute__((aligned(GI_CACHE_LINE)));
gi_atomic(bool) gi_sample_of_lists;
gi_atomic(uint8_t) gi_sample_filter[1u << GI_SAMPLE_FILTER_BITS];
gi_atomic(uint64_t) gi_sample_grain = GI_SAMPLE_GRAIN;
__thread gi_sample_thread gi_sampling;
static gi_atomic(uint64_t) seed;    /* relaxed: any number does */
static gi_atomic(uint64_t) threads; /* relaxed: a number for each */

/* Nobody allocates so much. */
#define LEFT_MAX ((double)((uint64_t)1 << 60))

/* --- chance ----------------------------------------------------------------------------------- */

/* Steele, Lea and Flood's SplitMix64. */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void begin(gi_sample_thread *thread) {
    uint64_t from = gi_load_relaxed(&seed); /* relaxed: as declared */
    if (from == 0) {
        struct timespec now = {0, 0};
        clock_gettime(CLOCK_MONOTONIC, &now);
        from = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    }
    thread->random = from + gi_fetch_add_relaxed(&threads, 1) * 0xd1342543de82ef95u; /* relaxed: as declared */
    (void)next_random(&thread->random);
}

bool gi_sample_prepare(void) { return gi_late_get_math() != NULL; }

void gi_sample_seed(uint64_t value) {
    gi_store_relaxed(&seed, value); /* relaxed: as declared */
    gi_store_relaxed(&threads, 0);
}

void gi_sample_draw(gi_sample_thread *thread, uint64_t state) {
    if (thread->seen >> GI_SAMPLE_SESSION_SHIFT != state >> GI_SAMPLE_SESSION_SHIFT) {
        begin(thread);
        thread->small = 0;
    }
    thread->seen = state;
    if ((state & GI_SAMPLE_MEAN_MASK) == 0) {
        thread->left = (int64_t)LEFT_MAX;
        return;
    }
    /* In (0, 1], so that its logarithm is a number. */
    double chance = (double)((next_random(&thread->random) >> 11) + 1) * 0x1p-53;
    double left = -gi_late_get_math()->log(chance) * (double)(state & GI_SAMPLE_MEAN_MASK);
    thread->left = (int64_t)(left < LEFT_MAX ? left : LEFT_MAX);
}

double gi_sample_weight(uint64_t state, size_t size) {
    return -1 / gi_late_get_math()->expm1(-(double)(size != 0 ? size : 1) / (double)(state & GI_SAMPLE_MEAN_MASK));
}

/* --- lists ------------------------------------------------------------------------------------ */

static uint16_t mark_of(uint64_t state) { return (uint16_t)(state >> GI_SAMPLE_SESSION_SHIFT); }

bool gi_sample_is_due_slow(gi_bin *bin) {
    bool due = gi_sample_is_on() && bin->due == mark_of(gi_load_relaxed(&gi_sample_state)); /* relaxed: as declared */
    bin->due = 0;
    return due;
}

void gi_sample_make_due(gi_bin *bin) { bin->due = mark_of(gi_load_relaxed(&gi_sample_state)); } /* relaxed: as above */

static uint64_t count_up_to(gi_link *block, uint64_t most, unsigned kind, unsigned size_class, const char *function) {
    uint64_t count = 0;
    for (; block != NULL && count < most; block = gi_free_list_next(kind, size_class, block, function)) {
        count++;
    }
    return count;
}

/* `free` has so many more. */
static void hold(gi_bin *bin, uint32_t count) {
    bin->room -= (int32_t)count;
    if (bin->room < 1) {
        bin->cap += (uint32_t)(1 - bin->room);
        bin->room = 1;
    }
}

void gi_sample_free_rest(gi_bin *bin, gi_link *rest, unsigned kind, unsigned size_class, const char *function) {
    if (rest == NULL) {
        return;
    }
    gi_link *last = rest;
    uint32_t count = 1;
    for (gi_link *next; (next = gi_free_list_next(kind, size_class, last, function)) != NULL; last = next) {
        count++;
    }
    gi_link_set(last, bin->free);
    bin->free = rest;
    hold(bin, count);
}

/* The first `count` blocks of `alloc`, which has more, stay there; the others. */
static gi_link *cut(gi_bin *bin, uint64_t count, unsigned kind, unsigned size_class, const char *function) {
    gi_link *rest = bin->alloc;
    if (count == 0) {
        bin->alloc = NULL;
    } else {
        gi_link *last = bin->alloc;
        for (uint64_t i = 1; i < count; i++) {
            last = gi_free_list_next(kind, size_class, last, function);
        }
        rest = gi_free_list_next(kind, size_class, last, function);
        gi_link_set(last, NULL);
        gi_sample_make_due(bin);
    }
    return rest;
}

bool gi_sample_list_slow(gi_bin *bin, gi_bin *rest_to, unsigned kind, unsigned size_class, gi_sample_length length,
                         const char *function) {
    gi_sample_thread *thread = &gi_sampling;
    uint64_t state = gi_load_relaxed(&gi_sample_state); /* relaxed: as declared */
    uint64_t size = gi_class_size(size_class);
    if (thread->inside != 0) {
        return true;
    }
    if (thread->seen != state) {
        gi_sample_draw(thread, state);
    }
    /* 1. Which block of the list begins at or before the end of the countdown, and goes on after it. */
    if (gi_likely(length != GI_SAMPLE_LENGTH_OPEN && bin->length * size <= (uint64_t)thread->left)) {
        thread->left -= (int64_t)(bin->length * size);
        return true;
    }
    uint64_t before = (uint64_t)thread->left / size;
    if (length != GI_SAMPLE_LENGTH_EXACT) {
        uint64_t there = count_up_to(bin->alloc, before + 1, kind, size_class, function);
        if (there <= before) {
            thread->left -= (int64_t)(there * size);
            return true;
        }
    }
    /* 2. The list ends before it.  Nobody walks the rest who need not: its blocks are not in the processor's cache. */
    gi_sample_draw(thread, state);
    gi_link *rest = cut(bin, before, kind, size_class, function);
    if (length == GI_SAMPLE_LENGTH_EXACT && rest_to->free == NULL) {
        rest_to->free = rest;
        hold(rest_to, bin->length - (uint32_t)before);
    } else {
        gi_sample_free_rest(rest_to, rest, kind, size_class, function);
    }
    bin->length = (uint32_t)before;
    return before != 0;
}

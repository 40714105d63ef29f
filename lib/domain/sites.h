/* SPDX-License-Identifier: MIT */
/*
 * sites.h [L5] - call sites: stacks that blocks were allocated from, each kept once and known by a number.
 *
 *   A frame is one word: a return address, or, with the highest bit set, the address of a record that a runtime's own
 *   frame was made into (function, file, line).  A site is a domain and some frames, innermost first.  Sites and
 *   records are interned, never change and are never freed, so a number or a pointer stays good whatever is started or
 *   stopped; what they take grows with the number of different stacks, not with the number of blocks.
 *
 *   The table is uthash, in shards under a mutex each; who calls often keeps a cache in front of it.
 *   Locks   each shard's (GI_RANK_SITES); under it only the system's allocator is called.
 *   Orders  site: what a site is made of is seen by who finds it by its number.
 */
#ifndef GI_SITES_H
#define GI_SITES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A number has so many bits; 0 is no site. */
#define GI_SITE_BITS 24
/* A site has at most so many frames. */
#define GI_SITE_FRAMES_MAX 128u

typedef uint64_t gi_frame;
#define GI_FRAME_IS_RECORD ((gi_frame)1 << 63)

typedef struct gi_frame_record {
    const char *function, *file; /* in the text */
    int line;
    char text[];
} gi_frame_record;

typedef struct gi_site {
    uint64_t hash;
    uint32_t number;
    unsigned domain; /* 0: blocks of ours; others are those of PyTraceMalloc_Track() */
    uint64_t count;  /* of frames */
    gi_frame frames[];
} gi_site;
_Static_assert(sizeof(gi_site) % sizeof(gi_frame) == 0, "frames follow without a gap");

static inline const gi_frame_record *gi_frame_record_of(gi_frame frame) {
    return (frame & GI_FRAME_IS_RECORD) != 0 ? (const gi_frame_record *)(uintptr_t)(frame & ~GI_FRAME_IS_RECORD) : NULL;
}

uint64_t gi_site_hash(unsigned domain, const gi_frame *frames, uint32_t count);
/* The site with these frames; NULL when memory is out, or there is no number left.  Any thread. */
const gi_site *gi_site_intern(uint64_t hash, unsigned domain, const gi_frame *frames, uint32_t count);
/* The site of a number, or NULL. */
const gi_site *gi_site_of(uint32_t number);
static inline bool gi_site_is(const gi_site *site, unsigned domain, const gi_frame *frames, uint64_t count) {
    bool same = site->domain == domain && site->count == count;
    for (uint64_t i = 0; i < count && same; i++) {
        same = site->frames[i] == frames[i];
    }
    return same;
}
/* All numbers are below. */
uint32_t gi_site_numbers(void);

/* A frame for a function, a file (NULL is "") and a line, copied; 0 when memory is out. */
gi_frame gi_frame_intern(const char *function, const char *file, int line);

/* Bytes that sites and records take, about. */
size_t gi_site_bytes(void);

void gi_site_before_fork(void);
void gi_site_after_fork(void);

#endif /* GI_SITES_H */

/* SPDX-License-Identifier: MIT */
/*
 * sites.c [L5] - call sites.  Theory: sites.h.
 *   Locks   the shards'; sites' own numbers are atomic.
 *   Orders  site.
 */
#include "lib/domain/sites.h"

#include <stdlib.h>
#include <string.h>

#include "concurrency/atomic.h"
#include "concurrency/check.h"
#include "concurrency/mutex.h"

/* --- constants and state ---------------------------------------------------------------------- */

/* uthash: memory comes from the system's allocator, past every hook; when it is out, an element is not added. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define SHARDS 8u
/* Longer names of a runtime's frames are cut. */
#define TEXT_MAX 256u

/* Sites by number: pieces that are made as they are needed. */
#define PIECE_SITES 4096u
#define PIECES ((1u << GI_SITE_BITS) / PIECE_SITES)

typedef gi_atomic(const gi_site *) site_slot; /* atomic, order(site) */

typedef struct site_element {
    UT_hash_handle hh;
    gi_site site; /* the key begins with its domain */
} site_element;

typedef struct record_element {
    UT_hash_handle hh;
    gi_frame_record record; /* the key begins with its line */
} record_element;

/* Of the parts of a key there is none that is not part of it. */
_Static_assert(offsetof(gi_site, frames) == offsetof(gi_site, domain) + sizeof(unsigned) + sizeof(uint64_t), "no gap");
_Static_assert(offsetof(gi_frame_record, text) == offsetof(gi_frame_record, line) + sizeof(int), "no gap");

typedef struct shard {
    gi_mutex mutex;
    site_element *sites;     /* guarded by mutex */
    record_element *records; /* guarded by mutex */
} shard;

#define SHARD \
    { .mutex = GI_MUTEX_INIT(GI_RANK_SITES) }
static shard shards[SHARDS] = {SHARD, SHARD, SHARD, SHARD, SHARD, SHARD, SHARD, SHARD};
_Static_assert(SHARDS == 8, "each has an initialiser");
static gi_atomic(site_slot *) pieces[PIECES]; /* atomic, order(site) */
static gi_atomic(uint32_t) last_number;       /* relaxed: a number is given out once */
static gi_atomic(size_t) bytes;               /* relaxed: a statistic */

static void *take_memory(size_t size) {
    void *memory = calloc(1, size);
    if (memory != NULL) {
        gi_fetch_add_relaxed(&bytes, size);
    }
    return memory;
}

static void give_memory(void *memory, size_t size) {
    gi_fetch_sub_relaxed(&bytes, size);
    free(memory);
}

/* --- hashes ----------------------------------------------------------------------------------- */

/* Any odd number with bits all over: nobody chooses addresses to collide. */
static inline uint64_t mix(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
}

uint64_t gi_site_hash(unsigned domain, const gi_frame *frames, uint32_t count) {
    uint64_t hash = mix(domain, count);
    for (uint32_t i = 0; i < count; i++) {
        hash = mix(hash, frames[i]);
    }
    return hash;
}

static shard *shard_of(uint64_t hash) { return &shards[hash >> 61]; }

/* --- sites ------------------------------------------------------------------------------------ */

/* Where the site of a number stands, or NULL when memory is out. */
static site_slot *slot_of(uint32_t number, bool make) {
    gi_atomic(site_slot *) *place = &pieces[number / PIECE_SITES];
    /* order(site): acquire; pairs with release in slot_of(). */
    site_slot *piece = gi_load_acquire(place);
    if (piece == NULL && make) {
        site_slot *made = take_memory(PIECE_SITES * sizeof(*made));
        site_slot *expected = NULL;
        /* order(site): release; pairs with acquire in slot_of(). */
        if (made != NULL && !gi_cas_release(place, &expected, made)) {
            give_memory(made, PIECE_SITES * sizeof(*made)); /* another shard's thread was first */
            /* order(site): acquire; pairs with release in slot_of(). */
            made = gi_load_acquire(place);
        }
        piece = made;
    }
    return piece != NULL ? &piece[number % PIECE_SITES] : NULL;
}

/* A number that is nobody's; 0: there is none. */
static uint32_t take_number(void) {
    uint32_t last = gi_load_relaxed(&last_number); /* relaxed: as declared */
    do {
        if (last + 1 >= 1u << GI_SITE_BITS) {
            return 0;
        }
    } while (!gi_cas_relaxed(&last_number, &last, last + 1)); /* relaxed: as declared */
    return last + 1;
}

static unsigned key_size(uint64_t count) {
    return (unsigned)(offsetof(gi_site, frames) - offsetof(gi_site, domain) + count * sizeof(gi_frame));
}

/* Puts a site into the table and gives it a number. */
static bool add_locked(shard *part, site_element *made) {
    gi_site *site = &made->site;
    site->number = take_number();
    site_slot *slot = site->number != 0 ? slot_of(site->number, true) : NULL;
    if (slot == NULL) {
        return false;
    }
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, part->sites, &site->domain, key_size(site->count), (unsigned)site->hash, made);
    if (made->hh.tbl == NULL) {
        return false;
    }
    /* order(site): release; pairs with acquire in gi_site_of(). */
    gi_store_release(slot, site);
    return true;
}

static const gi_site *intern_locked(shard *part, const gi_site *like, const gi_frame *frames) {
    site_element *found;
    HASH_FIND_BYHASHVALUE(hh, part->sites, &like->domain, key_size(like->count), (unsigned)like->hash, found);
    if (found != NULL) {
        return &found->site;
    }
    size_t size = sizeof(site_element) + like->count * sizeof(gi_frame);
    site_element *made = take_memory(size);
    if (made == NULL) {
        return NULL;
    }
    made->site = *like;
    memcpy(made->site.frames, frames, like->count * sizeof(gi_frame));
    if (!add_locked(part, made)) {
        give_memory(made, size);
        return NULL;
    }
    return &made->site;
}

const gi_site *gi_site_intern(uint64_t hash, unsigned domain, const gi_frame *frames, uint32_t count) {
    gi_assert(count <= GI_SITE_FRAMES_MAX);
    union {
        gi_site site;
        unsigned char room[sizeof(gi_site) + GI_SITE_FRAMES_MAX * sizeof(gi_frame)];
    } like; /* a site is looked up by one like it */
    like.site = (gi_site){hash, 0, domain, count};
    memcpy(like.room + sizeof(gi_site), frames, count * sizeof(*frames));
    shard *part = shard_of(hash);
    gi_mutex_lock(&part->mutex);
    const gi_site *found = intern_locked(part, &like.site, frames);
    gi_mutex_unlock(&part->mutex);
    return found;
}

const gi_site *gi_site_of(uint32_t number) {
    site_slot *slot = slot_of(number, false);
    /* order(site): acquire; pairs with release in add_locked(). */
    return slot != NULL ? gi_load_acquire(slot) : NULL;
}

uint32_t gi_site_numbers(void) { return gi_load_relaxed(&last_number) + 1; } /* relaxed: as declared */

/* --- a runtime's own frames ------------------------------------------------------------------- */

/* Copies a text, cut to what is kept; its size, with its end. */
static size_t copy_text(char *to, const char *text) {
    size_t length = text != NULL ? strnlen(text, TEXT_MAX - 1) : 0;
    if (length != 0) {
        memcpy(to, text, length);
    }
    to[length] = '\0';
    return length + 1;
}

static gi_frame intern_record_locked(shard *part, const gi_frame_record *like, size_t function_size, size_t text_size,
                                     unsigned hash) {
    unsigned key = (unsigned)(sizeof(like->line) + text_size);
    record_element *found;
    HASH_FIND_BYHASHVALUE(hh, part->records, &like->line, key, hash, found);
    if (found == NULL) {
        size_t size = sizeof(record_element) + text_size;
        record_element *made = take_memory(size);
        if (made == NULL) {
            return 0;
        }
        made->record.line = like->line;
        memcpy(made->record.text, like->text, text_size);
        made->record.function = made->record.text;
        made->record.file = made->record.text + function_size;
        HASH_ADD_KEYPTR_BYHASHVALUE(hh, part->records, &made->record.line, key, hash, made);
        if (made->hh.tbl == NULL) {
            give_memory(made, size);
            return 0;
        }
        found = made;
    }
    return (uintptr_t)&found->record | GI_FRAME_IS_RECORD;
}

gi_frame gi_frame_intern(const char *function, const char *file, int line) {
    union {
        gi_frame_record record;
        unsigned char room[sizeof(gi_frame_record) + 2 * TEXT_MAX];
    } like;
    like.record.line = line;
    char *text = (char *)like.room + offsetof(gi_frame_record, text);
    size_t function_size = copy_text(text, function);
    size_t text_size = function_size + copy_text(text + function_size, file);
    uint64_t hash = mix(0, (unsigned)line);
    for (size_t i = 0; i < text_size; i++) {
        hash = mix(hash, (unsigned char)text[i]);
    }
    shard *part = shard_of(hash);
    gi_mutex_lock(&part->mutex);
    gi_frame frame = intern_record_locked(part, &like.record, function_size, text_size, (unsigned)hash);
    gi_mutex_unlock(&part->mutex);
    return frame;
}

/* --- statistics, lifecycle -------------------------------------------------------------------- */

size_t gi_site_bytes(void) { return gi_load_relaxed(&bytes); } /* relaxed: as declared */

void gi_site_before_fork(void) {
    for (unsigned i = 0; i < SHARDS; i++) {
        gi_mutex_lock_each(&shards[i].mutex);
    }
}

void gi_site_after_fork(void) {
    for (unsigned i = 0; i < SHARDS; i++) {
        gi_mutex_unlock_each(&shards[i].mutex);
    }
}

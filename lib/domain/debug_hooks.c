/* SPDX-License-Identifier: MIT */
/*
 * debug_hooks.c [L5] - debug hooks.  Theory: debug_hooks.h.
 *   Locks   hooks, quarantine.  Orders: quarantine.
 */
#include "lib/domain/debug_hooks.h"

#include <string.h>

#include "concurrency/check.h"
#include "concurrency/mutex.h"
#include "concurrency/tool.h"
#include "lib/cache/object_alloc.h"
#include "lib/domain/debug_report.h"
#include "lib/domain/domain.h"
#include "lib/domain/ledger.h"
#include "lib/domain/quarantine.h"
#include "lib/os/address_kind.h"
#include "lib/os/os_memory.h"

#define INLINED inline __attribute__((always_inline))

/* --- constants and state ---------------------------------------------------------------------- */

/* The functions of the domains, in words, and their ids. */
static const gi_call_names raw_calls = {"PyMem_RawMalloc", "PyMem_RawCalloc", "PyMem_RawRealloc", "PyMem_RawFree", 'r'};
static const char apis[GI_DOMAINS] = {'r', 'm', 'o'};

/* One layer: the context of a table that is installed. */
typedef struct debug_layer {
    PyMemAllocatorEx below;      /* constant */
    PyMemAllocatorDomain domain; /* constant */
    bool straight;               /* constant: `below` is gilloc's plain heap, which is called without the table */
    bool waits;                  /* constant: and each of its blocks may wait in a quarantine */
    const gi_call_names *calls;  /* constant */
    struct debug_layer *next;    /* constant: all layers ever */
} debug_layer;

static gi_ledger words;
static gi_mutex hooks_mutex = GI_MUTEX_INIT(GI_RANK_HOOKS);
static debug_layer *layers; /* guarded by hooks_mutex */
/* No block is older than the hooks.  Guarded by hooks_mutex; written before they are installed. */
static bool knows_all[GI_DOMAINS];

static gi_mutex quarantine_mutex = GI_MUTEX_INIT(GI_RANK_QUARANTINE);
static gi_quarantine *raw_quarantine; /* guarded by quarantine_mutex */

static unsigned kind_of(const debug_layer *layer) { return (unsigned)layer->domain - 1; }

/* A call of the raw domain that a layer of mem or object expects, for a large block of its own, in this thread: it is
   looked after there, and not to be once more.  By what it asks for, since a hook between the two may call the raw
   domain for itself. */
typedef struct expectation {
    size_t size;       /* that is to be allocated; 0: none */
    const void *block; /* that is to be resized or freed; NULL: none */
} expectation;
static __thread expectation expected __attribute__((tls_model("initial-exec")));

/* --- calls below ------------------------------------------------------------------------------ */

/* `bytes`: of the block below.  What is small here and still comes to the raw domain, since no arena can be had, is
   looked after there too: so a free knows by its size. */
static inline expectation expect(const debug_layer *layer, size_t bytes, size_t size, const void *block) {
    expectation before = expected;
    if (gi_unlikely(bytes > GI_SMALL_MAX) && layer->domain != PYMEM_DOMAIN_RAW) {
        expected = (expectation){size, block};
    }
    return before;
}

static inline void *below_malloc(const debug_layer *layer, size_t size) {
    expectation before = expect(layer, size, size, NULL);
    void *block = layer->below.malloc(layer->below.ctx, size);
    expected = before;
    return block;
}

static inline void *below_calloc(const debug_layer *layer, size_t size) {
    expectation before = expect(layer, size, size, NULL);
    void *block = layer->below.calloc(layer->below.ctx, 1, size);
    expected = before;
    return block;
}

static inline void below_free(const debug_layer *layer, void *block, size_t size) {
    expectation before = expect(layer, size, 0, block);
    layer->below.free(layer->below.ctx, block);
    expected = before;
}

/* A block from before the hooks, and whatever it becomes, is none of theirs in the raw domain either. */
static void *resize_old(const debug_layer *layer, void *block, size_t size) {
    expectation before = expect(layer, SIZE_MAX, size, block);
    void *moved = layer->below.realloc(layer->below.ctx, block, size);
    expected = before;
    return moved;
}

static void free_old(const debug_layer *layer, void *block) { below_free(layer, block, SIZE_MAX); }

/* Whether the raw domain is called as expected; if so, that was the call. */
static inline bool is_expected_size(const debug_layer *layer, size_t size) {
    bool is = layer->domain == PYMEM_DOMAIN_RAW && size != 0 && expected.size == size;
    if (gi_unlikely(is)) {
        expected.size = 0;
    }
    return is;
}

static inline bool is_expected_block(const debug_layer *layer, const void *block) {
    bool is = layer->domain == PYMEM_DOMAIN_RAW && block != NULL && expected.block == block;
    if (gi_unlikely(is)) {
        expected.block = NULL;
    }
    return is;
}

/* --- the words of a block --------------------------------------------------------------------- */

enum { LIVE = 1, QUARANTINED = 2, FREED = 3 };
#define STATE_SHIFT 62
#define DOMAIN_SHIFT 60
#define SIZE_SHIFT 48
#define NOT_SMALL 0xFFFu                      /* in place of a size */
#define CALLER_MASK (((uint64_t)1 << 48) - 1) /* what of an address differs from another */

static uint64_t make_small_word(unsigned state, PyMemAllocatorDomain domain, size_t size, const void *caller) {
    return (uint64_t)state << STATE_SHIFT | (uint64_t)domain << DOMAIN_SHIFT | (uint64_t)size << SIZE_SHIFT |
           ((uintptr_t)caller & CALLER_MASK);
}
static uint64_t make_word(unsigned state, PyMemAllocatorDomain domain, size_t size, const void *caller) {
    return make_small_word(state, domain, size < NOT_SMALL ? size : NOT_SMALL, caller);
}
static unsigned state_of(uint64_t word) { return (unsigned)(word >> STATE_SHIFT); }
static PyMemAllocatorDomain domain_of(uint64_t word) { return (PyMemAllocatorDomain)(word >> DOMAIN_SHIFT & 3u); }
static const void *caller_of(uint64_t word) { return (const void *)(uintptr_t)(word & CALLER_MASK); }
static size_t small_size_of(uint64_t word) { return word >> SIZE_SHIFT & NOT_SMALL; }
static bool is_small(uint64_t word) { return small_size_of(word) != NOT_SMALL; }
/* Of a live block: the same of one that waits. */
static uint64_t quarantined_of(uint64_t word) { return word ^ (uint64_t)(LIVE ^ QUARANTINED) << STATE_SHIFT; }

static uint8_t *base_of(const void *p) { return (uint8_t *)(uintptr_t)p - GI_DEBUG_FRONT; }

/* What is known of an address. */
typedef struct known {
    uint64_t word; /* 0: nothing */
    size_t size;   /* of a live block */
} known;

static known elsewhere(uint64_t word, uint64_t detail) {
    return (known){word, is_small(word) ? small_size_of(word) : (size_t)detail};
}

static inline known look_up(const void *p) {
    const gi_ledger_word *shadow = gi_ledger_shadow_word(&words, p);
    if (gi_likely(shadow != NULL)) {
        uint64_t word = gi_load_relaxed(shadow); /* relaxed: ledger.h */
        return (known){word, small_size_of(word)};
    }
    uint64_t detail, word = gi_ledger_get_elsewhere(&words, p, &detail);
    return elsewhere(word, detail);
}

/* The same for a block that is to be freed: elsewhere nothing is known of it from now on. */
static inline known look_up_last(const void *p) {
    if (gi_likely(gi_ledger_shadow_word(&words, p) != NULL)) {
        return look_up(p);
    }
    uint64_t detail, word = gi_ledger_take_elsewhere(&words, p, &detail);
    return elsewhere(word, detail);
}

/* --- the bytes of a block --------------------------------------------------------------------- */

#define PADS 0xFDFDFDFDFDFDFDFDu

/* The eight bytes before p: the id, then seven pads. */
static uint64_t front_of(char api) {
    uint64_t front = PADS;
    memcpy(&front, &api, 1);
    return front;
}

/* Short blocks are filled, and looked at, by steps of 16 bytes from both ends: four for up to HALF bytes, eight for up
   to NEAR.  So there are as many steps whatever the size, and one branch that a size may mislead. */
typedef uint64_t wide __attribute__((vector_size(16)));
enum { STEP = sizeof(wide), HALF = 4 * STEP, NEAR = 8 * STEP, FAR = 128 * STEP };

static inline wide wide_of(uint8_t byte) {
    uint64_t word = byte * 0x0101010101010101u;
    return (wide){word, word};
}

static inline wide load(const uint8_t *bytes) {
    wide value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}
static inline void store(uint8_t *bytes, wide value) { memcpy(bytes, &value, sizeof(value)); }

/* Where the second step of up to HALF bytes begins: such a block may be shorter than two. */
static inline size_t second_step(size_t size) { return size < 2 * STEP ? size - STEP : STEP; }

static inline void fill_half(uint8_t *bytes, wide value) {
    store(bytes, value);
    store(bytes + STEP, value);
    store(bytes + 2 * STEP, value);
    store(bytes + 3 * STEP, value);
}

/* More than NEAR bytes.  Below FAR it costs less than the call of memset(). */
static __attribute__((noinline)) void fill_far(uint8_t *bytes, size_t size, uint8_t byte) {
    if (size > FAR) {
        memset(bytes, byte, size);
        return;
    }
    wide value = wide_of(byte);
    uint8_t *last = bytes + size - HALF;
    for (; bytes < last; bytes += HALF) {
        fill_half(bytes, value);
    }
    fill_half(last, value);
}

/* From 16 to NEAR bytes. */
static INLINED void fill_near(uint8_t *bytes, size_t size, uint8_t byte) {
    wide value = wide_of(byte);
    uint8_t *end = bytes + size;
    if (size > HALF) {
        fill_half(bytes, value);
        fill_half(end - HALF, value);
    } else {
        size_t second = second_step(size);
        store(bytes, value);
        store(bytes + second, value);
        store(end - STEP - second, value);
        store(end - STEP, value);
    }
}

static INLINED void fill(uint8_t *bytes, size_t size, uint8_t byte) {
    gi_likely(size <= NEAR) ? fill_near(bytes, size, byte) : fill_far(bytes, size, byte);
}

static inline void write_pads(uint8_t *p, size_t size, char api) {
    uint64_t front[2] = {__builtin_bswap64(size), front_of(api)}, back = PADS;
    memcpy(p - GI_DEBUG_FRONT, front, sizeof(front));
    memcpy(p + size, &back, sizeof(back));
}

/* The size that is written in the block.  The compiler is kept from putting another one in its place that it has been
   compared with. */
static inline size_t written_size(const uint8_t *p) {
    uint64_t size;
    memcpy(&size, p - GI_DEBUG_FRONT, sizeof(size));
    size = __builtin_bswap64(size);
    __asm__("" : "+r"(size));
    return size;
}

/* The 16 bytes before p, and the 8 past the end, are as they were written. */
static inline bool size_is_whole(const uint8_t *p, size_t size) {
    uint64_t written;
    memcpy(&written, p - GI_DEBUG_FRONT, sizeof(written));
    return written == __builtin_bswap64(size);
}

static inline bool bytes_are_whole(const uint8_t *p, size_t size, char api) {
    uint64_t front, back;
    memcpy(&front, p - GI_DEBUG_FRONT / 2, sizeof(front));
    memcpy(&back, p + size, sizeof(back));
    return front == front_of(api) && back == PADS;
}

static inline bool pads_are_whole(const uint8_t *p, size_t size, char api) {
    return size_is_whole(p, size) && bytes_are_whole(p, size, api);
}

/* --- quarantine ------------------------------------------------------------------------------- */

/* The first byte that is not as the free left it; NULL: none. */
static __attribute__((noinline, cold)) const uint8_t *find_change(const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != GI_DEBUG_FREED) {
            return bytes + i;
        }
    }
    return NULL;
}

/* What is not as the free left it, in four steps from `bytes` on. */
static inline wide changes(const uint8_t *bytes) {
    wide freed = wide_of(GI_DEBUG_FREED);
    return ((load(bytes) ^ freed) | (load(bytes + STEP) ^ freed)) |
           ((load(bytes + 2 * STEP) ^ freed) | (load(bytes + 3 * STEP) ^ freed));
}

/* The same as the next one, of more than NEAR bytes. */
static __attribute__((noinline)) bool is_far_as_freed(const uint8_t *bytes, size_t size) {
    const uint8_t *last = bytes + size - HALF;
    wide differs = changes(last);
    for (; bytes < last; bytes += HALF) {
        differs |= changes(bytes);
    }
    return (differs[0] | differs[1]) == 0;
}

/* Whether all `size` bytes, which are 16 or more, are as the free left them. */
static INLINED bool is_as_freed(const uint8_t *bytes, size_t size) {
    if (gi_unlikely(size > NEAR)) {
        return is_far_as_freed(bytes, size);
    }
    const uint8_t *end = bytes + size;
    wide differs, freed = wide_of(GI_DEBUG_FREED);
    if (size > HALF) {
        differs = changes(bytes) | changes(end - HALF);
    } else {
        size_t second = second_step(size);
        differs = ((load(bytes) ^ freed) | (load(bytes + second) ^ freed)) |
                  ((load(end - STEP - second) ^ freed) | (load(end - STEP) ^ freed));
    }
    return (differs[0] | differs[1]) == 0;
}

/* Looks for a block that waits in a quarantine. */
typedef struct quarantine_search {
    const void *block;
    gi_quarantined found; /* its block NULL: none */
} quarantine_search;

static void look_into(const gi_quarantine *quarantine, quarantine_search *search) {
    uint32_t count = quarantine != NULL ? gi_quarantine_count_seen(quarantine) : 0;
    for (uint32_t i = 0; i < count; i++) {
        const gi_quarantined *entry = gi_quarantine_at(quarantine, i);
        if (entry->block == search->block) {
            search->found = *entry;
        }
    }
}

/* For a fatal error: what another thread does to its quarantine meanwhile may hide the block. */
static void look_into_cache(gi_thread_cache *cache, void *arg) {
    /* order(quarantine): acquire; pairs with release in push_own(). */
    look_into(gi_load_acquire(&cache->quarantine), arg);
}

static gi_quarantined find_quarantined(const void *p) {
    quarantine_search search = {.block = base_of(p)};
    gi_cache_for_each(look_into_cache, &search);
    gi_mutex_lock(&quarantine_mutex);
    look_into(raw_quarantine, &search);
    gi_mutex_unlock(&quarantine_mutex);
    return search.found;
}

static gi_debug_block describe(const void *p, known block) {
    unsigned state = state_of(block.word);
    const void *caller = caller_of(block.word);
    return (gi_debug_block){.p = p,
                            .size = state == LIVE ? block.size : 0,
                            .api = apis[domain_of(block.word)],
                            .live = state == LIVE,
                            .allocated = state != FREED ? caller : NULL,
                            .freed = state == FREED         ? caller
                                     : state == QUARANTINED ? caller_of(find_quarantined(p).freed)
                                                            : NULL};
}

static gi_debug_block describe_quarantined(const gi_quarantined *entry) {
    const debug_layer *layer = entry->layer;
    return (gi_debug_block){.p = (const uint8_t *)entry->block + GI_DEBUG_FRONT,
                            .size = entry->size - GI_DEBUG_EXTRA,
                            .api = apis[layer->domain],
                            .allocated = entry->allocated,
                            .freed = caller_of(entry->freed)};
}

static __attribute__((noinline, cold)) void die_of_write(gi_quarantined entry, const char *function) {
    gi_debug_block block = describe_quarantined(&entry);
    gi_debug_die_of_write_after_free(&block, find_change(entry.block, entry.size), function);
}

/* A block that no longer waits goes to the allocator below, if nobody has written to it. */
static INLINED void release(const gi_quarantined *entry, const char *function) {
    const debug_layer *layer = entry->layer;
    uint8_t *base = entry->block, *p = base + GI_DEBUG_FRONT;
    if (gi_unlikely(!is_as_freed(base, entry->size))) {
        die_of_write(*entry, function);
    }
    /* Before the free: then the address may be anybody's. */
    gi_ledger_word *shadow = gi_ledger_shadow_word(&words, p);
    if (gi_likely(shadow != NULL)) {
        gi_store_relaxed(shadow, entry->freed); /* relaxed: ledger.h */
    }
    if (gi_unlikely(!layer->straight || !gi_object_free_fast(kind_of(layer), &gi_open_limits, base))) {
        below_free(layer, base, entry->size);
    }
}

static __attribute__((noinline)) void release_now(gi_quarantined entry, const char *function) {
    release(&entry, function);
}

static bool pop_raw_locked(size_t keep, gi_quarantined *out) {
    const gi_quarantined *oldest = raw_quarantine != NULL ? gi_quarantine_pop(raw_quarantine, keep) : NULL;
    if (oldest != NULL) {
        *out = *oldest;
    }
    return oldest != NULL;
}

/* One at a time, so that nothing is held while it is freed. */
static bool pop_raw(gi_quarantined *out) {
    gi_mutex_lock(&quarantine_mutex);
    bool popped = pop_raw_locked(0, out);
    gi_mutex_unlock(&quarantine_mutex);
    return popped;
}

static bool push_raw(const gi_quarantined *entry) {
    gi_quarantined out;
    gi_mutex_lock(&quarantine_mutex);
    if (raw_quarantine == NULL) {
        raw_quarantine = gi_quarantine_new();
    }
    while (pop_raw_locked(gi_quarantine_limit - entry->size, &out)) {
        gi_mutex_unlock(&quarantine_mutex);
        release_now(out, raw_calls.free);
        gi_mutex_lock(&quarantine_mutex);
    }
    bool pushed = raw_quarantine != NULL;
    if (pushed) {
        gi_quarantine_push(raw_quarantine, *entry);
    }
    gi_mutex_unlock(&quarantine_mutex);
    return pushed;
}

/* Whether the quarantine is still that of the thread: a hook below may have detached, and attached again, and others
   may have taken it meanwhile. */
static bool is_own(const gi_thread_cache *cache, const gi_quarantine *quarantine) {
    return gi_current_cache == cache &&
           gi_load_relaxed(&cache->quarantine) == quarantine; /* relaxed: the owner's own */
}

/* In that of the thread's cache: for `size` bytes, and for some of the next frees.  False: it is no longer its own. */
static __attribute__((noinline)) bool make_room(const gi_thread_cache *cache, gi_quarantine *quarantine, size_t size,
                                                const char *function) {
    size_t most = gi_quarantine_limit - gi_quarantine_limit / 16, keep = most > size ? most - size : 0;
    const gi_quarantined *out;
    while ((out = gi_quarantine_pop(quarantine, keep)) != NULL) {
        release(out, function);
        if (gi_unlikely(!is_own(cache, quarantine))) {
            return false;
        }
    }
    return true;
}

/* In the quarantine of the thread that is attached. */
static bool push_own(const gi_quarantined *entry, const char *function) {
    gi_thread_cache *cache = gi_current_cache;
    gi_quarantine *quarantine = gi_load_relaxed(&cache->quarantine); /* relaxed: the owner's own */
    if (gi_unlikely(quarantine == NULL)) {
        quarantine = gi_quarantine_new();
        if (quarantine == NULL) {
            return false;
        }
        /* order(quarantine): release; pairs with acquire in gi_debug_count(). */
        gi_store_release(&cache->quarantine, quarantine);
    }
    if (!gi_quarantine_has_room(quarantine, entry->size) && !make_room(cache, quarantine, entry->size, function)) {
        return false;
    }
    gi_quarantine_push(quarantine, *entry);
    return true;
}

gi_quarantine *gi_debug_take(gi_thread_cache *cache, gi_quarantine *others) {
    gi_quarantine *quarantine = gi_load_relaxed(&cache->quarantine); /* relaxed: the caller's own */
    if (quarantine == NULL || gi_quarantine_count(quarantine) == 0) {
        return others;
    }
    gi_store_relaxed(&cache->quarantine, NULL); /* relaxed: as above; it publishes nothing */
    quarantine->next = others;
    return quarantine;
}

void gi_debug_free_all(gi_quarantine *quarantines, const char *function) {
    while (quarantines != NULL) {
        gi_quarantine *next = quarantines->next;
        const gi_quarantined *out;
        while ((out = gi_quarantine_pop(quarantines, 0)) != NULL) {
            release_now(*out, function);
        }
        gi_quarantine_spare(quarantines);
        quarantines = next;
    }
}

void gi_debug_flush(gi_thread_cache *cache, const char *function) {
    gi_quarantine *quarantine;
    const gi_quarantined *own;
    /* Each time anew: is_own().  relaxed: the owner's, or the world is stopped */
    while ((quarantine = gi_load_relaxed(&cache->quarantine)) != NULL &&
           (own = gi_quarantine_pop(quarantine, 0)) != NULL) {
        release_now(*own, function);
    }
    gi_quarantined raw;
    while (pop_raw(&raw)) {
        release_now(raw, function);
    }
}

void gi_debug_count(const gi_thread_cache *cache, uint64_t *small, uint64_t *large) {
    /* order(quarantine): acquire; pairs with release in push_own(). */
    const gi_quarantine *quarantine = gi_load_acquire(&cache->quarantine);
    /* relaxed: statistics */
    *large = quarantine != NULL ? gi_load_relaxed(&quarantine->large) : 0;
    uint64_t all = quarantine != NULL ? gi_quarantine_count_seen(quarantine) : 0;
    *small = all > *large ? all - *large : 0;
}

/* --- pointers that are no live block of the domain -------------------------------------------- */

/* What is around an address in an arena. */
typedef struct place {
    bool in_pool;
    bool at_start; /* of a block, or of where one will be: only the pool's owner knows */
    size_t size;   /* of its blocks */
    void *start;
} place;

static place find_place(const void *address) {
    place found = {.in_pool = false};
    const gi_page_word *word = gi_address_word(address);
    uint32_t value = word != NULL ? gi_load_relaxed(word) : GI_WORD_NO_ARENA; /* relaxed: as in ledger.h */
    if (gi_word_is_pool(value)) {
        const gi_pool *pool = gi_address_pool(address);
        size_t size = gi_class_size(gi_word_class(value)), offset = (size_t)((const char *)address - pool->memory);
        found.in_pool = true;
        size_t header = gi_tool_sees_blocks() ? GI_WATCHED_HEADER : 0;
        found.size = size - header - (header != 0 ? GI_WATCHED_SLACK : gi_kinds[gi_word_kind(value)].tail);
        found.start = pool->memory + offset / size * size + header;
        found.at_start = offset % size == header;
    }
    return found;
}

/* The hooks' block that begins at `base`, live or not yet used again; false if there is none, as far as is known. */
static bool find_block(const void *base, bool all, gi_debug_block *block) {
    const uint8_t *p = (const uint8_t *)base + GI_DEBUG_FRONT;
    known known_block = look_up(p);
    unsigned state = state_of(known_block.word);
    *block = describe(p, known_block);
    return state != 0 && (all || state != FREED);
}

/* Elsewhere than in an arena: the hooks' block that an address points into. */
typedef struct search {
    const uint8_t *address;
    const uint8_t *found;
} search;

static void look_around(const void *p, uint64_t word, void *arg) {
    search *work = arg;
    (void)word;
    bool before = (const uint8_t *)p - GI_DEBUG_FRONT <= work->address;
    if (before && (work->found == NULL || (const uint8_t *)p > work->found)) {
        work->found = p;
    }
}

static bool find_around(const void *address, gi_debug_block *block) {
    search work = {.address = address};
    gi_ledger_each(&words, look_around, &work);
    if (work.found == NULL) {
        return false;
    }
    *block = describe(work.found, look_up(work.found));
    return block->live && work.address < work.found + block->size + GI_DEBUG_BACK;
}

/* Whether the system's allocator, or another one below, may have given an address from before the hooks. */
static bool may_be_heap(const void *address) {
    char words_of_kind[GI_ADDRESS_KIND_SIZE];
    const char *kind = gi_address_kind(address, words_of_kind, sizeof(words_of_kind));
    return strcmp(kind, "in the C library's heap") == 0 || strcmp(kind, "in anonymous memory") == 0 ||
           strcmp(kind, "at a place that the system does not tell") == 0;
}

/* Dies if `p`, which is no live block of the layer's domain, cannot be one from before the hooks either. */
static __attribute__((noinline, cold)) void examine(const debug_layer *layer, const void *p, known what, bool frees,
                                                    const char *function) {
    char api = apis[layer->domain];
    unsigned state = state_of(what.word);
    gi_debug_block block = describe(p, what);
    if (state == LIVE) {
        gi_debug_die_of_id(&block, api, function);
    }
    gi_quarantined waits = find_quarantined(p);
    if (waits.block != NULL) {
        block = describe_quarantined(&waits);
    }
    /* A freed block's pool may have become one of another size since. */
    if (waits.block != NULL || state == QUARANTINED || (state == FREED && find_place(base_of(p)).at_start)) {
        frees ? gi_debug_die_of_double_free(&block, function) : gi_debug_die_of_use_after_free(&block, function);
    }
    bool all = knows_all[layer->domain];
    place at = find_place(p);
    bool inside = at.in_pool ? find_block(at.start, all, &block) : find_around(p, &block);
    bool from_before =
        at.in_pool ? at.at_start && !inside && !all : gi_address_word(p) == NULL && !all && !inside && may_be_heap(p);
    if (!from_before) {
        gi_debug_die_of_pointer(p, api, inside ? &block : NULL, function);
    }
}

/* --- blocks in and out ------------------------------------------------------------------------ */

/* Makes what the allocator below gave a live block; NULL, and it is freed, when memory for the ledger is out. */
static __attribute__((noinline)) void *enter_elsewhere(const debug_layer *layer, uint8_t *base, size_t size,
                                                       uint64_t word) {
    uint8_t *p = base + GI_DEBUG_FRONT;
    gi_ledger_word *shadow = gi_ledger_shadow_word(&words, p);
    if (shadow != NULL) { /* no block of an arena is so large; but an allocator below may think otherwise */
        gi_store_relaxed(shadow, word); /* relaxed: ledger.h */
    } else if (!gi_ledger_put_elsewhere(&words, p, word, size)) {
        below_free(layer, base, size + GI_DEBUG_EXTRA);
        return NULL;
    }
    return p;
}

static inline void *enter(const debug_layer *layer, PyMemAllocatorDomain domain, uint8_t *base, size_t size) {
    uint8_t *p = base + GI_DEBUG_FRONT;
    uint64_t word = make_word(LIVE, domain, size, gi_domain_caller);
    gi_ledger_word *shadow = gi_ledger_shadow_word(&words, p);
    if (gi_likely(shadow != NULL && size < NOT_SMALL)) {
        gi_store_relaxed(shadow, word); /* relaxed: ledger.h */
        return p;
    }
    return enter_elsewhere(layer, base, size, word);
}

/* A live block of the layer's domain, whole; or false: it is from before the hooks. */
static inline bool check(const debug_layer *layer, const void *p, known what, bool frees, const char *function) {
    if (gi_unlikely(state_of(what.word) != LIVE || domain_of(what.word) != layer->domain)) {
        examine(layer, p, what, frees, function);
        return false;
    }
    if (gi_unlikely(!pads_are_whole(p, what.size, apis[layer->domain]))) {
        gi_debug_block block = describe(p, what);
        gi_debug_die_of_pads(&block, function);
    }
    return true;
}

/* A live block, whole, of which nothing is known any more elsewhere, becomes a freed one. */
static inline void leave(const debug_layer *layer, void *p, known what, const char *function) {
    gi_quarantined entry = {base_of(p), what.size + GI_DEBUG_EXTRA, layer,
                            make_word(FREED, layer->domain, 0, gi_domain_caller), caller_of(what.word)};
    gi_ledger_word *shadow = gi_ledger_shadow_word(&words, p);
    if (gi_likely(shadow != NULL)) {
        gi_store_relaxed(shadow, quarantined_of(what.word)); /* relaxed: ledger.h */
    }
    fill(entry.block, entry.size, GI_DEBUG_FREED);
    bool waits = gi_quarantine_takes(entry.size) &&
                 (layer->domain == PYMEM_DOMAIN_RAW ? push_raw(&entry) : push_own(&entry, function));
    if (!waits) {
        release_now(entry, function);
    }
}

/* --- the functions of a layer ----------------------------------------------------------------- */

/* Each is a short way, inlined for each domain, and a function for all else, which looks at everything again. */

#define BYTES_MAX ((size_t)PY_SSIZE_T_MAX - GI_DEBUG_EXTRA)

static inline void require(const debug_layer *layer, const char *function, size_t size, const void *block) {
    bool may = layer->domain == PYMEM_DOMAIN_RAW ||
               (gi_cache_is_attached(gi_current_cache) && !gi_domain_lock_is_to_be_asked());
    if (gi_unlikely(!may)) {
        gi_object_require_attached(kind_of(layer), function, size, block);
    }
}

/* Whether the layer may call the heap's fast path, for which an attached thread is enough. */
static inline bool is_straight(const debug_layer *layer) { return layer->straight && !gi_domain_lock_is_to_be_asked(); }

/* What the allocator below gave, with all that is in a block of `size` bytes before its user has it. */
static __attribute__((noinline)) void *dress_any(const debug_layer *layer, uint8_t *base, size_t size) {
    uint8_t *p = enter(layer, layer->domain, base, size);
    if (gi_likely(p != NULL)) {
        fill(p - 8, size + 16, GI_DEBUG_NEW); /* with what the pads then overwrite */
        write_pads(p, size, apis[layer->domain]);
    }
    return p;
}

/* The same for a block of the heap: a short one without a call. */
static INLINED void *dress_new(const debug_layer *layer, PyMemAllocatorDomain domain, uint8_t *base, size_t size) {
    uint8_t *p = base + GI_DEBUG_FRONT;
    gi_ledger_word *shadow = gi_ledger_shadow_word(&words, p);
    if (gi_unlikely(shadow == NULL || size + 16 > NEAR)) {
        return dress_any(layer, base, size);
    }
    gi_store_relaxed(shadow, make_small_word(LIVE, domain, size, gi_domain_caller)); /* relaxed: ledger.h */
    fill_near(p - 8, size + 16, GI_DEBUG_NEW);
    write_pads(p, size, apis[domain]);
    return p;
}

static INLINED void *dress_zeroed(const debug_layer *layer, PyMemAllocatorDomain domain, uint8_t *base, size_t size) {
    uint8_t *p = enter(layer, domain, base, size);
    if (gi_likely(p != NULL)) {
        write_pads(p, size, apis[domain]);
    }
    return p;
}

#define SMALL_MOST (GI_SMALL_MAX - GI_DEBUG_EXTRA) /* the greatest size whose block is a small one below */

static __attribute__((noinline)) void *malloc_else(const debug_layer *layer, size_t size) {
    if (is_expected_size(layer, size)) {
        return layer->below.malloc(layer->below.ctx, size);
    }
    require(layer, layer->calls->malloc, size, NULL);
    uint8_t *base = size <= BYTES_MAX ? below_malloc(layer, size + GI_DEBUG_EXTRA) : NULL;
    return base != NULL ? dress_any(layer, base, size) : NULL;
}

static INLINED void *malloc_in(const debug_layer *layer, PyMemAllocatorDomain domain, size_t size) {
    uint8_t *base = NULL;
    if (domain != PYMEM_DOMAIN_RAW && gi_likely(size <= SMALL_MOST && is_straight(layer))) {
        base = gi_object_malloc_fast((unsigned)domain - 1, &gi_open_limits, size + GI_DEBUG_EXTRA);
    }
    return gi_likely(base != NULL) ? dress_new(layer, domain, base, size) : malloc_else(layer, size);
}

static __attribute__((noinline)) void *calloc_else(const debug_layer *layer, size_t count, size_t size) {
    size_t bytes = count * size; /* checked by who calls a table */
    if (is_expected_size(layer, bytes)) {
        return layer->below.calloc(layer->below.ctx, count, size);
    }
    require(layer, layer->calls->calloc, bytes, NULL);
    uint8_t *base = bytes <= BYTES_MAX ? below_calloc(layer, bytes + GI_DEBUG_EXTRA) : NULL;
    return base != NULL ? dress_zeroed(layer, layer->domain, base, bytes) : NULL;
}

static INLINED void *calloc_in(const debug_layer *layer, PyMemAllocatorDomain domain, size_t count, size_t size) {
    size_t bytes = count * size; /* checked by who calls a table */
    uint8_t *base = NULL;
    if (domain != PYMEM_DOMAIN_RAW && gi_likely(bytes <= SMALL_MOST && is_straight(layer))) {
        base = gi_object_calloc_fast((unsigned)domain - 1, &gi_open_limits, bytes + GI_DEBUG_EXTRA);
    }
    return gi_likely(base != NULL) ? dress_zeroed(layer, domain, base, bytes) : calloc_else(layer, count, size);
}

static __attribute__((noinline)) void free_else(const debug_layer *layer, void *p) {
    if (is_expected_block(layer, p)) {
        layer->below.free(layer->below.ctx, p);
        return;
    }
    const char *function = layer->calls->free;
    require(layer, function, SIZE_MAX, p);
    if (p == NULL) {
        return;
    }
    known what = look_up_last(p);
    if (gi_likely(check(layer, p, what, true, function))) {
        leave(layer, p, what, function);
    } else {
        free_old(layer, p);
    }
}

/* The quarantine is full: once more with room in it, or in the other way. */
static __attribute__((noinline)) void free_with_room(const debug_layer *layer, void *p, size_t bytes);

/* A live block, whole, of a pool, that may wait in the quarantine of the thread, which has one: that of a detached
   thread has none.  All calls are at the end, so that nothing is saved for them.
   The block's own size is what all is done by, when the ledger's turns out to be the same: the program has just used
   the block, so the processor need not wait for the ledger's word, which is less often at hand. */
static INLINED void free_in(const debug_layer *layer, PyMemAllocatorDomain domain, void *p) {
    gi_quarantine *quarantine = gi_load_relaxed(&gi_current_cache->quarantine); /* relaxed: the owner's own */
    gi_ledger_word *shadow = gi_ledger_shadow_word(&words, p);
    bool may = domain != PYMEM_DOMAIN_RAW && layer->waits && !gi_domain_lock_is_to_be_asked();
    if (gi_unlikely(!may || quarantine == NULL || shadow == NULL)) {
        free_else(layer, p);
        return;
    }
    uint64_t word = gi_load_relaxed(shadow); /* relaxed: ledger.h */
    if (gi_unlikely(word >> DOMAIN_SHIFT != make_word(LIVE, domain, 0, NULL) >> DOMAIN_SHIFT)) {
        free_else(layer, p);
        return;
    }
    size_t size = written_size(p), bytes = size + GI_DEBUG_EXTRA;
    if (gi_unlikely(!size_is_whole(p, small_size_of(word)) || !bytes_are_whole(p, size, apis[domain]))) {
        free_else(layer, p);
        return;
    }
    if (gi_unlikely(!gi_quarantine_has_room(quarantine, bytes))) {
        free_with_room(layer, p, bytes);
        return;
    }
    gi_store_relaxed(shadow, quarantined_of(word)); /* relaxed: ledger.h */
    gi_quarantined entry = {base_of(p), bytes, layer, make_word(FREED, domain, 0, gi_domain_caller), caller_of(word)};
    gi_quarantine_push(quarantine, entry);
    fill(entry.block, bytes, GI_DEBUG_FREED);
}

/* As the heap does (CPython's pymalloc_realloc): a block is not copied to save a quarter of it.  It may have all of a
   pool's block if that begins with it: else an allocator between has some. */
static bool stays(const void *p, size_t before, size_t size) {
    place at = find_place(base_of(p));
    size_t room = at.in_pool && at.at_start ? at.size : before + GI_DEBUG_EXTRA;
    size_t bytes = size + GI_DEBUG_EXTRA;
    bool same_side = (bytes > GI_SMALL_MAX) == (before + GI_DEBUG_EXTRA > GI_SMALL_MAX); /* expect() */
    return bytes <= room && 4 * bytes > 3 * room && same_side;
}

static void *resize_in_place(const debug_layer *layer, uint8_t *p, known what, size_t size) {
    size_t before = what.size;
    uint64_t word = make_word(LIVE, layer->domain, size, caller_of(what.word));
    gi_ledger_word *shadow = gi_ledger_shadow_word(&words, p);
    if (shadow != NULL) {
        gi_store_relaxed(shadow, word); /* relaxed: ledger.h */
    } else {
        gi_ledger_put_elsewhere(&words, p, word, size); /* it has an entry */
    }
    if (size < before) {
        memset(p + size + GI_DEBUG_BACK, GI_DEBUG_FREED, before - size);
    }
    write_pads(p, size, apis[layer->domain]);
    if (size > before) {
        memset(p + before, GI_DEBUG_NEW, size - before);
    }
    return p;
}

/* A block that moves is a new one, so that who goes on with the old pointer is found. */
static void *layer_realloc(void *ctx, void *p, size_t size) {
    const debug_layer *layer = ctx;
    if (is_expected_block(layer, p)) {
        return layer->below.realloc(layer->below.ctx, p, size);
    }
    const char *function = layer->calls->realloc;
    if (p == NULL) {
        require(layer, function, size, p);
        return malloc_else(layer, size);
    }
    require(layer, function, size, p);
    known what = look_up(p);
    if (gi_unlikely(!check(layer, p, what, false, function))) {
        return resize_old(layer, p, size);
    }
    if (stays(p, what.size, size)) {
        return resize_in_place(layer, p, what, size);
    }
    void *moved = malloc_else(layer, size);
    if (moved != NULL) {
        memcpy(moved, p, what.size < size ? what.size : size);
        leave(layer, p, look_up_last(p), function);
    }
    return moved;
}

/* The tables of the layers of each domain, whose functions know the domain. */
#define FUNCTIONS(name, domain)                                                                                      \
    static void *name##_malloc(void *ctx, size_t size) { return malloc_in(ctx, domain, size); }                      \
    static void *name##_calloc(void *ctx, size_t count, size_t size) { return calloc_in(ctx, domain, count, size); } \
    static void name##_free(void *ctx, void *p) { free_in(ctx, domain, p); }
#define TABLE(name) \
    { NULL, name##_malloc, name##_calloc, layer_realloc, name##_free }

FUNCTIONS(raw, PYMEM_DOMAIN_RAW)
FUNCTIONS(mem, PYMEM_DOMAIN_MEM)
FUNCTIONS(object, PYMEM_DOMAIN_OBJ)

static const PyMemAllocatorEx tables[GI_DOMAINS] = {TABLE(raw), TABLE(mem), TABLE(object)};

static void free_with_room(const debug_layer *layer, void *p, size_t bytes) {
    const gi_thread_cache *cache = gi_current_cache;
    gi_quarantine *quarantine = gi_load_relaxed(&cache->quarantine); /* relaxed: the owner's own */
    bool room = make_room(cache, quarantine, bytes, layer->calls->free) && gi_quarantine_has_room(quarantine, bytes);
    room ? tables[layer->domain].free((void *)(uintptr_t)layer, p) : free_else(layer, p);
}

static bool is_layer(const PyMemAllocatorEx *allocator) { return allocator->realloc == layer_realloc; }

/* --- questions -------------------------------------------------------------------------------- */

/* What is known of an address while hooks are installed, or were. */
static known look_up_if_any(const void *p) { return gi_ledger_is_open(&words) ? look_up(p) : (known){0, 0}; }

bool gi_debug_size(const void *block, size_t *size) {
    known what = look_up_if_any(block);
    if (state_of(what.word) != LIVE) {
        return false;
    }
    *size = what.size;
    return true;
}

void gi_debug_check(PyMemAllocatorDomain domain, const void *block, const char *function) {
    const PyMemAllocatorEx *serving = gi_domain_watched(domain);
    if (block != NULL && is_layer(serving)) {
        check(serving->ctx, block, look_up(block), false, function);
    }
}

void gi_debug_check_size(PyMemAllocatorDomain domain, const void *block, size_t size, const char *function) {
    known what = look_up_if_any(block);
    if (gi_unlikely(state_of(what.word) == LIVE && domain_of(what.word) == domain && what.size != size)) {
        gi_debug_block described = describe(block, what);
        gi_debug_die_of_size(&described, size, function);
    }
}

void *gi_debug_visit(void *block, size_t *size) {
    uint8_t *p = (uint8_t *)block + GI_DEBUG_FRONT;
    known what = look_up_if_any(p);
    if (state_of(what.word) == LIVE) {
        *size = what.size;
        return p;
    }
    return block;
}

/* --- installing ------------------------------------------------------------------------------- */

static debug_layer *find_layer_locked(PyMemAllocatorDomain domain, const PyMemAllocatorEx *below) {
    for (debug_layer *made = layers; made != NULL; made = made->next) {
        if (made->domain == domain && memcmp(&made->below, below, sizeof(*below)) == 0) {
            return made;
        }
    }
    debug_layer *made = gi_os_meta_alloc(sizeof(debug_layer));
    if (made != NULL) {
        const gi_call_names *calls = domain == PYMEM_DOMAIN_RAW ? &raw_calls : &gi_calls[domain - 1];
        bool straight = gi_domain_is_heap(domain, below);
        *made = (debug_layer){*below, domain, straight, straight && gi_quarantine_takes(GI_SMALL_MAX), calls, layers};
        layers = made;
    }
    return made;
}

/* Hooks had been installed and were removed: where a freed block was, there may be one now that they do not know. */
static void forget_freed(const void *p, uint64_t word, void *unused) {
    (void)unused;
    if (state_of(word) == FREED) {
        gi_store_relaxed(gi_ledger_shadow_word(&words, p), 0); /* relaxed: ledger.h; elsewhere none is FREED */
    }
}

void gi_debug_install(bool first) {
    gi_mutex_lock(&hooks_mutex);
    gi_ledger_open(&words);
    bool opened = true;
    if (layers != NULL) {
        gi_ledger_each(&words, forget_freed, NULL);
    }
    for (int domain = 0; domain < GI_DOMAINS && opened; domain++) {
        PyMemAllocatorEx below;
        gi_domain_get((PyMemAllocatorDomain)domain, &below);
        if (is_layer(&below)) {
            continue;
        }
        debug_layer *made = find_layer_locked((PyMemAllocatorDomain)domain, &below);
        opened = made != NULL;
        if (opened) {
            knows_all[domain] = first;
            PyMemAllocatorEx table = tables[domain];
            table.ctx = made;
            gi_domain_set((PyMemAllocatorDomain)domain, &table);
        }
    }
    gi_mutex_unlock(&hooks_mutex);
    if (!opened) {
        gi_fatal("PyMem_SetupDebugHooks", "out of memory");
    }
}

void gi_debug_before_fork(void) { gi_mutex_lock(&hooks_mutex); }

void gi_debug_after_fork(void) { gi_mutex_unlock(&hooks_mutex); }

void gi_debug_quarantine_before_fork(void) {
    gi_mutex_lock(&quarantine_mutex);
    gi_quarantine_before_fork();
}

void gi_debug_quarantine_after_fork(void) {
    gi_quarantine_after_fork();
    gi_mutex_unlock(&quarantine_mutex);
}

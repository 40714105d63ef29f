/* SPDX-License-Identifier: MIT */
/*
 * probe.c - the map of all live blocks, and allocations that are looked at.
 *   Owner   the main thread.
 *   Locks   none.
 * The map is an array in order of address, so that two neighbours in it say whether
 * anything overlaps.
 */
#include "stress/misuse/probe.h"

#include <string.h>
#include <sys/mman.h>

#include "stress/misuse/verdict.h"

#define LIVE_MAX 4096  /* blocks in the map */
#define LIVE_AIM 1800  /* about as many are kept alive */
#define FIRST_BATCH 64 /* blocks like the victim that are taken at once */
#define LARGEST 4000   /* bytes of a block */
#define ALIGNMENT 16   /* of blocks that have as many bytes; half of it, of smaller ones */

struct live {
    unsigned char *from;
    uint32_t size;
    uint8_t domain; /* DOMAINS: memory of the program */
    uint8_t seed;
};

static struct live *map;
static size_t count;
static uint64_t refused, random_state = 88172645463325252;

static uint64_t next_random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

/* --- contents --------------------------------------------------------------------------------- */

/* Memory of the program is zero. */
static unsigned char byte_at(const struct live *live, size_t i) {
    return live->domain == DOMAINS ? 0 : (unsigned char)(live->seed + i * 7);
}

static void fill(struct live *live) {
    live->seed = (uint8_t)next_random();
    for (size_t i = 0; i < live->size; i++) live->from[i] = byte_at(live, i);
}

static void look_at(const struct live *live) {
    for (size_t i = 0; i < live->size; i++) {
        if (live->from[i] == byte_at(live, i)) continue;
        verdict_end(VERDICT_SILENT, "byte %zu of a live block of %u bytes was changed", i, live->size);
    }
}

/* --- the map ---------------------------------------------------------------------------------- */

/* The first entry that ends above `from`. */
static size_t find(const void *from) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (map[middle].from + map[middle].size <= (const unsigned char *)from)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void insert(unsigned domain, void *block, size_t size) {
    size_t at = find(block);
    if (count == LIVE_MAX) verdict_end(VERDICT_BROKEN, "the map is full");
    if (at < count && map[at].from < (unsigned char *)block + size) {
        verdict_end(VERDICT_SILENT,
                    map[at].domain == DOMAINS ? "%zu bytes were handed out over memory of the program that is no block"
                                              : "%zu bytes were handed out over a live block",
                    size);
    }
    memmove(&map[at + 1], &map[at], (count++ - at) * sizeof *map);
    map[at] = (struct live){block, (uint32_t)size, (uint8_t)domain, 0};
    fill(&map[at]);
}

void probe_add(enum allocator_domain domain, void *block, size_t size) { insert(domain, block, size); }
void probe_add_region(void *from, size_t size) { insert(DOMAINS, from, size); }

bool probe_knows(const void *block) {
    size_t at = find(block);
    return at < count && map[at].from == block;
}

static void remove_at(size_t at) { memmove(&map[at], &map[at + 1], (--count - at) * sizeof *map); }

void probe_forget(const void *block) {
    if (!probe_knows(block)) verdict_end(VERDICT_BROKEN, "what is forgotten was not alive");
    remove_at(find(block));
}

void probe_fill(void) {
    for (size_t i = 0; i < count; i++) fill(&map[i]);
}

void probe_init(void) {
    map = mmap(NULL, LIVE_MAX * sizeof *map, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) verdict_end(VERDICT_BROKEN, "no memory for the map");
}

/* --- allocations ------------------------------------------------------------------------------ */

/* Every eighth by calloc, whose bytes must be zero. */
static void allocate(enum allocator_domain domain, size_t size) {
    bool cleared = next_random() % 8 == 0;
    unsigned char *block = cleared ? block_calloc(domain, 1, size) : block_malloc(domain, size);
    if (block == NULL) {
        refused++;
        return;
    }
    size_t alignment = size >= ALIGNMENT ? ALIGNMENT : ALIGNMENT / 2;
    if ((uintptr_t)block % alignment != 0) verdict_end(VERDICT_SILENT, "a block of %zu bytes is not aligned", size);
    /* Before its bytes are read: over a live block they are not zero. */
    size_t at = find(block);
    bool overlaps = at < count && map[at].from < block + size;
    for (size_t i = 0; cleared && !overlaps && i < size; i++) {
        if (block[i] != 0) verdict_end(VERDICT_SILENT, "byte %zu of %zu from calloc is not zero", i, size);
    }
    probe_add(domain, block, size);
}

/* One of the live blocks that are no memory of the program. */
static void release_one(void) {
    size_t at = next_random() % count;
    for (size_t tries = 0; map[at].domain == DOMAINS; at = (at + 1) % count) {
        if (tries++ == count) return;
    }
    struct live live = map[at];
    look_at(&live);
    remove_at(at);
    block_free(live.domain, live.from);
}

static void release_all(void) {
    for (size_t i = 0; i < count; i++) look_at(&map[i]);
    while (count > 0) {
        struct live live = map[--count];
        if (live.domain != DOMAINS) block_free(live.domain, live.from);
    }
}

static void allocate_any(enum allocator_domain domain, size_t size) {
    uint64_t chance = next_random();
    if (chance % 2 != 0) {
        domain = (enum allocator_domain)(chance / 2 % DOMAINS);
        size = chance / 8 % 4 == 0 ? 1 + chance / 32 % LARGEST : 1 + chance / 32 % 512;
    }
    allocate(domain, size);
}

void probe_run(enum allocator_domain domain, size_t size, uint64_t operations) {
    for (size_t i = 0; i < FIRST_BATCH; i++) allocate(domain, size);
    for (uint64_t i = FIRST_BATCH; i < operations; i++) {
        if (count > 0 && next_random() % (2 * LIVE_AIM) < count)
            release_one();
        else
            allocate_any(domain, size);
        safepoint_at(i);
    }
    release_all();
}

uint64_t probe_refused(void) { return refused; }

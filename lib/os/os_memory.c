/* SPDX-License-Identifier: MIT */
/*
 * os_memory.c [L2] - memory of the system: map, unmap, decommit, and the one gi_os_reserved.
 *   Locks   os.
 */
#include "lib/os/os_memory.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "concurrency/check.h"
#include "concurrency/mutex.h"
#include "concurrency/tool.h"
#include "lib/os/layout.h"

/* --- constants -------------------------------------------------------------------------------- */

#define GI_RESERVE_MIN ((size_t)4 << 20)
/* Four arenas a call: the cost of mprotect is shared, and at most 1 MiB of address space is committed ahead (it takes
   no memory before it is touched). */
#define GI_COMMIT_STRIDE 4
/* Behind each part of the reservation's head: more than a page, to which the end of the part is rounded. */
#define GUARD ((size_t)16 << 10)
/* Descriptors come from chunks of this size, so that small ones share a mapping. */
#define GI_META_CHUNK ((size_t)64 << 10)

static void *system_map(void *address, size_t size, int protection, int flags) {
    return mmap(address, size, protection, flags, -1, 0);
}

gi_os_calls gi_os = {.map = system_map, .unmap = munmap, .protect = mprotect, .advise = madvise};

gi_reservation gi_os_reserved;
static gi_mutex os_mutex = GI_MUTEX_INIT(GI_RANK_OS);
static char *meta_next, *meta_end; /* guarded by os_mutex */

/* --- map, unmap, decommit --------------------------------------------------------------------- */

void *gi_os_map(size_t size) {
    void *memory = gi_os.map(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
    return memory == MAP_FAILED ? NULL : memory;
}

void gi_os_unmap(void *memory, size_t size) { (void)gi_os.unmap(memory, size); }

/* MADV_DONTNEED, not MADV_FREE: users judge by the resident size, and the pages are zero afterwards. */
bool gi_os_decommit(void *memory, size_t size) { return gi_os.advise(memory, size, MADV_DONTNEED) == 0; }

void *gi_os_meta_alloc(size_t size) {
    size = (size + GI_CACHE_LINE - 1) & ~(size_t)(GI_CACHE_LINE - 1);
    gi_mutex_lock(&os_mutex);
    if ((size_t)(meta_end - meta_next) < size) {
        size_t chunk = size > GI_META_CHUNK ? (size + 4095) & ~(size_t)4095 : GI_META_CHUNK;
        char *memory = gi_os_map(chunk);
        if (memory == NULL) {
            gi_mutex_unlock(&os_mutex);
            return NULL;
        }
        gi_tool_roots(memory, chunk, true); /* what waits to be freed is named there */
        meta_next = memory;
        meta_end = memory + chunk;
    }
    void *result = meta_next;
    meta_next += size;
    gi_mutex_unlock(&os_mutex);
    return result;
}

/* --- the reservation -------------------------------------------------------------------------- */

static size_t round_up(size_t size, size_t unit) { return (size + unit - 1) / unit * unit; }

/* A part of the reservation's head becomes readable and writable, with a guard behind it: the rest of its last arena,
   GUARD bytes or more, is never touched by anybody.  *next is moved behind both.  NULL if the system refuses. */
static char *take_part(char **next, size_t size) {
    char *part = *next;
    *next += round_up(size + GUARD, GI_ARENA_SIZE);
    return gi_os.protect(part, size, PROT_READ | PROT_WRITE) == 0 ? part : NULL;
}

static bool try_reserve(size_t size) {
    size_t pages = size >> GI_POOL_SHIFT, mapped = size + GI_ARENA_SIZE;
    char *memory = gi_os.map(NULL, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
    if (memory == MAP_FAILED) {
        return false;
    }
    char *base = (char *)round_up((size_t)memory, GI_ARENA_SIZE);
    size_t head = (size_t)(base - memory), tail = mapped - head - size;
    char *next = base;
    char *words = take_part(&next, pages * GI_PAGE_WORD_SIZE);
    char *descriptors = take_part(&next, pages * GI_POOL_DESCRIPTOR_SIZE);
    char *links = take_part(&next, (size >> GI_ARENA_SHIFT) * sizeof(uint32_t));
    bool marked = gi_os_reserved.mark_size != 0;
    char *marks = marked ? take_part(&next, pages * gi_os_reserved.mark_size) : NULL;
    if (words == NULL || descriptors == NULL || links == NULL || (marked && marks == NULL)) {
        gi_os_unmap(memory, mapped);
        return false;
    }
    if (head != 0) {
        gi_os_unmap(memory, head);
    }
    if (tail != 0) {
        gi_os_unmap(base + size, tail);
    }
    gi_os_reserved.pages = pages;
    gi_os_reserved.descriptors = descriptors;
    gi_os_reserved.free_links = (uint32_t *)(void *)links;
    gi_os_reserved.marks = marks;
    gi_os_reserved.slots = next;
    gi_os_reserved.slot_count = (size_t)(base + size - gi_os_reserved.slots) >> GI_ARENA_SHIFT;
    gi_os_reserved.base = base;
    return true;
}

void gi_os_reserve(size_t size) {
    gi_assert(gi_os_reserved.base == NULL);
    /* Under a limit on address space, leave most of it to the rest of the program. */
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur / 4 < size) {
        size = limit.rlim_cur / 4;
    }
    for (size &= ~(GI_ARENA_SIZE - 1); size >= GI_RESERVE_MIN; size = size / 2 & ~(GI_ARENA_SIZE - 1)) {
        if (try_reserve(size)) {
            return;
        }
    }
}

void *gi_os_slot_acquire(void) {
    gi_mutex_lock(&os_mutex);
    char *memory = NULL;
    if (gi_os_reserved.first_free != 0) {
        uint32_t slot = gi_os_reserved.first_free - 1;
        gi_os_reserved.first_free = gi_os_reserved.free_links[slot];
        memory = gi_os_reserved.slots + ((size_t)slot << GI_ARENA_SHIFT);
    } else if (gi_os_reserved.fresh < gi_os_reserved.slot_count) {
        char *fresh = gi_os_reserved.slots + (gi_os_reserved.fresh << GI_ARENA_SHIFT);
        size_t stride = gi_os_reserved.slot_count - gi_os_reserved.fresh;
        stride = stride < GI_COMMIT_STRIDE ? stride : GI_COMMIT_STRIDE;
        if (gi_os_reserved.fresh < gi_os_reserved.committed) {
            memory = fresh;
        } else if (gi_os.protect(fresh, stride << GI_ARENA_SHIFT, PROT_READ | PROT_WRITE) == 0) {
            gi_os_reserved.committed += stride;
            memory = fresh;
        }
        gi_os_reserved.fresh += memory != NULL;
    }
    gi_mutex_unlock(&os_mutex);
    return memory;
}

/* The marks of the arena at an offset are zero from now on, and whole pages of them are the system's. */
static void give_back_marks(size_t offset) {
    size_t marks = gi_os_reserved.mark_size * GI_ARENA_POOLS;
    char *first = gi_os_reserved.marks + (offset >> GI_POOL_SHIFT) * gi_os_reserved.mark_size;
    bool whole = marks % (size_t)sysconf(_SC_PAGESIZE) == 0;
    if (!whole || !gi_os_decommit(first, marks)) {
        memset(first, 0, marks);
    }
}

bool gi_os_slot_release(void *memory) {
    size_t offset = (size_t)((char *)memory - gi_os_reserved.slots);
    if (gi_os_reserved.base == NULL || offset >> GI_ARENA_SHIFT >= gi_os_reserved.slot_count) {
        return false;
    }
    if (!gi_os_decommit(memory, GI_ARENA_SIZE)) {
        gi_tool_own(memory, GI_ARENA_SIZE);
        memset(memory, 0, GI_ARENA_SIZE); /* the system will not take it back (locked pages, say): zero all the same */
    }
    uint32_t slot = (uint32_t)(offset >> GI_ARENA_SHIFT);
    if (gi_os_reserved.marks != NULL) {
        give_back_marks((size_t)((char *)memory - gi_os_reserved.base));
    }
    gi_mutex_lock(&os_mutex);
    gi_os_reserved.free_links[slot] = gi_os_reserved.first_free;
    gi_os_reserved.first_free = slot + 1;
    gi_mutex_unlock(&os_mutex);
    return true;
}

size_t gi_os_slots_used(void) {
    gi_mutex_lock(&os_mutex);
    size_t used = gi_os_reserved.fresh;
    gi_mutex_unlock(&os_mutex);
    return used;
}

/* --- fork ------------------------------------------------------------------------------------- */

void gi_os_before_fork(void) { gi_mutex_lock(&os_mutex); }

void gi_os_after_fork(void) { gi_mutex_unlock(&os_mutex); }

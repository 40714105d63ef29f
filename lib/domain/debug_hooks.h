/* SPDX-License-Identifier: MIT */
/*
 * debug_hooks.h [L5] - debug hooks: an allocator around another one that finds wrong use.
 *
 *   A block of N bytes, with CPython's layout and bytes (Objects/obmalloc.c, _PyMem_DebugRawAlloc), so that eyes and
 *   tools that know CPython's know ours:
 *
 *     p-16      p-8   p-7    p              p+N     p+N+8
 *      | N, big  | id | 7 pad | N bytes      | 8 pad |      id 'r' 'm' 'o'; pad 0xFD; new 0xCD; freed 0xDD, all of it
 *        endian
 *
 *   What is believed of a block is not in it, but in a ledger (ledger.h), as a word for the address p:
 *
 *     the state, the domain, N if it is small (else it is the detail), and the caller that allocated it; of a FREED
 *     block, the caller that freed it; 0: no block of any hooks
 *
 *     0 --malloc--> LIVE --free--> QUARANTINED --oldest out--> FREED --malloc--> LIVE     in an arena
 *     0 --malloc--> LIVE --free--> 0, and an entry of a quarantine                        elsewhere
 *
 *   So a free reads the block only when it is known to be live, and by a size that the program cannot have overwritten.
 *   A pointer that the ledger does not know is a block from before the hooks were installed, if the heap or the system
 *   may have such a one, and is passed to the allocator below; else it is an invalid pointer.
 *
 *   A layer around gilloc's own plain heap has a short way for blocks of pools: the heap's fast path, the word in the
 *   shadow, and the quarantine while it has room.  All else goes the general way, which alone dies.
 *
 *   Hooks are installed as CPython's are: as the domain's table, around the one before.  Each such layer is kept for
 *   ever, as tables are.
 *   Owner   the words of a block: who owns it.  The quarantine of mem and object blocks: their thread's cache; that of
 *           raw ones is guarded by GI_RANK_QUARANTINE.
 *   Locks   GI_RANK_HOOKS for installing; GI_RANK_QUARANTINE; none is held while the allocator below is called.
 */
#ifndef GI_DEBUG_HOOKS_H
#define GI_DEBUG_HOOKS_H

#include <gilloc/pymem.h>
#include <stdbool.h>

#include "lib/cache/thread_cache.h"

/* Installs them on each domain whose allocator is none of them.  `first`: nothing has been allocated yet, so that every
   pointer must be known.  Dies when memory is out. */
void gi_debug_install(bool first);

/* If `block` is a live one of the hooks: true, and its size, as requested. */
bool gi_debug_size(const void *block, size_t *size);

/* Dies if the domain has debug hooks, not wrapped by others, and `block` is no live one that a free would take. */
void gi_debug_check(PyMemAllocatorDomain domain, const void *block, const char *function);
/* Dies if `block` is a live one of the hooks in the domain, and of another size. */
void gi_debug_check_size(PyMemAllocatorDomain domain, const void *block, size_t size, const char *function);

/* What the hooks make of a live block of the heap, for walks, when no quarantine has any: its user's block, and its
   size; or it is none of theirs, and left as it is. */
void *gi_debug_visit(void *block, size_t *size);

/* Frees what waits in the quarantine of this thread's cache, which is attached, and in the raw one.  `function` is
   named if a block turns out to have been written to. */
void gi_debug_flush(gi_thread_cache *cache, const char *function);
/* For the cache of another thread, of the same interpreter, that the caller has claimed: what waits there is put before
   `others` and returned; and is freed when the claim is over, by an attached thread. */
struct gi_quarantine *gi_debug_take(gi_thread_cache *cache, struct gi_quarantine *others);
void gi_debug_free_all(struct gi_quarantine *quarantines, const char *function);
/* Blocks that wait in it, small and large. */
void gi_debug_count(const gi_thread_cache *cache, uint64_t *small, uint64_t *large);

/* Around fork(): the mutex for installing, and the one of the raw quarantine, which ranks high. */
void gi_debug_before_fork(void);
void gi_debug_after_fork(void);
void gi_debug_quarantine_before_fork(void);
void gi_debug_quarantine_after_fork(void);

#endif /* GI_DEBUG_HOOKS_H */

/* SPDX-License-Identifier: MIT */
/*
 * layout.h [L2] - the sizes that memory is cut into.
 *
 *   An arena is 256 KiB, the unit in which memory comes from the system and goes back; it is cut into pools of 16 KiB
 *   (CPython's since 3.10).  Pools have no header, so 32 blocks of 512 bytes fit and an overrun of a block cannot reach
 *   a descriptor: each page of the size of a pool has a word and a descriptor of its own, out of line.
 *   In hostile builds both are tiny, so that every edge is met all the time.
 *   Owner   constants only.
 */
#ifndef GI_LAYOUT_H
#define GI_LAYOUT_H

#include <stddef.h>

#ifdef GI_HOSTILE
#define GI_POOL_SHIFT 12
#define GI_ARENA_SHIFT 15
#else
#define GI_POOL_SHIFT 14
#define GI_ARENA_SHIFT 18
#endif
#define GI_POOL_SIZE ((size_t)1 << GI_POOL_SHIFT)
#define GI_ARENA_SIZE ((size_t)1 << GI_ARENA_SHIFT)
#define GI_ARENA_POOLS (1u << (GI_ARENA_SHIFT - GI_POOL_SHIFT))

#define GI_PAGE_WORD_SIZE 4
#define GI_POOL_DESCRIPTOR_SIZE 64

_Static_assert(GI_ARENA_POOLS <= 32, "masks of pools are 32 bits");

#endif /* GI_LAYOUT_H */

/* SPDX-License-Identifier: MIT */
/*
 * address_kind.h [L2] - where an address is, in words: for texts about pointers that are no block.
 *   Owner   none: no state.  Locks none, no memory: it reads the system's list of mappings with a buffer on the stack,
 *           so it may be called where the heap is broken and whatever lock is held.  Slow: for fatal paths alone.
 */
#ifndef GI_ADDRESS_KIND_H
#define GI_ADDRESS_KIND_H

#include <stddef.h>

/* As much as the longest words take, but for the name of a file, which is cut. */
enum { GI_ADDRESS_KIND_SIZE = 160 };

/* Words that follow a pointer: "on the stack of this thread", "in the data of /usr/lib/libx.so", "not mapped".  They
   are written to `buffer`, cut to `size` bytes, which is returned.  Keeps errno. */
const char *gi_address_kind(const void *address, char *buffer, size_t size);

#endif /* GI_ADDRESS_KIND_H */

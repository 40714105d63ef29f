/* SPDX-License-Identifier: MIT */
/*
 * watched.h [L5] - the default allocator where a tool watches: AddressSanitizer, ThreadSanitizer or memcheck.
 *
 *   Chosen as the library becomes ready (docs/design.md, "Who serves a domain").  It is the plain one in all but this:
 *     - there is no fast path, and a block stands behind its link (pool.h, GI_WATCHED_HEADER), and behind a word that
 *       says whether it is live, and how long it is, to the byte;
 *     - the tool is told of each block as it comes and goes (concurrency/tool.h);
 *     - realloc moves a small block always, so that who uses the old one is found.
 *
 *     | link | word | as asked for | slack |       free:  link is the list's        word 0
 *     |...hidden....|              |.hidden|       live:  link is hidden too        word LIVE | size
 *
 *   So a free that is wrong is known at once, and is gilloc's own error; the tool reports accesses.  Requests that
 *   leave no room for the two, and slack, are large: the system's allocator, which the tool knows, serves them.
 *   It serves mem, object and all kinds.  Of a type-stable kind a freed block may still be used, so the tool is not
 *   told that it is free; of other kinds the first `untouched` bytes may.
 *   Owner   the word: who owns the block.  Locks none of its own.
 */
#ifndef GI_WATCHED_H
#define GI_WATCHED_H

#include "concurrency/tool.h"
#include "lib/domain/domain.h"

/* The tables for gi_domain_use(). */
extern const gi_domain_defaults gi_watched_defaults GI_INTERNAL;

/* The calls of a kind, where gi_tool_sees_blocks(); sizes are at most PY_SSIZE_T_MAX. */
void *gi_watched_malloc(unsigned kind, size_t size);
void *gi_watched_calloc(unsigned kind, size_t count, size_t size);
void *gi_watched_realloc(unsigned kind, void *block, size_t size);
void gi_watched_free(unsigned kind, void *block);
void gi_watched_free_sized(unsigned kind, void *block, size_t size, const char *function);
/* As long as it was asked for. */
size_t gi_watched_usable_size(unsigned kind, const void *block, const char *function);
/* The block of a slot of a pool, and how long it is; for walks. */
void *gi_watched_block(char *slot, size_t *size);

#endif /* GI_WATCHED_H */

/* SPDX-License-Identifier: MIT */
/*
 * debug_report.h [L5] - how debug hooks die: CPython's dump of a block, its messages, and ours.
 *   Owner   none: no state.  No memory.  Locks: while blocks are traced, one of tracing's ledger.
 */
#ifndef GI_DEBUG_REPORT_H
#define GI_DEBUG_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GI_DEBUG_FRONT = 16, GI_DEBUG_BACK = 8, GI_DEBUG_EXTRA = GI_DEBUG_FRONT + GI_DEBUG_BACK };
enum { GI_DEBUG_NEW = 0xCD, GI_DEBUG_FREED = 0xDD, GI_DEBUG_PAD = 0xFD };

/* A block as the ledger knows it. */
typedef struct gi_debug_block {
    const uint8_t *p;      /* its first byte */
    size_t size;           /* as requested */
    char api;              /* of the domain that allocated it */
    const void *allocated; /* by which caller */
    bool live;
    const void *freed; /* if it is not live: by which caller */
} gi_debug_block;

/* Each writes what it has to and ends in gi_fatal().  `function` is the public function, `api` its domain's id. */
_Noreturn void gi_debug_die_of_id(const gi_debug_block *block, char api, const char *function);
_Noreturn void gi_debug_die_of_pads(const gi_debug_block *block, const char *function);
_Noreturn void gi_debug_die_of_double_free(const gi_debug_block *block, const char *function);
/* A realloc, or any other use, of a freed block. */
_Noreturn void gi_debug_die_of_use_after_free(const gi_debug_block *block, const char *function);
/* `at`: the first byte that has changed since the free. */
_Noreturn void gi_debug_die_of_write_after_free(const gi_debug_block *block, const uint8_t *at, const char *function);
/* `inside`: the block that the pointer points into, or NULL. */
_Noreturn void gi_debug_die_of_pointer(const void *pointer, char api, const gi_debug_block *inside,
                                       const char *function);
_Noreturn void gi_debug_die_of_size(const gi_debug_block *block, size_t size, const char *function);

#endif /* GI_DEBUG_REPORT_H */

/* SPDX-License-Identifier: MIT */
/*
 * bound.c - how much gilloc may hold that is not alive.
 *   Locks   none.
 */
#include "stress/scenarios/bound.h"

#define KIB ((int64_t)1024)

/* docs/design.md */
#define CLASSES 32
#define CLASS_STEP 16
#define BIN_CAP (4 * KIB) /* grows for a class that overflows and refills in turns, which none here does */
#define BIN_BLOCKS 16     /* at least */
#define STASH (8 * KIB)   /* a class; grows where threads pass lists round, whose blocks are live in turns */
#define POOL (16 * KIB)
#define REMOTE_LIST (32 * KIB)
#define REMOTE_SLOTS 64
#define REMOTE_SLOT_BLOCKS 15
#define POOLS_FREE 64          /* and a sixteenth of the pools in use */
#define ARENAS (2 * 256 * KIB) /* an empty one, and the newest */
#define RETIRE_LIMIT (1024 * KIB)

/* Not gilloc's: a thread's stack, and what the C library has for it. */
#define THREAD (128 * KIB)

static int64_t bins(void) {
    int64_t bytes = 0;
    for (int64_t class = 1; class <= CLASSES; class ++) {
        int64_t blocks = BIN_BLOCKS * class * CLASS_STEP;
        bytes += 2 * (blocks > BIN_CAP ? blocks : BIN_CAP);
    }
    return bytes;
}

int64_t bound_bytes(const struct bound_case *bound, int64_t live, json_t **terms) {
    int64_t threads = bound->threads, small = bound->small ? 1 : 0, total = 0;
    const struct {
        const char *name;
        int64_t bytes;
    } parts[] = {
        {"bins", small * threads * bins()},
        {"stash", small * CLASSES * STASH},
        {"pool_tails", small * threads * CLASSES * POOL},
        {"remote_lists", small * threads * CLASSES * REMOTE_LIST},
        {"remote_slots", small * threads * REMOTE_SLOTS * REMOTE_SLOT_BLOCKS * CLASSES * CLASS_STEP},
        {"free_pools", small * (POOLS_FREE * POOL + live / 16)},
        {"arenas", small * ARENAS},
        {"retired", bound->retired > 0 ? (threads + 1) * (RETIRE_LIMIT + (int64_t)bound->retired) : 0},
        {"threads", threads * THREAD},
    };
    *terms = json_object();
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        json_object_set_new(*terms, parts[i].name, json_integer(parts[i].bytes));
        total += parts[i].bytes;
    }
    return total;
}

int64_t bound_limit(int64_t live, int64_t bytes) { return live * 23 / 20 + bytes; }

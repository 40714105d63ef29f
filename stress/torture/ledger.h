/* SPDX-License-Identifier: MIT */
/*
 * ledger.h - the program's own list of the blocks that one thread has alive.
 *   An entry is written between two safepoints, together with the call that makes
 *   or frees its block: in a stopped world, and after a fork, each ledger is true.
 *   Owner   its thread; who has stopped the world; a child after a fork.
 *   Locks   none.
 */
#ifndef STRESS_TORTURE_LEDGER_H
#define STRESS_TORTURE_LEDGER_H

#include "stress/torture/trial.h"

enum { LEDGER_ENTRIES = 256, LEDGER_DOMAINS = 3, LEDGER_SMALL = 512 };

struct ledger {
    unsigned number; /* constant after init; of its thread */
    struct {
        struct ledger_block *block; /* or NULL */
        PyMemAllocatorDomain domain;
        uint32_t size;
    } entries[LEDGER_ENTRIES];
};

/* All ledgers of a trial. */
struct ledgers {
    unsigned count;
    PyMemAllocatorDomain domains[LEDGER_DOMAINS]; /* object, mem and a kind */
    struct ledger *at;
};

/* One for each thread of the trial; false: told. */
bool ledgers_init(struct ledgers *ledgers, struct trial *trial);
void ledgers_fini(struct ledgers *ledgers);

/* Allocates into some entry, or frees or retires what is in it. */
void ledger_turn(const struct ledgers *ledgers, struct ledger *ledger, struct task *task);
/* Frees all, each block checked; false: something broke, and `trial` (or NULL) is told. */
bool ledger_free_all(struct ledger *ledger, struct trial *trial);

/* Stops the world (nested, if the caller has): gilloc_visit_blocks() must find each small block of each ledger once,
   and no other. */
void ledgers_visit(const struct ledgers *ledgers, struct trial *trial);

#endif /* STRESS_TORTURE_LEDGER_H */

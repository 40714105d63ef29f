/* SPDX-License-Identifier: MIT */
/*
 * offspring.h - a child by fork() in the middle of a trial, which does everything
 * with everything that the parent had, and says by its exit status how it went.
 *   Owner   the thread that forks.  Locks: none.
 */
#ifndef STRESS_TORTURE_OFFSPRING_H
#define STRESS_TORTURE_OFFSPRING_H

#include "stress/torture/ledger.h"
#include "stress/torture/slots.h"

/* Forks by PyOS_BeforeFork() and its kin, or (plain) by fork() alone, which a
   detached thread may call too; waits for the child, detached.  The child frees
   what the ledgers have, retires what `slots` (or NULL) have, attaches, starts
   threads, reclaims, and ends with status 0; all else is a bug.  `settles`: the
   trial has no type-stable kind and no other interpreter, so one gilloc_reclaim()
   of the child leaves nothing waiting. */
void offspring_run(struct task *task, const struct ledgers *ledgers, struct slots *slots, bool settles, bool plain);

#endif /* STRESS_TORTURE_OFFSPRING_H */

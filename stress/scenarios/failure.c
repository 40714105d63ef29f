/* SPDX-License-Identifier: MIT */
/*
 * failure.c - the published failures of peers, by name.
 *   Owner   constant.  Locks: none.
 */
#include "stress/scenarios/failure.h"

const struct failure *const failures[] = {
    &failure_producers, &failure_moved, &failure_lists, &failure_brief, &failure_idle, &failure_exited, NULL,
};

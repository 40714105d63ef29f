/* SPDX-License-Identifier: MIT */
/*
 * child.c - one contender, one workload, one round; then this process ends.
 *   Owner   the main thread.
 *   Locks   none.
 * The same program for all contenders but one, which is these files again with
 * the limit inlined.  It has no allocations of its own while a workload runs.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "stress/bench/allocator.h"
#include "stress/bench/chance.h"
#include "stress/bench/meter.h"
#include "stress/bench/plan.h"
#include "stress/bench/workload.h"

enum { CHILD_CONTENDER = 1, CHILD_LIBRARY, CHILD_WORKLOAD, CHILD_PERCENT, CHILD_TRACE, CHILD_WORDS };

#define BODY(name, group, body, argument, threads, needs, set, text) body_##body,
static void (*const bodies[])(const struct plan *plan) = {WORKLOADS(BODY)};

int main(int argc, char **argv) {
    char error[1024];
    if (argc != CHILD_WORDS) return fputs("this program is started by the bench\n", stderr) < 0 ? 1 : 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody would read the result */
    const struct workload *workload = workload_find(argv[CHILD_WORKLOAD]);
    if (workload == NULL) meter_fault("no such workload: %s", argv[CHILD_WORKLOAD]);
    sizes_init();
    if (allocator_load(argv[CHILD_CONTENDER], argv[CHILD_LIBRARY], error, sizeof error) != 0) meter_fault("%s", error);
    const char *often = getenv("BENCH_STATISTICS");
    if (often != NULL) own_read_statistics((unsigned)strtoul(often, NULL, 10));
    struct plan plan = {
        .argument = workload->argument,
        .threads = workload->threads,
        .percent = strtoull(argv[CHILD_PERCENT], NULL, 10),
        .trace = argv[CHILD_TRACE],
    };
    bodies[workload - workloads](&plan);
    meter_tell();
    _exit(0); /* what an allocator does at the end is not asked */
}

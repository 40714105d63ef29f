/* SPDX-License-Identifier: MIT */
/*
 * offspring.c - a child by fork() in the middle of a trial.
 *   Owner   the thread that forks.  Locks: none: in the child, those of the trial
 *           may be held by threads that it lacks, so it takes none of them.
 */
#include "stress/torture/offspring.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress/block.h"
#include "stress/sanitizer.h"

#define THREADS 2
#define BLOCKS 200
#define HANGS_AFTER 100 /* seconds: a child that hangs is ended, and told by its signal */

/* ThreadSanitizer ends a process that starts a thread after the fork of one that had threads. */
#if UNDER_TSAN
#define STARTS_THREADS 0
#else
#define STARTS_THREADS 1
#endif

/* --- the child -------------------------------------------------------------------------------- */

static struct faults child_faults; /* of this child alone */

static void child_told(void *argument, const char *fault) {
    (void)argument;
    fprintf(stderr, "child: %s\n", fault);
    _exit(1);
}

static void child_expect(bool good, const char *what) {
    if (!good) faults_add(&child_faults, "%s", what);
}

/* Attached. */
static void use_all_domains(uint32_t number) {
    struct block blocks[BLOCKS];
    for (uint32_t i = 0; i < BLOCKS; i++) {
        PyMemAllocatorDomain domain = (PyMemAllocatorDomain)(i % 3);
        block_malloc(&blocks[i], domain, i * 3, block_id(number, i), &child_faults);
    }
    for (uint32_t i = 0; i < BLOCKS; i++) {
        if (i % 4 == 0) {
            gilloc_retire(blocks[i].domain, blocks[i].address);
        } else {
            block_free(&blocks[i], number, &child_faults);
        }
    }
}

static void *child_thread(void *argument) {
    (void)argument;
    PyGILState_STATE state = PyGILState_Ensure();
    for (uint32_t i = 0; i < 4; i++) {
        use_all_domains(i);
        gilloc_safepoint();
    }
    PyGILState_Release(state);
    return NULL;
}

static void start_threads(void) {
    pthread_t threads[THREADS];
    Py_BEGIN_ALLOW_THREADS for (int i = 0; i < THREADS; i++) {
        child_expect(pthread_create(&threads[i], NULL, child_thread, NULL) == 0, "cannot start a thread");
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    Py_END_ALLOW_THREADS
}

static uint64_t waiting(void) {
    gilloc_stats stats = {.size = sizeof stats};
    gilloc_get_stats(&stats);
    return stats.retired_bytes;
}

/* One reclaim frees all; beside type-stable kinds, whose pools it empties, the next one does, and what threads of other
   interpreters left stays theirs.  Blocks of the three domains wait for one reclaim in any case. */
static void expect_reclaimed(bool settles) {
    gilloc_reclaim();
    if (!settles) gilloc_reclaim();
    uint64_t others = waiting();
    child_expect(!settles || others == 0, "retired blocks wait after gilloc_reclaim()");
    use_all_domains(3);
    gilloc_reclaim();
    child_expect(waiting() == others, "blocks that were retired since wait after gilloc_reclaim()");
}

static void child_main(const struct ledgers *ledgers, struct slots *slots, bool settles, bool attached) {
    alarm(HANGS_AFTER);
    faults_init(&child_faults, child_told, NULL);
    child_expect(PyGILState_Check() == attached, "PyGILState_Check() is not as in the parent");
    PyGILState_STATE state = PyGILState_Ensure();
    gilloc_stats stats = {.size = sizeof stats};
    gilloc_get_stats(&stats);
    child_expect(stats.thread_states == 1, "thread states of other threads are left");
    child_expect(gilloc_check() == 0, "gilloc_check() at once after the fork");
    use_all_domains(1);
    for (unsigned i = 0; i < ledgers->count; i++) {
        child_expect(ledger_free_all(&ledgers->at[i], NULL), "a block of the parent is damaged");
    }
    if (slots != NULL) {
        for (uint32_t i = 0; i < slots->count; i++) {
            gilloc_retire(slots->domains[i % slots->domain_count], slots->at[i]);
        }
    }
    gilloc_safepoint();
    if (STARTS_THREADS) start_threads();
    use_all_domains(2);
    expect_reclaimed(settles);
    gilloc_stop_the_world();
    child_expect(gilloc_check() == 0, "gilloc_check() at the end");
    gilloc_start_the_world();
    PyGILState_Release(state);
    _exit(0);
}

/* --- the parent ------------------------------------------------------------------------------- */

static void wait_for(struct task *task, pid_t child) {
    int status = 0;
    pid_t ended;
    while ((ended = waitpid(child, &status, 0)) < 0 && errno == EINTR) continue;
    if (ended != child) {
        trial_bug(task->trial, "waitpid: %s", strerror(errno));
    } else if (WIFSIGNALED(status)) {
        trial_bug(task->trial, "signal %d (%s) ended a child%s", WTERMSIG(status), strsignal(WTERMSIG(status)),
                  WTERMSIG(status) == SIGALRM ? ", which hung" : "");
    } else if (WEXITSTATUS(status) != 0) {
        trial_bug(task->trial, "a child ended with status %d (see above)", WEXITSTATUS(status));
    }
}

void offspring_run(struct task *task, const struct ledgers *ledgers, struct slots *slots, bool settles, bool plain) {
    bool attached = PyGILState_Check();
    if (!plain) PyOS_BeforeFork();
    pid_t child = fork();
    if (child == 0) {
        if (!plain) PyOS_AfterFork_Child();
        child_main(ledgers, slots, settles, attached);
    }
    int error = errno;
    if (!plain) PyOS_AfterFork_Parent();
    task_worked(task, 1);
    if (child < 0) {
        trial_bug(task->trial, "fork: %s", strerror(error));
    } else if (attached) {
        Py_BEGIN_ALLOW_THREADS wait_for(task, child);
        Py_END_ALLOW_THREADS
    } else {
        wait_for(task, child);
    }
}

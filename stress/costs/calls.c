/* SPDX-License-Identifier: MIT */
/*
 * calls.c - costs of calls of one thread: a safepoint at which nothing was asked,
 * detach and attach.
 *   Owner   the process's main thread.  Locks: none.
 */
#include "stress/costs/cost.h"
#include "stress/measure.h"

#define CALLS 100000 /* of a round */

/* Nanoseconds of one of the calls, loop included; an empty loop of the same form is measured beside it. */
#define NS_OF(statement)                                                \
    __extension__({                                                     \
        uint64_t begin_ = measure_ns(CLOCK_THREAD_CPUTIME_ID);          \
        for (int call_ = 0; call_ < CALLS; call_++) {                   \
            __asm__ volatile("" ::: "memory");                          \
            statement;                                                  \
        }                                                               \
        (double)(measure_ns(CLOCK_THREAD_CPUTIME_ID) - begin_) / CALLS; \
    })

static void run_safepoint(struct cost_job *job) {
    struct sample safepoint = {0}, loop = {0};
    PyGILState_STATE state = PyGILState_Ensure();
    for (unsigned i = 0; i < job->rounds; i++) {
        sample_add(&safepoint, NS_OF(gilloc_safepoint()));
        sample_add(&loop, NS_OF(((void)0)));
    }
    PyGILState_Release(state);
    cost_row(job, "safepoint, nothing asked", "ns", &safepoint);
    cost_row(job, "an empty loop", "ns", &loop);
}

static void run_attach(struct cost_job *job) {
    struct sample restore = {0}, ensure = {0}, make = {0};
    for (unsigned i = 0; i < job->rounds; i++) {
        PyGILState_STATE state = PyGILState_Ensure();
        sample_add(&restore, NS_OF(PyEval_RestoreThread(PyEval_SaveThread())));
        PyThreadState *saved = PyEval_SaveThread();
        sample_add(&ensure, NS_OF(PyGILState_Release(PyGILState_Ensure())));
        PyEval_RestoreThread(saved);
        PyGILState_Release(state);
        sample_add(&make, NS_OF(PyGILState_Release(PyGILState_Ensure())));
    }
    cost_row(job, "detach, attach (Save, Restore)", "ns", &restore);
    cost_row(job, "attach, detach (Ensure, Release)", "ns", &ensure);
    cost_row(job, "the same, making the state", "ns", &make);
}

const struct cost cost_safepoint = {
    .name = "safepoint",
    .what = "a safepoint at which nothing was asked",
    .gil = true,
    .free = true,
    .threads = {1},
    .run = run_safepoint,
};

const struct cost cost_attach = {
    .name = "attach",
    .what = "attach and detach",
    .gil = true,
    .free = true,
    .threads = {1},
    .run = run_attach,
};

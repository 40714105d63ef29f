/* SPDX-License-Identifier: MIT */
/*
 * workload.h - what is measured: the list of workloads, their figures, and who can
 * run each.
 *   Owner   constant.  Locks: none.
 */
#ifndef STRESS_BENCH_WORKLOAD_H
#define STRESS_BENCH_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a contender can do: bits. */
enum {
    CAN_GIVE_BACK = 1, /* memory goes back, blocks of ended threads are found again: what the limits leave out */
    CAN_LOCK = 2,      /* threads attach and detach */
    CAN_STOP = 8,      /* defers frees, stops the world: gilloc alone */
    CAN_SET = 16,      /* is there with several settings, whose costs are compared */
    CAN_EXCHANGE = 4,  /* a block is of use again wherever it is freed: the limits pile it up there */
};

/* Figures: F(identifier, name, what it is, higher is better) */
#define FIGURES_TIME(F) F("ns/op", "processor time of all threads for an operation", false)
#define FIGURES_SPEED(F)                                                \
    F("ns/op", "processor time of all threads for an operation", false) \
    F("M op/s", "operations of all threads by wall clock", true)
#define FIGURES_TRACE(F)                                                           \
    F("ns/op", "processor time of all threads for a request with its free", false) \
    F("peak MiB", "most resident memory above what the process had before", false)
#define FIGURES_FRAGMENT(F)                                                    \
    F("left %", "resident memory after the frees, of that before them", false) \
    F("refill x", "most resident memory while refilled, by live bytes", false) \
    F("full x", "resident memory when filled first, by live bytes", false)     \
    F("ns/op", "processor time of an operation, faults of pages included", false)
#define FIGURES_LIVE(F)                                       \
    F("peak x", "most resident memory, by live bytes", false) \
    F("ns/op", "processor time of all threads for an operation", false)
#define FIGURES_RESIDENT(F) F("RSS MiB", "resident memory of the process", false)
#define FIGURES_COURSE(F)                                   \
    F("freed MiB", "resident 0.1 s after the frees", false) \
    F("idle MiB", "resident 1 s later", false)              \
    F("full MiB", "resident when filled", false)            \
    F("refilled MiB", "resident when refilled", false)      \
    F("end MiB", "resident 1 s after the last free", false)
#define FIGURES_LATENCY(F)                                                        \
    F("malloc p50", "ns by wall clock, the reading of the clock included", false) \
    F("p99", "of malloc", false)                                                  \
    F("p99.9", "of malloc", false)                                                \
    F("worst", "of malloc", false)                                                \
    F("free p50", "ns by wall clock, the reading of the clock included", false)   \
    F("p99", "of free", false)                                                    \
    F("p99.9", "of free", false)                                                  \
    F("worst", "of free", false)
#define FIGURES_CONTEND(F)                                             \
    F("M takes/s", "acquisitions of both threads by wall clock", true) \
    F("k turns/s", "changes of the holder by wall clock", true)
#define FIGURES_IO(F)                                                         \
    F("wakes/s", "of the I/O thread, by wall clock", true)                    \
    F("busy %", "work of the busy threads, of what they do without it", true) \
    F("M work/s", "of the busy threads, in units of some 2 ns", true)         \
    F("wait us", "mean from the end of a sleep to the lock", false)           \
    F("worst us", "the longest such wait", false)

#define FIGURES_RETIRE(F)                                                  \
    F("more ns", "processor time of a retire, less that of a free", false) \
    F("retire ns", "processor time of a malloc and its retire", false)     \
    F("free ns", "processor time of a malloc and its free", false)
#define FIGURES_STOP(F)                                                     \
    F("p99 us", "by wall clock, from the call to the stopped world", false) \
    F("p50 us", "of the same", false)                                       \
    F("p99.9 us", "of the same", false)                                     \
    F("worst us", "of the same", false)

#define FIGURE_SETS(S) \
    S(RETIRE) S(STOP) S(TIME) S(SPEED) S(TRACE) S(FRAGMENT) S(LIVE) S(RESIDENT) S(COURSE) S(LATENCY) S(CONTEND) S(IO)

/* W(name, group, body, argument, threads, what it needs, figures, text) */
#define WORKLOADS(W)                                                                                                   \
    W("pair-32", "pairs", pair, 32, 1, 0, TIME, "malloc of 32 bytes and its free")                                     \
    W("pair-mixed", "pairs", pair, 0, 1, 0, TIME, "the same, sizes up to 512 as in the traces")                        \
    W("batch-lifo", "batches", batch, 0, 1, 0, TIME, "1,000 blocks of 16 to 512 bytes, freed last first")              \
    W("batch-fifo", "batches", batch, 1, 1, 0, TIME, "the same, freed first first")                                    \
    W("batch-random", "batches", batch, 2, 1, 0, TIME, "the same, freed in random order")                              \
    W("churn-1k", "churn", churn, 1000, 1, 0, TIME, "a table of 1,000 blocks, random ones replaced, sizes as traces")  \
    W("churn-100k", "churn", churn, 100000, 1, 0, TIME, "the same, a table of 100,000")                                \
    W("churn-1m", "churn", churn, 1000000, 1, 0, TIME, "the same, a table of 1,000,000")                               \
    W("churn-10m", "churn", churn, 10000000, 1, 0, TIME, "the same, a table of 10,000,000")                            \
    W("pair-32-2t", "threads", pair, 32, 2, 0, SPEED, "pair-32 in two threads at once")                                \
    W("batch-random-2t", "threads", batch, 2, 2, 0, SPEED, "batch-random in two threads at once")                      \
    W("churn-100k-2t", "threads", churn, 100000, 2, 0, SPEED, "churn-100k in two threads, a table each")               \
    W("scale-1", "scale", churn, 10000, 1, 0, SPEED, "a table of 10,000 blocks for each of 1 thread")                  \
    W("scale-2", "scale", churn, 10000, 2, 0, SPEED, "the same for 2 threads")                                         \
    W("scale-4", "scale", churn, 10000, 4, 0, SPEED, "the same for 4 threads")                                         \
    W("scale-8", "scale", churn, 10000, 8, 0, SPEED, "the same for 8 threads")                                         \
    W("trace-startup", "traces", trace, 0, 1, 0, TRACE, "the trace of that name, through its three domains")           \
    W("trace-jsonre", "traces", trace, 1, 1, 0, TRACE, "the same")                                                     \
    W("trace-compileall", "traces", trace, 2, 1, 0, TRACE, "the same")                                                 \
    W("trace-startup-2t", "traces", trace, 0, 2, 0, TRACE, "the same in two threads, each the whole trace")            \
    W("trace-jsonre-2t", "traces", trace, 1, 2, 0, TRACE, "the same")                                                  \
    W("trace-compileall-2t", "traces", trace, 2, 2, 0, TRACE, "the same")                                              \
    W("hand-off", "exchange", hand_off, 0, 2, CAN_EXCHANGE, TIME,                                                      \
      "one thread makes 10,000 blocks, the other frees them")                                                          \
    W("ring", "exchange", ring, 0, 2, CAN_EXCHANGE, TIME,                                                              \
      "a producer and a consumer, a ring of 4,096 blocks between them")                                                \
    W("xmalloc", "exchange", queue, 0, 2, CAN_EXCHANGE, TIME,                                                          \
      "one thread makes batches of 256, one frees; 16 to 512 bytes")                                                   \
    W("xmalloc-wide", "exchange", queue, 1, 2, CAN_EXCHANGE, TIME, "the same, 8 to 2,048 bytes")                       \
    W("larson", "exchange", larson, 0, 2, CAN_GIVE_BACK, TIME, "threads that inherit blocks of ended ones; 16 to 512") \
    W("larson-wide", "exchange", larson, 1, 2, CAN_GIVE_BACK, TIME, "the same, 8 to 1,000 bytes")                      \
    W("birth", "exchange", birth, 1000, 1, CAN_GIVE_BACK, TIME,                                                        \
      "threads make 1,000 blocks and end; the main one frees")                                                         \
    W("cache-scratch", "exchange", lines, 1, 2, 0, TIME,                                                               \
      "two threads write to blocks got from one; 1,000 writes each")                                                   \
    W("cache-thrash", "exchange", lines, 0, 2, 0, TIME, "two threads write to blocks of their own; 1,000 writes each") \
    W("fragment-runs", "memory", fragment, 0, 1, CAN_GIVE_BACK, FRAGMENT,                                              \
      "95 % of 1.5 M blocks freed in runs of 4,000")                                                                   \
    W("fragment-random", "memory", fragment, 1, 1, CAN_GIVE_BACK, FRAGMENT, "95 % of 1.5 M blocks freed at random")    \
    W("replace", "memory", replace, 0, 2, CAN_GIVE_BACK, LIVE,                                                         \
      "a live set; one thread makes, the other frees and replaces")                                                    \
    W("short-threads", "memory", short_threads, 0, 1, CAN_GIVE_BACK, LIVE,                                             \
      "200 threads of 20,000 blocks, freed by the main one")                                                           \
    W("course", "memory", course, 0, 1, CAN_GIVE_BACK, COURSE,                                                         \
      "memory in time: filled, 95 % freed, idle, refilled, freed")                                                     \
    W("trivial", "memory", trivial, 0, 1, CAN_GIVE_BACK, RESIDENT, "a process that has made one block")                \
    W("realloc-list", "requests", grow, 0, 1, 0, TIME, "64 blocks grow from 16 to 8,192 bytes as lists do")            \
    W("realloc-text", "requests", grow, 1, 1, 0, TIME, "64 blocks grow from 16 to 512 bytes by 16")                    \
    W("calloc-mixed", "requests", request, 0, 1, 0, TIME, "calloc in batches of 100, sizes as in the traces")          \
    W("zero-mem", "requests", request, 1, 1, 0, TIME, "0 bytes of the mem domain in batches of 100")                   \
    W("zero-object", "requests", request, 2, 1, 0, TIME, "0 bytes of the object domain in batches of 100")             \
    W("large-mem", "requests", request, 3, 1, 0, TIME, "513 to 2,048 bytes of the mem domain in batches of 100")       \
    W("large-object", "requests", request, 4, 1, 0, TIME, "513 to 2,048 bytes of the object domain in batches of 100") \
    W("heap-1m", "heap", heap, 1 << 20, 1, 0, TIME, "random blocks replaced in a heap of 1 MiB")                       \
    W("heap-4m", "heap", heap, 4 << 20, 1, 0, TIME, "the same, 4 MiB")                                                 \
    W("heap-16m", "heap", heap, 16 << 20, 1, 0, TIME, "the same, 16 MiB")                                              \
    W("heap-64m", "heap", heap, 64 << 20, 1, 0, TIME, "the same, 64 MiB")                                              \
    W("heap-256m", "heap", heap, 256 << 20, 1, 0, TIME, "the same, 256 MiB")                                           \
    W("heap-1g", "heap", heap, 1L << 30, 1, 0, TIME, "the same, 1 GiB")                                                \
    W("heap-4g", "heap", heap, 4L << 30, 1, 0, TIME, "the same, 4 GiB")                                                \
    W("over-pair", "overheads", pair, 32, 1, CAN_SET, TIME, "pair-32, with and without settings")                      \
    W("over-startup", "overheads", trace, 0, 1, CAN_SET, TRACE, "trace-startup, with and without settings")            \
    W("over-jsonre", "overheads", trace, 1, 1, CAN_SET, TRACE, "trace-jsonre, with and without settings")              \
    W("over-compileall", "overheads", trace, 2, 1, CAN_SET, TRACE, "trace-compileall, with and without settings")      \
    W("latency", "latency", latency, 100000, 1, 0, LATENCY,                                                            \
      "single calls while random blocks of 100,000 are replaced")                                                      \
    W("lock-pair", "lock", lock_pair, 0, 1, CAN_LOCK, TIME, "the lock dropped and taken; nobody waits")                \
    W("lock-nested", "lock", lock_nested, 0, 1, CAN_LOCK, TIME, "Ensure and Release while attached")                   \
    W("lock-new", "lock", lock_new, 0, 1, CAN_LOCK, TIME, "Ensure and Release that make and delete a state")           \
    W("lock-contend", "lock", lock_contend, 0, 2, CAN_LOCK, CONTEND, "two threads take and drop it for 0.3 s")         \
    W("lock-io-0", "lock", lock_io, 0, 1, CAN_LOCK, IO, "an I/O thread (sleeps of 100 us) alone for 0.5 s")            \
    W("lock-io-1", "lock", lock_io, 1, 2, CAN_LOCK, IO, "an I/O thread beside 1 busy thread")                          \
    W("lock-io-2", "lock", lock_io, 2, 3, CAN_LOCK, IO, "an I/O thread beside 2 busy threads")                         \
    W("lock-io-4", "lock", lock_io, 4, 5, CAN_LOCK, IO, "an I/O thread beside 4 busy threads")                         \
    W("retire", "own", retire, 0, 1, CAN_STOP, RETIRE,                                                                 \
      "gilloc_retire() in place of a free; batches of 1,000, sizes as traces")                                         \
    W("retire-2t", "own", retire, 0, 2, CAN_STOP, RETIRE, "the same beside a thread with a safepoint each 10 us")      \
    W("safepoint", "own", safepoint, 0, 1, CAN_STOP, TIME, "gilloc_safepoint() with nothing asked of it")              \
    W("stop-1", "own", stop, 1, 2, CAN_STOP, STOP, "the world stopped beside 1 busy thread, a safepoint each 10 us")   \
    W("stop-8", "own", stop, 8, 9, CAN_STOP, STOP, "the same beside 8 busy threads")

struct figure {
    const char *name;
    const char *text;
    bool high_is_good;
};

struct workload {
    const char *name;
    const char *group;
    long argument;
    unsigned threads;
    unsigned needs; /* bits of CAN_ */
    const struct figure *figures;
    size_t figure_count;
    const char *text;
};

extern const struct workload workloads[];
extern const size_t workload_count;

/* Or NULL. */
const struct workload *workload_find(const char *name);
/* Is it measured with several threads that allocate, so that a lock lets one at a time do so? */
bool workload_is_threaded(const struct workload *workload);
/* Live bytes of a heap workload, else 0. */
uint64_t workload_heap(const struct workload *workload);
/* Number of its trace (in the order of the catalog), or -1. */
int workload_trace(const struct workload *workload);

#endif /* STRESS_BENCH_WORKLOAD_H */

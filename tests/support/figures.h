/* SPDX-License-Identifier: MIT */
/*
 * figures.h - what the library's statistics say, kept and checked: by visit, as text.
 *   Any thread.
 */
#ifndef TESTS_SUPPORT_FIGURES_H
#define TESTS_SUPPORT_FIGURES_H

#include <gilloc/gilloc.h>
#include <stddef.h>
#include <stdint.h>

#include "stress/stats_fields.h"
#include "tests/support/threads.h"

/* The numbers of gilloc_stats. */
#define FIGURES(X) STATS_FIELDS(X) STATS_FIELDS_OTHER(X)

/* Waits of the histogram. */
uint64_t figures_ended_waits(const gilloc_stats *stats);

/* Of each domain and block size, checked by itself; and sums. */
#define FIGURES_CLASSES 32
#define FIGURES_DOMAINS (GILLOC_DOMAIN_LAST + 1)
struct figures_classes {
    gilloc_class_stats of[FIGURES_DOMAINS][FIGURES_CLASSES];
    uint64_t in_use, cached, pools;
    size_t count;
    int domain;          /* of the last one */
    uint64_t block_size; /* the same */
};

/* gilloc_visit_classes(). */
struct figures_classes figures_classes(void);

struct figures_threads {
    gilloc_thread_stats of[THREADS_MAX];
    size_t count;
};

/* gilloc_visit_threads(): at most THREADS_MAX. */
struct figures_threads figures_threads(void);

/* What gilloc_print_stats() writes; to be freed. */
char *figures_printed(const char *format);
/* The number behind the '=' of the line that begins with these words. */
uint64_t figures_value(const char *text, const char *words);

struct figures_table {
    uint64_t pools, in_use, avail, in_use_bytes, avail_bytes, unused, arenas, arena_bytes;
};

/* CPython's table at the head of a text: its lines as CPython writes them, its sums right. */
struct figures_table figures_table(const char *text);

#endif /* TESTS_SUPPORT_FIGURES_H */

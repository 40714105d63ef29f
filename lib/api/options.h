/* SPDX-License-Identifier: MIT */
/*
 * options.h [L6] - the environment: every variable that gilloc reads, in one table.
 *
 *   The table is options.c's, read once as the library becomes ready.  docs/api.md and gilloc_print_options() say what
 *   it says (tests/docs/api_test.py).  An empty value is as none; a wrong one is a line on stderr and exit status 1, as
 *   CPython does.
 *   Owner   runtime.c, which reads it before anybody else can.  Constant afterwards.  No locks.
 */
#ifndef GI_OPTIONS_H
#define GI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef enum gi_option_id {
    GI_OPTION_GIL,           /* 0: GIL-free mode */
    GI_OPTION_MALLOC,        /* gi_option_malloc */
    GI_OPTION_HARDEN,        /* 1: hardened mode */
    GI_OPTION_RESERVE,       /* bytes */
    GI_OPTION_RETIRE_LIMIT,  /* bytes */
    GI_OPTION_STOP_DEADLINE, /* microseconds */
    GI_OPTION_QUARANTINE,    /* bytes */
    GI_OPTION_MALLOC_STATS,  /* text: set or not */
    GI_OPTION_STATS,         /* gi_option_stats */
    GI_OPTION_WATCH,         /* 0: no tool is told */
    GI_OPTION_TRACE,         /* frames; 0: no tracing */
    GI_OPTION_SAMPLE,        /* bytes; 0: no sampling */
    GI_OPTION_PROFILE,       /* a file */
    GI_OPTIONS
} gi_option_id;

/* CPython's PyMemAllocatorName, but for mimalloc. */
typedef enum gi_option_malloc {
    GI_MALLOC_DEFAULT,
    GI_MALLOC_DEBUG,
    GI_MALLOC_MALLOC,
    GI_MALLOC_MALLOC_DEBUG,
    GI_MALLOC_PYMALLOC,
    GI_MALLOC_PYMALLOC_DEBUG
} gi_option_malloc;

/* What is printed at exit. */
typedef enum gi_option_stats { GI_STATS_TEXT, GI_STATS_JSON, GI_STATS_NONE } gi_option_stats;

/* Reads all of them; dies at the first wrong one. */
void gi_options_read(void);
/* The value, or the default where the variable is not set: a number, or of words the index. */
uint64_t gi_option(gi_option_id id);
/* The value of an option of text, or NULL where it is not set. */
const char *gi_option_text(gi_option_id id);

/* Whether a variable is set that concerns the raw domain, which needs no first use: the library is to be made ready as
   it is loaded. */
bool gi_options_concern_raw(void);

#endif /* GI_OPTIONS_H */

/* SPDX-License-Identifier: MIT */
/*
 * memory.h - how much memory there is: the library's statistics, the process's resident set.
 */
#ifndef TESTS_SUPPORT_MEMORY_H
#define TESTS_SUPPORT_MEMORY_H

#include <gilloc/gilloc.h>

/* gilloc_get_stats(), all fields. */
gilloc_stats memory_stats(void);
/* Bytes of the process in memory (VmRSS). */
size_t memory_resident(void);
/* No block of mem or object is alive; with everything purged, no arena either.  The caller is attached, no other
   thread is. */
void memory_expect_all_back(void);

#endif /* TESTS_SUPPORT_MEMORY_H */

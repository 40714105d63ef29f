/* SPDX-License-Identifier: MIT */
/*
 * sanitizer.h - what this build runs under, and how much work it can be given.
 *   A test leaves something out only through these names, and says why where it does.
 */
#ifndef TESTS_SUPPORT_SANITIZER_H
#define TESTS_SUPPORT_SANITIZER_H

#include "stress/sanitizer.h"

#ifdef GI_HOSTILE
#define UNDER_HOSTILE 1
#else
#define UNDER_HOSTILE 0
#endif

/* Nothing between the program and the system: resident memory and address space mean what they say. */
#define PLAIN_BUILD (!UNDER_TSAN && !UNDER_ASAN && !UNDER_HOSTILE)

/* `n` rounds of work in a plain build, fewer where each costs more: at least 1. */
#if UNDER_TSAN
#define ROUNDS(n) ((n) / 10 + 1)
#elif UNDER_ASAN || UNDER_HOSTILE
#define ROUNDS(n) ((n) / 4 + 1)
#else
#define ROUNDS(n) (n)
#endif

#endif /* TESTS_SUPPORT_SANITIZER_H */

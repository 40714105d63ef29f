/* SPDX-License-Identifier: MIT */
/*
 * check.h [L0] - assertions, and the one way to die.
 *   Owner   none: no state.
 *   Locks   none.  Nothing here allocates: text is built on the stack and goes out by one write(2).
 */
#ifndef GI_CHECK_H
#define GI_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define gi_likely(x) __builtin_expect(!!(x), 1)
#define gi_unlikely(x) __builtin_expect(!!(x), 0)
#define GI_CACHE_LINE 64

/* For objects that are declared in a header: they are this library's own, so they are reached without the GOT
   (-fvisibility=hidden speaks of definitions alone). */
#define GI_INTERNAL __attribute__((visibility("hidden")))

/* Writes "Fatal gilloc error: FUNCTION: " and the formatted rest to stderr, then abort().  `function` is the
   public function that was called; the rest is the message, and lines of facts and advice made by GI_FACT. */
_Noreturn void gi_fatal(const char *function, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* The same line for bad input from the environment, then exit status 1 (as CPython does). */
_Noreturn void gi_fatal_input(const char *function, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));

/* One line of facts under the message: a word padded to a column, and its value. */
#define GI_FACT(word, value) "\n  " word " " value
#define GI_DO(advice) "\n  do       " advice

/* "gilloc: FUNCTION: " and the rest to stderr, for what is no error of the library's: it goes on. */
void gi_report(const char *function, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* Part of a text that comes before a fatal error, as it is, to stderr: whole lines. */
void gi_dump(const char *format, ...) __attribute__((format(printf, 1, 2), cold));

/* A broken invariant found by a walk: one line on stderr, and -1 for the caller to return. */
int gi_report_broken(const char *invariant, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

_Noreturn void gi_assert_failed(const char *expression, const char *file, int line) __attribute__((cold));

#ifdef NDEBUG
#define gi_assert(expression) ((void)sizeof(expression))
#else
#define gi_assert(expression) (gi_likely(expression) ? (void)0 : gi_assert_failed(#expression, __FILE__, __LINE__))
#endif

#endif /* GI_CHECK_H */

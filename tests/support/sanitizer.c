/* SPDX-License-Identifier: MIT */
/*
 * sanitizer.c - the options that the sanitizers ask a program for.
 *   The tests ask for more memory than there is and expect NULL; without the option the sanitizer's malloc ends the
 *   process instead.  cmocka catches SIGSEGV and would take it from the sanitizer, which has more to say.
 */
#include "tests/support/sanitizer.h"

#if UNDER_TSAN
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "allocator_may_return_null=1:allow_user_segv_handler=0"; }
#endif

#if UNDER_ASAN
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1:allow_user_segv_handler=0"; }
#endif

/* ISO C wants something in every file. */
extern const int sanitizer_options_are_linked;
const int sanitizer_options_are_linked = 1;

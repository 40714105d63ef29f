/* SPDX-License-Identifier: MIT */
/*
 * refusing.h - the system's malloc(), calloc() and realloc(), as this thread's calls of them in the program find them:
 *              refused when they are told to be.
 *   The linker puts it between (--wrap), so only tests that link with :refusing have it.
 */
#ifndef TESTS_DOMAIN_REFUSING_H
#define TESTS_DOMAIN_REFUSING_H

/* The k-th call from now on, 1 being the next, or it and all after it. */
void refuse_at(unsigned long k);
void refuse_from(unsigned long k);
void refuse_nothing(void);
/* How many have been refused since then. */
unsigned long refused(void);

#endif /* TESTS_DOMAIN_REFUSING_H */

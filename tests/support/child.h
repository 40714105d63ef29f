/* SPDX-License-Identifier: MIT */
/*
 * child.h - runs a function in a fresh child process.
 *   The library's mode, hooks and lock are the process's own and are chosen before the first thread state, so each
 *   test that touches them needs a process to itself.  The runner starts no thread and makes no call of the library:
 *   every child starts from a process with one thread, which ThreadSanitizer needs (its threads do not survive fork).
 */
#ifndef TESTS_SUPPORT_CHILD_H
#define TESTS_SUPPORT_CHILD_H

/* How a child ended. */
struct child_end {
    int status; /* exit status, or -1 if a signal ended it */
    int signal; /* that signal, or 0 */
    char *text; /* all that it wrote to stderr; child_end_fini() frees it */
};

/* Runs `body(arg)` in a child, which then calls exit(0); returns when the child and all that it started have closed
   stderr.  The caller has one thread. */
void child_run(struct child_end *end, void (*body)(void *arg), void *arg);
void child_end_fini(struct child_end *end);

#endif /* TESTS_SUPPORT_CHILD_H */

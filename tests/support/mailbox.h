/* SPDX-License-Identifier: MIT */
/*
 * mailbox.h - a bounded queue of pointers between threads, for blocks that change hands.
 *   Locks   its own mutex.  put and take wait, so they detach the caller, who is attached, for the whole call; the
 *           try_ functions do not wait, and any thread may call them.  Nobody waits for the library's lock with the
 *           mutex held.
 */
#ifndef TESTS_SUPPORT_MAILBOX_H
#define TESTS_SUPPORT_MAILBOX_H

#include <pthread.h>
#include <stddef.h>

struct mailbox {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    void **letters; /* ring */
    size_t room;
    size_t first;
    size_t count;
    int closed;
};

void mailbox_init(struct mailbox *box, size_t room);
/* It is empty. */
void mailbox_fini(struct mailbox *box);

void mailbox_put(struct mailbox *box, void *letter);
/* 1, or 0 if it is full. */
int mailbox_try_put(struct mailbox *box, void *letter);
/* NULL: closed and empty. */
void *mailbox_take(struct mailbox *box);
/* NULL: empty. */
void *mailbox_try_take(struct mailbox *box);
/* No more letters will come. */
void mailbox_close(struct mailbox *box);

#endif /* TESTS_SUPPORT_MAILBOX_H */

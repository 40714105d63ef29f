/* SPDX-License-Identifier: MIT */
/*
 * mailbox.c - a ring, a mutex and a condition variable.
 */
#include "tests/support/mailbox.h"

#include <gilloc/pystate.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/expect.h"

static int push_locked(struct mailbox *box, void *letter) {
    if (box->count == box->room) {
        return 0;
    }
    box->letters[(box->first + box->count++) % box->room] = letter;
    pthread_cond_broadcast(&box->changed);
    return 1;
}

static void *pop_locked(struct mailbox *box) {
    if (box->count == 0) {
        return NULL;
    }
    void *letter = box->letters[box->first];
    box->first = (box->first + 1) % box->room;
    box->count--;
    pthread_cond_broadcast(&box->changed);
    return letter;
}

void mailbox_init(struct mailbox *box, size_t room) {
    memset(box, 0, sizeof(*box));
    EXPECT_EQ(pthread_mutex_init(&box->mutex, NULL), 0);
    EXPECT_EQ(pthread_cond_init(&box->changed, NULL), 0);
    box->letters = calloc(room, sizeof(box->letters[0]));
    EXPECT(box->letters != NULL);
    box->room = room;
}

void mailbox_fini(struct mailbox *box) {
    EXPECT_EQ(box->count, 0);
    free(box->letters);
    EXPECT_EQ(pthread_cond_destroy(&box->changed), 0);
    EXPECT_EQ(pthread_mutex_destroy(&box->mutex), 0);
}

void mailbox_put(struct mailbox *box, void *letter) {
    Py_BEGIN_ALLOW_THREADS pthread_mutex_lock(&box->mutex);
    while (!push_locked(box, letter)) {
        pthread_cond_wait(&box->changed, &box->mutex);
    }
    pthread_mutex_unlock(&box->mutex);
    Py_END_ALLOW_THREADS
}

int mailbox_try_put(struct mailbox *box, void *letter) {
    pthread_mutex_lock(&box->mutex);
    int done = push_locked(box, letter);
    pthread_mutex_unlock(&box->mutex);
    return done;
}

void *mailbox_take(struct mailbox *box) {
    void *letter;
    Py_BEGIN_ALLOW_THREADS pthread_mutex_lock(&box->mutex);
    while ((letter = pop_locked(box)) == NULL && !box->closed) {
        pthread_cond_wait(&box->changed, &box->mutex);
    }
    pthread_mutex_unlock(&box->mutex);
    Py_END_ALLOW_THREADS return letter;
}

void *mailbox_try_take(struct mailbox *box) {
    pthread_mutex_lock(&box->mutex);
    void *letter = pop_locked(box);
    pthread_mutex_unlock(&box->mutex);
    return letter;
}

void mailbox_close(struct mailbox *box) {
    pthread_mutex_lock(&box->mutex);
    box->closed = 1;
    pthread_cond_broadcast(&box->changed);
    pthread_mutex_unlock(&box->mutex);
}

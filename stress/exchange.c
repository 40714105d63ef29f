/* SPDX-License-Identifier: MIT */
/*
 * exchange.c - blocks that change hands between threads.
 *   Owner   the row.  Locks: a mailbox's or the estates', never two at once.
 * The locks also order the giver's stores into a block before the taker's loads,
 * as any program must that hands a block on.
 */
#include "stress/exchange.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct mailbox {
    pthread_mutex_t lock;
    struct block *blocks; /* guarded by lock; the oldest first */
    size_t count;         /* guarded by lock */
};

struct estate {
    struct estate *next; /* guarded by estates_lock */
    struct block *blocks;
    size_t count;
};

struct exchange {
    unsigned places; /* constant after init */
    size_t capacity; /* constant after init */
    struct mailbox *mailboxes;
    pthread_mutex_t estates_lock;
    struct estate *oldest;    /* guarded by estates_lock */
    struct estate **youngest; /* guarded by estates_lock; where the next one is linked */
};

/* --- mailboxes -------------------------------------------------------------------------------- */

size_t exchange_give(struct exchange *exchange, unsigned place, uint32_t turn, const struct block *blocks,
                     size_t count) {
    unsigned others = exchange->places - 1;
    unsigned to = others == 0 ? place : (place + 1 + turn % others) % exchange->places;
    struct mailbox *mailbox = &exchange->mailboxes[to];
    pthread_mutex_lock(&mailbox->lock);
    size_t room = exchange->capacity - mailbox->count;
    if (count > room) count = room;
    if (count > 0) memcpy(mailbox->blocks + mailbox->count, blocks, count * sizeof *blocks);
    mailbox->count += count;
    pthread_mutex_unlock(&mailbox->lock);
    return count;
}

size_t exchange_take(struct exchange *exchange, unsigned place, uint32_t thread, struct block *blocks, size_t room) {
    struct mailbox *mailbox = &exchange->mailboxes[place];
    size_t count = 0;
    pthread_mutex_lock(&mailbox->lock);
    while (count < mailbox->count && count < room && block_thread(&mailbox->blocks[count]) != thread) {
        blocks[count] = mailbox->blocks[count];
        count++;
    }
    mailbox->count -= count;
    if (count > 0) memmove(mailbox->blocks, mailbox->blocks + count, mailbox->count * sizeof *blocks);
    pthread_mutex_unlock(&mailbox->lock);
    return count;
}

/* --- estates ---------------------------------------------------------------------------------- */

int exchange_bequeath(struct exchange *exchange, struct block *blocks, size_t count) {
    struct estate *estate = malloc(sizeof *estate);
    if (estate == NULL) return -1;
    *estate = (struct estate){.blocks = blocks, .count = count};
    pthread_mutex_lock(&exchange->estates_lock);
    *exchange->youngest = estate;
    exchange->youngest = &estate->next;
    pthread_mutex_unlock(&exchange->estates_lock);
    return 0;
}

size_t exchange_inherit(struct exchange *exchange, struct block **blocks) {
    pthread_mutex_lock(&exchange->estates_lock);
    struct estate *estate = exchange->oldest;
    if (estate != NULL) {
        exchange->oldest = estate->next;
        if (exchange->oldest == NULL) exchange->youngest = &exchange->oldest;
    }
    pthread_mutex_unlock(&exchange->estates_lock);
    *blocks = NULL;
    if (estate == NULL) return 0;
    size_t count = estate->count;
    *blocks = estate->blocks;
    free(estate);
    return count;
}

/* --- lifecycle -------------------------------------------------------------------------------- */

struct exchange *exchange_new(unsigned places, size_t capacity) {
    struct exchange *exchange = calloc(1, sizeof *exchange);
    if (exchange == NULL) return NULL;
    exchange->mailboxes = calloc(places, sizeof *exchange->mailboxes);
    if (exchange->mailboxes == NULL) {
        free(exchange);
        return NULL;
    }
    exchange->capacity = capacity;
    exchange->youngest = &exchange->oldest;
    pthread_mutex_init(&exchange->estates_lock, NULL);
    for (; exchange->places < places; exchange->places++) {
        struct mailbox *mailbox = &exchange->mailboxes[exchange->places];
        mailbox->blocks = calloc(capacity, sizeof *mailbox->blocks);
        if (mailbox->blocks == NULL) {
            exchange_delete(exchange);
            return NULL;
        }
        pthread_mutex_init(&mailbox->lock, NULL);
    }
    return exchange;
}

void exchange_delete(struct exchange *exchange) {
    struct block *blocks;
    while (exchange_inherit(exchange, &blocks) > 0) free(blocks);
    for (unsigned i = 0; i < exchange->places; i++) {
        pthread_mutex_destroy(&exchange->mailboxes[i].lock);
        free(exchange->mailboxes[i].blocks);
    }
    pthread_mutex_destroy(&exchange->estates_lock);
    free(exchange->mailboxes);
    free(exchange);
}

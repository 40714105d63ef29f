/* SPDX-License-Identifier: MIT */
/*
 * exchange.h - blocks that change hands between threads.
 *   Owner   the row; `places` is how many threads run at one time.
 *   Locks   one per mailbox and one for estates; never two at once, and nothing
 *           of the allocator is called under them.
 *
 *              give            take            bequeath        inherit
 *   give       mailbox lock    mailbox lock    -               -
 *   take                       one thread only -               -
 *   bequeath                                   estate lock     estate lock
 *   inherit                                                    estate lock
 *
 * A mailbox holds what threads at other places want freed by the one at this
 * place; it is bounded, and what it refuses the giver frees.  An estate is what a
 * dead thread leaves; each thread that is born inherits one, so there are at most
 * as many as places.
 */
#ifndef STRESS_EXCHANGE_H
#define STRESS_EXCHANGE_H

#include "stress/block.h"

struct exchange;

/* Mailboxes hold `capacity` blocks each.  NULL: no memory. */
struct exchange *exchange_new(unsigned places, size_t capacity);
void exchange_delete(struct exchange *exchange);

/* Puts the first of `count` blocks into the mailbox of another place (the same,
   if there is one only), chosen by `turn`; how many. */
size_t exchange_give(struct exchange *exchange, unsigned place, uint32_t turn, const struct block *blocks,
                     size_t count);
/* Takes from the mailbox of `place` the oldest blocks, up to the first that
   `thread` itself made, at most `room`; how many. */
size_t exchange_take(struct exchange *exchange, unsigned place, uint32_t thread, struct block *blocks, size_t room);

/* Leaves `count` blocks to a thread yet to be born; `blocks` (from malloc) is the
   exchange's from now on.  -1: no memory, and it is still the caller's. */
int exchange_bequeath(struct exchange *exchange, struct block *blocks, size_t count);
/* The oldest estate, to be freed with free(); 0 if there is none. */
size_t exchange_inherit(struct exchange *exchange, struct block **blocks);

#endif /* STRESS_EXCHANGE_H */

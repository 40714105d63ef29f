/* SPDX-License-Identifier: MIT */
/*
 * remote_list.pml - a model of remote_list.h: a list of blocks that many threads push and one takes.
 *
 *   Modelled    the head, the link of each block, each load, store, compare-and-swap and exchange of the four
 *               functions as a step of its own.  Two pushers with a chain of two blocks and of one; the owner takes,
 *               closes and opens, OWNER_ACTS times in any order, closes at last, and gives blocks that it took to the
 *               pushers again, so that a block may be pushed while another pusher still compares with it (ABA).
 *   Abstracted  `waiting`, which is a hint.  Memory is sequentially consistent: the orders remote-free and
 *               remote-close are the matter of tests/lint/orders.py and of ThreadSanitizer.
 *
 *   M1  What the owner takes is what has been pushed since it took last: no block is lost, none comes twice.
 *   M2  Nothing is in a closed list.
 *   M3  A refused chain is the pusher's: the same blocks in the same order, ended by NULL.
 *   M4  When all have ended, each block has one holder, and the list is closed and empty.
 *   M5  Every run ends: a push is repeated only because another act succeeded.
 *
 *   push()      gi_remote_list_push()          close_list()  gi_remote_list_close()
 *   take_all()  gi_remote_list_take_all()      open_list()   gi_remote_list_open()
 *
 *   Broken by   BREAK_PUSH_STORE        a push is a load and a store
 *               BREAK_PUSH_RELINK       after a lost compare-and-swap the last link still names the old head
 *               BREAK_PUSH_CLOSED_ONCE  a push looks for the closed mark once, not after each lost compare-and-swap
 *               BREAK_REFUSED_TAIL      a refused chain keeps the link of a lost compare-and-swap
 *               BREAK_TAKE_STORE        taking is a load and a store
 *               BREAK_CLOSE_STORE       closing is a load and a store
 *               BREAK_OPEN_OPEN         a list is opened that is open
 */

#define BLOCKS 3 /* 1, 2, 3 */
#define NONE 0   /* NULL */
#define CLOSED 255
#define PUSHERS 2
#define PUSHES 2 /* of each pusher */
#define OWNER_ACTS 3

/* Holders. */
#define IN_LIST 0
#define OWNER 1
#define PUSHER(n) (2 + (n))

byte head = CLOSED;
byte next[BLOCKS + 1];
byte holder[BLOCKS + 1]; /* of the model: who has the block */
bool closed = true;      /* of the model: what the owner did last */
byte pushers_done;

/* Of the model: the chain first..last has gone in. */
inline note_pushed(me, first, last) {
    assert(!closed); /* M2 */
    block = first;
    do
    :: assert(holder[block] == me);
       holder[block] = IN_LIST;
       if
       :: block == last -> break
       :: else -> block = next[block]
       fi
    od;
    block = NONE
}

inline push(me, first, last) {
    seen = head;
    do
#ifdef BREAK_PUSH_CLOSED_ONCE
    :: seen == CLOSED && !lost ->
#else
    :: seen == CLOSED ->
#endif
#ifndef BREAK_REFUSED_TAIL
       next[last] = NONE;
#endif
       refused = true;
       break
    :: else ->
#ifdef BREAK_PUSH_RELINK
       if
       :: !lost -> next[last] = seen
       :: else
       fi;
#else
       next[last] = seen;
#endif
#ifdef BREAK_PUSH_STORE
       note_pushed(me, first, last);
       head = first;
       refused = false;
       break
#else
       atomic {
           if
           :: head == seen -> note_pushed(me, first, last); head = first; refused = false; break
           :: else -> seen = head; lost = true
           fi
       }
#endif
    od;
    seen = NONE;
    lost = false
}

/* A pusher pushes what it holds: the chain of its first one or two blocks. */
proctype pusher(byte me) {
    byte first, last, block, seen, pushes;
    bool refused, lost;

    do
    :: atomic {
           pushes < PUSHES && (holder[1] == me || holder[2] == me || holder[3] == me) ->
           pushes++;
           first = (holder[1] == me -> 1 : (holder[2] == me -> 2 : 3));
           last = first;
           if
           :: first < BLOCKS && holder[first + 1] == me -> last = first + 1; next[first] = last
           :: true
           fi;
           next[last] = NONE
       }
       push(me, first, last);
       if
       :: refused ->
          atomic {
              assert(holder[first] == me && holder[last] == me); /* M3 */
              assert(first == last || next[first] == last);      /* M3 */
              assert(next[last] == NONE)                         /* M3 */
          }
       :: else
       fi
    :: true -> break
    od;
    pushers_done++
}

/* Of the model: `links` has been taken at a time at which `expected` were in the list. */
inline note_taken() {
    atomic {
        do
        :: links == NONE || links == CLOSED -> break
        :: else ->
           assert((expected >> links) & 1); /* M1: none twice, and none that was not pushed */
           expected = expected & ~(1 << links);
           assert(holder[links] == IN_LIST);
           holder[links] = OWNER;
           links = next[links]
        od;
        assert(expected == 0); /* M1: none lost */
        links = NONE
    }
}

/* Of the model: which blocks are in the list now. */
inline expect() {
    expected = ((holder[1] == IN_LIST) << 1) | ((holder[2] == IN_LIST) << 2) | ((holder[3] == IN_LIST) << 3)
}

inline take_all() {
#ifdef BREAK_TAKE_STORE
    links = head;
    atomic { expect(); head = NONE }
#else
    atomic { expect(); links = head; head = NONE }
#endif
    assert(links != CLOSED);
    note_taken()
}

inline close_list() {
#ifdef BREAK_CLOSE_STORE
    links = head;
    atomic { expect(); head = CLOSED; closed = true }
#else
    atomic { expect(); links = head; head = CLOSED; closed = true }
#endif
    note_taken()
}

inline open_list() {
    atomic {
#ifndef BREAK_OPEN_OPEN
        assert(head == CLOSED);
#endif
        head = NONE;
        closed = false
    }
}

proctype owner() {
    byte links, expected, acts;

    do
    :: acts < OWNER_ACTS ->
       acts++;
       if
       :: !closed -> take_all()
       :: close_list() /* a closed one too: it stays so and gives nothing */
#ifdef BREAK_OPEN_OPEN
       :: open_list()
#else
       :: closed -> open_list()
#endif
       fi;
       /* The program hands blocks on, to be freed again. */
       if
       :: atomic { holder[1] == OWNER -> holder[1] = PUSHER(1) }
       :: atomic { holder[2] == OWNER -> holder[2] = PUSHER(1) }
       :: true
       fi
    :: else -> break
    od;
    close_list();
    (pushers_done == PUSHERS);
    atomic {
        assert(head == CLOSED); /* M4 */
        assert(holder[1] != IN_LIST && holder[2] != IN_LIST && holder[3] != IN_LIST) /* M4 */
    }
}

init {
    atomic {
        holder[1] = PUSHER(0);
        holder[2] = PUSHER(0);
        holder[3] = PUSHER(1);
        run owner();
        run pusher(PUSHER(0));
        run pusher(PUSHER(1))
    }
}

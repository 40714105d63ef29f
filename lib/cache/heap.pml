/* SPDX-License-Identifier: MIT */
/*
 * heap.pml - a model of heap.c and thread_cache.c, GIL-free mode: who counts a pool while threads free, end, adopt.
 *
 *   Modelled    one pool of three blocks, its page word and its count; the shared heap with its mutex; the stash; for each
 *               thread a private heap with its status and remote list, a bin, and one remote slot with the word that
 *               it is for.  An owner, which may be detached for a while, ends, and whose number then serves a second
 *               thread, which adopts; a thread that adopts besides; two threads that free a block of the pool by a
 *               page word that may be stale when they use it, push, and are refused; one of them does the upkeep of an
 *               idle heap.
 *   Abstracted  A list, a bin and a slot are sets of blocks, and each act on a remote list is one step: the links are
 *               the matter of concurrency/remote_list.pml.  `wanted`, which keeps a claim from coming again and
 *               again: activating waits for the claim to be released.  Arenas: a pool of which nothing is taken has
 *               gone.  Memory is sequentially consistent: the orders page-word, remote-close, remote-free and
 *               heap-claim are the matter of tests/lint/orders.py and of ThreadSanitizer.
 *
 *   M1  Pool and counts are touched by one thread at a time, and by the heap that the page word names.
 *   M2  Each block that comes back to the pool was taken out of it.
 *   M3  A page word names no heap whose list is closed: so who is refused finds another word, and goes on.
 *   M4  When all threads have ended and the stash has been emptied, each block is in the pool, the pool has gone, and
 *       nothing is in a bin, slot or list.
 *   M5  Every run ends: who is refused is not refused for ever.
 *
 *   give()      gi_heap_give(), gi_heap_give_run()
 *   adopt()     gi_heap_adopt(), gi_heap_take(), take_from_stash()
 *   settle()    give_back(), give_shared(), gi_cache_free_remote(), push_slot(): in C they call each other; here one
 *               loop works off what is still to be given back
 *   stash()     stash(), stash_bins()        init        gi_cache_flush_stash()
 *   upkeep()    upkeep(), gi_heap_try_claim(), drain_heap()
 *   end()       end() of thread_cache.c      freer()     gi_object_free_slow(), gi_cache_flush_remote()
 *   owner(), adopter()  gi_cache_attach(), gi_cache_detach(), gi_cache_end()
 *
 *   Broken by   BREAK_CLOSE_BEFORE_WORD   a thread that ends closes its list, and then hands its pool over
 *               BREAK_CLOSE_DROPS         what was pushed until the list was closed is not given back
 *               BREAK_CLOSE_NOT           a thread that ends leaves its list open
 *               BREAK_OPEN_AFTER_WORD     who adopts opens its list when the page word names it already
 *               BREAK_REFUSED_OLD_WORD    who is refused goes by the word that it has
 *               BREAK_SHARED_NO_LOOK      blocks go to the shared heap without a look at the word under its mutex
 *               BREAK_SHARED_NO_MUTEX     blocks go to the shared heap without its mutex
 *               BREAK_ADOPT_NO_MUTEX      a pool is adopted without the shared heap's mutex
 *               BREAK_STASH_KEEPS         whoever takes what is in the stash leaves it there as well
 *               BREAK_CLAIM_ACTIVE        a heap is claimed whatever its status is
 *               BREAK_ACTIVATE_NO_WAIT    attaching does not wait for a claim to be released
 */

/* Heaps, by their numbers in the page word. */
#define NO_POOL 0
#define SHARED 1
#define OWNER 2 /* owns the pool at first */
#define ADOPTER 3
#define FREER(n) (4 + (n)) /* their own heaps stay empty */
#define HEAPS 6
#define NOBODY 0

#define ACTIVE 0  /* GI_HEAP_ACTIVE */
#define IDLE 1    /* GI_HEAP_IDLE */
#define CLAIMED 2 /* GI_HEAP_CLAIMED */

/* Blocks are bits. */
#define ALL 7
#define ANY(set) ((set) & -(set)) /* the lowest of a set */

byte word = OWNER; /* the pool's page word */
byte pooled = 1;   /* what is in the pool */
byte taken = 2;    /* how many it counts as taken */
bool counting;     /* of the model: somebody touches it */
byte stashed;      /* what is in the stash; under the shared heap's mutex, here in one step */

byte mutex;         /* the shared heap's: who holds it */
byte claim_mutex;   /* who holds it */
byte status[HEAPS]; /* of private heaps */
byte list[HEAPS];   /* remote lists */
bool closed[HEAPS];
byte ended;         /* threads that have */

/* Whoever touches the pool and the counts of its heap does so in two steps, so that another may come between. */
inline start_count(heap) {
    assert(!counting && word == heap); /* M1 */
    counting = true
}

inline end_count(heap) {
    assert(counting && word == heap); /* M1 */
    counting = false
}

/* Gives the lowest block of `todo` to the pool, which belongs to `heap`. */
inline give(heap) {
    end_count(heap);
    assert((pooled & ANY(todo)) == 0 && taken > 0); /* M2 */
    pooled = pooled | ANY(todo);
    todo = todo & ~ANY(todo);
    taken--;
    if
    :: taken == 0 -> word = NO_POOL
    :: else
    fi
}

inline unlock(me) {
    assert(mutex == me);
    mutex = NOBODY
}

/* Pushes the slot; what is refused is to be given back. */
inline push_slot(me) {
    atomic {
        if
        :: closed[slot_word] ->
           assert(word != slot_word); /* M3 */
           todo = todo | slot;
           refused = true
        :: else ->
           list[slot_word] = list[slot_word] | slot;
           pushed = slot_word
        fi;
        slot = 0
    }
}

/* Gives each block of `todo` to whoever owns the pool by now; `claimed` is a heap that is the caller's besides its own,
   or NOBODY.  `flush`: and pushes the slot. */
inline settle(me, flush) {
    do
    :: todo != 0 ->
#ifdef BREAK_REFUSED_OLD_WORD
       seen = (refused -> slot_word : word);
#else
       seen = word;
#endif
       refused = false;
       assert(seen != NO_POOL);
       if
       :: seen == me || (claimed != NOBODY && seen == claimed) ->
          atomic { start_count(seen) }
          atomic { give(seen); seen = 0 }
       :: seen == SHARED ->
          seen = 0;
          atomic {
#ifndef BREAK_SHARED_NO_MUTEX
              mutex == NOBODY -> mutex = me;
#endif
#ifndef BREAK_SHARED_NO_LOOK
              if
              :: word == SHARED ->
#endif
                 start_count(SHARED);
                 given = true
#ifndef BREAK_SHARED_NO_LOOK
              :: else -> unlock(me) /* adopted meanwhile: look again */
              fi
#endif
          }
          if
          :: given ->
             atomic {
                 give(SHARED);
                 given = false;
#ifndef BREAK_SHARED_NO_MUTEX
                 unlock(me)
#endif
             }
          :: else
          fi
       :: seen != me && seen != claimed && seen != SHARED ->
          if
          :: slot != 0 && slot_word != seen -> push_slot(me)
          :: else -> slot_word = seen; slot = slot | ANY(todo); todo = todo & ~ANY(todo)
          fi;
          seen = 0
       fi
    :: todo == 0 && flush && slot != 0 -> push_slot(me)
    :: todo == 0 && !(flush && slot != 0) -> break
    od
}

/* Takes what is in the remote list of `heap`. */
inline take_all(heap) {
    atomic {
        if
        :: !closed[heap] -> todo = todo | list[heap]; list[heap] = 0
        :: else
        fi
    }
}

/* Much waits for the heap that was pushed to: drains it if its thread is detached. */
inline upkeep(me) {
    if
    :: pushed != NOBODY && me == FREER(0) ->
       atomic {
           claim_mutex == NOBODY ->
           if
#ifdef BREAK_CLAIM_ACTIVE
           :: true ->
#else
           :: status[pushed] == IDLE ->
#endif
              status[pushed] = CLAIMED;
              claimed = pushed;
              claim_mutex = me
           :: else
           fi
       }
       if
       :: claimed != NOBODY ->
          take_all(claimed);
          settle(me, false);
          atomic { status[claimed] = IDLE; claimed = NOBODY; claim_mutex = NOBODY }
       :: else
       fi
    :: true /* not that much, or another heap is claimed */
    fi;
    pushed = NOBODY
}

/* gi_heap_activate() */
inline activate(me) {
#ifdef BREAK_ACTIVATE_NO_WAIT
    status[me] = ACTIVE
#else
    atomic { status[me] == IDLE -> status[me] = ACTIVE }
#endif
}

/* Leaves blocks to others, if the stash has room. */
inline stash(blocks) {
    if
    :: atomic { blocks != 0 && stashed == 0 -> stashed = blocks; blocks = 0 }
    :: true
    fi
}

inline adopt(me) {
    if
    :: atomic {
           stashed != 0 -> bin = stashed;
#ifndef BREAK_STASH_KEEPS
           stashed = 0
#endif
       }
    :: word == SHARED && pooled != 0 -> /* a peek */
#ifndef BREAK_OPEN_AFTER_WORD
       closed[me] = false;
#endif
       atomic {
#ifndef BREAK_ADOPT_NO_MUTEX
           mutex == NOBODY -> mutex = me;
#endif
           if
           :: word == SHARED && pooled != 0 -> start_count(SHARED); given = true
           :: else
           fi
       }
       atomic {
           if
           :: given -> end_count(SHARED); word = me
           :: else
           fi;
#ifndef BREAK_ADOPT_NO_MUTEX
           unlock(me)
#endif
       }
#ifdef BREAK_OPEN_AFTER_WORD
       closed[me] = false;
#endif
       if
       :: given -> /* takes what it has free */
          atomic { start_count(me) }
          atomic {
              end_count(me);
              taken = taken + (pooled & 1) + ((pooled >> 1) & 1) + ((pooled >> 2) & 1);
              bin = pooled;
              pooled = 0
          }
          given = false
       :: else
       fi
    :: true
    fi
}

/* Steps 1 to 4 of docs/design.md, "Thread end". */
inline end(me) {
    stash(bin);
    atomic { todo = bin; bin = 0 }
    settle(me, false);
    take_all(me);
    settle(me, true);
#ifdef BREAK_CLOSE_BEFORE_WORD
    atomic { todo = list[me]; list[me] = 0; closed[me] = true }
#endif
    if
    :: word == me ->
       atomic { mutex == NOBODY -> mutex = me; start_count(me) }
       atomic { end_count(me); word = SHARED; unlock(me) }
    :: word != me
    fi;
#if defined(BREAK_CLOSE_NOT)
    take_all(me);
#elif defined(BREAK_CLOSE_DROPS)
    atomic { list[me] = 0; closed[me] = true }
#elif !defined(BREAK_CLOSE_BEFORE_WORD)
    atomic { todo = list[me]; list[me] = 0; closed[me] = true }
#endif
    settle(me, true);
    pushed = NOBODY;
    status[me] = IDLE
}

/* The first owner, attached; then, by the same cache, a thread that adopts. */
proctype owner(byte me) {
    byte bin, slot, slot_word;        /* of the cache */
    byte todo, claimed, pushed, seen; /* of settle() and upkeep() */
    bool refused, given, second;

    if
    :: status[me] = IDLE; activate(me) /* is detached for a while */
    :: true
    fi;
    do
    :: end(me);
       if
       :: second -> break
       :: else -> second = true; activate(me); adopt(me)
       fi
    od;
    assert(bin == 0 && slot == 0 && todo == 0); /* M4 */
    ended++
}

/* Adopts, may be detached, and ends. */
proctype adopter(byte me) {
    byte bin, slot, slot_word;
    byte todo, claimed, pushed, seen;
    bool refused, given;

    activate(me);
    adopt(me);
    if
    :: status[me] = IDLE; activate(me)
    :: true
    fi;
    end(me);
    assert(bin == 0 && slot == 0 && todo == 0); /* M4 */
    ended++
}

/* Frees a block of the program, pushes it, does the upkeep, and ends: with no pools of its own and no list open. */
proctype freer(byte me, block) {
    byte slot, slot_word;
    byte todo, claimed, pushed, seen;
    bool refused, given;

    seen = word;
    assert(seen != NO_POOL);
    if
    :: seen == SHARED -> todo = block /* into the bin, which comes back below, or goes to the stash */
    :: else -> slot_word = seen; slot = block
    fi;
    seen = 0;
    if
    :: atomic { me == FREER(1) && todo != 0 && stashed == 0 -> stashed = todo; todo = 0 }
    :: true
    fi;
    settle(me, true);
    upkeep(me);
    settle(me, true);
    assert(slot == 0 && todo == 0); /* M4 */
    ended++
}

init {
    byte todo;
    atomic {
        closed[ADOPTER] = true;
        status[ADOPTER] = IDLE;
        run owner(OWNER);
        run adopter(ADOPTER);
        run freer(FREER(0), 2);
        run freer(FREER(1), 4)
    }
    (ended == 4);
    todo = stashed;
    do
    :: todo != 0 ->
       atomic { start_count(SHARED) }
       atomic { give(SHARED) }
    :: else -> break
    od;
    atomic {
        assert(pooled == ALL && taken == 0 && word == NO_POOL); /* M4 */
        assert(list[OWNER] == 0 && list[ADOPTER] == 0)          /* M4 */
    }
}

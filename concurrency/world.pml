/* SPDX-License-Identifier: MIT */
/*
 * world.pml - a model of the mode switched while threads run: docs/design.md, "Modes switched while running".
 *
 *   Modelled    two threads of one interpreter, which attach, pass a safepoint and detach; a thread of another
 *               interpreter, attached, which sets the mode SWITCHES times, to and fro; one of the two sets it once as
 *               well.  A thread without a state purges: it claims a heap that is idle.  Each thread has a cache with
 *               a private heap.  The first step chooses the mode to begin with.
 *   Abstracted  Stopping is reduced to the STOP bit, the count of those that are waited for, and who may stop; its
 *               mutex, condition variable, requests and nesting are the matter of concurrency/stop.pml.  The lock is
 *               one that may be barged.  Handing a heap over is one touch of it (lib/cache/heap.pml).  Memory is
 *               sequentially consistent: orders are the matter of tests/lint/orders.py and of ThreadSanitizer.
 *
 *   M1  Whoever is in is in by the mode: in gil mode it holds the lock of its interpreter, in GIL-free mode its heap
 *       is ACTIVE.  So in gil mode one thread of each interpreter is in at most.
 *   M2  A cache with its private heap is touched by one thread at a time: by the one that is in, by who purges, or by
 *       who hands the heap over.
 *   M3  While the mode is changed nobody is in but who changes it.
 *   M4  Who counts itself out has been counted in.
 *   M5  No deadlock: every thread ends.
 *   M6  Every run ends.
 *
 *   enter()     gi_thread_attach() and the way back of gi_thread_safepoint(); activate(): gi_heap_activate()
 *   leave()     gi_thread_detach(), and parking
 *   set_mode()  gilloc_set_mode()            purger()  gilloc_purge(), gi_heap_claim(), gi_cache_flush_idle()
 *
 *   Broken by   BREAK_FREE_LOOK_ONCE      who attaches in GIL-free manner does not look at the mode again inside
 *               BREAK_GIL_LOOK_ONCE       who attaches in gil manner does not look at the mode again with the lock
 *               BREAK_PARKED_LOOK         who is parked comes back in the manner of the mode in which it left
 *               BREAK_LEAVE_LOOK          who has looked and leaves again does not see STOP
 *               BREAK_COUNT_BY_MODE       in gil mode a stopper waits for nobody who is ATTACHED
 *               BREAK_SET_NO_LOCKS        the mode is changed by who does not hold all locks
 *               BREAK_SET_RUNNING         the world is started before the mode is changed
 *               BREAK_HAND_CLAIMED        a heap is handed over that another thread has claimed
 *               BREAK_HAND_FIRST          the heaps are handed over before the mode is changed
 *               BREAK_PURGE_LOOK_FIRST    who purges looks at the mode before it claims, not after
 */

#define ATTACHED 1
#define PARKED 2
#define STOP 8

#define FREE 0
#define GIL 1

#define IDLE 0 /* of heaps */
#define ACTIVE 1
#define CLAIMED 2

/* Threads, each with its state, cache and private heap; who purges has none. */
#define THREADS 3
#define SWITCHER 2
#define PURGER 3
#define NOBODY 255
#define INTERPRETER(thread) ((thread) / 2)
#define SWITCHES 2

bit mode;
byte status[THREADS];
byte heap[THREADS];
byte lock[2] = NOBODY;
byte stopper = NOBODY;
short pending;
byte done;

/* Of the model. */
bool touched[THREADS];
byte changing = NOBODY; /* who changes the mode */

inline touch(cache) {
    atomic { assert(!touched[cache]); touched[cache] = true } /* M2 */
    touched[cache] = false
}

inline lock_take(interpreter) {
    atomic { lock[interpreter] == NOBODY -> lock[interpreter] = me }
}

inline lock_drop(interpreter) {
    atomic { assert(lock[interpreter] == me); lock[interpreter] = NOBODY }
}

/* Uses its cache, as a thread that is in. */
inline use() {
    atomic {
        assert(changing == NOBODY || changing == me);                     /* M3 */
        assert(status[me] & ATTACHED);
        assert(mode == FREE || lock[INTERPRETER(me)] == me);              /* M1 */
        assert(mode == GIL || (heap[me] == ACTIVE && lock[INTERPRETER(me)] != me)); /* M1 */
        assert(!touched[me]);                                             /* M2 */
        touched[me] = true
    }
    touched[me] = false
}

inline activate(cache) {
    atomic { heap[cache] == IDLE -> heap[cache] = ACTIVE }
}

/* One read-modify-write out of ATTACHED, which sees STOP. */
inline step_out(to) {
    atomic {
        assert(status[me] & ATTACHED);
#ifndef BREAK_LEAVE_LOOK
        if
        :: status[me] & STOP ->
           pending--;
           assert(pending >= 0) /* M4 */
        :: else
        fi;
#endif
        status[me] = (status[me] & STOP) | to
    }
}

/* In, from 0 or PARKED. */
inline enter(from) {
    do
    :: true ->
#ifdef BREAK_PARKED_LOOK
       if
       :: from == 0 -> manner = mode
       :: else
       fi;
#else
       manner = mode;
#endif
       if
       :: manner == FREE ->
          atomic { status[me] == from -> status[me] = ATTACHED } /* waits for the start while STOP is set */
#if defined(BREAK_FREE_LOOK_ONCE) || defined(BREAK_PARKED_LOOK)
          break
#else
          if
          :: mode == FREE -> break
          :: mode != FREE -> step_out(from)
          fi
#endif
       :: else ->
          lock_take(INTERPRETER(me));
#if defined(BREAK_GIL_LOOK_ONCE) || defined(BREAK_PARKED_LOOK)
          status[me] = ATTACHED; break
#else
          if
          :: mode == GIL -> atomic { assert(status[me] == from); status[me] = ATTACHED; break }
          :: mode != GIL -> lock_drop(INTERPRETER(me))
          fi
#endif
       fi
    od;
    if
    :: manner == FREE -> activate(me)
    :: else
    fi
}

/* Out, to 0 or PARKED. */
inline leave(to) {
    if
    :: mode == FREE -> heap[me] = IDLE; step_out(to)
    :: else -> atomic { assert(status[me] == ATTACHED); status[me] = to } lock_drop(INTERPRETER(me))
    fi
}

inline stop_state(state) {
    atomic {
        if
        :: state != me ->
           if
#ifdef BREAK_COUNT_BY_MODE
           :: (status[state] & ATTACHED) && mode == FREE -> pending++
#else
           :: status[state] & ATTACHED -> pending++
#endif
           :: else
           fi;
           status[state] = status[state] | STOP
        :: else
        fi
    }
}

inline start() {
    status[0] = status[0] & ~STOP;
    status[1] = status[1] & ~STOP;
    status[2] = status[2] & ~STOP;
    stopper = NOBODY;
    if
    :: lock[0] == me && (mode == FREE || INTERPRETER(me) != 0) -> lock_drop(0)
    :: else
    fi;
    if
    :: lock[1] == me && (mode == FREE || INTERPRETER(me) != 1) -> lock_drop(1)
    :: else
    fi
}

inline take_locks() {
    if
    :: lock[0] != me -> lock_take(0)
    :: else
    fi;
    if
    :: lock[1] != me -> lock_take(1)
    :: else
    fi
}

/* The private heap goes to the shared one. */
inline hand_over(cache) {
    if
#ifndef BREAK_HAND_CLAIMED
    :: cache != me -> activate(cache)
#endif
    :: else
    fi;
    touch(cache);
    heap[cache] = IDLE
}

inline hand_all_over() { hand_over(0); hand_over(1); hand_over(2) }

inline set_mode() {
    /* Stops the world in the old mode. */
    if
    :: atomic { stopper == NOBODY -> stopper = me }
    :: stopper != NOBODY ->
       leave(PARKED);
       atomic { stopper == NOBODY -> stopper = me }
       enter(PARKED)
    fi;
    if
    :: mode == GIL -> take_locks()
    :: else
    fi;
    stop_state(0);
    stop_state(1);
    stop_state(2);
    (pending == 0);
    /* Changes the mode. */
#ifndef BREAK_SET_NO_LOCKS
    take_locks();
#else
    if
    :: lock[INTERPRETER(me)] != me -> lock_take(INTERPRETER(me))
    :: else
    fi;
#endif
#ifdef BREAK_SET_RUNNING
    start();
#endif
    changing = me;
    if
    :: mode == FREE ->
#ifdef BREAK_HAND_FIRST
       hand_all_over();
       mode = GIL
#else
       mode = GIL;
       hand_all_over()
#endif
    :: else -> mode = FREE; activate(me)
    fi;
    changing = NOBODY;
#ifndef BREAK_SET_RUNNING
    start()
#endif
}

/* --- threads ---------------------------------------------------------------------------------- */

proctype thread(byte me, sets) {
    bit manner;

    enter(0);
    use();
    if
    :: mode == GIL || (status[me] & STOP) -> leave(PARKED); enter(PARKED); use() /* a safepoint */
    :: sets != 0 -> set_mode(); use()
    :: true
    fi;
    leave(0);
    done++
}

proctype switcher(byte me, sets) {
    bit manner;

    enter(0);
    do
    :: sets != 0 -> sets--; set_mode(); use()
    :: else -> break
    od;
    leave(0);
    done++
}

/* Claims a heap, looks at the mode, and does its work if that is allowed; in gil mode, with the lock. */
inline purge(cache) {
#ifdef BREAK_PURGE_LOOK_FIRST
    if
    :: mode == FREE ->
       if
       :: atomic { heap[cache] == IDLE -> heap[cache] = CLAIMED }
          touch(cache);
          heap[cache] = IDLE
       :: heap[cache] != IDLE
       fi
#else
    if
    :: atomic { heap[cache] == IDLE -> heap[cache] = CLAIMED }
       if
       :: mode == FREE -> touch(cache)
       :: mode != FREE
       fi;
       heap[cache] = IDLE
    :: heap[cache] != IDLE
#endif
    :: atomic { mode == GIL && lock[INTERPRETER(cache)] == NOBODY -> lock[INTERPRETER(cache)] = me }
       if
       :: mode == GIL -> touch(cache)
       :: mode != GIL
       fi;
       lock_drop(INTERPRETER(cache))
    :: true
    fi
}

proctype purger(byte me) {
    if
    :: purge(0)
    :: purge(1)
    fi;
    done++
}

init {
    atomic {
        if
        :: mode = FREE
        :: mode = GIL
        fi;
        run thread(0, 1);
        run thread(1, 0);
        run switcher(SWITCHER, SWITCHES);
        run purger(PURGER)
    }
    (done == THREADS + 1);
    assert(pending == 0 && lock[0] == NOBODY && lock[1] == NOBODY)
}

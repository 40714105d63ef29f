/* SPDX-License-Identifier: MIT */
/*
 * stop.pml - a model of the stopped world: docs/design.md, "The state of a thread, and the stopped world".
 *
 *   Modelled    the status word of each thread state with its four bits, each read-modify-write as one step; the
 *               world's mutex and condition variable, the registry's mutex, the lock of one interpreter, liburcu's
 *               online and offline with one grace period.  The first steps choose the mode, and whether there is a
 *               visitor.
 *                 worker    attached, and leaves only when it is asked: at safepoints.  First it waits for a grace
 *                           period, attached but offline; without a visitor it deletes another, detached state
 *                           instead.
 *                 visitor   makes a state (perhaps in the stopped world), attaches by it, detaches, deletes it.
 *                 attached  a stopper that is attached; its stops nest.
 *                 detached  a stopper that is not.
 *   Abstracted  The lock is handed over in order of arrival (concurrency/gil.h says what keeps its waits bounded),
 *               and its holder gives it up when somebody waits.  Spurious wake-ups.  A change of the mode:
 *               concurrency/world.pml.  Memory is sequentially consistent: orders are the matter of
 *               tests/lint/orders.py and of ThreadSanitizer.
 *
 *   M1  In the stopped world nobody is ATTACHED or ENDING but the stopper, and no other thread is online.
 *   M2  Nobody uses a cache while another thread has stopped the world.
 *   M3  Who counts itself out has been counted in.
 *   M4  In gil mode only the holder of the lock is ATTACHED, and no STOP bit is lost to its plain stores.
 *   M5  A state that is attached or deleted is not so already: STOP is the only thing that keeps one out.
 *   M6  No deadlock, no lost wake-up: each stop ends, whoever is parked comes back, all threads end.  The worker
 *       leaves for nothing but a request, so one that is lost shows as well.
 *   M7  Every run ends.
 *
 *   attach(), detach()  gi_thread_attach(), gi_thread_attach_at_once(); gi_thread_detach(), gi_thread_detach_gil()
 *   stop()              stopping, steps 1 to 4 of the design
 *   safepoint()         gi_thread_safepoint()                     start()  starting
 *   born(), ended()     gi_thread_state_init(), gi_thread_state_reuse(); gi_thread_state_fini()
 *   synchronize()       gi_rcu_synchronize(), called offline
 *
 *   Broken by   BREAK_ATTACH_LOOK       attaching looks at STOP, and then stores ATTACHED
 *               BREAK_DELETE_LOOK       deleting looks at STOP, and then stores ENDING
 *               BREAK_DELETE_ATTACHED   who deletes a state while attached by another waits for the start attached
 *               BREAK_DELETE_UNCOUNTED  the stopper does not wait for ENDING
 *               BREAK_LEAVE_LOOK        leaving looks at STOP, and then clears ATTACHED
 *               BREAK_LEAVE_ONLINE      a thread goes offline after it has left
 *               BREAK_COUNT_NO_MUTEX    who leaves counts itself out without the world's mutex
 *               BREAK_COUNT_LATE        the stopper sets STOP without the world's mutex, and adds up its count later
 *               BREAK_ASK_FIRST         the stopper asks each thread before it sets STOP
 *               BREAK_STOPPER_ONLINE    the stopper waits online
 *               BREAK_STOPPER_ATTACHED  who finds another stopper waits attached
 *               BREAK_STOP_NO_LOCK      in gil mode the stopper does not take the lock
 *               BREAK_NEST_START        the first start of nested stops starts the world
 *               BREAK_BORN_FREE         a state made in the stopped world is born without STOP
 *               BREAK_START_LOCK_FIRST  the lock is dropped before the STOP bits are cleared
 *               BREAK_START_NO_WAKE     starting wakes nobody
 */

#define ATTACHED 1
#define PARKED 2
#define ENDING 4
#define STOP 8

/* Threads, and the states by which the first three attach; a fourth state belongs to nobody. */
#define WORKER 0
#define VISITOR 1
#define STOPPER 2
#define DETACHED 3
#define THREADS 4
#define SPARE 3
#define STATES 4
#define NOBODY 255
#define NONE 255

bool free_threaded, deletes;

byte status[STATES];
bool listed[STATES]; /* in the registry */
bool asked[STATES];
bool stopping;       /* guarded by registry: states are born with STOP */
byte registry = NOBODY;

byte world = NOBODY;    /* the world's mutex */
bool asleep[THREADS];   /* on its condition variable */
byte stopper = NOBODY;  /* guarded by world */
short pending;          /* guarded by world: whom the stopper waits for */
byte nested;            /* the stopper's */

byte lock = NOBODY;
chan queue = [THREADS] of { byte }; /* who waits for it */

bool online[THREADS], owes[THREADS]; /* liburcu: owes the grace period a quiescent state */

byte stopped_by = NOBODY; /* of the model */
byte done;                /* of the model: how many of the other three threads have ended */

/* In all that follows `me` is the thread, `own` the state by which it is attached, or NONE. */
#define MUTEX_LOCK(mutex) atomic { mutex == NOBODY -> mutex = me }
#define MUTEX_UNLOCK(mutex) atomic { assert(mutex == me); mutex = NOBODY }

inline broadcast() {
    atomic { asleep[0] = false; asleep[1] = false; asleep[2] = false; asleep[3] = false }
}

/* pthread_cond_wait() */
inline cond_wait() {
    atomic { assert(world == me); world = NOBODY; asleep[me] = true }
    atomic { !asleep[me] && world == NOBODY -> world = me }
}

inline lock_take() {
    atomic {
        if
        :: lock == NOBODY -> lock = me
        :: else -> queue!me
        fi
    }
    (lock == me)
}

inline lock_drop() {
    atomic {
        assert(lock == me);
        if
        :: nempty(queue) -> queue?lock
        :: empty(queue) -> lock = NOBODY
        fi
    }
}

inline offline() {
    atomic { online[me] = false; owes[me] = false }
}

/* Its cache was used until now. */
inline used() { assert(stopped_by == NOBODY || stopped_by == me) } /* M2 */

/* --- in and out ------------------------------------------------------------------------------- */

inline count_out() {
#ifdef BREAK_COUNT_NO_MUTEX
    pending--;
    if
    :: pending == 0 -> broadcast()
    :: else
    fi
#else
    atomic {
        world == NOBODY -> /* under the mutex */
        pending--;
        assert(pending >= 0); /* M3 */
        if
        :: pending == 0 -> broadcast()
        :: else
        fi
    }
#endif
}

/* Out of ATTACHED or ENDING: one read-modify-write that sees STOP. */
inline leave(state, from, to) {
#ifdef BREAK_LEAVE_LOOK
    used();
    seen = status[state] & STOP;
    status[state] = (status[state] & ~from) | to;
#else
    atomic {
        assert(status[state] & from);
        used();
        seen = status[state] & STOP;
        status[state] = (status[state] & ~from) | to
    }
#endif
    if
    :: seen -> count_out()
    :: else
    fi;
    seen = 0
}

inline wait_for_start(state) {
    MUTEX_LOCK(world);
    do
    :: status[state] & STOP -> cond_wait()
    :: else -> break
    od;
    MUTEX_UNLOCK(world)
}

/* Into ATTACHED: a compare-and-swap that expects STOP clear. */
inline enter(state, from) {
    do
#ifdef BREAK_ATTACH_LOOK
    :: !(status[state] & STOP) -> status[state] = ATTACHED; break
    :: else -> wait_for_start(state)
#else
    :: atomic { status[state] == from -> status[state] = ATTACHED; break }
    :: atomic { status[state] != from -> assert(status[state] == (from | STOP)) } /* M5 */
       wait_for_start(state)
#endif
    od;
    online[me] = true
}

inline attach(state) {
    if
    :: free_threaded -> enter(state, 0)
    :: else ->
       lock_take();
       assert(status[state] == 0); /* M4 */
       status[state] = ATTACHED
    fi
}

inline leave_as(state, to) {
    if
    :: free_threaded ->
#ifdef BREAK_LEAVE_ONLINE
       leave(state, ATTACHED, to);
       offline()
#else
       offline();
       leave(state, ATTACHED, to)
#endif
    :: else ->
       atomic {
           assert(status[state] == ATTACHED && lock == me); /* M4 */
           used();
           status[state] = to
       }
       lock_drop()
    fi
}

inline detach(state) { leave_as(state, 0) }
inline park(state) { leave_as(state, PARKED) }

inline unpark(state) {
    if
    :: free_threaded -> enter(state, PARKED)
    :: else ->
       lock_take();
       assert(status[state] == PARKED); /* M4 */
       status[state] = ATTACHED
    fi
}

inline safepoint(state) {
    atomic { asked[state] = false; owes[me] = false }
    if
    :: !free_threaded || (status[state] & STOP) -> park(state); unpark(state)
    :: else
    fi
}

/* Deletes a state that is detached.  */
inline delete(state) {
    do
#ifdef BREAK_DELETE_LOOK
    :: !(status[state] & STOP) -> status[state] = ENDING; break
    :: else ->
#else
    :: atomic { status[state] == 0 -> status[state] = ENDING; break }
    :: atomic { status[state] != 0 -> assert(status[state] == STOP) } /* M5 */
#endif
       if
#ifndef BREAK_DELETE_ATTACHED
       :: own != NONE -> park(own); wait_for_start(state); unpark(own)
       :: own == NONE ->
#else
       :: true ->
#endif
          wait_for_start(state)
       fi
    od;
    leave(state, ENDING, 0);
    ended(state)
}

inline born(state) {
    atomic {
        registry == NOBODY ->
#ifdef BREAK_BORN_FREE
        status[state] = 0;
#else
        status[state] = (stopping -> STOP : 0);
#endif
        asked[state] = false;
        listed[state] = true
    }
}

inline ended(state) {
    atomic { registry == NOBODY -> listed[state] = false }
}

/* --- grace periods ---------------------------------------------------------------------------- */

inline synchronize() {
    offline();
    atomic { owes[0] = online[0]; owes[1] = online[1]; owes[2] = online[2]; owes[3] = online[3] }
    (!owes[0] && !owes[1] && !owes[2] && !owes[3]);
    online[me] = true
}

/* --- stop and start --------------------------------------------------------------------------- */

inline stop_state(state) {
#ifdef BREAK_ASK_FIRST
    asked[state] = true;
#endif
    atomic {
        if
        :: listed[state] && state != own ->
           if
#ifdef BREAK_DELETE_UNCOUNTED
           :: status[state] & ATTACHED ->
#else
           :: status[state] & (ATTACHED | ENDING) ->
#endif
#ifdef BREAK_COUNT_LATE
              counted++;
#else
              pending++;
#endif
#ifndef BREAK_ASK_FIRST
              asked[state] = true
#endif
           :: else
           fi;
           status[state] = status[state] | STOP
        :: else
        fi
    }
}

inline start_state(state) {
    atomic {
        if
        :: listed[state] -> status[state] = status[state] & ~STOP
        :: else
        fi
    }
}

/* */
inline stop() {
    /* 1. */
    MUTEX_LOCK(world);
    if
    :: stopper == me -> atomic { nested++; MUTEX_UNLOCK(world) }
    :: else ->
       if
#ifndef BREAK_STOPPER_ATTACHED
       :: stopper != NOBODY && own != NONE ->
          MUTEX_UNLOCK(world);
          park(own);
          parked = true;
          MUTEX_LOCK(world)
#endif
       :: else
       fi;
       do
       :: stopper != NOBODY -> cond_wait()
       :: else -> break
       od;
       atomic { stopper = me; nested = 1; MUTEX_UNLOCK(world) }
       if
       :: parked -> parked = false; unpark(own)
       :: else
       fi;
       /* 2. */
       if
#ifndef BREAK_STOP_NO_LOCK
       :: !free_threaded && own == NONE -> lock_take()
#endif
       :: else
       fi;
       /* 3. */
#ifndef BREAK_STOPPER_ONLINE
       offline();
#endif
#ifndef BREAK_COUNT_LATE
       MUTEX_LOCK(world);
#endif
       atomic { MUTEX_LOCK(registry); stopping = true }
       stop_state(WORKER);
       stop_state(VISITOR);
       atomic { stop_state(STOPPER); stop_state(SPARE) }
       MUTEX_UNLOCK(registry);
#ifdef BREAK_COUNT_LATE
       MUTEX_LOCK(world);
       pending = counted;
       counted = 0;
#endif
       /* 4. */
       do
       :: pending != 0 -> cond_wait()
       :: else -> break
       od;
       MUTEX_UNLOCK(world);
       stopped_by = me;
       online[me] = free_threaded && own != NONE
    fi;
    check()
}

inline check() {
    atomic {
        assert(own == WORKER || !(status[WORKER] & (ATTACHED | ENDING)));   /* M1 */
        assert(own == VISITOR || !(status[VISITOR] & (ATTACHED | ENDING))); /* M1 */
        assert(own == STOPPER || !(status[STOPPER] & (ATTACHED | ENDING))); /* M1 */
        assert(!(status[SPARE] & (ATTACHED | ENDING)));                     /* M1 */
        assert(!online[0] && !online[1] && (me == 2 || !online[2]) && (me == 3 || !online[3])) /* M1 */
    }
}

inline start() {
    check();
    nested--;
    if
#ifndef BREAK_NEST_START
    :: nested != 0
#endif
    :: else ->
       stopped_by = NOBODY;
#ifdef BREAK_START_LOCK_FIRST
       if
       :: lock == me && own == NONE -> lock_drop()
       :: else
       fi;
#endif
       atomic { MUTEX_LOCK(registry); stopping = false }
       start_state(WORKER);
       start_state(VISITOR);
       atomic { start_state(STOPPER); start_state(SPARE) }
       MUTEX_UNLOCK(registry);
       atomic {
           world == NOBODY -> /* under the mutex */
           stopper = NOBODY;
#ifndef BREAK_START_LOCK_FIRST
           if
           :: lock == me && own == NONE -> lock_drop()
           :: else
           fi;
#endif
#ifndef BREAK_START_NO_WAKE
           broadcast()
#endif
       }
    fi
}

/* --- threads ---------------------------------------------------------------------------------- */

proctype worker(byte me) {
    byte own = WORKER, seen;

    attach(me);
    if
    :: deletes -> delete(SPARE)
    :: !deletes && free_threaded -> synchronize()
    :: !deletes && !free_threaded
    fi;
    do
    :: asked[me] || nempty(queue) -> safepoint(me)
    :: done == THREADS - 1 && empty(queue) && !asked[me] -> break
    od;
    detach(me);
    done++
}

proctype visitor(byte me) {
    byte own = NONE, seen;

    born(me);
    attach(me);
    detach(me);
    delete(me);
    done++
}

proctype attached_stopper(byte me) {
    byte own = STOPPER, seen, counted, stops, starts;
    bool parked;

    attach(me);
    do
    :: stops < 2 -> stop(); stops++
    :: stops == 2 && starts < 2 -> start(); starts++
    :: starts == 2 -> break
    od;
    detach(me);
    done++
}

proctype detached_stopper(byte me) {
    byte own = NONE, seen, counted;
    bool parked;

    stop();
    start();
    done++
}

init {
    atomic {
        if
        :: free_threaded = true
        :: free_threaded = false
        fi;
        if
        :: run visitor(VISITOR)
        :: deletes = true; done++
        fi;
        listed[WORKER] = true;
        listed[STOPPER] = true;
        listed[SPARE] = true;
        run worker(WORKER);
        run attached_stopper(STOPPER);
        run detached_stopper(DETACHED)
    }
    (done == THREADS);
    atomic {
        assert(pending == 0 && stopper == NOBODY && lock == NOBODY && !stopping);
        assert(status[WORKER] == 0 && status[STOPPER] == 0)
    }
}

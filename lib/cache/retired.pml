/* SPDX-License-Identifier: MIT */
/*
 * retired.pml - a model of deferred frees over liburcu's qsbr flavour: docs/design.md, "Deferred frees"; rcu.c.
 *
 *   Modelled    one shared pointer; the grace period with its counter, each reader's counter (0: offline), its mutex,
 *               and the load and the store of going online and of a quiescent state as steps of their own; the batch
 *               of each thread; what ended threads handed over to the interpreter, with its mutex.  The first step
 *               chooses the mode, and whether what is handed over exceeds the limit.  Three threads, besides one that
 *               reclaims at last:
 *                 reader  loads the pointer and uses it; before that use it deletes a detached state that has a
 *                         batch.
 *                 writer  puts another block in its place and retires the old one, which it may use until its
 *                         safepoint; detaches, and deletes its state.
 *                 ender   does the same without a safepoint; its batch is never due.
 *   Abstracted  When a batch is due: at any safepoint or detach of a thread that has one.  The chunks of a batch, and
 *               blocks that are lost when memory is out.  liburcu serves several waiters by one grace period; here
 *               each has its own.  Attaching and stopping: concurrency/stop.pml; a stop is a grace period, so is a
 *               change of the mode.  Memory is sequentially consistent: orders are the matter of tests/lint/orders.py
 *               and of ThreadSanitizer.
 *
 *   M1  No thread uses a block that has been freed.
 *   M2  A block is freed once, and only when it was retired.
 *   M3  In the end every block that was retired has been freed.
 *   M4  In gil mode, what is handed over and exceeds the limit has been freed when a thread detaches that was
 *       attached when all had been asked, or that attached later; or that thread is still asked, for when it attaches
 *       again.
 *   M5  No deadlock: every grace period ends.
 *   M6  Every run ends.
 *
 *   online(), offline(), quiescent(), synchronize()   the functions of concurrency/rcu.c of these names
 *   retire()   gilloc_retire()               reclaim()  steps 1 to 3 of the design; gilloc_reclaim()
 *   safepoint()  gilloc_safepoint()          delete()   deleting a thread state
 *
 *   Broken by   BREAK_NO_GRACE          blocks are freed without a grace period
 *               BREAK_TAKE_LATE         what was handed over is taken after the grace period
 *               BREAK_WAIT_ONLINE       a thread waits for a grace period online
 *               BREAK_DETACH_ONLINE     a thread detaches and stays online
 *               BREAK_READ_OFFLINE      a thread that attaches goes online after its first read
 *               BREAK_KEEP_POINTER      a reader keeps its pointer over a safepoint
 *               BREAK_RETIRE_FIRST      a block is retired before it is out of reach
 *               BREAK_DELETE_FREES      who deletes a state frees its batch at once
 *               BREAK_DELETE_ATTACHED   who deletes a state while attached by another waits for a grace period there
 *               BREAK_HANDED_NO_MUTEX   what was handed over is taken without its mutex
 *               BREAK_GIL_FREE_AT_ONCE  in gil mode a block is freed as it is retired
 *               BREAK_ASK_NOT           in gil mode who hands over does not ask the attached threads
 *               BREAK_ATTACH_NOT_ASKED  in gil mode who attaches does not look at what was handed over
 */

#define READER 0
#define WRITER 1
#define ENDER 2
#define LAST 3 /* not while another is online */
#define THREADS 4
#define NOBODY 255

/* Blocks are numbers, sets of them are bits. */
#define BIT(block) (1 << (block))
#define OLD 0 /* retired by the state that the reader deletes */
#define FIRST 1
#define BLOCKS 4

bool free_threaded, over_limit;

byte pointer = FIRST;
byte next_block = FIRST + 1;
byte retired = BIT(OLD), freed;  /* of the model: sets */

byte period = 1;                 /* liburcu's counter */
byte counter[THREADS];           /* of each reader; 0: offline */
byte period_mutex = NOBODY;

byte lock = NOBODY;
bool attached[THREADS], asked[THREADS];
byte handed;                     /* by threads that ended */
byte must[THREADS];              /* of the model: M4 */
byte done;

/* In all that follows `me` is the thread, `batch` its batch. */
inline use(block) { assert(!(freed & BIT(block))) } /* M1 */

inline free_all() {
    atomic {
        assert((mine & freed) == 0 && (mine & ~retired) == 0); /* M2 */
        freed = freed | mine;
        mine = 0
    }
}

/* --- liburcu ---------------------------------------------------------------------------------- */

inline online() {
    seen = period;
    counter[me] = seen;
    seen = 0
}

inline offline() { counter[me] = 0 }

inline quiescent() { online() }

inline wait_for(reader) { (counter[reader] == 0 || counter[reader] == period) }

inline synchronize() {
    atomic { period_mutex == NOBODY -> period_mutex = me; period++ }
    wait_for(0);
    wait_for(1);
    wait_for(2);
    period_mutex = NOBODY
}

/* --- deferred frees --------------------------------------------------------------------------- */

/* What was handed over becomes the caller's too. */
inline take_handed() {
#ifdef BREAK_HANDED_NO_MUTEX
    mine = mine | handed;
    handed = 0
#else
    atomic { mine = mine | handed; handed = 0 } /* under its mutex */
#endif
}

inline reclaim() {
    atomic { mine = batch; batch = 0 }
#ifndef BREAK_TAKE_LATE
    take_handed();
#endif
#ifndef BREAK_NO_GRACE
    if
    :: free_threaded ->
#ifndef BREAK_WAIT_ONLINE
       offline();
#endif
       synchronize();
       if
       :: attached[me] -> online()
       :: else
       fi
    :: else
    fi;
#endif
#ifdef BREAK_TAKE_LATE
    take_handed();
#endif
    free_all()
}

/* At a safepoint or detach: if it was asked, or if its batch is due. */
inline reclaim_if_due() {
    if
    :: asked[me] -> asked[me] = false; reclaim()
    :: !asked[me] && batch != 0 && me != ENDER -> reclaim()
    :: !asked[me]
    fi
}

inline retire(block) {
    atomic { retired = retired | BIT(block); batch = batch | BIT(block) }
#ifdef BREAK_GIL_FREE_AT_ONCE
    if
    :: !free_threaded -> atomic { mine = batch; batch = 0 } free_all()
    :: else
    fi
#endif
}

/* Puts a new block into the place of the old one. */
inline replace(old) {
#ifdef BREAK_RETIRE_FIRST
    old = pointer;
    retire(old);
    reclaim_if_due();
    atomic { pointer = next_block; next_block++ }
#else
    atomic { old = pointer; pointer = next_block; next_block++ }
    retire(old)
#endif
}

/* Deletes a detached state whose batch is `its`. */
inline delete(its) {
    sent = its;
#ifdef BREAK_DELETE_FREES
    atomic { mine = its; its = 0 }
    free_all();
#endif
#ifdef BREAK_HANDED_NO_MUTEX
    mine = handed;
    atomic { handed = mine | its; mine = 0; its = 0 }
#else
    atomic { handed = handed | its; its = 0 } /* under its mutex */
#endif
    if
    :: over_limit && sent != 0 ->
       if
       :: attached[me] -> /* it may hold pointers: later, at its own safepoint */
#ifdef BREAK_DELETE_ATTACHED
          reclaim()
#else
          asked[me] = true
#endif
       :: !attached[me] && free_threaded -> reclaim()
       :: !attached[me] && !free_threaded ->
#ifndef BREAK_ASK_NOT
          asked[0] = attached[0];
          asked[1] = attached[1];
          asked[2] = attached[2];
#endif
          atomic {
              must[0] = must[0] | (attached[0] -> sent : 0);
              must[1] = must[1] | (attached[1] -> sent : 0);
              must[2] = must[2] | (attached[2] -> sent : 0)
          }
       fi
    :: else
    fi;
    sent = 0
}

/* --- attach, detach, safepoint ---------------------------------------------------------------- */

inline attach() {
    if
    :: free_threaded ->
       attached[me] = true;
#ifndef BREAK_READ_OFFLINE
       online()
#endif
    :: else ->
       atomic { lock == NOBODY -> lock = me }
       atomic { attached[me] = true; must[me] = (over_limit -> handed : 0) }
#ifndef BREAK_ATTACH_NOT_ASKED
       if
       :: over_limit && handed != 0 -> asked[me] = true
       :: else
       fi
#endif
    fi
}

inline detach() {
    reclaim_if_due();
    if
    :: free_threaded ->
#ifndef BREAK_DETACH_ONLINE
       offline();
#endif
       attached[me] = false
    :: else ->
       atomic {
           assert((must[me] & handed) == 0 || asked[me]); /* M4 */
           must[me] = 0;
           attached[me] = false
       }
       lock = NOBODY
    fi
}

inline safepoint() {
    reclaim_if_due();
    if
    :: free_threaded -> quiescent()
    :: else -> lock = NOBODY; atomic { lock == NOBODY -> lock = me } /* parked meanwhile */
    fi
}

/* --- threads ---------------------------------------------------------------------------------- */

proctype reader(byte me) {
    byte batch, mine, sent, seen, held, its = BIT(OLD);

    attach();
    held = pointer;
#ifdef BREAK_READ_OFFLINE
    if
    :: free_threaded -> online()
    :: else
    fi;
#endif
    delete(its);
    use(held);
    safepoint();
#ifndef BREAK_KEEP_POINTER
    held = pointer;
#endif
    use(held);
    detach();
    done++
}

proctype writer(byte me) {
    byte batch, mine, sent, seen, held;

    attach();
    replace(held);
    use(held);
    safepoint();
    detach();
    delete(batch);
    done++
}

proctype ender(byte me) {
    byte batch, mine, sent, seen, held;

    attach();
    replace(held);
    detach();
    delete(batch);
    done++
}

/* Attaches when the others have ended. */
proctype last(byte me) {
    byte batch, mine, seen;

    (done == 3);
    attach();
    reclaim();
    detach();
    atomic {
        assert(freed == retired && handed == 0);                 /* M3 */
        assert(retired == (((1 << BLOCKS) - 1) & ~BIT(pointer))) /* M3 */
    }
}

init {
    atomic {
        if
        :: free_threaded = true
        :: free_threaded = false
        fi;
        if
        :: over_limit = true
        :: over_limit = false
        fi;
        run reader(READER);
        run writer(WRITER);
        run ender(ENDER);
        run last(LAST)
    }
}

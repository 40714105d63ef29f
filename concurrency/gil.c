/* SPDX-License-Identifier: MIT */
/*
 * gil.c [L1] - the lock: take, drop, and drop when asked.  Rules and states: gil.h.
 *   Owner   the gil belongs to an interpreter; a waiter to the thread that waits, in its frame, while it is queued.
 *   Locks   queue.
 *   Orders  lock.
 */
#include "concurrency/gil.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "concurrency/probe.h"
#include "concurrency/tool.h"

/* --- constants -------------------------------------------------------------------------------- */

/* Rule 2.  A hand-over after 1 ms of waiting bounds the wait of a thread beside others that offer the lock (p99 4-8 ms
   where a lock without it let threads wait for a second); half a millisecond between hand-overs keeps it from
   degenerating into strict order of arrival (43 thousand takes a second among 8 threads against 9.8 million). */
#define RIPE_NS 1000000u
#define TENURE_NS 500000u
/* Rule 3.  A returning thread lets the holder have this long, and repeats its request, which can be lost when the
   holder changes, after as long again. */
#define EARLY_TENURE_NS 50000u
#define EARLY_RETRY_NS 200000u
/* How long a waiter spins before it sleeps: about what a wake-up by futex costs, so it never loses more than half. */
#define SPIN_NS 20000u
#define SPIN_PAUSES 32 /* between two looks at the clock */

/* What a waiter is told, by whoever holds `queue`; SPINNING and SLEEPING are its own words. */
enum { SPINNING = 0, SLEEPING, COMPETE, GRANTED };

struct gi_waiter {
    struct gi_waiter *next, *prev; /* guarded by queue */
    gi_waiter_list *list;          /* guarded by queue: the one that it is in */
    gi_asked *asked;               /* constant while queued */
    uint64_t since;                /* constant while queued: ns */
    gi_atomic(uint32_t) signal;    /* atomic, order(lock); the futex */
};

/* --- clock, futex ----------------------------------------------------------------------------- */

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t gi_gil_clock(void) { return now_ns(); }

static void futex_wait(gi_atomic(uint32_t) *word, uint32_t value, uint64_t timeout_ns) {
    struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000u),
                               .tv_nsec = (long)(timeout_ns % 1000000000u)};
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &timeout, NULL, 0);
}

/* The waiter may have gone by now; then this wakes nobody, or somebody who looks and waits again. */
static void futex_wake(gi_atomic(uint32_t) *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0); }

static bool may_spin(void) {
    static gi_atomic(long) processors; /* relaxed: a constant, found twice at worst */
    long count = gi_load_relaxed(&processors);
    if (count == 0) {
        count = sysconf(_SC_NPROCESSORS_ONLN);
        gi_store_relaxed(&processors, count);
    }
    return count > 1;
}

/* --- the queue: all under gil->queue ---------------------------------------------------------- */

static void list_add(gi_waiter_list *list, struct gi_waiter *waiter, bool at_front) {
    waiter->list = list;
    waiter->next = at_front ? list->first : NULL;
    waiter->prev = at_front ? NULL : list->last;
    *(waiter->next != NULL ? &waiter->next->prev : &list->last) = waiter;
    *(waiter->prev != NULL ? &waiter->prev->next : &list->first) = waiter;
}

static void list_remove(struct gi_waiter *waiter) {
    *(waiter->next != NULL ? &waiter->next->prev : &waiter->list->last) = waiter->prev;
    *(waiter->prev != NULL ? &waiter->prev->next : &waiter->list->first) = waiter->next;
}

/* Who goes next, or NULL. */
static struct gi_waiter *first_locked(const gi_gil *gil, uint64_t now) {
    struct gi_waiter *early = gil->early.first, *late = gil->late.first;
    if (early == NULL) {
        return late;
    }
    bool overdue = late != NULL && now > late->since + 2 * gi_load_relaxed(&gil->interval_ns);
    return overdue && late->since < early->since ? late : early;
}

/* Brings `ripe_at` in line with the queue, and WAITERS if the queue is empty. */
static void queue_changed_locked(gi_gil *gil) {
    const struct gi_waiter *early = gil->early.first, *late = gil->late.first;
    uint64_t ripe_at = UINT64_MAX;
    if (early != NULL || late != NULL) {
        uint64_t since = early == NULL || (late != NULL && late->since < early->since) ? late->since : early->since;
        ripe_at = since + RIPE_NS;
        if (ripe_at < gil->tenure_start + TENURE_NS) {
            ripe_at = gil->tenure_start + TENURE_NS;
        }
    } else {
        gi_fetch_and_relaxed(&gil->state, ~(uint32_t)GI_GIL_WAITERS); /* relaxed: taking HELD is what synchronises */
    }
    gi_store_relaxed(&gil->ripe_at, ripe_at);
}

/* --- times: all by the holder of the lock ----------------------------------------------------- */

/* The hold that begins now is the next to be counted in `takes`. */
static void hold_begins(gi_gil *gil, uint64_t now) {
    gil->hold_start = now;
    gil->hold_take = gi_load_relaxed(&gil->takes) + 1; /* relaxed: the holder's, as all of these */
}

/* (queue, unless the hold began in it) The hold ends, and somebody waits.  A hold that did not begin in the queue began
   when that was empty. */
static void hold_ends(gi_gil *gil, uint64_t now) {
    bool queued = gi_load_relaxed(&gil->takes) == gil->hold_take;
    uint64_t start = queued ? gil->hold_start : gil->watched_since;
    if (now > start && now - start > gi_load_relaxed(&gil->times.hold_max)) {
        gi_store_relaxed(&gil->times.hold_max, now - start);
    }
}

static unsigned bucket_of(uint64_t ns) {
    unsigned bucket = 63u - (unsigned)__builtin_clzll(ns | 1);
    return bucket < GI_WAIT_BUCKETS ? bucket : GI_WAIT_BUCKETS - 1;
}

/* A wait that began at `since` has ended: the lock is this thread's. */
static void waited(gi_gil *gil, uint64_t since) {
    uint64_t wait = now_ns() - since;
    gi_counter_add(&gil->times.wait_sum, wait);
    gi_counter_add(&gil->times.waits[bucket_of(wait)], 1);
    if (wait > gi_load_relaxed(&gil->times.wait_max)) { /* relaxed: the holder's */
        gi_store_relaxed(&gil->times.wait_max, wait);
    }
}

/* --- telling, granting ------------------------------------------------------------------------ */

/* Tells `waiter`, which spins no more then: another one may.  True if it must be woken. */
static bool tell_locked(gi_gil *gil, struct gi_waiter *waiter, uint32_t signal) {
    struct gi_waiter *spinner = waiter;
    if (gi_load_relaxed(&gil->spinner) == waiter) { /* relaxed: it is only compared, as below */
        gi_cas_relaxed(&gil->spinner, &spinner, NULL);
    }
    /* order(lock): release; pairs with acquire in wait_turn(). */
    return gi_exchange_acq_rel(&waiter->signal, signal) == SLEEPING;
}

/* Gives the lock, which the caller holds, to `waiter`.  True if it must be woken. */
static bool grant_locked(gi_gil *gil, struct gi_waiter *waiter, uint64_t now) {
    list_remove(waiter);
    gil->tenure_start = now;
    if (gi_load_relaxed(&waiter->signal) == COMPETE) {              /* relaxed: only holders of queue write COMPETE */
        gi_fetch_and_relaxed(&gil->state, ~(uint32_t)GI_GIL_WOKEN); /* relaxed: as above */
    }
    queue_changed_locked(gil);
    hold_begins(gil, now);
    /* order(holder): release; pairs with acquire in ask_holder(). */
    gi_store_release(&gil->holder, waiter->asked);
    gi_counter_add(&gil->takes, 1);
    gi_counter_add(&gil->handoffs, 1);
    return tell_locked(gil, waiter, GRANTED);
}

/* --- waiting ---------------------------------------------------------------------------------- */

static void ask_holder(gi_gil *gil) {
    /* order(holder): acquire; pairs with release in gi_gil_take_at_once() and grant_locked(). */
    gi_asked *holder = gi_load_acquire(&gil->holder);
    if (holder != NULL) {
        gi_fetch_or_relaxed(&holder->bits, GI_ASKED_DROP);
        gi_mutex_lock(&gil->queue);
        gi_counter_add(&gil->requests, 1);
        gi_mutex_unlock(&gil->queue);
    }
}

/* Takes the lock if it is free. */
static bool try_take(gi_gil *gil) {
    uint32_t state = gi_load_relaxed(&gil->state); /* relaxed: a first guess for the compare-and-swap */
    while ((state & GI_GIL_HELD) == 0) {
        /* order(lock): acquire; pairs with release in gi_gil_drop(). */
        if (gi_cas_acquire(&gil->state, &state, state | GI_GIL_HELD)) {
            return true;
        }
    }
    return false;
}

/* A waiter that was woken tries for the lock.  True when it has it. */
static bool compete(gi_gil *gil, struct gi_waiter *self) {
    for (;;) {
        bool taken = try_take(gil);
        gi_mutex_lock(&gil->queue);
        if (taken) {
            list_remove(self);
            gil->tenure_start = now_ns();
            hold_begins(gil, gil->tenure_start);
            gi_fetch_and_relaxed(&gil->state, ~(uint32_t)GI_GIL_WOKEN); /* relaxed: as in queue_changed_locked() */
            queue_changed_locked(gil);
            /* order(holder): release; pairs with acquire in ask_holder(). */
            gi_store_release(&gil->holder, self->asked);
            gi_counter_add(&gil->takes, 1);
            gi_mutex_unlock(&gil->queue);
            return true;
        }
        if (gi_load_relaxed(&self->signal) == GRANTED) { /* relaxed: wait_turn() looks again, with acquire */
            gi_mutex_unlock(&gil->queue);
            return false;
        }
        /* Before this the holder's drop wakes nobody, after it it does; so look whether it dropped before. */
        /* relaxed: try_take() synchronises */
        uint32_t before = gi_fetch_and_relaxed(&gil->state, ~(uint32_t)GI_GIL_WOKEN);
        if ((before & GI_GIL_HELD) != 0) {
            gi_store_relaxed(&self->signal, SPINNING); /* relaxed: a word to oneself and to holders of queue */
            gi_mutex_unlock(&gil->queue);
            return false;
        }
        gi_fetch_or_relaxed(&gil->state, GI_GIL_WOKEN); /* relaxed: under queue */
        gi_mutex_unlock(&gil->queue);
    }
}

/* Spins for a short time in the hope of a signal; at most one waiter of a lock does, besides one that has been told. */
static void spin(gi_gil *gil, struct gi_waiter *self, uint64_t until) {
    struct gi_waiter *spinner = NULL;
    if (!may_spin() || !gi_cas_relaxed(&gil->spinner, &spinner, self)) { /* relaxed: it is only compared */
        return;
    }
    do {
        for (int i = 0; i < SPIN_PAUSES && gi_load_relaxed(&self->signal) == SPINNING; i++) { /* relaxed: a hint */
            gi_pause();
        }
    } while (gi_load_relaxed(&self->signal) == SPINNING && now_ns() < until); /* relaxed: a hint */
    spinner = self;
    gi_cas_relaxed(&gil->spinner, &spinner, NULL); /* relaxed: as above; whoever told it has done so */
}

/* Waits, queued, until the lock is this thread's. */
static void wait_turn(gi_gil *gil, struct gi_waiter *self, bool early, const gi_late *late) {
    uint64_t interval = gi_load_relaxed(&gil->interval_ns);
    uint64_t late_at = late != NULL ? late->at : UINT64_MAX;
    uint64_t ask_at = self->since + (early && interval > EARLY_TENURE_NS ? EARLY_TENURE_NS : interval);
    GI_PROBE1(lock_wait_begin, gil);
    int spins = 1; /* now, and once when the holder has been asked: at a safepoint it answers at once */
    bool asked = false;
    for (;;) {
        /* order(lock): acquire; pairs with release in tell_locked(). */
        uint32_t signal = gi_load_acquire(&self->signal);
        if (signal == GRANTED || (signal == COMPETE && compete(gil, self))) {
            GI_PROBE1(lock_wait_end, gil);
            return;
        }
        if (signal == COMPETE) {
            continue;
        }
        uint64_t now = now_ns();
        if (now >= ask_at) {
            ask_holder(gil);
            ask_at = now + (early && interval > EARLY_RETRY_NS ? EARLY_RETRY_NS : interval);
            spins += asked ? 0 : 1;
            asked = true;
        }
        if (late != NULL && now >= late_at) {
            late->report(late->arg);
            late_at = UINT64_MAX;
        }
        if (spins > 0) {
            uint32_t was = SLEEPING;
            gi_cas_relaxed(&self->signal, &was, SPINNING); /* relaxed: a word to the waker */
            spins--;
            spin(gil, self, now + SPIN_NS);
            continue;
        }
        uint32_t was = SPINNING;
        if (signal == SLEEPING || gi_cas_relaxed(&self->signal, &was, SLEEPING)) { /* relaxed: a word to the waker */
            futex_wait(&self->signal, SLEEPING, (ask_at < late_at ? ask_at : late_at) - now);
        }
    }
}

/* --- a runtime's own lock --------------------------------------------------------------------- */

void gi_gil_outer_acquire(const gi_gil *gil) {
    int saved_errno = errno;
    gil->outer.acquire(gil->outer.ctx);
    errno = saved_errno;
}

void gi_gil_outer_release(const gi_gil *gil) {
    int saved_errno = errno;
    gil->outer.release(gil->outer.ctx);
    errno = saved_errno;
}

/* --- take, drop, yield ------------------------------------------------------------------------ */

/* `soon`: for a stopped world.  The stopper, one at a time, takes the locks of all interpreters, each time in the same
   order but for its own: a tool must not take that for an order of locks. */
static __attribute__((noinline)) void take_slow(gi_gil *gil, gi_asked *asked, bool early, bool soon,
                                                const gi_late *late) {
    int saved_errno = errno;
    if (gi_tool_sees_locks()) {
        gi_tool_lock_begin(gil, soon);
    }
    struct gi_waiter self = {.asked = asked};
    gi_mutex_lock(&gil->queue);
    /* relaxed: from here on a drop comes to `queue`, or it was before try_take() */
    gi_fetch_or_relaxed(&gil->state, GI_GIL_WAITERS);
    bool taken = try_take(gil);
    self.since = now_ns(); /* when it was taken, or found taken by a holder who is at it still if the queue is empty */
    if (taken) {
        queue_changed_locked(gil);
        hold_begins(gil, self.since);
        /* order(holder): release; pairs with acquire in ask_holder(). */
        gi_store_release(&gil->holder, asked);
        gi_counter_add(&gil->takes, 1);
        gi_mutex_unlock(&gil->queue);
    } else {
        if (gil->early.first == NULL && gil->late.first == NULL) {
            gil->watched_since = self.since;
        }
        gi_counter_add(&gil->waits, 1);
        list_add(early ? &gil->early : &gil->late, &self, false);
        queue_changed_locked(gil);
        bool ask = early && self.since >= gil->tenure_start + EARLY_TENURE_NS;
        gi_mutex_unlock(&gil->queue);
        if (ask) {
            ask_holder(gil);
        }
        wait_turn(gil, &self, early, late);
        waited(gil, self.since);
    }
    if (gi_tool_sees_locks()) {
        gi_tool_lock_end(gil, soon);
    }
    errno = saved_errno;
}

static void take(gi_gil *gil, gi_asked *asked, bool early, bool soon, const gi_late *late) {
    if (gi_unlikely(gil->outer.acquire != NULL)) {
        if (!gi_gil_outer_held(gil)) {
            gi_gil_outer_acquire(gil);
        }
    } else if (gi_unlikely(!gi_gil_take_at_once(gil, asked))) {
        take_slow(gil, asked, early, soon, late);
    }
}

void gi_gil_take(gi_gil *gil, gi_asked *asked, bool early) { take(gil, asked, early, false, NULL); }

void gi_gil_take_soon(gi_gil *gil, gi_asked *asked, const gi_late *late) { take(gil, asked, true, true, late); }

/* gi_gil_take_at_once() of a lock of which a tool is told. */
static bool try_take_watched(gi_gil *gil, gi_asked *asked) {
    uint32_t state = GI_GIL_WATCHED;
    /* order(lock): acquire; pairs with release in gi_gil_drop_slow(). */
    if (!gi_cas_acquire(&gil->state, &state, GI_GIL_WATCHED | GI_GIL_HELD)) {
        return false;
    }
    gi_tool_lock_begin(gil, true);
    gi_tool_lock_end(gil, true);
    /* order(holder): release; pairs with acquire in ask_holder(). */
    gi_store_release(&gil->holder, asked);
    gi_counter_add(&gil->takes, 1);
    return true;
}

bool gi_gil_try_take(gi_gil *gil, gi_asked *asked) {
    if (gil->outer.acquire != NULL) {
        return gi_gil_outer_held(gil);
    }
    return gi_gil_take_at_once(gil, asked) || (gi_tool_sees_locks() && try_take_watched(gil, asked));
}

/* The holder tells, before anybody else can take it. */
static void tell_drop(gi_gil *gil) {
    if (gi_tool_sees_locks()) {
        gi_tool_unlock_begin(gil);
        gi_tool_unlock_end(gil);
    }
}

void gi_gil_drop_slow(gi_gil *gil) {
    if (gil->outer.acquire != NULL) {
        gi_gil_outer_release(gil);
        return;
    }
    int saved_errno = errno;
    tell_drop(gil);
    uint64_t now = now_ns();
    uint32_t state = gi_load_relaxed(&gil->state); /* relaxed: a first guess for the compare-and-swap */
    if ((state & GI_GIL_WOKEN) != 0) {
        hold_ends(gil, now); /* it began beside the one that was woken */
    }
    while ((state & GI_GIL_WOKEN) != 0 && now < gi_load_relaxed(&gil->ripe_at)) {
        /* order(lock): release; pairs with acquire in try_take(). */
        if (gi_cas_release(&gil->state, &state, state & ~(uint32_t)GI_GIL_HELD)) {
            errno = saved_errno;
            return;
        }
    }
    gi_mutex_lock(&gil->queue);
    struct gi_waiter *next = first_locked(gil, now);
    gi_atomic(uint32_t) *wake = NULL;
    if (next != NULL) {
        hold_ends(gil, now);
    }
    if (next != NULL && now >= gi_load_relaxed(&gil->ripe_at)) {
        wake = grant_locked(gil, next, now) ? &next->signal : NULL;
    } else {
        /* order(lock): release; pairs with acquire in try_take(). */
        uint32_t before = gi_fetch_and_release(&gil->state, ~(uint32_t)GI_GIL_HELD);
        if (next != NULL && (before & GI_GIL_WOKEN) == 0) {
            gi_fetch_or_relaxed(&gil->state, GI_GIL_WOKEN); /* relaxed: under queue */
            wake = tell_locked(gil, next, COMPETE) ? &next->signal : NULL;
        }
    }
    gi_mutex_unlock(&gil->queue);
    if (wake != NULL) {
        futex_wake(wake);
    }
    errno = saved_errno;
}

void gi_gil_yield(gi_gil *gil, gi_asked *asked) {
    if (gil->outer.acquire != NULL) {
        return;
    }
    int saved_errno = errno;
    uint64_t now = now_ns();
    struct gi_waiter self = {.asked = asked, .since = now};
    gi_mutex_lock(&gil->queue);
    struct gi_waiter *next = first_locked(gil, now);
    if (next == NULL) {
        gi_mutex_unlock(&gil->queue);
        errno = saved_errno;
        return;
    }
    hold_ends(gil, now);
    tell_drop(gil);
    bool visitor = next->list == &gil->early; /* it will be brief: the interrupted thread comes back next */
    list_add(&gil->late, &self, visitor);
    gi_counter_add(&gil->waits, 1);
    gi_atomic(uint32_t) *wake = grant_locked(gil, next, now) ? &next->signal : NULL;
    gi_mutex_unlock(&gil->queue);
    if (wake != NULL) {
        futex_wake(wake);
    }
    if (gi_tool_sees_locks()) {
        gi_tool_lock_begin(gil, false);
    }
    wait_turn(gil, &self, false, NULL);
    if (gi_tool_sees_locks()) {
        gi_tool_lock_end(gil, false);
    }
    waited(gil, now);
    errno = saved_errno;
}

/* --- lifecycle -------------------------------------------------------------------------------- */

void gi_gil_watch(gi_gil *gil) {
    gi_fetch_or_relaxed(&gil->state, GI_GIL_WATCHED); /* relaxed: nobody has taken it yet */
}

void gi_gil_after_fork_child(gi_gil *gil, gi_asked *asked) {
    gil->early = gil->late = (gi_waiter_list){NULL, NULL};
    uint64_t ended = 0; /* the others wait no more */
    for (unsigned i = 0; i < GI_WAIT_BUCKETS; i++) {
        ended += gi_load_relaxed(&gil->times.waits[i]); /* relaxed: the child has one thread */
    }
    gi_store_relaxed(&gil->waits, ended);
    uint32_t watched = gi_load_relaxed(&gil->state) & GI_GIL_WATCHED;           /* relaxed: the child has one thread */
    gi_store_relaxed(&gil->state, watched | (asked != NULL ? GI_GIL_HELD : 0)); /* relaxed: as above */
    /* order(holder): release; pairs with acquire in ask_holder(). */
    gi_store_release(&gil->holder, asked);
    gi_store_relaxed(&gil->spinner, NULL);
    gi_store_relaxed(&gil->ripe_at, UINT64_MAX);
}

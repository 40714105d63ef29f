/* SPDX-License-Identifier: MIT */
/*
 * gil_test.c - the lock by itself: exclusion, turns for everyone, hand-over when asked, who goes first, the counts.
 *   Nothing here measures time.  Where a test needs threads in the queue it waits until they are counted there; where
 *   the lock lets somebody starve, a test does not end.
 */
#define _GNU_SOURCE /* _Fork() */
#include "concurrency/gil.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/concurrency/unit.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

#define HELD 1u /* gil.h, state */
#define NEVER_NS ((uint64_t)1 << 60)
#define SHORT_NS 1000u

static gi_gil gil;

static void init(uint64_t interval_ns) {
    gil = (gi_gil)GI_GIL_INIT;
    gi_store_relaxed(&gil.interval_ns, interval_ns);
}

static uint64_t get(const gi_counter *counter) { return gi_load_relaxed(counter); }
static bool asked_to_drop(const gi_asked *asked) { return (gi_load_relaxed(&asked->bits) & GI_ASKED_DROP) != 0; }
static void forget_request(gi_asked *asked) { gi_store_relaxed(&asked->bits, 0); }

static uint64_t ended_waits(void) {
    uint64_t sum = 0;
    for (int i = 0; i < GI_WAIT_BUCKETS; i++) {
        sum += get(&gil.times.waits[i]);
    }
    return sum;
}

static void expect_free_and_quiet(void) {
    EXPECT_EQ(gi_load_relaxed(&gil.state), 0);
    EXPECT(gi_load_relaxed(&gil.holder) == NULL);
    EXPECT(gil.early.first == NULL && gil.late.first == NULL);
    EXPECT(gi_load_relaxed(&gil.spinner) == NULL);
    EXPECT_EQ(gi_load_relaxed(&gil.ripe_at), UINT64_MAX);
}

/* --- one thread ------------------------------------------------------------------------------- */

static void take_and_drop(void) {
    gi_asked asked = {0};
    gil = (gi_gil)GI_GIL_INIT;
    EXPECT_EQ(gi_load_relaxed(&gil.interval_ns), GI_GIL_DEFAULT_INTERVAL_NS);
    for (uint64_t i = 1; i <= 3; i++) {
        gi_gil_take(&gil, &asked, i % 2 != 0);
        EXPECT_EQ(gi_load_relaxed(&gil.state), HELD);
        EXPECT(gi_load_relaxed(&gil.holder) == &asked);
        EXPECT_EQ(get(&gil.takes), i);
        gi_gil_yield(&gil, &asked); /* nobody waits: it stays */
        EXPECT(gi_load_relaxed(&gil.holder) == &asked);
        gi_gil_drop(&gil);
        expect_free_and_quiet();
    }
    EXPECT_EQ(get(&gil.takes), 3);
    EXPECT_EQ(get(&gil.waits), 0);
    EXPECT_EQ(get(&gil.handoffs), 0);
    EXPECT_EQ(get(&gil.requests), 0);
}

static void try_take_never_waits(void) {
    gi_asked mine = {0}, other = {0};
    init(NEVER_NS);
    EXPECT(gi_gil_try_take(&gil, &mine));
    EXPECT(gi_load_relaxed(&gil.holder) == &mine);
    EXPECT(!gi_gil_try_take(&gil, &other));
    EXPECT(gi_load_relaxed(&gil.holder) == &mine);
    gi_gil_drop(&gil);
    EXPECT(gi_gil_try_take(&gil, NULL)); /* a visitor that need not be asked */
    EXPECT(gi_load_relaxed(&gil.holder) == NULL);
    gi_gil_drop(&gil);
    gi_gil_take(&gil, &other, false);
    EXPECT(!gi_gil_try_take(&gil, &mine));
    gi_gil_drop(&gil);
    EXPECT_EQ(get(&gil.takes), 3);
    expect_free_and_quiet();
}

/* --- a runtime's own lock --------------------------------------------------------------------- */

static void an_outer_lock_takes_its_place(void) {
    struct unit_outer outer = {0};
    gi_asked asked = {0};
    init(NEVER_NS);
    gil.outer = (gi_outer_lock){&outer, unit_outer_acquire, unit_outer_release, unit_outer_held};
    EXPECT(!gi_gil_try_take(&gil, &asked));
    gi_gil_take(&gil, &asked, false);
    EXPECT_EQ(outer.acquired, 1);
    gi_gil_take(&gil, &asked, false); /* held already: not twice */
    EXPECT_EQ(outer.acquired, 1);
    EXPECT(gi_gil_try_take(&gil, &asked));
    gi_gil_yield(&gil, &asked); /* the runtime yields its lock by itself */
    EXPECT_EQ(outer.released, 0);
    gi_gil_drop(&gil);
    EXPECT_EQ(outer.released, 1);
    EXPECT_EQ(gi_load_relaxed(&gil.state), 0);
    EXPECT_EQ(get(&gil.takes), 0);
}

/* --- exclusion and counts --------------------------------------------------------------------- */

#define THREADS 5
#define TURNS ROUNDS(20000)

static size_t plain_counter; /* guarded by the lock, which is what is tested */
static struct shared holders;

struct worker {
    size_t index;
    gi_asked asked;
    size_t yields;
};

static struct worker workers[THREADS];

static void setup_workers(void) {
    for (size_t i = 0; i < THREADS; i++) {
        workers[i].index = i;
    }
}

static void critical(void) {
    EXPECT_EQ(shared_add(&holders, 1), 0);
    plain_counter++;
    EXPECT_EQ(shared_add(&holders, (size_t)-1), 1);
}

static void *take_work_drop(void *arg) {
    struct worker *self = arg;
    for (size_t i = 0; i < TURNS; i++) {
        gi_gil_take(&gil, &self->asked, (self->index + i / 100) % 2 != 0);
        critical();
        if (i % 3 == self->index % 3 || asked_to_drop(&self->asked)) {
            forget_request(&self->asked);
            gi_gil_yield(&gil, &self->asked);
            self->yields++;
            critical();
        }
        gi_gil_drop(&gil);
        while (i % 64 == 0 && !gi_gil_try_take(&gil, &self->asked)) {
            sched_yield();
        }
        if (i % 64 == 0) {
            critical();
            gi_gil_drop(&gil);
        }
    }
    return NULL;
}

static void one_holder_at_a_time_and_the_counts_add_up(void) {
    static const uint64_t intervals[] = {1, SHORT_NS, GI_GIL_DEFAULT_INTERVAL_NS};
    for (size_t i = 0; i < LENGTH(intervals); i++) {
        gil = (gi_gil){.outer = {NULL, NULL, NULL, NULL}};
        init(intervals[i]);
        setup_workers();
        plain_counter = 0;
        threads_run(THREADS, take_work_drop, workers, sizeof(workers[0]));
        uint64_t yields = 0, takes = THREADS * (TURNS + (TURNS + 63) / 64);
        for (size_t t = 0; t < THREADS; t++) {
            yields += workers[t].yields;
            workers[t].yields = 0;
        }
        EXPECT_EQ(plain_counter, takes + yields);
        /* A yield is a take if somebody waited. */
        EXPECT_AT_MOST(takes, get(&gil.takes));
        EXPECT_AT_MOST(get(&gil.takes), takes + yields);
        EXPECT_AT_MOST(get(&gil.waits), get(&gil.takes));
        EXPECT_AT_MOST(get(&gil.handoffs), get(&gil.waits));
        EXPECT_EQ(ended_waits(), get(&gil.waits));
        EXPECT_AT_MOST(get(&gil.times.wait_max), get(&gil.times.wait_sum));
        expect_free_and_quiet();
    }
}

/* --- turns for everyone ----------------------------------------------------------------------- */

#define TURNS_EACH ROUNDS(200)

static size_t last_holder = THREADS; /* guarded by the lock, as below */
static size_t turns[THREADS];        /* how often the lock came from another thread */
static size_t threads_with_their_turns;

/* The caller holds the lock.  True when everyone has had enough turns. */
static bool count_turn(size_t index) {
    if (last_holder != index) {
        last_holder = index;
        if (++turns[index] == TURNS_EACH) {
            threads_with_their_turns++;
        }
    }
    return threads_with_their_turns == THREADS;
}

static void *compute(void *arg) {
    struct worker *self = arg;
    gi_gil_take(&gil, &self->asked, false);
    while (!count_turn(self->index)) {
        if (asked_to_drop(&self->asked)) {
            forget_request(&self->asked);
            gi_gil_yield(&gil, &self->asked);
        }
    }
    gi_gil_drop(&gil);
    return NULL;
}

/* Comes and goes at once, so that it could barge for ever. */
static void *come_and_go(void *arg) {
    struct worker *self = arg;
    for (bool done = false; !done;) {
        gi_gil_take(&gil, &self->asked, true);
        done = count_turn(self->index);
        gi_gil_drop(&gil);
    }
    return NULL;
}

static void give_turns(size_t computing, uint64_t interval_ns) {
    init(interval_ns);
    setup_workers();
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        threads[i] = thread_start(i < computing ? compute : come_and_go, &workers[i]);
    }
    for (size_t i = 0; i < THREADS; i++) {
        thread_join(threads[i]);
    }
    expect_free_and_quiet();
}

static void everyone_who_computes_gets_turns(void) { give_turns(THREADS, SHORT_NS); }
static void everyone_who_comes_and_goes_gets_turns(void) { give_turns(0, GI_GIL_DEFAULT_INTERVAL_NS); }
static void one_who_computes_gets_turns_beside_many_who_come_and_go(void) { give_turns(1, SHORT_NS); }
static void many_who_compute_give_turns_to_one_who_comes_and_goes(void) { give_turns(THREADS - 1, SHORT_NS); }
static void both_kinds_get_turns(void) { give_turns(2, 50000); }

/* --- who goes next ---------------------------------------------------------------------------- */

static char order[8]; /* guarded by the lock: the names of its holders */
static size_t order_length;

struct visitor {
    char name;
    bool early;
    gi_asked asked;
};

static void *visit(void *arg) {
    struct visitor *self = arg;
    errno = 1000 + self->name;
    gi_gil_take(&gil, &self->asked, self->early);
    EXPECT_EQ(errno, 1000 + self->name);
    order[order_length++] = self->name;
    gi_gil_drop(&gil);
    EXPECT_EQ(errno, 1000 + self->name);
    return NULL;
}

static pthread_t queue(struct visitor *visitor, uint64_t waits_after) {
    pthread_t thread = thread_start(visit, visitor);
    WAIT_UNTIL(get(&gil.waits) == waits_after);
    return thread;
}

static void expect_order(const char *expected) {
    gi_asked asked = {0};
    gi_gil_take(&gil, &asked, false);
    order[order_length] = '\0';
    if (strcmp(order, expected) != 0) {
        expect_failed(__FILE__, __LINE__, "the order is %s, not %s", order, expected);
    }
    gi_gil_drop(&gil);
}

/* After a yield that was asked for another thread has run. */
static void a_yield_hands_over(void) {
    gi_asked asked = {0};
    init(SHORT_NS);
    for (uint64_t i = 0; i < ROUNDS(200); i++) {
        order_length = 0;
        forget_request(&asked); /* one that came late */
        gi_gil_take(&gil, &asked, false);
        uint64_t handoffs = get(&gil.handoffs);
        struct visitor visitor = {.name = 'v', .early = i % 2 != 0};
        pthread_t thread = thread_start(visit, &visitor);
        WAIT_UNTIL(asked_to_drop(&asked));
        EXPECT_EQ(order_length, 0);
        forget_request(&asked);
        errno = 77;
        gi_gil_yield(&gil, &asked);
        EXPECT_EQ(errno, 77);
        EXPECT_EQ(order_length, 1);
        EXPECT(gi_load_relaxed(&gil.holder) == &asked);
        EXPECT(get(&gil.handoffs) > handoffs);
        gi_gil_drop(&gil);
        thread_join(thread);
    }
    EXPECT(get(&gil.requests) >= ROUNDS(200));
    expect_free_and_quiet();
}

/* A waiter that sleeps is woken by a plain drop; errno survives on both sides. */
static void a_drop_wakes_a_waiter(void) {
    gi_asked asked = {0};
    init(NEVER_NS);
    for (uint64_t i = 0; i < ROUNDS(200); i++) {
        order_length = 0;
        gi_gil_take(&gil, &asked, false);
        struct visitor visitor = {.name = 'v', .early = false};
        pthread_t thread = queue(&visitor, i + 1);
        EXPECT(!asked_to_drop(&asked));
        errno = 78;
        gi_gil_drop(&gil);
        EXPECT_EQ(errno, 78);
        thread_join(thread);
        EXPECT_EQ(order_length, 1);
    }
    EXPECT_EQ(get(&gil.takes), 2 * ROUNDS(200));
    expect_free_and_quiet();
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A holder that drops it only to take it again does so behind a waiter whose time has come, though nobody asked. */
static void a_ripe_waiter_is_handed_the_lock(void) {
    gi_asked asked = {0};
    init(NEVER_NS);
    gi_gil_take(&gil, &asked, false);
    struct visitor visitor = {.name = 'v', .early = false};
    pthread_t thread = queue(&visitor, 1);
    WAIT_UNTIL(now_ns() >= gi_load_relaxed(&gil.ripe_at));
    gi_gil_drop(&gil);
    gi_gil_take(&gil, &asked, false);
    order[order_length++] = 'm';
    gi_gil_drop(&gil);
    thread_join(thread);
    EXPECT_AT_MOST(1, get(&gil.handoffs)); /* the visitor's drop may be one, too */
    EXPECT_EQ(get(&gil.takes), 3);
    EXPECT_EQ(get(&gil.requests), 0);
    expect_order("vm");
    expect_free_and_quiet();
}

/* Whoever gave the lock up itself goes first and asks at once, though the interval is long; whom it interrupted comes
   back next; who had to be asked waits for these. */
static void an_early_waiter_goes_first(void) {
    gi_asked asked = {0};
    init(NEVER_NS);
    gi_gil_take(&gil, &asked, false);
    struct visitor late = {.name = 'l', .early = false}, early = {.name = 'e', .early = true};
    pthread_t late_thread = queue(&late, 1), early_thread = queue(&early, 2);
    WAIT_UNTIL(asked_to_drop(&asked));
    forget_request(&asked);
    gi_gil_yield(&gil, &asked);
    order[order_length++] = 'm';
    gi_gil_drop(&gil);
    thread_join(late_thread);
    thread_join(early_thread);
    expect_order("eml");
    expect_free_and_quiet();
}

/* Unless the other has waited for two intervals: then the order is that of arrival, and the interrupted one is last. */
static void an_early_waiter_waits_for_a_late_one_that_waited_long(void) {
    gi_asked asked = {0};
    init(SHORT_NS);
    gi_gil_take(&gil, &asked, false);
    struct visitor late = {.name = 'l', .early = false}, early = {.name = 'e', .early = true};
    pthread_t late_thread = queue(&late, 1);
    WAIT_UNTIL(get(&gil.requests) >= 4); /* one an interval */
    pthread_t early_thread = queue(&early, 2);
    forget_request(&asked);
    gi_gil_yield(&gil, &asked);
    order[order_length++] = 'm';
    gi_gil_drop(&gil);
    thread_join(late_thread);
    thread_join(early_thread);
    EXPECT_EQ(order[0], 'l');
    expect_free_and_quiet();
}

static void waiters_of_a_kind_go_in_order_of_arrival(void) {
    gi_asked asked = {0};
    for (int early = 0; early < 2; early++) {
        gil = (gi_gil){.outer = {NULL, NULL, NULL, NULL}};
        init(NEVER_NS);
        order_length = 0;
        gi_gil_take(&gil, &asked, false);
        struct visitor visitors[4];
        pthread_t threads[4];
        for (size_t i = 0; i < 4; i++) {
            visitors[i] = (struct visitor){.name = (char)('a' + i), .early = early != 0};
            threads[i] = queue(&visitors[i], i + 1);
        }
        gi_gil_drop(&gil);
        for (size_t i = 0; i < 4; i++) {
            thread_join(threads[i]);
        }
        expect_order("abcd");
        expect_free_and_quiet();
    }
}

/* --- times ------------------------------------------------------------------------------------ */

#define LONG_NS 3000000u

/* The one wait that there was has been counted where its length says, and as long as between these moments. */
static void expect_one_wait(uint64_t least, uint64_t most) {
    uint64_t wait = get(&gil.times.wait_max);
    EXPECT(least <= wait && wait <= most);
    EXPECT_EQ(get(&gil.times.wait_sum), wait);
    EXPECT_EQ(ended_waits(), 1);
    EXPECT_EQ(get(&gil.times.waits[63 - __builtin_clzll(wait)]), 1);
}

static void nothing_is_measured_where_nobody_waits(void) {
    gi_asked asked = {0};
    init(SHORT_NS);
    for (int i = 0; i < 100; i++) {
        gi_gil_take(&gil, &asked, false);
        gi_gil_yield(&gil, &asked);
        gi_gil_drop(&gil);
    }
    EXPECT_EQ(ended_waits(), 0);
    EXPECT_EQ(get(&gil.times.wait_max), 0);
    EXPECT_EQ(get(&gil.times.wait_sum), 0);
    EXPECT_EQ(get(&gil.times.hold_max), 0);
}

/* A hold that nobody saw begin counts from when the first waiter came; the wait until that one has the lock. */
static void a_hold_counts_since_the_first_waiter_came(void) {
    gi_asked asked = {0};
    init(NEVER_NS);
    for (uint64_t waits = 0; waits < 2; waits++) { /* the second time after one that had waiters, too */
        gil.times = (gi_gil_times){.hold_max = 0};
        order_length = 0;
        gi_gil_take(&gil, &asked, false);
        uint64_t taken = now_ns();
        WAIT_UNTIL(now_ns() >= taken + 10 * LONG_NS);
        struct visitor visitor = {.name = 'v', .early = false};
        uint64_t before = now_ns();
        pthread_t thread = queue(&visitor, waits + 1);
        uint64_t after = now_ns();
        WAIT_UNTIL(now_ns() >= after + LONG_NS);
        EXPECT_EQ(get(&gil.times.hold_max), 0);
        EXPECT_EQ(ended_waits(), 0);
        gi_gil_drop(&gil);
        uint64_t dropped = now_ns();
        thread_join(thread);
        EXPECT(LONG_NS <= get(&gil.times.hold_max) && get(&gil.times.hold_max) <= dropped - before);
        expect_one_wait(LONG_NS, now_ns() - before);
        expect_order("v");
    }
}

static struct shared leave;

static void *visit_until_told(void *arg) {
    struct visitor *self = arg;
    gi_gil_take(&gil, &self->asked, self->early);
    order[order_length++] = self->name;
    WAIT_UNTIL(shared_get(&leave) != 0);
    gi_gil_drop(&gil);
    return NULL;
}

static void *yield_once(void *arg) {
    gi_gil_yield(&gil, arg);
    order[order_length++] = 'm';
    gi_gil_drop(&gil);
    return NULL;
}

/* One that was handed the lock counts from then, though its waiters came before; one under way does not count. */
static void a_hold_that_was_handed_over_counts_since_then(void) {
    gi_asked asked = {0};
    init(NEVER_NS);
    struct visitor visitor = {.name = 'v', .early = true};
    gi_gil_take(&gil, &asked, false);
    pthread_t thread = thread_start(visit_until_told, &visitor);
    WAIT_UNTIL(get(&gil.waits) == 1);
    uint64_t before = now_ns();
    pthread_t yielder = thread_start(yield_once, &asked); /* this thread's lock: any thread may drop it */
    WAIT_UNTIL(get(&gil.handoffs) == 1);
    uint64_t handed = now_ns(), first = get(&gil.times.hold_max);
    WAIT_UNTIL(now_ns() >= handed + LONG_NS && now_ns() >= handed + 2 * first);
    EXPECT_EQ(get(&gil.times.hold_max), first);
    shared_set(&leave, 1);
    thread_join(thread);
    thread_join(yielder);
    EXPECT(LONG_NS <= get(&gil.times.hold_max) && get(&gil.times.hold_max) <= now_ns() - before);
    EXPECT(get(&gil.times.hold_max) > first);
    EXPECT_EQ(ended_waits(), get(&gil.waits));
    EXPECT(get(&gil.times.wait_sum) >= get(&gil.times.wait_max));
    expect_order("vm");
    expect_free_and_quiet();
}

/* --- requests --------------------------------------------------------------------------------- */

static void a_request_that_is_lost_is_repeated(void) {
    gi_asked asked = {0};
    for (int early = 0; early < 2; early++) {
        gil = (gi_gil){.outer = {NULL, NULL, NULL, NULL}};
        init(SHORT_NS);
        gi_gil_take(&gil, &asked, false);
        struct visitor visitor = {.name = 'v', .early = early != 0};
        pthread_t thread = queue(&visitor, 1);
        for (int i = 0; i < 5; i++) {
            WAIT_UNTIL(asked_to_drop(&asked));
            forget_request(&asked);
        }
        WAIT_UNTIL(get(&gil.requests) >= 5); /* counted after it is made */
        gi_gil_drop(&gil);
        thread_join(thread);
        expect_free_and_quiet();
    }
}

/* --- the word by which the holder is asked ----------------------------------------------------- */

/* A word is new for each take, and made by a plain store: who asks must see it made (ThreadSanitizer looks at that). */
static gi_asked fresh_words[ROUNDS(100)];
static struct shared turn; /* twice the round, and 1 more once the lock is held in it: orders nothing */

static gi_asked *make_fresh(size_t round) {
    uint32_t *bits = (uint32_t *)(void *)&fresh_words[round].bits;
    *bits = 0;
    return &fresh_words[round];
}

static void *ask_each_holder(void *arg) {
    gi_asked *mine = arg;
    for (size_t round = 0; round < LENGTH(fresh_words); round++) {
        WAIT_UNTIL(shared_get(&turn) == 2 * round + 1);
        gi_gil_take(&gil, mine, round / 2 % 2 != 0);
        gi_gil_drop(&gil);
        shared_set(&turn, 2 * round + 2);
    }
    return NULL;
}

static void who_asks_sees_the_word_of_who_took(void) {
    static gi_asked others;
    init(SHORT_NS);
    pthread_t thread = thread_start(ask_each_holder, &others);
    for (size_t round = 0; round < LENGTH(fresh_words); round++) {
        gi_asked *asked = make_fresh(round);
        if (round % 2 != 0) {
            EXPECT(gi_gil_try_take(&gil, asked));
        } else {
            gi_gil_take(&gil, asked, false);
        }
        shared_set(&turn, 2 * round + 1);
        WAIT_UNTIL(asked_to_drop(asked));
        gi_gil_drop(&gil);
        WAIT_UNTIL(shared_get(&turn) == 2 * round + 2);
    }
    thread_join(thread);
    expect_free_and_quiet();
}

/* Holds the lock until the other one asks, if that has not had it already. */
static void *be_asked(void *arg) {
    gi_asked *asked = make_fresh(*(size_t *)arg);
    gi_gil_take(&gil, asked, true);
    WAIT_UNTIL(asked_to_drop(asked) || order_length != 0);
    gi_gil_drop(&gil);
    return NULL;
}

/* Who asks has been queued before the one that gets the lock, by a grant or by being woken, and asks it then. */
static void who_asks_sees_the_word_of_who_waited(void) {
    gi_asked mine = {0};
    for (size_t round = 0; round < LENGTH(fresh_words); round++) {
        gil = (gi_gil){.outer = {NULL, NULL, NULL, NULL}};
        init(1000000);
        order_length = 0;
        gi_gil_take(&gil, &mine, false);
        struct visitor late = {.name = 'l', .early = false};
        pthread_t late_thread = queue(&late, 1), early_thread = thread_start(be_asked, &round);
        WAIT_UNTIL(get(&gil.waits) == 2);
        if (round % 2 != 0) {
            gi_gil_yield(&gil, &mine);
        }
        gi_gil_drop(&gil);
        thread_join(early_thread);
        thread_join(late_thread);
        expect_free_and_quiet();
    }
}

/* --- fork ------------------------------------------------------------------------------------- */

/* Forks while this thread holds the lock and others wait for it; true in the child, where nobody waits. */
static bool in_child(struct visitor *visitors, pthread_t *threads, gi_asked *asked, pid_t *pid) {
    init(NEVER_NS);
    gi_gil_take(&gil, asked, false);
    for (size_t i = 0; i < 3; i++) {
        visitors[i] = (struct visitor){.name = (char)('a' + i), .early = i == 1};
        threads[i] = queue(&visitors[i], i + 1);
    }
    gi_mutex_lock(&gil.queue);
    *pid = _Fork(); /* without the handlers of the library, whose locks rank below those held here */
    gi_mutex_unlock(&gil.queue);
    return *pid == 0;
}

static void expect_child_well(pid_t pid, pthread_t *threads) {
    int status = 0;
    EXPECT(pid > 0);
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
    gi_gil_drop(&gil);
    for (size_t i = 0; i < 3; i++) {
        thread_join(threads[i]);
    }
    EXPECT_EQ(order_length, 3);
    expect_free_and_quiet();
}

static void after_fork_the_childs_thread_holds_it(void) {
    struct visitor visitors[3];
    pthread_t threads[3];
    gi_asked asked = {0}, other = {0};
    pid_t pid;
    if (in_child(visitors, threads, &asked, &pid)) {
        gi_gil_after_fork_child(&gil, &asked);
        EXPECT(gi_load_relaxed(&gil.holder) == &asked);
        EXPECT(!gi_gil_try_take(&gil, &other));
        gi_gil_yield(&gil, &asked); /* to nobody */
        gi_gil_drop(&gil);
        expect_free_and_quiet();
        EXPECT(gi_gil_try_take(&gil, &other));
        gi_gil_drop(&gil);
        gi_gil_take(&gil, &asked, true);
        gi_gil_drop(&gil);
        expect_free_and_quiet();
        _exit(0);
    }
    expect_child_well(pid, threads);
}

static void after_fork_nobody_holds_it(void) {
    struct visitor visitors[3];
    pthread_t threads[3];
    gi_asked asked = {0}, other = {0};
    pid_t pid;
    if (in_child(visitors, threads, &asked, &pid)) {
        gi_gil_after_fork_child(&gil, NULL);
        expect_free_and_quiet();
        EXPECT_EQ(get(&gil.waits), ended_waits()); /* those of the parent's threads have ended */
        gi_gil_take(&gil, &other, false);
        EXPECT(gi_load_relaxed(&gil.holder) == &other);
        gi_gil_drop(&gil);
        expect_free_and_quiet();
        _exit(0);
    }
    expect_child_well(pid, threads);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(take_and_drop),
        IN_CHILD(try_take_never_waits),
        IN_CHILD(an_outer_lock_takes_its_place),
        IN_CHILD(one_holder_at_a_time_and_the_counts_add_up),
        IN_CHILD(everyone_who_computes_gets_turns),
        IN_CHILD(everyone_who_comes_and_goes_gets_turns),
        IN_CHILD(one_who_computes_gets_turns_beside_many_who_come_and_go),
        IN_CHILD(many_who_compute_give_turns_to_one_who_comes_and_goes),
        IN_CHILD(both_kinds_get_turns),
        IN_CHILD(a_yield_hands_over),
        IN_CHILD(a_drop_wakes_a_waiter),
        IN_CHILD(a_ripe_waiter_is_handed_the_lock),
        IN_CHILD(an_early_waiter_goes_first),
        IN_CHILD(an_early_waiter_waits_for_a_late_one_that_waited_long),
        IN_CHILD(waiters_of_a_kind_go_in_order_of_arrival),
        IN_CHILD(nothing_is_measured_where_nobody_waits),
        IN_CHILD(a_hold_counts_since_the_first_waiter_came),
        IN_CHILD(a_hold_that_was_handed_over_counts_since_then),
        IN_CHILD(a_request_that_is_lost_is_repeated),
        IN_CHILD(who_asks_sees_the_word_of_who_took),
        IN_CHILD(who_asks_sees_the_word_of_who_waited),
        IN_CHILD(after_fork_the_childs_thread_holds_it),
        IN_CHILD(after_fork_nobody_holds_it),
    };
    return cmocka_run_group_tests_name("gil", tests, NULL, NULL);
}

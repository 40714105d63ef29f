/* SPDX-License-Identifier: MIT */
/*
 * thread_state_test.c - the registry, attaching and detaching in both modes, safepoints, fork, and the walk of the
 *                       registry, which must find each fault that is planted in it.
 */
#define _GNU_SOURCE /* _Fork() */
#include "concurrency/thread_state.h"

#include <sys/wait.h>
#include <unistd.h>

#include "concurrency/rcu.h"
#include "tests/concurrency/unit.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

#define STATES 4
#define NEVER_NS ((uint64_t)1 << 60)

static gi_registry registry;
static gi_thread_state states[STATES];

static void init(bool is_free) {
    registry = (gi_registry)GI_REGISTRY_INIT;
    gi_store_relaxed(&gi_the_world.free_threaded, is_free);
    gi_store_relaxed(&registry.gil.interval_ns, NEVER_NS);
    for (size_t i = 0; i < STATES; i++) {
        gi_thread_state_init(&states[i], &registry);
    }
}

static void init_gil_mode(void) { init(false); }
static void init_free_mode(void) { init(true); }

static uint64_t get(const gi_counter *counter) { return gi_load_relaxed(counter); }
static uint32_t status(const gi_thread_state *state) { return gi_load_relaxed(&state->status); }
static void ask(gi_thread_state *state, uint32_t bits) { gi_fetch_or_relaxed(&state->asked.bits, bits); }

static void end(gi_thread_state *state, bool keep) {
    EXPECT_EQ(gi_thread_begin_end(state), GI_END_BEGUN);
    gi_thread_state_fini(state, keep);
}

/* What a safepoint does of the lock and of grace periods; what is left of what was asked. */
static uint32_t safepoint(gi_thread_state *state) {
    uint32_t asked = gi_thread_take_asked(state);
    if (gi_world_is_free()) {
        gi_rcu_quiescent();
    } else if ((asked & GI_ASKED_DROP) != 0) {
        gi_thread_yield(state);
    }
    return asked & ~(uint32_t)GI_ASKED_DROP;
}

static void fini_all(void) {
    for (size_t i = 0; i < STATES; i++) {
        end(&states[i], false);
    }
    EXPECT(registry.first == NULL);
    EXPECT_EQ(get(&registry.count), 0);
    EXPECT_EQ(gi_registry_check(&registry), 0);
}

/* --- the registry ----------------------------------------------------------------------------- */

static void states_have_numbers_in_order_of_birth(void) {
    EXPECT_EQ(gi_registry_check(&registry), 0);
    init_gil_mode();
    for (size_t i = 0; i < STATES; i++) {
        EXPECT_EQ(states[i].number, i + 1);
        EXPECT_EQ(status(&states[i]), GI_DETACHED);
        EXPECT(!states[i].early);
        EXPECT(states[i].registry == &registry);
    }
    EXPECT_EQ(get(&registry.count), STATES);
    EXPECT_EQ(get(&registry.ever), STATES);
    EXPECT_EQ(gi_registry_check(&registry), 0);
    /* From the middle, the head and the tail. */
    static const size_t leaving[] = {1, STATES - 1, 0};
    for (size_t i = 0; i < LENGTH(leaving); i++) {
        end(&states[leaving[i]], false);
        EXPECT_EQ(get(&registry.count), STATES - i - 1);
        EXPECT_EQ(gi_registry_check(&registry), 0);
    }
    /* The storage may be used again, by a state with a number of its own and no memory of the one before. */
    ask(&states[0], GI_ASKED_DROP);
    states[0].early = true;
    for (size_t i = 0; i < LENGTH(leaving); i++) {
        gi_thread_state_init(&states[leaving[i]], &registry);
        EXPECT_EQ(states[leaving[i]].number, STATES + i + 1);
    }
    EXPECT_EQ(gi_load_relaxed(&states[0].asked.bits), 0);
    EXPECT(!states[0].early);
    EXPECT_EQ(get(&registry.count), STATES);
    EXPECT_EQ(get(&registry.ever), STATES + LENGTH(leaving));
    EXPECT_EQ(gi_registry_check(&registry), 0);
    fini_all();
}

static void *live_and_die(void *arg) {
    gi_thread_state *own = arg;
    uint64_t last = 0;
    for (size_t i = 0; i < ROUNDS(2000); i++) {
        gi_thread_state *state = gi_thread_state_reuse(&registry);
        if (state == NULL) {
            state = own++;
            gi_thread_state_init(state, &registry);
        }
        EXPECT(state->number > last);
        last = state->number;
        state->reader = (gi_rcu_reader){NULL, NULL}; /* plain: whoever uses it next has seen this */
        end(state, true);
    }
    return NULL;
}

static void states_are_born_and_die_in_many_threads(void) {
    static gi_thread_state storage[STATES][STATES]; /* no more are ever needed at one time */
    registry = (gi_registry)GI_REGISTRY_INIT;
    threads_run(STATES, live_and_die, storage, sizeof(storage[0]));
    EXPECT_EQ(get(&registry.count), 0);
    EXPECT_EQ(get(&registry.ever), STATES * ROUNDS(2000));
    EXPECT(registry.first == NULL);
    EXPECT_EQ(gi_registry_check(&registry), 0);
}

static void spare_states_are_used_again(void) {
    init_gil_mode();
    EXPECT(gi_thread_state_reuse(&registry) == NULL);
    end(&states[0], true);
    end(&states[2], false); /* lost */
    ask(&states[1], GI_ASKED_DROP);
    states[1].early = true;
    end(&states[1], true);
    EXPECT_EQ(get(&registry.count), 1);
    EXPECT_EQ(gi_registry_check(&registry), 0);
    for (uint64_t number = STATES + 1; number <= STATES + 2; number++) {
        gi_thread_state *again = gi_thread_state_reuse(&registry);
        EXPECT(again == (number == STATES + 1 ? &states[1] : &states[0]));
        EXPECT_EQ(again->number, number);
        EXPECT_EQ(gi_load_relaxed(&again->asked.bits), 0);
        EXPECT(!again->early);
        EXPECT_EQ(status(again), GI_DETACHED);
        EXPECT_EQ(gi_registry_check(&registry), 0);
    }
    EXPECT(gi_thread_state_reuse(&registry) == NULL);
    EXPECT_EQ(get(&registry.count), 3);
    gi_thread_state_init(&states[2], &registry);
    fini_all();
}

/* --- attach and detach ------------------------------------------------------------------------ */

static void attach_and_detach(void) {
    gi_thread_state *state = &states[0];
    EXPECT(gi_thread_attach(state));
    EXPECT_EQ(status(state), GI_ATTACHED);
    EXPECT(!state->early);
    EXPECT(!gi_thread_attach(state)); /* at once, and nothing has changed */
    EXPECT_EQ(status(state), GI_ATTACHED);
    EXPECT_EQ(gi_registry_check(&registry), 0);
    gi_thread_detach(state);
    EXPECT_EQ(status(state), GI_DETACHED);
    EXPECT(state->early); /* it gave the lock up itself */
    EXPECT(gi_thread_attach(state));
    gi_thread_detach(state);
    gi_thread_ends();
    gi_thread_ends(); /* once is enough, twice is no harm */
    EXPECT(gi_thread_attach(state));
    gi_thread_detach(state);
    gi_thread_ends();
    fini_all();
}

static void attach_and_detach_in_gil_mode(void) {
    init_gil_mode();
    EXPECT(gi_gil_try_take(&registry.gil, NULL));
    gi_gil_drop(&registry.gil);
    attach_and_detach();
    EXPECT_EQ(get(&registry.gil.takes), 4);
    EXPECT_EQ(gi_load_relaxed(&registry.gil.state), 0);
}

static void attach_and_detach_in_free_mode(void) {
    init_free_mode();
    attach_and_detach();
    EXPECT_EQ(get(&registry.gil.takes), 0);
}

static void *expect_refused(void *arg) {
    EXPECT(!gi_thread_attach(arg));
    return NULL;
}

static void attach_elsewhere(void) {
    EXPECT(gi_thread_attach(&states[0]));
    thread_join(thread_start(expect_refused, &states[0]));
    EXPECT_EQ(status(&states[0]), GI_ATTACHED);
    gi_thread_detach(&states[0]);
    gi_thread_ends();
}

static void a_state_that_is_attached_elsewhere_is_refused(void) {
    init_gil_mode();
    attach_elsewhere();
    gi_store_relaxed(&gi_the_world.free_threaded, 1);
    attach_elsewhere();
    fini_all();
}

static size_t plain_word; /* gil mode: guarded by the lock; else handed over with the state */

static void *attach_and_write(void *arg) {
    gi_thread_state *state = arg;
    EXPECT(gi_thread_attach(state));
    plain_word++;
    gi_thread_detach(state);
    gi_thread_ends();
    return NULL;
}

static void attaching_waits_for_the_lock(void) {
    init_gil_mode();
    EXPECT(gi_thread_attach(&states[0]));
    pthread_t thread = thread_start(attach_and_write, &states[1]);
    WAIT_UNTIL(get(&registry.gil.waits) == 1);
    EXPECT_EQ(status(&states[1]), GI_DETACHED);
    EXPECT_EQ(plain_word, 0);
    EXPECT_EQ(gi_registry_check(&registry), 0); /* a walk does not need the lock */
    gi_thread_detach(&states[0]);
    thread_join(thread);
    EXPECT_EQ(plain_word, 1);
    fini_all();
}

/* Found only with the lock in hand, which is then given up again. */
static void a_state_that_was_attached_meanwhile_is_refused(void) {
    init_gil_mode();
    EXPECT(gi_thread_attach(&states[0]));
    pthread_t thread = thread_start(expect_refused, &states[1]);
    WAIT_UNTIL(get(&registry.gil.waits) == 1);
    gi_store_relaxed(&states[1].status, GI_ATTACHED); /* by a third thread, which then waits for the lock */
    gi_thread_detach(&states[0]);
    thread_join(thread);
    EXPECT_EQ(status(&states[1]), GI_ATTACHED);
    gi_store_relaxed(&states[1].status, GI_DETACHED);
    EXPECT(gi_gil_try_take(&registry.gil, NULL));
    gi_gil_drop(&registry.gil);
    fini_all();
}

static void *race_for_one_state(void *arg) {
    (void)arg;
    for (size_t i = 0; i < ROUNDS(5000); i++) {
        if (gi_thread_attach(&states[0])) {
            plain_word++;
            gi_thread_detach(&states[0]);
        }
    }
    gi_thread_ends();
    return NULL;
}

/* One state, many threads: it is never attached twice, and what one did with it the next one sees.  In gil mode whoever
   waits for the lock has a state to itself: two that wait with one are misuse, which is found in most cases only. */
static void one_state_passes_from_thread_to_thread(void) {
    init_free_mode();
    threads_run(3, race_for_one_state, NULL, 0);
    EXPECT(plain_word > 0);
    EXPECT_EQ(status(&states[0]), GI_DETACHED);
    fini_all();
}

static struct shared turn; /* orders nothing */

static void *take_turns(void *arg) {
    size_t mine = *(size_t *)arg;
    for (size_t at = mine; at < ROUNDS(100); at += 2) {
        WAIT_UNTIL(shared_get(&turn) == at);
        EXPECT(gi_thread_attach(&states[0]));
        EXPECT_EQ(plain_word, at);
        plain_word++;
        gi_thread_detach(&states[0]);
        shared_set(&turn, at + 1);
    }
    gi_thread_ends();
    return NULL;
}

/* In turns, and it is deleted in the last one: nothing but the state's word orders what they do. */
static void what_is_done_with_a_state_is_seen_with_it(void) {
    init_free_mode();
    size_t firsts[2] = {0, 1};
    pthread_t threads[2] = {thread_start(take_turns, &firsts[0]), thread_start(take_turns, &firsts[1])};
    WAIT_UNTIL(shared_get(&turn) == ROUNDS(100));
    EXPECT_EQ(gi_thread_begin_end(&states[0]), GI_END_BEGUN);
    EXPECT_EQ(plain_word, ROUNDS(100));
    gi_thread_state_fini(&states[0], false);
    thread_join(threads[0]);
    thread_join(threads[1]);
    gi_thread_state_init(&states[0], &registry);
    fini_all();
}

/* --- many at once ----------------------------------------------------------------------------- */

static struct shared attached_now;

static void *attach_and_meet(void *arg) {
    EXPECT(gi_thread_attach(arg));
    shared_add(&attached_now, 1);
    WAIT_UNTIL(shared_get(&attached_now) == STATES); /* in gil mode this would never come true */
    gi_thread_detach(arg);
    gi_thread_ends();
    return NULL;
}

static void any_number_attaches_in_free_mode(void) {
    init_free_mode();
    threads_run(STATES, attach_and_meet, states, sizeof(states[0]));
    fini_all();
}

/* --- safepoints ------------------------------------------------------------------------------- */

static void a_safepoint_returns_what_is_left_to_do(void) {
    for (int is_free = 0; is_free < 2; is_free++) {
        init(is_free != 0);
        EXPECT(gi_thread_attach(&states[0]));
        EXPECT_EQ(safepoint(&states[0]), 0);
        ask(&states[0], GI_ASKED_DRAIN | GI_ASKED_DROP);
        EXPECT_EQ(safepoint(&states[0]), GI_ASKED_DRAIN);
        EXPECT_EQ(gi_load_relaxed(&states[0].asked.bits), 0);
        EXPECT_EQ(safepoint(&states[0]), 0);
        EXPECT_EQ(status(&states[0]), GI_ATTACHED);
        gi_thread_detach(&states[0]);
        gi_thread_ends();
        fini_all();
    }
}

/* Whoever is parked comes back without attaching anew, so it is asked as if it were there. */
static void who_is_attached_or_parked_is_asked(void) {
    init_free_mode();
    static const uint32_t statuses[STATES] = {GI_DETACHED, GI_ATTACHED, GI_PARKED, GI_ENDING};
    for (uint32_t stop = 0; stop <= GI_STOP; stop += GI_STOP) {
        for (size_t i = 0; i < STATES; i++) {
            gi_store_relaxed(&states[i].status, statuses[i] | stop);
        }
        gi_registry_ask(&registry, GI_ASKED_RECLAIM);
        for (size_t i = 0; i < STATES; i++) {
            bool asked = statuses[i] == GI_ATTACHED || statuses[i] == GI_PARKED;
            EXPECT_EQ(gi_thread_take_asked(&states[i]), asked ? GI_ASKED_RECLAIM : 0);
        }
    }
    for (size_t i = 0; i < STATES; i++) {
        gi_store_relaxed(&states[i].status, GI_DETACHED);
    }
    fini_all();
}

static void a_safepoint_that_was_asked_hands_the_lock_over(void) {
    init_gil_mode();
    gi_store_relaxed(&registry.gil.interval_ns, 1000);
    EXPECT(gi_thread_attach(&states[0]));
    pthread_t thread = thread_start(attach_and_write, &states[1]);
    WAIT_UNTIL((gi_load_relaxed(&states[0].asked.bits) & GI_ASKED_DROP) != 0);
    EXPECT_EQ(plain_word, 0);
    safepoint(&states[0]);
    EXPECT_EQ(plain_word, 1);
    EXPECT_EQ(status(&states[0]), GI_ATTACHED);
    gi_thread_detach(&states[0]);
    thread_join(thread);
    fini_all();
}

static void a_safepoint_without_a_request_keeps_the_lock(void) {
    init_gil_mode(); /* nobody asks for a long time */
    EXPECT(gi_thread_attach(&states[0]));
    pthread_t thread = thread_start(attach_and_write, &states[1]);
    WAIT_UNTIL(get(&registry.gil.waits) == 1);
    for (int i = 0; i < 100; i++) {
        safepoint(&states[0]);
        EXPECT_EQ(plain_word, 0);
    }
    gi_thread_detach(&states[0]);
    thread_join(thread);
    fini_all();
}

static struct shared waiter_id, waiter_done;

static void *synchronize(void *arg) {
    (void)arg;
    shared_set(&waiter_id, (size_t)unit_thread_id());
    gi_rcu_register();
    gi_rcu_synchronize();
    gi_rcu_unregister();
    shared_set(&waiter_done, 1);
    return NULL;
}

/* What ends the wait of a grace period for an attached thread in GIL-free mode. */
static void end_wait(int how, gi_thread_state *state) {
    shared_set(&waiter_id, 0);
    shared_set(&waiter_done, 0);
    pthread_t thread = thread_start(synchronize, NULL);
    WAIT_UNTIL(shared_get(&waiter_id) != 0);
    for (int seen = 0; seen < 20; sched_yield()) {
        EXPECT_EQ(shared_get(&waiter_done), 0);
        seen += unit_thread_sleeps((int)shared_get(&waiter_id));
    }
    if (how == 0) {
        safepoint(state);
    } else {
        gi_thread_detach(state);
    }
    thread_join(thread);
}

static void a_safepoint_and_a_detach_are_quiescent_in_free_mode(void) {
    init_free_mode();
    EXPECT(gi_thread_attach(&states[0]));
    end_wait(0, &states[0]);
    end_wait(1, &states[0]);
    thread_join(thread_start(synchronize, NULL)); /* detached: nobody waits for it */
    gi_thread_ends();
    fini_all();
}

static void attached_in_gil_mode_delays_no_grace_period(void) {
    init_gil_mode();
    EXPECT(gi_thread_attach(&states[0]));
    thread_join(thread_start(synchronize, NULL));
    gi_thread_detach(&states[0]);
    fini_all();
}

/* --- a runtime's own lock --------------------------------------------------------------------- */

static void a_thread_ends_attached_under_a_runtimes_own_lock(void) {
    struct unit_outer outer = {0};
    init_gil_mode();
    registry.gil.outer = (gi_outer_lock){&outer, unit_outer_acquire, unit_outer_release, unit_outer_held};
    EXPECT(gi_thread_attach(&states[0]));
    EXPECT_EQ(outer.held, 1);
    EXPECT(gi_thread_attach(&states[1])); /* the runtime says who may run: any number is attached */
    EXPECT_EQ(gi_registry_check(&registry), 0);
    gi_thread_detach_ended(&states[1]);
    EXPECT_EQ(status(&states[1]), GI_DETACHED);
    EXPECT_EQ(outer.held, 1); /* left as it was */
    gi_thread_detach(&states[0]);
    EXPECT_EQ(outer.held, 0);
    fini_all();
}

static void detach_what_is_detached(void) {
    init_gil_mode();
    gi_thread_detach(&states[0]);
}

static void end_attached_under_our_own_lock(void) {
    init_gil_mode();
    EXPECT(gi_thread_attach(&states[0]));
    gi_thread_detach_ended(&states[0]);
}

/* --- fork ------------------------------------------------------------------------------------- */

/* The other threads are at their places; true in the child. */
static bool in_child(pid_t *pid) {
    gi_registry_before_fork(&registry);
    gi_rcu_before_fork();
    gi_registry_lock_before_fork(&registry);
    *pid = _Fork(); /* without the handlers of the library, whose locks rank below those held here */
    if (*pid != 0) {
        gi_registry_lock_after_fork(&registry);
        gi_rcu_after_fork();
        gi_registry_after_fork(&registry);
    }
    return *pid == 0;
}

static void expect_child_well(pid_t pid) {
    int ended = 0;
    EXPECT(pid > 0);
    EXPECT_EQ(waitpid(pid, &ended, 0), pid);
    EXPECT_EQ(ended, 0);
}

/* As the api layer does it. */
static void after_fork(gi_thread_state *state) {
    gi_rcu_after_fork_child();
    gi_registry_lock_after_fork(&registry);
    gi_rcu_after_fork();
    gi_registry_after_fork(&registry);
    gi_thread_after_fork_child();
    gi_registry_after_fork_child(&registry, state != NULL ? &state->asked : NULL);
}

static void the_child_of_a_fork_has_the_lock_and_nobody_waits(void) {
    init_gil_mode();
    EXPECT(gi_thread_attach(&states[1]));
    pthread_t thread = thread_start(attach_and_write, &states[2]);
    WAIT_UNTIL(get(&registry.gil.waits) == 1);
    pid_t pid;
    if (in_child(&pid)) {
        after_fork(&states[1]);
        EXPECT_EQ(gi_registry_check(&registry), 0);
        EXPECT_EQ(status(&states[1]), GI_ATTACHED);
        safepoint(&states[1]);
        gi_thread_detach(&states[1]);
        EXPECT(gi_thread_attach(&states[1]));
        gi_thread_detach(&states[1]);
        end(&states[2], true);
        EXPECT(gi_thread_state_reuse(&registry) == &states[2]);
        EXPECT(gi_thread_attach(&states[2]));
        gi_thread_detach(&states[2]);
        EXPECT_EQ(gi_registry_check(&registry), 0);
        _exit(0);
    }
    expect_child_well(pid);
    gi_thread_detach(&states[1]);
    thread_join(thread);
    fini_all();
}

static void *attach_and_stay(void *arg) {
    EXPECT(gi_thread_attach(arg));
    shared_set(&attached_now, 1);
    WAIT_UNTIL(shared_get(&attached_now) == 2);
    gi_thread_detach(arg);
    gi_thread_ends();
    return NULL;
}

/* Forks detached, while another thread is attached: nobody holds the lock in the child. */
static void fork_detached(bool is_free) {
    init(is_free);
    shared_set(&attached_now, 0);
    pthread_t thread = thread_start(attach_and_stay, &states[3]);
    WAIT_UNTIL(shared_get(&attached_now) == 1);
    pid_t pid;
    if (in_child(&pid)) {
        after_fork(NULL);
        EXPECT_EQ(gi_load_relaxed(&registry.gil.state), 0);
        EXPECT(gi_thread_attach(&states[0]));
        safepoint(&states[0]);
        gi_thread_detach(&states[0]);
        EXPECT(!gi_thread_attach(&states[3])); /* its thread is gone, and what it was doing is not known */
        gi_thread_begin_end_after_fork(&states[3]);
        gi_thread_state_fini(&states[3], false);
        EXPECT_EQ(gi_registry_check(&registry), 0);
        _exit(0);
    }
    expect_child_well(pid);
    shared_set(&attached_now, 2);
    thread_join(thread);
    fini_all();
}

static void the_child_of_a_detached_fork_holds_nothing(void) {
    fork_detached(false);
    fork_detached(true);
}

/* --- planted faults --------------------------------------------------------------------------- */

static void the_walk_finds_r1(void) {
    init_gil_mode();
    gi_thread_state *state = states[1].prev;
    states[1].prev = &states[1];
    EXPECT_BROKEN("R1", gi_registry_check(&registry));
    states[1].prev = NULL;
    EXPECT_BROKEN("R1", gi_registry_check(&registry));
    states[1].prev = state;
    registry.first->prev = &states[0]; /* the head has none before it */
    EXPECT_BROKEN("R1", gi_registry_check(&registry));
    registry.first->prev = NULL;
    gi_registry other = {.first = NULL};
    states[0].registry = &other; /* the tail */
    EXPECT_BROKEN("R1", gi_registry_check(&registry));
    states[0].registry = &registry;
    gi_thread_state *next = states[1].next;
    states[1].next = registry.first; /* a ring */
    EXPECT_BROKEN("R1", gi_registry_check(&registry));
    states[1].next = next;
    EXPECT_EQ(gi_registry_check(&registry), 0);
}

static void the_walk_finds_r2(void) {
    init_gil_mode();
    gi_counter_add(&registry.count, 1);
    EXPECT_BROKEN("R2", gi_registry_check(&registry));
    gi_counter_sub(&registry.count, 2);
    EXPECT_BROKEN("R2", gi_registry_check(&registry));
    gi_counter_add(&registry.count, 1);
    gi_thread_state *second = registry.first->next;
    registry.first->next = NULL; /* the rest is lost */
    EXPECT_BROKEN("R2", gi_registry_check(&registry));
    registry.first->next = second;
    EXPECT_EQ(gi_registry_check(&registry), 0);
}

static void the_walk_finds_r3(void) {
    init_gil_mode();
    EXPECT(gi_thread_attach(&states[0]));
    EXPECT_EQ(gi_registry_check(&registry), 0);
    gi_store_relaxed(&states[2].status, GI_ATTACHED);
    EXPECT_BROKEN("R3", gi_registry_check(&registry));
    gi_store_relaxed(&gi_the_world.free_threaded, 1); /* where it is right */
    EXPECT_EQ(gi_registry_check(&registry), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(states_have_numbers_in_order_of_birth),
        IN_CHILD(states_are_born_and_die_in_many_threads),
        IN_CHILD(spare_states_are_used_again),
        IN_CHILD(attach_and_detach_in_gil_mode),
        IN_CHILD(attach_and_detach_in_free_mode),
        IN_CHILD(a_state_that_is_attached_elsewhere_is_refused),
        IN_CHILD(a_state_that_was_attached_meanwhile_is_refused),
        IN_CHILD(attaching_waits_for_the_lock),
        IN_CHILD(one_state_passes_from_thread_to_thread),
        IN_CHILD(what_is_done_with_a_state_is_seen_with_it),
        IN_CHILD(any_number_attaches_in_free_mode),
        IN_CHILD(a_safepoint_returns_what_is_left_to_do),
        IN_CHILD(who_is_attached_or_parked_is_asked),
        IN_CHILD(a_safepoint_that_was_asked_hands_the_lock_over),
        IN_CHILD(a_safepoint_without_a_request_keeps_the_lock),
        IN_CHILD(a_safepoint_and_a_detach_are_quiescent_in_free_mode),
        IN_CHILD(attached_in_gil_mode_delays_no_grace_period),
        IN_CHILD(a_thread_ends_attached_under_a_runtimes_own_lock),
        FAILS_ASSERTION(detach_what_is_detached, "gi_thread_status(state) == GI_ATTACHED"),
        FAILS_ASSERTION(end_attached_under_our_own_lock, "state->registry->gil.outer.acquire != NULL"),
        IN_CHILD(the_child_of_a_fork_has_the_lock_and_nobody_waits),
        IN_CHILD(the_child_of_a_detached_fork_holds_nothing),
        IN_CHILD(the_walk_finds_r1),
        IN_CHILD(the_walk_finds_r2),
        IN_CHILD(the_walk_finds_r3),
    };
    return cmocka_run_group_tests_name("thread state", tests, NULL, NULL);
}

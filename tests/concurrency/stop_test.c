/* SPDX-License-Identifier: MIT */
/*
 * stop_test.c - the status word against a stopper at each step, registries and states that are made in a stopped world,
 *               nested stops, several stoppers, both modes and their change, a runtime's own lock, fork.
 *   A thread writes plain words while it is attached, and the stopper reads them: ThreadSanitizer sees whether that is
 *   ordered.
 */
#define _GNU_SOURCE /* _Fork() */
#include "concurrency/stop.h"

#include <sys/wait.h>
#include <unistd.h>

#include "concurrency/rcu.h"
#include "tests/concurrency/unit.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shared.h"
#include "tests/support/threads.h"

#define STATES 4
#define NEVER_NS ((uint64_t)1 << 60)

static gi_registry registry, second;
static gi_thread_state states[STATES], others[STATES];

static void init_registry(gi_registry *made, gi_thread_state *its) {
    gi_registry_init(made);
    gi_store_relaxed(&made->gil.interval_ns, NEVER_NS);
    gi_registry_list(made);
    for (size_t i = 0; i < STATES; i++) {
        gi_thread_state_init(&its[i], made);
    }
}

static void init(bool is_free) {
    gi_store_relaxed(&gi_the_world.free_threaded, is_free);
    init_registry(&registry, states);
}

static uint32_t status(const gi_thread_state *state) { return gi_load_relaxed(&state->status); }
static bool is_stopped(const gi_thread_state *state) { return (status(state) & GI_STOP) != 0; }
static uint32_t asked(const gi_thread_state *state) { return gi_load_relaxed(&state->asked.bits); }
static uint32_t lock_of(const gi_registry *of) { return gi_load_relaxed(&of->gil.state); }

static bool try_stop(gi_thread_state *self) { return gi_try_stop(self, "stop_test"); }

/* As the api layer does it. */
static void stop(gi_thread_state *self) {
    while (!try_stop(self)) {
        if (self != NULL) {
            gi_thread_park(self);
        } else {
            gi_world_wait();
        }
    }
}

static void safepoint(gi_thread_state *state) {
    uint32_t bits = gi_thread_take_asked(state);
    if (gi_world_is_free()) {
        gi_rcu_quiescent();
        if ((bits & GI_ASKED_STOP) != 0) {
            gi_thread_park(state);
        }
    } else if ((bits & GI_ASKED_DROP) != 0) {
        gi_thread_yield(state);
    }
}

static void end(gi_thread_state *state) {
    EXPECT_EQ(gi_thread_begin_end(state), GI_END_BEGUN);
    gi_thread_state_fini(state, false);
}

static void fini_registry(gi_registry *made, gi_thread_state *its) {
    for (size_t i = 0; i < STATES; i++) {
        EXPECT_EQ(status(&its[i]), GI_DETACHED);
        end(&its[i]);
    }
    EXPECT_EQ(gi_registry_check(made), 0);
    EXPECT_EQ(lock_of(made), 0);
}

static void fini(void) {
    fini_registry(&registry, states);
    EXPECT(!gi_the_world.stopped);
    EXPECT_EQ(gi_the_world.pending, 0);
    gi_thread_ends();
}

/* --- a quiet world ---------------------------------------------------------------------------- */

static void expect_marks(bool marked, const gi_thread_state *self) {
    for (size_t i = 0; i < STATES; i++) {
        if (&states[i] != self) {
            EXPECT_EQ(status(&states[i]), marked ? GI_STOP : GI_DETACHED);
        }
    }
}

static void a_stop_marks_every_state_but_its_own(void) {
    for (int attached = 0; attached < 2; attached++) {
        gi_thread_state *self = attached ? &states[1] : NULL;
        if (attached) {
            EXPECT(gi_thread_attach(self));
        }
        for (uint64_t i = 1; i <= 3; i++) {
            uint64_t before = gi_load_relaxed(&gi_the_world.stops);
            EXPECT(try_stop(self));
            EXPECT(gi_world_is_mine());
            EXPECT_EQ(gi_load_relaxed(&gi_the_world.stops), before + 1);
            expect_marks(true, self);
            EXPECT_EQ(gi_registry_check(&registry), 0);
            EXPECT(gi_start());
            EXPECT(!gi_world_is_mine());
            expect_marks(false, self);
        }
        if (attached) {
            EXPECT_EQ(status(self), GI_ATTACHED);
            gi_thread_detach(self);
        }
    }
    EXPECT(!gi_start());
    fini();
}

static void a_stop_marks_every_state_in_gil_mode(void) {
    init(false);
    a_stop_marks_every_state_but_its_own();
}
static void a_stop_marks_every_state_in_free_mode(void) {
    init(true);
    a_stop_marks_every_state_but_its_own();
}

static void *expect_no_stop(void *arg) {
    (void)arg;
    EXPECT(!gi_world_is_mine());
    EXPECT(!try_stop(NULL));
    EXPECT(!gi_start());
    return NULL;
}

static void stops_nest_in_one_thread(bool is_free) {
    init(is_free);
    EXPECT(gi_thread_attach(&states[0]));
    for (int i = 0; i < 3; i++) {
        EXPECT(try_stop(&states[0]));
        threads_run(1, expect_no_stop, NULL, 0);
    }
    EXPECT_EQ(gi_load_relaxed(&gi_the_world.stops), 1);
    for (int i = 0; i < 3; i++) {
        expect_marks(true, &states[0]);
        EXPECT(gi_start());
    }
    expect_marks(false, &states[0]);
    EXPECT(!gi_start());
    gi_thread_detach(&states[0]);
    fini();
}
static void stops_nest_in_gil_mode(void) { stops_nest_in_one_thread(false); }
static void stops_nest_in_free_mode(void) { stops_nest_in_one_thread(true); }

/* --- in: attach ------------------------------------------------------------------------------- */

static size_t plain_word; /* by whoever is attached, or has stopped the world */
static struct shared worker_id, worker_done;

static void *attach_and_write(void *arg) {
    gi_thread_state *state = arg;
    shared_set(&worker_id, (size_t)unit_thread_id());
    EXPECT(gi_thread_attach(state));
    EXPECT_EQ(status(state), GI_ATTACHED);
    EXPECT_EQ(plain_word, 1);
    plain_word = 2;
    shared_set(&worker_done, 1);
    gi_thread_detach(state);
    gi_thread_ends();
    return NULL;
}

static void reset_worker(void) {
    shared_set(&worker_id, 0);
    shared_set(&worker_done, 0);
}

/* It sleeps in the end, so it is seen asleep again and again before it is believed. */
static void expect_worker_waits(void) {
    WAIT_UNTIL(shared_get(&worker_id) != 0);
    for (int seen = 0; seen < 20; sched_yield()) {
        EXPECT_EQ(shared_get(&worker_done), 0);
        seen += unit_thread_sleeps((int)shared_get(&worker_id));
    }
    EXPECT_EQ(shared_get(&worker_done), 0);
}

static void expect_attach_waits(gi_thread_state *self, gi_thread_state *state) {
    reset_worker();
    plain_word = 0;
    pthread_t thread = thread_start(attach_and_write, state);
    expect_worker_waits();
    EXPECT((status(state) & GI_ATTACHED) == 0);
    plain_word = 1;
    EXPECT(gi_start());
    if (self != NULL) {
        gi_thread_detach(self);
    }
    thread_join(thread);
    EXPECT_EQ(plain_word, 2);
}

static void attaching_waits_for_the_start(bool is_free) {
    init(is_free);
    stop(NULL);
    expect_attach_waits(NULL, &states[0]);
    EXPECT(gi_thread_attach(&states[1]));
    stop(&states[1]);
    expect_attach_waits(&states[1], &states[0]);
    fini();
}
static void attaching_waits_for_the_start_in_gil_mode(void) { attaching_waits_for_the_start(false); }
static void attaching_waits_for_the_start_in_free_mode(void) { attaching_waits_for_the_start(true); }

static struct shared started; /* orders nothing */

static void *enter_when_started(void *arg) {
    gi_thread_state *state = arg;
    EXPECT(gi_thread_attach(state)); /* it registers as a reader, which takes a mutex */
    gi_thread_detach(state);
    shared_set(&worker_id, 1);
    WAIT_UNTIL(shared_get(&started) == 1);
    EXPECT(gi_thread_attach(state));
    EXPECT_EQ(plain_word, 1);
    gi_thread_detach(state);
    shared_set(&worker_done, 1);
    WAIT_UNTIL(shared_get(&started) == 2);
    EXPECT_EQ(gi_thread_begin_end(state), GI_END_BEGUN);
    EXPECT_EQ(plain_word, 2);
    gi_thread_state_fini(state, false);
    gi_thread_ends();
    return NULL;
}

/* Nothing but the state's word orders it: who comes later takes no mutex. */
static void who_enters_a_started_world_sees_what_was_done_in_the_stop(void) {
    init(true);
    reset_worker();
    pthread_t thread = thread_start(enter_when_started, &states[0]);
    WAIT_UNTIL(shared_get(&worker_id) != 0);
    stop(NULL);
    plain_word = 1;
    EXPECT(gi_start());
    shared_set(&started, 1);
    WAIT_UNTIL(shared_get(&worker_done) != 0);
    stop(NULL);
    plain_word = 2;
    EXPECT(gi_start());
    shared_set(&started, 2);
    thread_join(thread);
    gi_thread_state_init(&states[0], &registry);
    fini();
}

/* New ones, and spare ones. */
static void states_are_born_stopped(bool is_free) {
    init(is_free);
    EXPECT_EQ(gi_thread_begin_end(&states[0]), GI_END_BEGUN);
    gi_thread_state_fini(&states[0], true);
    end(&states[1]);
    stop(NULL);
    gi_thread_state_init(&states[1], &registry);
    EXPECT_EQ(status(&states[1]), GI_STOP);
    EXPECT(gi_thread_state_reuse(&registry) == &states[0]);
    EXPECT_EQ(status(&states[0]), GI_STOP);
    expect_attach_waits(NULL, &states[0]);
    stop(NULL);
    expect_attach_waits(NULL, &states[1]);
    /* One that ends in a stopped world and is used again when the world runs. */
    stop(NULL);
    EXPECT_EQ(gi_thread_begin_end(&states[0]), GI_END_BEGUN);
    gi_thread_state_fini(&states[0], true);
    EXPECT_EQ(gi_the_world.pending, 0);
    EXPECT(gi_start());
    EXPECT(gi_thread_state_reuse(&registry) == &states[0]);
    EXPECT_EQ(status(&states[0]), GI_DETACHED);
    fini();
}
static void states_are_born_stopped_in_gil_mode(void) { states_are_born_stopped(false); }
static void states_are_born_stopped_in_free_mode(void) { states_are_born_stopped(true); }

/* In gil mode the stopper does not hold the new registry's lock. */
static void a_registry_is_listed_stopped(bool is_free) {
    init(is_free);
    stop(NULL);
    init_registry(&second, others);
    EXPECT(gi_registry_first() == &second && second.next == &registry);
    EXPECT(!second.held);
    for (size_t i = 0; i < STATES; i++) {
        EXPECT_EQ(status(&others[i]), GI_STOP);
    }
    expect_attach_waits(NULL, &others[0]);
    EXPECT(!second.stopped);
    stop(NULL);
    EXPECT_EQ(second.held, !is_free);
    expect_attach_waits(NULL, &others[1]);
    fini_registry(&second, others);
    fini();
}
static void a_registry_is_listed_stopped_in_gil_mode(void) { a_registry_is_listed_stopped(false); }
static void a_registry_is_listed_stopped_in_free_mode(void) { a_registry_is_listed_stopped(true); }

/* --- out: the stopper waits ------------------------------------------------------------------- */

typedef enum { BY_DETACH, BY_PARK, BY_SAFEPOINT, BY_STOP, WAYS_OUT } way_out;

static struct shared world_stopped;
static pthread_barrier_t in_place;

typedef struct worker {
    gi_thread_state *state;
    way_out out;
} worker;

/* Attached while the world is being stopped: nobody is the stopper until it has left. */
static void *attach_and_leave(void *arg) {
    const worker *work = arg;
    gi_thread_state *state = work->state;
    EXPECT(gi_thread_attach(state));
    gi_thread_take_asked(state); /* late requests of the round before */
    pthread_barrier_wait(&in_place);
    uint32_t bit = gi_world_is_free() ? GI_ASKED_STOP : GI_ASKED_DROP;
    WAIT_UNTIL((asked(state) & bit) != 0);
    for (int i = 0; i < 100; i++) {
        EXPECT_EQ(shared_get(&world_stopped), 0);
        sched_yield();
    }
    plain_word = 1;
    switch (work->out) {
        case BY_DETACH:
            gi_thread_detach(state);
            break;
        case BY_PARK:
            gi_thread_park(state);
            break;
        case BY_SAFEPOINT:
            safepoint(state);
            break;
        default:
            EXPECT(!try_stop(state));
            gi_thread_park(state);
    }
    if (work->out == BY_DETACH) {
        WAIT_UNTIL(shared_get(&world_stopped) != 0); /* in gil mode it could be back before the stopper has the lock */
        EXPECT(gi_thread_attach(state));
    }
    EXPECT_EQ(status(state), GI_ATTACHED);
    EXPECT_EQ(shared_get(&world_stopped), 2);
    EXPECT_EQ(plain_word, 2);
    plain_word = 3;
    gi_thread_detach(state);
    gi_thread_ends();
    return NULL;
}

static void expect_stop_waits(gi_thread_state *self, gi_thread_state *state, way_out out) {
    EXPECT_EQ(pthread_barrier_init(&in_place, NULL, 2), 0);
    shared_set(&world_stopped, 0);
    plain_word = 0;
    worker work = {state, out};
    pthread_t thread = thread_start(attach_and_leave, &work);
    pthread_barrier_wait(&in_place);
    if (self != NULL) {
        EXPECT(gi_thread_attach(self));
    }
    EXPECT(try_stop(self));
    shared_set(&world_stopped, 1);
    EXPECT_EQ(plain_word, 1);
    EXPECT_EQ(gi_the_world.pending, 0);
    EXPECT((status(state) & (GI_ATTACHED | GI_STOP)) == GI_STOP);
    EXPECT_EQ(gi_registry_check(&registry), 0);
    for (int i = 0; i < 100; i++) {
        EXPECT((status(state) & GI_ATTACHED) == 0);
        sched_yield();
    }
    plain_word = 2;
    shared_set(&world_stopped, 2);
    EXPECT(gi_start());
    if (self != NULL) {
        gi_thread_detach(self);
    }
    thread_join(thread);
    EXPECT_EQ(plain_word, 3);
    EXPECT_EQ(pthread_barrier_destroy(&in_place), 0);
}

/* In gil mode the holder is asked for the lock at once, however long the interval is. */
static void a_stop_waits_in_gil_mode(void) {
    init(false);
    init_registry(&second, others);
    for (int out = 0; out < WAYS_OUT; out++) {
        expect_stop_waits(NULL, &states[0], (way_out)out);
        expect_stop_waits(&others[0], &states[0], (way_out)out); /* attached in another interpreter */
        expect_stop_waits(&states[1], &others[1], (way_out)out);
    }
    fini_registry(&second, others);
    fini();
}

static void a_stop_waits_in_free_mode(void) {
    init(true);
    init_registry(&second, others);
    for (int out = 0; out < WAYS_OUT; out++) {
        expect_stop_waits(NULL, &states[0], (way_out)out);
        expect_stop_waits(&states[1], &states[0], (way_out)out);
        expect_stop_waits(&others[0], &states[0], (way_out)out);
    }
    fini_registry(&second, others);
    fini();
}

/* A thread that waits for the lock at a safepoint is out: the stopper does not wait for it. */
static void *attach_and_yield(void *arg) {
    gi_thread_state *state = arg;
    EXPECT(gi_thread_attach(state));
    shared_set(&worker_id, (size_t)unit_thread_id());
    WAIT_UNTIL((asked(state) & GI_ASKED_DROP) != 0);
    gi_thread_yield(state);
    EXPECT_EQ(status(state), GI_ATTACHED);
    gi_thread_detach(state);
    return NULL;
}

static void who_waits_for_the_lock_is_not_waited_for(void) {
    init(false);
    reset_worker();
    pthread_t thread = thread_start(attach_and_yield, &states[0]);
    WAIT_UNTIL(shared_get(&worker_id) != 0);
    gi_store_relaxed(&registry.gil.interval_ns, 1000);
    EXPECT(gi_thread_attach(&states[1])); /* which asks it */
    EXPECT_EQ(status(&states[0]), GI_PARKED);
    EXPECT(try_stop(&states[1]));
    EXPECT_EQ(status(&states[0]), GI_PARKED | GI_STOP);
    EXPECT_EQ(gi_the_world.pending, 0);
    EXPECT(gi_start());
    EXPECT_EQ(status(&states[0]), GI_PARKED);
    gi_thread_detach(&states[1]);
    thread_join(thread);
    fini();
}

/* --- ends ------------------------------------------------------------------------------------- */

static void *begin_to_end(void *arg) {
    EXPECT_EQ(gi_thread_begin_end(arg), GI_END_STOPPED);
    return NULL;
}

static void no_state_ends_in_a_stopped_world(bool is_free) {
    init(is_free);
    stop(NULL);
    threads_run(1, begin_to_end, &states[0], 0);
    EXPECT_EQ(status(&states[0]), GI_STOP);
    /* But by the stopper. */
    EXPECT_EQ(gi_thread_begin_end(&states[0]), GI_END_BEGUN);
    EXPECT_EQ(status(&states[0]), GI_ENDING | GI_STOP);
    gi_thread_state_fini(&states[0], false);
    EXPECT_EQ(gi_the_world.pending, 0);
    EXPECT(gi_start());
    gi_thread_state_init(&states[0], &registry);
    /* One that is attached, or parked, is neither ended nor waited for. */
    EXPECT(gi_thread_attach(&states[1]));
    EXPECT_EQ(gi_thread_begin_end(&states[1]), GI_END_ATTACHED);
    EXPECT_EQ(status(&states[1]), GI_ATTACHED);
    gi_thread_detach(&states[1]);
    gi_store_relaxed(&states[1].status, GI_PARKED);
    EXPECT_EQ(gi_thread_begin_end(&states[1]), GI_END_ATTACHED);
    gi_store_relaxed(&states[1].status, GI_PARKED | GI_STOP);
    EXPECT_EQ(gi_thread_begin_end(&states[1]), GI_END_ATTACHED);
    gi_store_relaxed(&states[1].status, GI_DETACHED);
    fini();
}
static void no_state_ends_in_a_stopped_gil_world(void) { no_state_ends_in_a_stopped_world(false); }
static void no_state_ends_in_a_stopped_free_world(void) { no_state_ends_in_a_stopped_world(true); }

static void *end_slowly(void *arg) {
    gi_thread_state *state = arg;
    EXPECT_EQ(gi_thread_begin_end(state), GI_END_BEGUN);
    pthread_barrier_wait(&in_place);
    WAIT_UNTIL(is_stopped(state));
    EXPECT(!gi_thread_attach(state)); /* at once */
    for (int i = 0; i < 100; i++) {
        EXPECT_EQ(shared_get(&world_stopped), 0);
        sched_yield();
    }
    plain_word = 1;
    gi_thread_state_fini(state, true);
    return NULL;
}

static void a_stop_waits_for_a_state_that_ends(bool is_free) {
    init(is_free);
    for (int i = 0; i < 10; i++) {
        EXPECT_EQ(pthread_barrier_init(&in_place, NULL, 2), 0);
        shared_set(&world_stopped, 0);
        pthread_t thread = thread_start(end_slowly, &states[0]);
        pthread_barrier_wait(&in_place);
        stop(NULL);
        shared_set(&world_stopped, 1);
        EXPECT_EQ(plain_word, 1);
        plain_word = 0;
        thread_join(thread);
        EXPECT_EQ(gi_the_world.pending, 0);
        EXPECT(gi_start());
        EXPECT(gi_thread_state_reuse(&registry) == &states[0]);
        EXPECT_EQ(pthread_barrier_destroy(&in_place), 0);
    }
    fini();
}
static void a_stop_waits_for_a_state_that_ends_in_gil_mode(void) { a_stop_waits_for_a_state_that_ends(false); }
static void a_stop_waits_for_a_state_that_ends_in_free_mode(void) { a_stop_waits_for_a_state_that_ends(true); }

/* --- grace periods ---------------------------------------------------------------------------- */

/* Attached, it waits for all that are online: for the stopper, too, until that waits for it. */
static void *attach_and_synchronize(void *arg) {
    gi_thread_state *state = arg;
    EXPECT(gi_thread_attach(state));
    shared_set(&worker_id, (size_t)unit_thread_id());
    gi_rcu_synchronize();
    shared_set(&worker_done, 1);
    while ((asked(state) & GI_ASKED_STOP) == 0) {
        sched_yield();
    }
    safepoint(state);
    gi_thread_detach(state);
    gi_thread_ends();
    return NULL;
}

static void a_stopper_that_waits_is_offline(void) {
    init(true);
    for (int i = 0; i < 10; i++) {
        reset_worker();
        EXPECT(gi_thread_attach(&states[0]));
        pthread_t thread = thread_start(attach_and_synchronize, &states[1]);
        expect_worker_waits();
        stop(&states[0]);
        EXPECT_EQ(shared_get(&worker_done), 1);
        /* It is online again, alone; it may wait for a grace period itself. */
        gi_rcu_synchronize();
        gi_rcu_quiescent();
        EXPECT(gi_start());
        gi_thread_detach(&states[0]);
        thread_join(thread);
    }
    fini();
}

/* A thread that is parked delays nobody's grace period. */
static void who_is_parked_is_offline(void) {
    init(true);
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(pthread_barrier_init(&in_place, NULL, 2), 0);
        shared_set(&world_stopped, 0);
        plain_word = 0;
        worker work = {&states[0], BY_SAFEPOINT};
        pthread_t thread = thread_start(attach_and_leave, &work);
        pthread_barrier_wait(&in_place);
        EXPECT(gi_thread_attach(&states[1]));
        stop(&states[1]);
        shared_set(&world_stopped, 2);
        gi_rcu_synchronize();
        plain_word = 2;
        EXPECT(gi_start());
        gi_thread_detach(&states[1]);
        thread_join(thread);
    }
    fini();
}

/* --- many ------------------------------------------------------------------------------------- */

#define STOPPERS 3
#define STOPS ROUNDS(2000)

static size_t stops_done;        /* plain: by the stopper */
static size_t work_done[STATES]; /* plain: by whoever is attached, and the stopper */
static struct shared stoppers_left;

/* Odd ones stop attached, even ones detached. */
static void *stop_again_and_again(void *arg) {
    gi_thread_state *state = arg;
    bool attached = (state - states) % 2 != 0;
    for (size_t i = 0; i < STOPS; i++) {
        if (attached) {
            EXPECT(gi_thread_attach(state));
        }
        stop(attached ? state : NULL);
        size_t before = stops_done, sum = 0;
        for (size_t j = 0; j < STATES; j++) {
            sum += work_done[j];
            EXPECT(&states[j] == state || (status(&states[j]) & ~(uint32_t)GI_PARKED) == GI_STOP);
        }
        if (i % 16 == 0) {
            sched_yield();
        }
        stops_done = before + 1;
        for (size_t j = 0; j < STATES; j++) {
            sum -= work_done[j];
            work_done[j]++;
        }
        EXPECT_EQ(sum, 0);
        EXPECT(gi_start());
        if (attached) {
            gi_thread_detach(state);
        }
    }
    shared_add(&stoppers_left, (size_t)-1);
    gi_thread_ends();
    return NULL;
}

static void *work_again_and_again(void *arg) {
    gi_thread_state *state = arg;
    size_t *done = &work_done[state - states];
    while (shared_get(&stoppers_left) != 0) {
        EXPECT(gi_thread_attach(state));
        for (int i = 0; i < 20; i++) {
            size_t before = *done;
            gi_pause();
            EXPECT_EQ(*done, before); /* nobody else is at it */
            *done = before + 1;
            safepoint(state);
        }
        gi_thread_detach(state);
    }
    gi_thread_ends();
    return NULL;
}

static void several_threads_stop_one_after_the_other(bool is_free) {
    init(is_free);
    gi_store_relaxed(&registry.gil.interval_ns, 100000);
    shared_set(&stoppers_left, STOPPERS);
    pthread_t threads[STATES];
    for (size_t i = 0; i < STATES; i++) {
        threads[i] = thread_start(i < STOPPERS ? stop_again_and_again : work_again_and_again, &states[i]);
    }
    for (size_t i = 0; i < STATES; i++) {
        thread_join(threads[i]);
    }
    EXPECT_EQ(stops_done, STOPPERS * STOPS);
    EXPECT_EQ(gi_load_relaxed(&gi_the_world.stops), STOPPERS * STOPS);
    fini();
}
static void several_threads_stop_in_gil_mode(void) { several_threads_stop_one_after_the_other(false); }
static void several_threads_stop_in_free_mode(void) { several_threads_stop_one_after_the_other(true); }

/* --- several registries ----------------------------------------------------------------------- */

static void a_stop_takes_every_lock_in_gil_mode(void) {
    init(false);
    init_registry(&second, others);
    stop(NULL);
    EXPECT(registry.held && second.held);
    EXPECT(lock_of(&registry) != 0 && lock_of(&second) != 0);
    EXPECT(gi_start());
    EXPECT(lock_of(&registry) == 0 && lock_of(&second) == 0);
    EXPECT(gi_thread_attach(&others[0]));
    stop(&others[0]);
    EXPECT(registry.held && !second.held);
    EXPECT(gi_start());
    EXPECT(!registry.held);
    EXPECT(lock_of(&registry) == 0 && lock_of(&second) != 0);
    gi_thread_detach(&others[0]);
    fini_registry(&second, others);
    fini();
}

static void a_stop_takes_no_lock_in_free_mode(void) {
    init(true);
    EXPECT(gi_thread_attach(&states[0]));
    stop(&states[0]);
    EXPECT(!registry.held);
    EXPECT_EQ(lock_of(&registry), 0);
    EXPECT(gi_start());
    gi_thread_detach(&states[0]);
    EXPECT_EQ(gi_load_relaxed(&registry.gil.takes), 0);
    fini();
}

/* --- the mode --------------------------------------------------------------------------------- */

static void set_mode(gi_thread_state *self, bool is_free) {
    stop(self);
    if (gi_world_is_free() != is_free) {
        gi_stop_set_mode(self, is_free);
    }
    EXPECT(gi_start());
}

static void a_switch_takes_and_drops_the_locks(void) {
    init(false);
    init_registry(&second, others);
    EXPECT(gi_thread_attach(&states[0]));
    for (int i = 0; i < 3; i++) {
        stop(&states[0]);
        gi_stop_set_mode(&states[0], true);
        EXPECT(gi_world_is_free());
        EXPECT(!registry.held && !second.held);
        EXPECT(lock_of(&registry) == 0 && lock_of(&second) == 0);
        EXPECT_EQ(status(&states[0]), GI_ATTACHED);
        EXPECT_EQ(status(&others[0]), GI_STOP);
        gi_rcu_quiescent(); /* it is online */
        EXPECT(gi_start());
        stop(&states[0]);
        gi_stop_set_mode(&states[0], false);
        EXPECT(!gi_world_is_free());
        EXPECT(!registry.held && second.held);
        EXPECT(lock_of(&registry) != 0 && lock_of(&second) != 0);
        EXPECT_EQ(status(&states[0]), GI_ATTACHED);
        EXPECT(gi_start());
        EXPECT_EQ(lock_of(&second), 0);
    }
    gi_thread_detach(&states[0]);
    fini_registry(&second, others);
    fini();
}

static void not_the_stopper_sets_the_mode(void) {
    init(false);
    EXPECT(gi_thread_attach(&states[0]));
    gi_stop_set_mode(&states[0], true);
}

/* Whoever waits comes in by the mode that there is then. */
static void *come_in(void *arg) {
    const worker *work = arg;
    gi_thread_state *state = work->state;
    shared_set(&worker_id, (size_t)unit_thread_id());
    EXPECT(gi_thread_attach(state));
    if (work->out != BY_DETACH) {
        gi_thread_take_asked(state); /* late requests of the round before */
        pthread_barrier_wait(&in_place);
        WAIT_UNTIL(asked(state) != 0);
        safepoint(state);
    }
    EXPECT_EQ(plain_word, 1);
    EXPECT_EQ(status(state), GI_ATTACHED);
    if (gi_world_is_free()) {
        gi_rcu_quiescent();
    } else {
        EXPECT(gi_load_relaxed(&registry.gil.holder) == &state->asked);
    }
    gi_thread_detach(state);
    gi_thread_ends();
    shared_set(&worker_done, 1);
    return NULL;
}

static void a_switch_finds_waiters(bool is_free, way_out how) {
    init(is_free);
    for (int i = 0; i < 10; i++) {
        reset_worker();
        plain_word = 0;
        EXPECT_EQ(pthread_barrier_init(&in_place, NULL, 2), 0);
        worker work = {&states[1], how};
        pthread_t thread = 0;
        if (how == BY_DETACH) { /* it waits to attach: for the start, or for the lock */
            EXPECT(gi_thread_attach(&states[0]));
            stop(&states[0]);
            thread = thread_start(come_in, &work);
            expect_worker_waits();
        } else { /* it waits at a safepoint */
            thread = thread_start(come_in, &work);
            pthread_barrier_wait(&in_place);
            gi_store_relaxed(&registry.gil.interval_ns, 1000);
            EXPECT(gi_thread_attach(&states[0]));
            stop(&states[0]);
            EXPECT_EQ(status(&states[1]), GI_PARKED | GI_STOP);
        }
        gi_stop_set_mode(&states[0], !is_free);
        for (int j = 0; j < 100; j++) {
            EXPECT_EQ(shared_get(&worker_done), 0);
            EXPECT((status(&states[1]) & GI_ATTACHED) == 0);
            sched_yield();
        }
        plain_word = 1;
        EXPECT(gi_start());
        if (is_free) { /* the lock is held by the one who switched */
            EXPECT_EQ(shared_get(&worker_done), 0);
            gi_thread_detach(&states[0]);
            thread_join(thread);
            EXPECT(gi_thread_attach(&states[0]));
        } else {
            WAIT_UNTIL(shared_get(&worker_done) == 1); /* both are attached at one time */
            thread_join(thread);
        }
        set_mode(&states[0], is_free);
        gi_thread_detach(&states[0]);
        EXPECT_EQ(pthread_barrier_destroy(&in_place), 0);
    }
    fini();
}

static void who_waits_to_attach_comes_in_by_the_free_mode(void) { a_switch_finds_waiters(false, BY_DETACH); }
static void who_waits_to_attach_comes_in_by_the_gil_mode(void) { a_switch_finds_waiters(true, BY_DETACH); }
static void who_waits_at_a_safepoint_comes_back_by_the_free_mode(void) { a_switch_finds_waiters(false, BY_SAFEPOINT); }
static void who_waits_at_a_safepoint_comes_back_by_the_gil_mode(void) { a_switch_finds_waiters(true, BY_SAFEPOINT); }

/* The mode was changed after a thread had looked at it, and before it came in: it leaves again, and is waited for, or
   the mode could change back and it would stay. */
static void *leave_again(void *arg) {
    gi_thread_state *state = arg;
    WAIT_UNTIL(is_stopped(state));
    for (int i = 0; i < 100; i++) {
        EXPECT_EQ(shared_get(&world_stopped), 0);
        sched_yield();
    }
    plain_word = 1;
    /* order(test): release; pairs with acquire in stop_registry(). */
    gi_fetch_and_release(&state->status, ~(uint32_t)GI_ATTACHED);
    gi_world_left();
    return NULL;
}

static void who_came_in_by_the_former_mode_is_waited_for(void) {
    init(false);
    for (int attached = 0; attached < 2; attached++) {
        shared_set(&world_stopped, 0);
        plain_word = 0;
        gi_thread_state *self = attached ? &states[0] : NULL;
        if (attached) {
            EXPECT(gi_thread_attach(self));
        }
        gi_store_relaxed(&states[1].status, GI_ATTACHED);
        pthread_t thread = thread_start(leave_again, &states[1]);
        stop(self);
        shared_set(&world_stopped, 1);
        EXPECT_EQ(plain_word, 1);
        EXPECT_EQ(gi_the_world.pending, 0);
        EXPECT(gi_start());
        if (attached) {
            gi_thread_detach(self);
        }
        thread_join(thread);
    }
    fini();
}

static void a_registry_of_a_stopped_world_takes_part_in_a_switch(void) {
    init(false);
    EXPECT(gi_thread_attach(&states[0]));
    stop(&states[0]);
    init_registry(&second, others);
    reset_worker();
    plain_word = 0;
    pthread_t thread = thread_start(attach_and_write, &others[0]);
    expect_worker_waits();
    gi_stop_set_mode(&states[0], true);
    gi_stop_set_mode(&states[0], false);
    EXPECT(second.held);
    for (int i = 0; i < 100; i++) {
        EXPECT_EQ(shared_get(&worker_done), 0);
        sched_yield();
    }
    plain_word = 1;
    EXPECT(gi_start());
    gi_thread_detach(&states[0]);
    thread_join(thread);
    fini_registry(&second, others);
    fini();
}

#define SWITCHES ROUNDS(2000)

static size_t alone; /* plain: in gil mode by whoever holds the lock */

static void *switch_again_and_again(void *arg) {
    gi_thread_state *state = arg;
    for (size_t i = 0; i < SWITCHES; i++) {
        EXPECT(gi_thread_attach(state));
        set_mode(state, i % 2 == 0);
        alone += gi_world_is_free() ? 0 : 1;
        safepoint(state);
        gi_thread_detach(state);
    }
    shared_add(&stoppers_left, (size_t)-1);
    gi_thread_ends();
    return NULL;
}

static void *count_in_gil_mode(void *arg) {
    gi_thread_state *state = arg;
    while (shared_get(&stoppers_left) != 0) {
        EXPECT(gi_thread_attach(state));
        for (int i = 0; i < 20; i++) {
            if (!gi_world_is_free()) { /* and stays so until the next safepoint */
                alone++;
                EXPECT(!gi_world_is_free());
            } else {
                work_done[state - states]++;
                EXPECT(gi_world_is_free());
            }
            safepoint(state);
        }
        gi_thread_detach(state);
    }
    gi_thread_ends();
    return NULL;
}

static void several_threads_switch(void) {
    init(false);
    gi_store_relaxed(&registry.gil.interval_ns, 100000);
    shared_set(&stoppers_left, 2);
    pthread_t threads[STATES];
    for (size_t i = 0; i < STATES; i++) {
        threads[i] = thread_start(i < 2 ? switch_again_and_again : count_in_gil_mode, &states[i]);
    }
    for (size_t i = 0; i < STATES; i++) {
        thread_join(threads[i]);
    }
    EXPECT_EQ(gi_load_relaxed(&gi_the_world.stops), 2 * SWITCHES);
    fini();
}

/* --- a runtime's own lock --------------------------------------------------------------------- */

static struct unit_outer outer;

/* Its threads stay attached while others hold it: none of them is waited for. */
static void under_a_runtimes_own_lock_nobody_is_waited_for(void) {
    init(false);
    registry.gil.outer = (gi_outer_lock){&outer, unit_outer_acquire, unit_outer_release, unit_outer_held};
    for (size_t i = 0; i < 3; i++) {
        EXPECT(gi_thread_attach(&states[i]));
    }
    EXPECT(try_stop(&states[0]));
    EXPECT_EQ(outer.held, 1);
    EXPECT(!registry.held);
    EXPECT_EQ(status(&states[0]), GI_ATTACHED);
    EXPECT_EQ(status(&states[1]), GI_ATTACHED | GI_STOP);
    EXPECT_EQ(status(&states[3]), GI_STOP);
    /* A thread that ends leaves its lock as it is, and the mark. */
    gi_thread_detach_ended(&states[2]);
    EXPECT_EQ(status(&states[2]), GI_STOP);
    threads_run(1, begin_to_end, &states[2], 0);
    EXPECT(gi_start());
    EXPECT_EQ(outer.held, 1);
    EXPECT_EQ(status(&states[1]), GI_ATTACHED);
    EXPECT_EQ(status(&states[2]), GI_DETACHED);
    gi_thread_detach(&states[1]);
    outer.held = 1;
    gi_thread_detach(&states[0]);
    EXPECT_EQ(outer.held, 0);
    fini();
}

/* --- fork ------------------------------------------------------------------------------------- */

static pid_t fork_locked(gi_thread_state *self) {
    gi_stop_before_fork();
    gi_registry_before_fork(&registry);
    gi_rcu_before_fork();
    gi_registry_lock_before_fork(&registry);
    pid_t pid = _Fork(); /* without the handlers of the library, whose locks rank below those held here */
    EXPECT(pid >= 0);
    if (pid == 0) {
        gi_rcu_after_fork_child();
    }
    gi_rcu_after_fork();
    gi_registry_lock_after_fork(&registry);
    gi_stop_after_fork();
    gi_registry_after_fork(&registry);
    if (pid == 0) {
        gi_thread_after_fork_child();
        gi_stop_after_fork_child(self);
    }
    return pid;
}

static void expect_child_well(pid_t pid) {
    int ended = 0;
    EXPECT_EQ(waitpid(pid, &ended, 0), pid);
    EXPECT_EQ(ended, 0);
}

static void the_child_of_the_stopper_has_stopped_the_world(bool is_free, bool attached) {
    init(is_free);
    gi_thread_state *self = attached ? &states[0] : NULL;
    if (attached) {
        EXPECT(gi_thread_attach(self));
    }
    stop(self);
    stop(self);
    reset_worker();
    plain_word = 1;
    pthread_t thread = thread_start(attach_and_write, &states[1]);
    expect_worker_waits();
    pid_t pid = fork_locked(self);
    if (pid == 0) {
        EXPECT(gi_world_is_mine() && gi_the_world.stopped && registry.stopped);
        expect_marks(true, self);
        EXPECT_EQ(registry.held, !is_free && !attached);
        EXPECT_EQ(lock_of(&registry) != 0, !is_free);
        EXPECT(gi_start());
        expect_marks(true, self);
        EXPECT(gi_start());
        expect_marks(false, self);
        EXPECT(!gi_start());
        if (attached) {
            gi_thread_detach(self);
        }
        EXPECT_EQ(lock_of(&registry), 0);
        EXPECT(gi_thread_attach(&states[1]));
        stop(&states[1]);
        EXPECT(gi_start());
        gi_thread_detach(&states[1]);
        fini();
        _exit(0);
    }
    expect_child_well(pid);
    EXPECT(gi_start());
    EXPECT_EQ(shared_get(&worker_done), 0);
    EXPECT(gi_start());
    if (attached) {
        gi_thread_detach(self);
    }
    thread_join(thread);
    fini();
}
static void the_child_of_a_detached_stopper_in_gil_mode(void) {
    the_child_of_the_stopper_has_stopped_the_world(false, false);
}
static void the_child_of_an_attached_stopper_in_gil_mode(void) {
    the_child_of_the_stopper_has_stopped_the_world(false, true);
}
static void the_child_of_a_detached_stopper_in_free_mode(void) {
    the_child_of_the_stopper_has_stopped_the_world(true, false);
}
static void the_child_of_an_attached_stopper_in_free_mode(void) {
    the_child_of_the_stopper_has_stopped_the_world(true, true);
}

/* Under a runtime's own lock a thread forks that does not hold it, while another has stopped the world. */
static pthread_barrier_t forked;

static void *stop_meanwhile(void *arg) {
    (void)arg;
    EXPECT(gi_thread_attach(&states[2]));
    EXPECT(try_stop(&states[2]));
    pthread_barrier_wait(&in_place);
    pthread_barrier_wait(&forked);
    EXPECT(gi_start());
    gi_thread_detach(&states[2]);
    return NULL;
}

static void a_child_that_lacks_the_stopper_runs(void) {
    init(false);
    registry.gil.outer = (gi_outer_lock){&outer, unit_outer_acquire, unit_outer_release, unit_outer_held};
    EXPECT_EQ(pthread_barrier_init(&in_place, NULL, 2), 0);
    EXPECT_EQ(pthread_barrier_init(&forked, NULL, 2), 0);
    pthread_t thread = thread_start(stop_meanwhile, NULL);
    pthread_barrier_wait(&in_place);
    expect_marks(true, &states[2]);
    pid_t pid = fork_locked(NULL);
    if (pid == 0) {
        EXPECT(!gi_world_is_mine() && !gi_the_world.stopped && !registry.stopped);
        expect_marks(false, &states[2]);
        gi_world_wait();
        EXPECT(gi_thread_attach(&states[0]));
        stop(&states[0]);
        EXPECT(gi_start());
        gi_thread_detach(&states[0]);
        _exit(0);
    }
    expect_child_well(pid);
    expect_marks(true, &states[2]);
    pthread_barrier_wait(&forked);
    thread_join(thread);
    fini();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_CHILD(a_stop_marks_every_state_in_gil_mode),
        IN_CHILD(a_stop_marks_every_state_in_free_mode),
        IN_CHILD(stops_nest_in_gil_mode),
        IN_CHILD(stops_nest_in_free_mode),
        IN_CHILD(attaching_waits_for_the_start_in_gil_mode),
        IN_CHILD(attaching_waits_for_the_start_in_free_mode),
        IN_CHILD(who_enters_a_started_world_sees_what_was_done_in_the_stop),
        IN_CHILD(states_are_born_stopped_in_gil_mode),
        IN_CHILD(states_are_born_stopped_in_free_mode),
        IN_CHILD(a_registry_is_listed_stopped_in_gil_mode),
        IN_CHILD(a_registry_is_listed_stopped_in_free_mode),
        IN_CHILD(a_stop_waits_in_gil_mode),
        IN_CHILD(a_stop_waits_in_free_mode),
        IN_CHILD(who_waits_for_the_lock_is_not_waited_for),
        IN_CHILD(no_state_ends_in_a_stopped_gil_world),
        IN_CHILD(no_state_ends_in_a_stopped_free_world),
        IN_CHILD(a_stop_waits_for_a_state_that_ends_in_gil_mode),
        IN_CHILD(a_stop_waits_for_a_state_that_ends_in_free_mode),
        IN_CHILD(a_stopper_that_waits_is_offline),
        IN_CHILD(who_is_parked_is_offline),
        IN_CHILD(several_threads_stop_in_gil_mode),
        IN_CHILD(several_threads_stop_in_free_mode),
        IN_CHILD(a_stop_takes_every_lock_in_gil_mode),
        IN_CHILD(a_stop_takes_no_lock_in_free_mode),
        IN_CHILD(a_switch_takes_and_drops_the_locks),
        FAILS_ASSERTION(not_the_stopper_sets_the_mode, "gi_world_is_mine()"),
        IN_CHILD(who_waits_to_attach_comes_in_by_the_free_mode),
        IN_CHILD(who_waits_to_attach_comes_in_by_the_gil_mode),
        IN_CHILD(who_waits_at_a_safepoint_comes_back_by_the_free_mode),
        IN_CHILD(who_waits_at_a_safepoint_comes_back_by_the_gil_mode),
        IN_CHILD(who_came_in_by_the_former_mode_is_waited_for),
        IN_CHILD(a_registry_of_a_stopped_world_takes_part_in_a_switch),
        IN_CHILD(several_threads_switch),
        IN_CHILD(under_a_runtimes_own_lock_nobody_is_waited_for),
        IN_CHILD(the_child_of_a_detached_stopper_in_gil_mode),
        IN_CHILD(the_child_of_an_attached_stopper_in_gil_mode),
        IN_CHILD(the_child_of_a_detached_stopper_in_free_mode),
        IN_CHILD(the_child_of_an_attached_stopper_in_free_mode),
        IN_CHILD(a_child_that_lacks_the_stopper_runs),
    };
    return cmocka_run_group_tests_name("stop", tests, NULL, NULL);
}

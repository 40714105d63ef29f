/* SPDX-License-Identifier: MIT */
/*
 * stop.c [L1] - stop-the-world: one thread keeps all others from being attached.
 *   Owner   the stopper.
 *   Locks   world, registry.mutex.
 *   Orders  attach, world-start.
 */
#define _GNU_SOURCE /* dladdr, pthread_cond_clockwait */
#include "concurrency/stop.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "concurrency/check.h"
#include "concurrency/tool.h"

static gi_registry *registries; /* guarded by world.mutex; a listed one's `next` is constant */

/* By which a stopper is asked for locks that it holds without being attached: it does not look.  Its thread, for who
   asks who holds them. */
static gi_thread_state nobody;

/* --- who is late ------------------------------------------------------------------------------ */

typedef struct late_stop {
    const char *function;
    uint64_t deadline_ns;
    const gi_registry *registry; /* whose lock is waited for; NULL: all states with one of `awaited` */
    uint32_t awaited;
} late_stop;

static void thread_name(int thread, char *name, size_t size) {
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/task/%d/comm", thread);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : read(file, name, size - 1);
    if (file >= 0) {
        close(file);
    }
    name[length < 0 ? 0 : length] = '\0';
    name[strcspn(name, "\n")] = '\0';
}

/* A thread that is late, copied: nothing is locked while it is reported, since dladdr() waits for a dlopen(), in which
   the thread may be. */
typedef struct late_thread {
    const gi_thread_state *state;
    uint64_t number;
    int thread;
    const void *where;
} late_thread;

static void report_thread(const late_stop *stop, const late_thread *late) {
    char name[32], place[400] = "none since it attached";
    thread_name(late->thread, name, sizeof(name));
    const void *where = late->where;
    Dl_info info;
    if (where != NULL) {
        snprintf(place, sizeof(place), "safepoint at %p", where);
        if (dladdr(where, &info) != 0 && info.dli_fname != NULL) {
            bool named = info.dli_sname != NULL;
            snprintf(place, sizeof(place), "safepoint at %p, %.100s+0x%zx%s%.100s", where,
                     named ? info.dli_sname : info.dli_fname,
                     (size_t)((const char *)where - (const char *)(named ? info.dli_saddr : info.dli_fbase)),
                     named ? " of " : "", named ? info.dli_fname : "");
        }
    }
    gi_report(stop->function,
              "a thread is late" GI_FACT("waited  ", "%llu us") GI_FACT("thread  ", "%d, named \"%s\"")
                  GI_FACT("state   ", "%p") GI_FACT("last    ", "%s")
                      GI_DO("call gilloc_safepoint() more often there, or detach around what blocks"),
              (unsigned long long)(stop->deadline_ns / 1000), late->thread, name, (const void *)late->state, place);
}

/* Whether the stopper waits for `state`, which is not its own: that one has no GI_STOP. */
static bool is_awaited(const late_stop *stop, const gi_thread_state *state) {
    uint32_t status = gi_load_relaxed(&state->status); /* relaxed: it may leave at any moment */
    return (status & stop->awaited) != 0 && (stop->registry != NULL || (status & GI_STOP) != 0);
}

/* The next one that is late, by number, downwards from *late, as they are listed. */
static bool next_late(const late_stop *stop, gi_registry *registry, late_thread *late) {
    gi_mutex_lock(&registry->mutex);
    const gi_thread_state *state = registry->first;
    while (state != NULL && (state->number >= late->number || !is_awaited(stop, state))) {
        state = state->next;
    }
    if (state != NULL) {
        *late = (late_thread){state, state->number, gi_load_relaxed(&state->thread), gi_load_relaxed(&state->where)};
    }
    gi_mutex_unlock(&registry->mutex);
    return state != NULL;
}

static void report_registry(const late_stop *stop, gi_registry *registry) {
    late_thread late = {.number = UINT64_MAX};
    while (next_late(stop, registry, &late)) {
        report_thread(stop, &late);
    }
}

static void report_holder(void *arg) {
    const late_stop *stop = arg;
    report_registry(stop, (gi_registry *)stop->registry);
}

/* --- stop ------------------------------------------------------------------------------------- */

static void take_locks(const gi_thread_state *self, late_stop *stop) {
    gi_store_relaxed(&nobody.thread, gi_thread_number()); /* relaxed: a statistic */
    for (gi_registry *registry = gi_registry_first(); registry != NULL; registry = registry->next) {
        if ((self == NULL || registry != self->registry) && !registry->held) {
            stop->registry = registry;
            gi_late late = {gi_gil_clock() + stop->deadline_ns, report_holder, stop};
            gi_gil_take_soon(&registry->gil, &nobody.asked, stop->deadline_ns != 0 ? &late : NULL);
            registry->held = true;
        }
    }
}

static void drop_locks(gi_registry *first) {
    for (gi_registry *registry = first; registry != NULL; registry = registry->next) {
        if (registry->held) {
            registry->held = false;
            gi_gil_drop(&registry->gil);
        }
    }
}

/* Sets GI_STOP on every state but `self`; how many of them must leave.  In gil mode, too, one may be ATTACHED for a
   moment: its thread took the mode for GIL-free, and leaves again when it looks once more (come_in()).  Under a
   runtime's own lock those that are attached stay so. */
static int64_t stop_registry(gi_registry *registry, const gi_thread_state *self) {
    int64_t count = 0;
    uint32_t awaited = GI_ENDING | (registry->gil.outer.acquire == NULL ? GI_ATTACHED : 0u);
    gi_mutex_lock(&registry->mutex);
    registry->stopped = true;
    for (gi_thread_state *state = registry->first; state != NULL; state = state->next) {
        if (state != self) {
            /* order(attach): acquire; pairs with release in leave(). */
            uint32_t before = gi_fetch_or_acquire(&state->status, GI_STOP);
            gi_tool_acquire(state);
            if ((before & awaited) != 0) {
                count++;
                gi_fetch_or_relaxed(&state->asked.bits, GI_ASKED_STOP); /* relaxed: a hint */
            }
        }
    }
    gi_mutex_unlock(&registry->mutex);
    return count;
}

/* Lets go of the mutex while it reports. */
static void wait_locked(late_stop *stop) {
    gi_world *world = &gi_the_world;
    uint64_t late_at = gi_gil_clock() + stop->deadline_ns;
    struct timespec until = {(time_t)(late_at / 1000000000u), (long)(late_at % 1000000000u)};
    bool reported = stop->deadline_ns == 0;
    while (world->pending != 0) {
        if (reported) {
            pthread_cond_wait(&world->changed, &world->mutex.mutex);
        } else if (pthread_cond_clockwait(&world->changed, &world->mutex.mutex, CLOCK_MONOTONIC, &until) != 0 &&
                   gi_gil_clock() >= late_at) {
            reported = true;
            gi_registry *first = registries;
            gi_mutex_unlock(&world->mutex);
            for (gi_registry *registry = first; registry != NULL; registry = registry->next) {
                report_registry(stop, registry);
            }
            gi_mutex_lock(&world->mutex);
        }
    }
}

bool gi_try_stop(gi_thread_state *self, const char *function) {
    gi_world *world = &gi_the_world;
    if (gi_world_stops > 0) {
        gi_world_stops++;
        return true;
    }
    gi_mutex_lock(&world->mutex);
    bool mine = !world->stopped;
    world->stopped = true;
    gi_mutex_unlock(&world->mutex);
    if (!mine) {
        return false;
    }
    gi_world_stops = 1;
    int cancel = gi_no_cancel();
    bool free_threaded = gi_world_is_free(); /* only the stopper changes it */
    late_stop stop = {.function = function, .deadline_ns = gi_load_relaxed(&world->deadline_ns)};
    if (free_threaded && self != NULL) {
        gi_thread_offline(self); /* some of those that must leave wait for a grace period */
    }
    if (!free_threaded) {
        stop.awaited = GI_ATTACHED;
        take_locks(self, &stop);
    }
    gi_mutex_lock(&world->mutex);
    /* Attached in gil mode, though every lock is taken: a thread that saw GIL-free mode on its way in.  It leaves
       again, and must have left before the mode changes back.  Threads of a runtime's own lock stay attached. */
    stop.awaited = registries != NULL && registries->gil.outer.acquire != NULL ? GI_ENDING : GI_ATTACHED | GI_ENDING;
    for (gi_registry *registry = registries; registry != NULL; registry = registry->next) {
        world->pending += stop_registry(registry, self);
    }
    gi_counter_add(&world->stops, 1);
    stop.registry = NULL;
    wait_locked(&stop);
    gi_mutex_unlock(&world->mutex);
    if (free_threaded && self != NULL) {
        gi_thread_online(self);
    }
    gi_cancel_again(cancel);
    return true;
}

/* --- start ------------------------------------------------------------------------------------ */

bool gi_start(void) {
    gi_world *world = &gi_the_world;
    if (gi_world_stops == 0) {
        return false;
    }
    if (--gi_world_stops > 0) {
        return true;
    }
    gi_mutex_lock(&world->mutex);
    gi_tool_release(world);
    for (gi_registry *registry = registries; registry != NULL; registry = registry->next) {
        gi_mutex_lock(&registry->mutex);
        registry->stopped = false;
        for (gi_thread_state *state = registry->first; state != NULL; state = state->next) {
            /* order(world-start): release; pairs with acquire in enter(), gi_thread_settle(), gi_thread_begin_end(). */
            gi_fetch_and_release(&state->status, ~(uint32_t)GI_STOP);
        }
        gi_mutex_unlock(&registry->mutex);
    }
    drop_locks(registries);
    world->stopped = false;
    pthread_cond_broadcast(&world->changed);
    gi_mutex_unlock(&world->mutex);
    return true;
}

void gi_stop_set_mode(gi_thread_state *self, bool free_threaded) {
    gi_assert(gi_world_is_mine());
    gi_gil *own = &self->registry->gil;
    if (free_threaded) {
        gi_store_relaxed(&gi_the_world.free_threaded, 1); /* relaxed: whoever waits for a lock sees it with the lock */
        drop_locks(gi_registry_first());
        gi_gil_drop(own);
        gi_thread_online(self);
    } else {
        late_stop stop = {.deadline_ns = 0};
        gi_thread_offline(self);
        take_locks(self, &stop);
        gi_gil_take_soon(own, &self->asked, NULL);
        gi_store_relaxed(&gi_the_world.free_threaded, 0); /* relaxed: as above, and by world-start */
    }
}

/* --- registries ------------------------------------------------------------------------------- */

void gi_registry_list(gi_registry *registry) {
    gi_mutex_lock(&gi_the_world.mutex);
    registry->stopped = gi_the_world.stopped;
    registry->next = registries;
    registries = registry;
    gi_mutex_unlock(&gi_the_world.mutex);
}

gi_registry *gi_registry_first_locked(void) { return registries; }

gi_registry *gi_registry_first(void) {
    gi_mutex_lock(&gi_the_world.mutex);
    gi_registry *first = registries;
    gi_mutex_unlock(&gi_the_world.mutex);
    return first;
}

/* --- fork ------------------------------------------------------------------------------------- */

void gi_stop_before_fork(void) { gi_mutex_lock(&gi_the_world.mutex); }

void gi_stop_after_fork(void) { gi_mutex_unlock(&gi_the_world.mutex); }

void gi_stop_after_fork_child(const gi_thread_state *self) {
    gi_world_after_fork_child();
    gi_store_relaxed(&nobody.thread, gi_thread_number()); /* relaxed: the child has one thread */
    gi_the_world.stopped = gi_world_is_mine();
    for (gi_registry *registry = registries; registry != NULL; registry = registry->next) {
        for (gi_thread_state *state = registry->first; !gi_the_world.stopped && state != NULL; state = state->next) {
            gi_fetch_and_relaxed(&state->status, ~(uint32_t)GI_STOP); /* relaxed: the child has one thread */
        }
        registry->stopped = gi_the_world.stopped;
        bool mine = self != NULL && self->registry == registry && !gi_world_is_free();
        gi_registry_after_fork_child(registry, mine ? (gi_asked *)&self->asked : registry->held ? &nobody.asked : NULL);
    }
}

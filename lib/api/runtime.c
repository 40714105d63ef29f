/* SPDX-License-Identifier: MIT */
/*
 * runtime.c [L6] - the one runtime: first use, thread states, attach and detach, fork, and who calls whom.
 *   Locks   runtime.
 *   Orders  ready.
 */
#include "lib/api/runtime.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "concurrency/rcu.h"
#include "lib/arena/address_map.h"
#include "lib/arena/arena.h"
#include "lib/cache/object_alloc.h"
#include "lib/domain/domain.h"
#include "lib/os/os_memory.h"
#include "lib/os/raw_alloc.h"

/* --- constants and state ---------------------------------------------------------------------- */

/* Address space only: 64 GiB of arenas.  Hostile builds have small pages, so more of them a byte. */
#ifdef GI_HOSTILE
#define DEFAULT_RESERVE ((size_t)1 << 30)
#else
#define DEFAULT_RESERVE ((size_t)64 << 30)
#endif

struct _is gi_main_interpreter = {.registry = GI_REGISTRY_INIT};
gi_atomic(uint32_t) gi_runtime_is_ready;
__thread gi_this_thread gi_this;

static gi_mutex runtime_mutex = GI_MUTEX_INIT(GI_RANK_RUNTIME);
static pthread_key_t ends_key; /* constant once ready */

static gi_registry *registry(void) { return &gi_main_interpreter.registry; }

/* --- first use -------------------------------------------------------------------------------- */

static bool read_gil_option(void) {
    const char *value = getenv("PYTHON_GIL");
    if (value == NULL || value[0] == '\0') {
        return false;
    }
    if (strcmp(value, "0") != 0 && strcmp(value, "1") != 0) {
        gi_fatal_input("PYTHON_GIL", "must be \"0\" or \"1\", not \"%.100s\"", value);
    }
    return value[0] == '0';
}

static size_t read_reserve_option(void) {
    const char *value = getenv("GILLOC_RESERVE");
    if (value == NULL || value[0] == '\0') {
        return DEFAULT_RESERVE;
    }
    char *end = NULL;
    errno = 0;
    unsigned long long bytes = strtoull(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0 || bytes > (unsigned long long)PY_SSIZE_T_MAX) {
        gi_fatal_input("GILLOC_RESERVE", "must be a number of bytes, not \"%.100s\"", value);
    }
    return (size_t)bytes;
}

static void thread_ends(void *unused);

void gi_runtime_ready_slow(void) {
    if (gi_this.forking) {
        gi_fatal("PyOS_BeforeFork",
                 "the thread goes on without PyOS_AfterFork_Parent() or PyOS_AfterFork_Child()" GI_DO(
                     "call one of the two right after fork(), before anything else"));
    }
    int saved_errno = errno;
    gi_mutex_lock(&runtime_mutex);
    if (gi_load_relaxed(&gi_runtime_is_ready) == 0) {                    /* relaxed: under runtime_mutex */
        gi_store_relaxed(&registry()->free_threaded, read_gil_option()); /* relaxed: published by is_ready */
        gi_address_map_init(read_reserve_option());
        if (pthread_key_create(&ends_key, thread_ends) != 0) {
            gi_fatal("first use", "no thread-specific key is left" GI_DO("call it before other libraries use them up"));
        }
        gi_domain_ready();
        /* order(ready): release; pairs with acquire in gi_runtime_ready(). */
        gi_store_release(&gi_runtime_is_ready, 1);
    }
    gi_mutex_unlock(&runtime_mutex);
    errno = saved_errno;
}

/* --- thread states ---------------------------------------------------------------------------- */

static PyThreadState *state_of(gi_thread_state *thread) {
    return (PyThreadState *)(void *)((char *)thread - offsetof(struct _ts, thread));
}

/* A state in new memory, which is never given back, so nothing may fail once there is some. */
static PyThreadState *state_new(void) {
    gi_mutex_lock(&runtime_mutex);
    bool number_left = gi_heap_last_number() < GI_HEAP_NUMBERS - 2;
    PyThreadState *state = number_left ? gi_os_meta_alloc(sizeof(struct _ts)) : NULL;
    if (state != NULL) {
        bool numbered = gi_cache_init(&state->cache, &state->thread.asked);
        gi_assert(numbered);
        (void)numbered;
        gi_thread_state_init(&state->thread, registry());
    }
    gi_mutex_unlock(&runtime_mutex);
    return state;
}

PyThreadState *gi_runtime_new(void) {
    gi_runtime_ready();
    gi_thread_state *reused = gi_thread_state_reuse(registry());
    PyThreadState *state = reused != NULL ? state_of(reused) : state_new();
    if (state == NULL) {
        return NULL;
    }
    state->interpreter = &gi_main_interpreter;
    state->ensured = 0;
    state->made_by_ensure = false;
    gi_store_relaxed(&state->bound, NULL); /* relaxed: only compared with this thread's own */
    return state;
}

void gi_runtime_delete(PyThreadState *state, const char *function) {
    int saved_errno = errno;               /* a user's arena allocator may be called */
    gi_store_relaxed(&state->bound, NULL); /* relaxed: only compared with this thread's own */
    gi_cache_end(&state->cache, function);
    gi_thread_state_fini(&state->thread, true);
    errno = saved_errno;
}

PyThreadState *gi_runtime_gilstate(void) {
    PyThreadState *state = gi_this.gilstate;
    /* relaxed: only this thread binds a state to itself; another that takes it over binds it to itself */
    return state != NULL && gi_load_relaxed(&state->bound) == &gi_this ? state : NULL;
}

/* --- attach and detach ------------------------------------------------------------------------ */

void gi_runtime_attach(PyThreadState *state, const char *function) {
    if (gi_unlikely(gi_cache_is_attached(gi_current_cache))) {
        gi_fatal(function,
                 "non-NULL old thread state" GI_FACT("state   ", "%p is current already")
                     GI_DO("detach first, by PyEval_SaveThread(), or use PyThreadState_Swap()"),
                 (void *)gi_runtime_current());
    }
    if (gi_unlikely(!gi_this.ends_known)) {
        int saved_errno = errno;
        if (pthread_setspecific(ends_key, &gi_this) != 0) {
            gi_fatal(function, "out of memory to notice the thread's end");
        }
        gi_this.ends_known = true;
        errno = saved_errno;
    }
    if (gi_unlikely(!gi_thread_attach(&state->thread))) {
        gi_fatal(function, "thread state %p is attached in another thread" GI_DO("give each thread a state of its own"),
                 (void *)state);
    }
    gi_cache_attach(&state->cache, gi_runtime_is_free());
    if (gi_unlikely(gi_this.gilstate != state)) {
        if (gi_runtime_gilstate() == NULL) {
            gi_this.gilstate = state;
        }
    }
    if (gi_this.gilstate == state) {
        gi_store_relaxed(&state->bound, &gi_this); /* relaxed: only compared with this thread's own */
    }
}

void gi_runtime_detach(PyThreadState *state, const char *function) {
    bool free_threaded = gi_runtime_is_free();
    int saved_errno = free_threaded ? errno : 0; /* a user's arena allocator may be called */
    gi_cache_detach(&state->cache, free_threaded, function);
    gi_thread_detach(&state->thread);
    if (free_threaded) {
        if (gi_unlikely(gi_this.ended)) { /* perhaps nothing of ours runs in this thread again */
            gi_thread_ends();
        }
        errno = saved_errno;
    }
}

/* The thread ends: a destructor of its thread-specific key.  Other destructors may attach again afterwards; then this
   one runs again. */
static void thread_ends(void *unused) {
    (void)unused;
    gi_this.ends_known = false;
    gi_this.ended = true;
    PyThreadState *state = gi_runtime_current();
    if (state != NULL) {
        if (!gi_runtime_has_outer_lock()) {
            gi_fatal("thread exit",
                     "the thread is attached" GI_FACT("state   ", "%p") GI_FACT("thread  ", "%d") GI_DO(
                         "release what PyGILState_Ensure() or PyEval_RestoreThread() took before the thread ends"),
                     (void *)state, (int)syscall(SYS_gettid));
        }
        gi_cache_detach(&state->cache, false, "thread exit");
        gi_thread_detach_ended(&state->thread);
    }
    state = gi_runtime_gilstate();
    if (state != NULL && state->made_by_ensure) {
        if (gi_load_relaxed(&state->thread.status) != GI_DETACHED) { /* relaxed: wrong use if it can change */
            gi_fatal("thread exit",
                     "thread state %p is attached in another thread" GI_DO("give each thread a state of its own"),
                     (void *)state);
        }
        gi_runtime_delete(state, "thread exit");
    }
    gi_this.gilstate = NULL;
    gi_thread_ends();
}

/* --- mode, the caller's lock ------------------------------------------------------------------ */

/* Runs `change` if no thread state has been made yet; 0, or -1 with errno. */
static int before_first_state(bool (*change)(const void *arg), const void *arg) {
    gi_runtime_ready();
    gi_mutex_lock(&runtime_mutex);
    bool done = gi_load_relaxed(&registry()->ever) == 0 && change(arg); /* relaxed: a counter */
    gi_mutex_unlock(&runtime_mutex);
    if (!done) {
        errno = EBUSY;
    }
    return done ? 0 : -1;
}

static bool change_mode(const void *arg) {
    gilloc_mode mode = *(const gilloc_mode *)arg;
    if (mode == GILLOC_MODE_FREE && gi_runtime_has_outer_lock()) {
        return false;
    }
    gi_store_relaxed(&registry()->free_threaded, mode == GILLOC_MODE_FREE); /* relaxed: no thread has attached yet */
    return true;
}

int gi_runtime_set_mode(gilloc_mode mode) { return before_first_state(change_mode, &mode); }

static bool change_lock(const void *arg) {
    const gilloc_lock *lock = arg;
    if (lock != NULL && gi_runtime_is_free()) {
        return false;
    }
    registry()->gil.outer = lock != NULL ? (gi_outer_lock){lock->ctx, lock->acquire, lock->release, lock->held}
                                         : (gi_outer_lock){NULL, NULL, NULL, NULL};
    return true;
}

int gi_runtime_set_lock(const gilloc_lock *lock) { return before_first_state(change_lock, lock); }

/* --- upward calls ----------------------------------------------------------------------------- */

PyThreadState *gi_runtime_attach_itself(void) {
    gi_runtime_ready();
    if (!gi_runtime_has_outer_lock() || !gi_runtime_outer_held()) {
        return NULL;
    }
    PyThreadState *state = gi_runtime_gilstate();
    if (state == NULL) {
        state = gi_runtime_new();
        if (state == NULL) {
            gi_fatal("first call of a thread", "out of memory for its thread state");
        }
        state->made_by_ensure = true;
    }
    gi_runtime_attach(state, "first call of a thread");
    return state;
}

static gi_thread_cache *attach_itself(void) {
    PyThreadState *state = gi_runtime_attach_itself();
    return state != NULL ? &state->cache : NULL;
}

static bool lock_held(void) { return !gi_runtime_has_outer_lock() || gi_runtime_outer_held(); }

static size_t raw_usable_size(const void *block) {
    return gi_domain_is_replaced(PYMEM_DOMAIN_RAW) ? 0 : gi_raw_usable_size((void *)block);
}

const gi_object_upcalls gi_object_up = {
    .ready = gi_runtime_ready,
    .attach_itself = attach_itself,
    .lock_held = lock_held,
    .raw_usable_size = raw_usable_size,
    .raw_malloc = PyMem_RawMalloc,
    .raw_calloc = PyMem_RawCalloc,
    .raw_realloc = PyMem_RawRealloc,
    .raw_free = PyMem_RawFree,
};

/* --- fork ------------------------------------------------------------------------------------- */

/* Every mutex, in the order of their ranks, so that none is held by a thread that the child lacks. */
void gi_runtime_before_fork(void) {
    gi_this.forking = true;
    gi_mutex_lock(&runtime_mutex);
    gi_domain_before_fork();
    gi_registry_before_fork(registry());
    gi_heap_before_fork();
    gi_arena_before_fork();
    gi_address_map_before_fork();
    gi_heap_numbers_before_fork();
    gi_os_before_fork();
    gi_rcu_before_fork();
    gi_registry_lock_before_fork(registry());
}

static void unlock_all(void) {
    gi_registry_lock_after_fork(registry());
    gi_rcu_after_fork();
    gi_os_after_fork();
    gi_heap_numbers_after_fork();
    gi_address_map_after_fork();
    gi_arena_after_fork();
    gi_heap_after_fork();
    gi_registry_after_fork(registry());
    gi_domain_after_fork();
    gi_mutex_unlock(&runtime_mutex);
    gi_this.forking = false;
}

void gi_runtime_after_fork_parent(void) { unlock_all(); }

void gi_runtime_after_fork_child(void) {
    unlock_all();
    PyThreadState *mine = gi_runtime_current(), *gilstate = gi_runtime_gilstate();
    /* Who holds our lock knows that nobody else was inside a cache; else those that were detached were not. */
    bool alone = mine != NULL && !gi_runtime_is_free() && !gi_runtime_has_outer_lock();
    gi_registry_after_fork_child(registry(), mine != NULL ? &mine->thread : NULL);
    for (gi_thread_state *other = registry()->first, *next; other != NULL; other = next) {
        next = other->next;
        PyThreadState *state = state_of(other);
        bool detached = gi_load_relaxed(&other->status) == GI_DETACHED; /* relaxed: one thread is left */
        if (state != mine && !(state == gilstate && detached)) {
            gi_store_relaxed(&state->bound, NULL); /* relaxed: one thread is left */
            bool outside = alone || detached;
            bool ended = gi_cache_end_after_fork(&state->cache, outside, "fork");
            gi_thread_state_fini(other, ended);
        }
    }
}

/* fork() without the public functions around it gets the same by handlers; with them, these have nothing to do. */
static __thread bool prepared_by_handler __attribute__((tls_model("initial-exec")));

static void before_fork(void) {
    if (!gi_this.forking) {
        gi_runtime_before_fork();
        prepared_by_handler = true;
    }
}

static void after_fork_parent(void) {
    if (prepared_by_handler) {
        prepared_by_handler = false;
        gi_runtime_after_fork_parent();
    }
}

static void after_fork_child(void) {
    if (prepared_by_handler) {
        prepared_by_handler = false;
        gi_runtime_after_fork_child();
    }
}

/* As early as can be, so that ours run next to the fork itself, inside those of programs that use the library. */
__attribute__((constructor)) static void handle_forks(void) {
    if (pthread_atfork(before_fork, after_fork_parent, after_fork_child) != 0) {
        gi_fatal("fork handlers", "out of memory while the library is loaded");
    }
}

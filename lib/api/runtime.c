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
#include "concurrency/tool.h"
#include "lib/api/options.h"
#include "lib/arena/address_map.h"
#include "lib/arena/arena.h"
#include "lib/arena/hardened.h"
#include "lib/arena/kind.h"
#include "lib/cache/hardened_block.h"
#include "lib/cache/object_alloc.h"
#include "lib/domain/debug_hooks.h"
#include "lib/domain/domain.h"
#include "lib/domain/ledger.h"
#include "lib/domain/quarantine.h"
#include "lib/domain/trace.h"
#include "lib/domain/trace_sample.h"
#include "lib/domain/watched.h"
#include "lib/os/os_memory.h"
#include "lib/os/raw_alloc.h"

/* --- state ---------------------------------------------------------------------------------- */

struct _is gi_main_interpreter = {.registry = GI_REGISTRY_INIT, .group = &gi_main_group};
gi_atomic(uint32_t) gi_runtime_is_ready;
__thread gi_this_thread gi_this;

static gi_mutex runtime_mutex = GI_MUTEX_INIT(GI_RANK_RUNTIME);
static pthread_key_t ends_key; /* constant once ready */

static gi_registry *main_registry(void) { return &gi_main_interpreter.registry; }

/* --- first use -------------------------------------------------------------------------------- */

void gi_runtime_set_stop_deadline(uint64_t microseconds) {
    uint64_t most = UINT64_MAX / 8000;
    gi_store_relaxed(&gi_the_world.deadline_ns, (microseconds < most ? microseconds : most) * 1000);
}

static void read_options(void) {
    gi_options_read();
    gi_store_relaxed(&gi_the_world.free_threaded, gi_option(GI_OPTION_GIL) == 0); /* relaxed: published by is_ready */
    gi_store_relaxed(&gi_retired_limit, gi_option(GI_OPTION_RETIRE_LIMIT));       /* relaxed: as above */
    gi_runtime_set_stop_deadline(gi_option(GI_OPTION_STOP_DEADLINE));
    if (gi_option(GI_OPTION_HARDEN) == 1) {
        gi_hardened_use();
        gi_domain_use(&gi_domain_hardened_defaults);
    }
    gi_address_map_init(gi_option(GI_OPTION_RESERVE));
    gi_hardened_ready();
    gi_quarantine_limit = gi_option(GI_OPTION_QUARANTINE);
    gi_runtime_up_print();
}

/* PYTHONMALLOC. */
static void serve_as_asked(void) {
    gi_option_malloc asked = (gi_option_malloc)gi_option(GI_OPTION_MALLOC);
    if (asked == GI_MALLOC_MALLOC || asked == GI_MALLOC_MALLOC_DEBUG) {
        gi_domain_use(&gi_domain_malloc_defaults);
    }
    gi_domain_ready();
    if (asked == GI_MALLOC_DEBUG || asked == GI_MALLOC_MALLOC_DEBUG || asked == GI_MALLOC_PYMALLOC_DEBUG) {
        gi_debug_install(true);
    }
}

/* If a tool watches, it is told from here on. */
static void find_tool(void) {
    gi_tool_now = gi_option(GI_OPTION_WATCH) != 0 && !gi_hardened.on ? gi_tool_find() : GI_TOOL_NONE;
    if (gi_tool_sees_blocks()) {
        const gi_reservation *reservation = gi_os_reservation();
        gi_kind_watch();
        gi_domain_use(&gi_watched_defaults);
        gi_tool_roots(reservation->slots, reservation->slot_count << GI_ARENA_SHIFT, true);
    }
    if (gi_tool_sees_locks()) {
        gi_gil_watch(&main_registry()->gil);
    }
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
    if (gi_load_relaxed(&gi_runtime_is_ready) == 0) { /* relaxed: under runtime_mutex */
        read_options();
        find_tool();
        gi_registry_list(main_registry());
        if (pthread_key_create(&ends_key, thread_ends) != 0) {
            gi_fatal("first use", "no thread-specific key is left" GI_DO("call it before other libraries use them up"));
        }
        serve_as_asked();
        gi_runtime_start_tracing();
        /* order(ready): release; pairs with acquire in gi_runtime_ready(). */
        gi_store_release(&gi_runtime_is_ready, 1);
    }
    gi_mutex_unlock(&runtime_mutex);
    errno = saved_errno;
}

/* --- deferred frees, parking ------------------------------------------------------------------ */

/* So far ahead a block is fetched; it has been left alone for a while. */
enum { PREFETCH_WORDS = 8 };

static void free_retired(const uintptr_t *words, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        unsigned domain = (unsigned)(words[i] & GI_RETIRED_DOMAIN);
        void *block = (void *)(words[i] & ~GI_RETIRED_DOMAIN);
        if (gi_unlikely(gi_hardened.on) && domain != PYMEM_DOMAIN_RAW) {
            gi_hardened_unretire(block);
        }
        if (i + PREFETCH_WORDS < count) {
            __builtin_prefetch((const void *)words[i + PREFETCH_WORDS], 1);
        }
        if (domain >= GI_DOMAINS) {
            (gi_tool_sees_blocks() ? gi_watched_free : gi_object_free_kind)(domain - 1, block);
        } else if (domain == PYMEM_DOMAIN_RAW || !gi_object_free_fast(domain - 1, &gi_limits[domain - 1], block)) {
            gi_domain_free((PyMemAllocatorDomain)domain, block, NULL);
        }
    }
}

/* Hooks that are called may call PyGILState_Ensure() and its Release, which must not be the last one of a state that is
   about to detach or ends. */
static void reclaim(PyThreadState *state, bool wait) {
    state->ensured++;
    gi_retired_reclaim(&state->cache.retired, state->cache.own.group, wait, free_retired);
    state->ensured--;
}

void gi_runtime_reclaim(PyThreadState *state) { reclaim(state, gi_world_is_free()); }

void gi_runtime_wait_and_reclaim(PyThreadState *state) {
    gi_retired *retired = &state->cache.retired;
    uint64_t waits = gi_load_relaxed(&retired->grace_periods); /* relaxed: owner-only */
    gi_runtime_reclaim(state);
    /* relaxed: as above */
    if (gi_world_is_free() && gi_load_relaxed(&retired->grace_periods) == waits) {
        gi_rcu_synchronize();
        gi_counter_add(&retired->grace_periods, 1);
    }
}

/* For a cache that is no thread's: it becomes this thread's for the time in which its batch, and what its group has,
   is freed.  `function`, if not NULL: for it what waits in debug hooks' quarantine there is freed, too. */
static void act_for(gi_thread_cache *cache, bool wait, const char *function) {
    gi_thread_cache *mine = gi_current_cache;
    bool free_threaded = gi_world_is_free();
    if (cache != mine) {
        gi_cache_attach(cache, free_threaded);
    }
    reclaim(gi_runtime_state_of(cache), wait);
    if (function != NULL) {
        gi_debug_flush(cache, function);
    }
    if (cache != mine) {
        gi_cache_detach(cache, free_threaded, "reclaim");
        gi_current_cache = mine;
    }
}

typedef struct reclaiming {
    const gi_heap_group *only; /* NULL: all */
    const char *function;
} reclaiming;

static void reclaim_in_stopped_world(gi_thread_cache *cache, void *arg) {
    const reclaiming *work = arg;
    const gi_heap_group *group = cache->own.group, *only = work->only;
    bool any = cache->retired.chunks != NULL || gi_load_relaxed(&group->waiting) != 0; /* relaxed: a statistic */
    bool quarantined = gi_load_relaxed(&cache->quarantine) != NULL;                    /* relaxed: the world stands */
    if ((any || quarantined) && !cache->own.lost && (only == NULL || only == group)) {
        act_for(cache, false, quarantined ? work->function : NULL);
    }
}

void gi_runtime_reclaim_all(const gi_heap_group *group, const char *function) {
    gi_assert(gi_world_is_mine());
    gi_cache_for_each(reclaim_in_stopped_world, &(reclaiming){group, function});
}

/* If too much waits in an interpreter, whoever is attached sees to it at a safepoint; else who attaches next. */
static void ask_if_due(gi_registry *registry) {
    if (gi_unlikely(gi_retired_is_due(gi_runtime_interpreter_of(registry)->group))) {
        gi_registry_ask(registry, GI_ASKED_RECLAIM);
    }
}

void gi_runtime_ask_if_due(void) {
    for (gi_registry *registry = gi_registry_first(); registry != NULL; registry = registry->next) {
        ask_if_due(registry);
    }
}

void gi_runtime_set_retire_limit(uint64_t bytes) {
    uint64_t before = gi_load_relaxed(&gi_retired_limit);
    gi_store_relaxed(&gi_retired_limit, bytes);
    for (gi_registry *registry = gi_registry_first(); bytes < before && registry != NULL; registry = registry->next) {
        gi_registry_ask(registry, GI_ASKED_RECLAIM); /* what waits may be too much now */
    }
}

/* At a safepoint: out by `wait`, which returns when the thread is in again, perhaps in another mode. */
static void come_back(PyThreadState *state, void (*wait)(gi_thread_state *thread)) {
    gi_cache_detach(&state->cache, gi_world_is_free(), "gilloc_safepoint");
    wait(&state->thread);
    gi_cache_attach(&state->cache, gi_world_is_free());
}

void gi_runtime_safepoint_slow(PyThreadState *state) {
    int saved_errno = errno; /* a user's arena allocator may be called */
    uint32_t asked = gi_thread_take_asked(&state->thread);
    if ((asked & GI_ASKED_RECLAIM) != 0) {
        gi_runtime_reclaim(state);
    }
    if (gi_world_is_free()) {
        gi_rcu_quiescent();
        gi_cache_safepoint(&state->cache, "gilloc_safepoint");
        if ((asked & GI_ASKED_DRAIN) != 0) {
            gi_cache_drain(&state->cache, "gilloc_safepoint");
        }
        if ((asked & GI_ASKED_STOP) != 0 && !gi_world_is_mine()) {
            come_back(state, gi_thread_park);
        }
    } else if ((asked & GI_ASKED_DROP) != 0 && !gi_world_is_mine()) {
        come_back(state, gi_thread_yield);
    }
    errno = saved_errno;
}

/* Before the thread attaches or stops the world: thread_ends() will be called. */
static __attribute__((noinline)) void notice_end(const char *function) {
    int saved_errno = errno;
    if (pthread_setspecific(ends_key, &gi_this) != 0) {
        gi_fatal(function, "out of memory to notice the thread's end");
    }
    gi_this.ends_known = true;
    errno = saved_errno;
}

void gi_runtime_stop(const char *function) {
    gi_runtime_ready();
    if (gi_unlikely(!gi_this.ends_known)) {
        notice_end(function);
    }
    PyThreadState *state = gi_runtime_current_or_attach();
    if (gi_unlikely(gi_runtime_has_outer_lock() && (state == NULL || !gi_runtime_outer_held()))) {
        gi_fatal(function, "the world can only be stopped by a thread that holds the runtime's lock" GI_DO(
                               "take the lock first"));
    }
    int saved_errno = errno;
    while (!gi_try_stop(state != NULL ? &state->thread : NULL, function)) {
        if (state != NULL) {
            come_back(state, gi_thread_park);
        } else {
            gi_world_wait();
        }
    }
    errno = saved_errno;
}

/* For an attached thread the stopper waits anyway. */
static bool claims_are_counted(void) { return gi_runtime_current() == NULL && !gi_world_is_mine(); }

bool gi_runtime_begin_claims(void) { return !claims_are_counted() || gi_world_enter(); }

void gi_runtime_end_claims(void) {
    if (claims_are_counted()) {
        gi_world_left();
    }
}

bool gi_runtime_may_claim(PyInterpreterState *interpreter, bool *taken) {
    *taken = false;
    const PyThreadState *state = gi_runtime_current();
    if (gi_runtime_has_outer_lock()) {
        return gi_runtime_outer_held();
    }
    if (gi_world_is_free() || gi_world_is_mine() || (state != NULL && state->interpreter == interpreter)) {
        return true;
    }
    *taken = gi_gil_try_take(&interpreter->registry.gil, NULL);
    return *taken;
}

/* --- thread states ---------------------------------------------------------------------------- */

static PyThreadState *state_of(gi_thread_state *thread) {
    return (PyThreadState *)(void *)((char *)thread - offsetof(struct _ts, thread));
}

/* A state in new memory, which is never given back, so nothing may fail once there is some. */
static PyThreadState *state_new(PyInterpreterState *interpreter) {
    gi_mutex_lock(&runtime_mutex);
    bool number_left = gi_heap_last_number() < GI_HEAP_NUMBERS - 2;
    PyThreadState *state = number_left ? gi_os_meta_alloc(sizeof(struct _ts)) : NULL;
    if (state != NULL) {
        bool numbered = gi_cache_init(&state->cache, interpreter->group, &state->thread.asked);
        gi_assert(numbered);
        (void)numbered;
        state->interpreter = interpreter;
        gi_thread_state_init(&state->thread, &interpreter->registry);
    }
    gi_mutex_unlock(&runtime_mutex);
    return state;
}

PyThreadState *gi_runtime_new(PyInterpreterState *interpreter) {
    gi_runtime_ready();
    int saved_errno = errno; /* memory may be refused */
    gi_thread_state *reused = gi_thread_state_reuse(&interpreter->registry);
    PyThreadState *state = reused != NULL ? state_of(reused) : state_new(interpreter);
    errno = saved_errno;
    return state; /* as new: by forget() */
}

/* A state that ends is as new for who uses it next.  While it is ending, for which a stopper waits: from then on one
   may act for it at any time, as for any that is detached. */
static void forget(PyThreadState *state) {
    state->ensured = 0;
    state->made_by_ensure = false;
    gi_store_relaxed(&state->bound, NULL); /* relaxed: only compared with a thread's own */
}

static _Noreturn __attribute__((cold)) void die_attached(const PyThreadState *state, const char *function) {
    gi_fatal(function, "thread state %p is attached in another thread" GI_DO("detach it there first"),
             (const void *)state);
}

/* A state leaves its batch to its interpreter.  Too much is freed here and now if this thread may wait. */
static void leave_retired(PyThreadState *state, bool detached) {
    gi_heap_group *group = state->cache.own.group;
    gi_retired_leave(&state->cache.retired, group);
    if (gi_retired_is_due(group) && detached && gi_world_is_free()) {
        act_for(&state->cache, true, NULL);
        gi_retired_leave(&state->cache.retired, group); /* what hooks have retired meanwhile */
    }
}

void gi_runtime_delete(PyThreadState *state, const char *function) {
    int saved_errno = errno; /* a user's arena allocator may be called */
    PyThreadState *mine = gi_runtime_current();
    for (gi_end end; (end = gi_thread_begin_end(&state->thread)) != GI_END_BEGUN;) {
        if (end == GI_END_ATTACHED) {
            die_attached(state, function);
        }
        /* Attached without the runtime's own lock, it may wait as it is, and must not drop that lock. */
        if (mine != NULL && (!gi_runtime_has_outer_lock() || gi_runtime_outer_held())) {
            come_back(mine, gi_thread_park);
        } else {
            gi_world_wait();
        }
    }
    gi_store_relaxed(&state->bound, NULL); /* relaxed: only compared with this thread's own */
    leave_retired(state, mine == NULL);
    gi_cache_end(&state->cache, function);
    ask_if_due(&state->interpreter->registry);
    forget(state);
    gi_thread_state_fini(&state->thread, true);
    errno = saved_errno;
}

PyThreadState *gi_runtime_gilstate(void) {
    PyThreadState *state = gi_this.gilstate;
    /* relaxed: only this thread binds a state to itself; another that takes it over binds it to itself */
    return state != NULL && gi_load_relaxed(&state->bound) == &gi_this ? state : NULL;
}

/* --- attach and detach ------------------------------------------------------------------------ */

static _Noreturn __attribute__((cold)) void die_in_stopped_world(const char *function) {
    gi_fatal(function, "the thread has stopped the world" GI_DO("call gilloc_start_the_world() first"));
}

static _Noreturn __attribute__((cold, noinline)) void die_current(const char *function) {
    gi_fatal(function,
             "non-NULL old thread state" GI_FACT("state   ", "%p is current already")
                 GI_DO("detach first, by PyEval_SaveThread(), or use PyThreadState_Swap()"),
             (void *)gi_runtime_current());
}

/* Where it may have to wait. */
static __attribute__((noinline)) void attach_slow(PyThreadState *state, const char *function) {
    if (gi_unlikely(gi_world_is_mine())) {
        die_in_stopped_world(function);
    }
    if (gi_unlikely(!gi_thread_attach(&state->thread))) {
        gi_fatal(function, "thread state %p is attached in another thread" GI_DO("give each thread a state of its own"),
                 (void *)state);
    }
}

/* Attached by another state than the one that PyGILState_Ensure() uses: that one it may be from now on. */
static __attribute__((noinline)) void adopt(PyThreadState *state) {
    if (gi_runtime_gilstate() == NULL && state->interpreter == &gi_main_interpreter) {
        gi_this.gilstate = state;
        gi_store_relaxed(&state->bound, &gi_this); /* relaxed: only compared with this thread's own */
    }
}

void gi_runtime_attach(PyThreadState *state, const char *function) {
    if (gi_unlikely(gi_cache_is_attached(gi_current_cache))) {
        die_current(function);
    }
    if (gi_unlikely(!gi_this.ends_known)) {
        notice_end(function);
    }
    if (gi_unlikely(!gi_thread_attach_at_once(&state->thread))) {
        attach_slow(state, function);
    }
    gi_cache_attach(&state->cache, gi_world_is_free());
    if (gi_unlikely(gi_retired_any_is_due(&state->cache.retired, state->cache.own.group))) {
        gi_fetch_or_relaxed(&state->thread.asked.bits, GI_ASKED_RECLAIM); /* relaxed: a word to oneself */
    }
    if (gi_likely(gi_this.gilstate == state)) {
        gi_store_relaxed(&state->bound, &gi_this); /* relaxed: only compared with this thread's own */
    } else {
        adopt(state);
    }
}

/* Where there is more to do than to drop the lock. */
static __attribute__((noinline)) void detach_slow(PyThreadState *state, const char *function) {
    int saved_errno = errno; /* a user's arena allocator may be called */
    if (gi_unlikely(gi_world_is_mine())) {
        die_in_stopped_world(function);
    }
    uint32_t asked = gi_load_relaxed(&state->thread.asked.bits); /* relaxed: of the bits, one is a word to oneself */
    if (gi_unlikely((asked & GI_ASKED_RECLAIM) != 0)) {
        gi_fetch_and_relaxed(&state->thread.asked.bits, ~(uint32_t)GI_ASKED_RECLAIM);
        gi_runtime_reclaim(state);
    }
    /* Now: a hook of the frees above may have detached for a while, in which the mode changed. */
    gi_cache_detach(&state->cache, gi_world_is_free(), function);
    gi_thread_detach(&state->thread);
    if (gi_unlikely(gi_this.ended)) { /* perhaps nothing of ours runs in this thread again */
        gi_thread_ends();             /* in gil mode too: it may have been attached in the other before */
    }
    errno = saved_errno;
}

PyThreadState *gi_runtime_detach(PyThreadState *state, const char *function) {
    uint32_t asked = gi_load_relaxed(&state->thread.asked.bits); /* relaxed: as in detach_slow() */
    bool more = (asked & GI_ASKED_RECLAIM) != 0 || gi_world_is_mine() || gi_this.ended;
    bool free_threaded = gi_world_is_free();
    if (gi_unlikely(more || (free_threaded && state->cache.remote_pending != 0))) {
        detach_slow(state, function);
        return state;
    }
    if (gi_likely(!free_threaded)) {
        gi_cache_detach(&state->cache, false, function);
        gi_thread_detach_gil(&state->thread);
    } else {
        gi_cache_detach(&state->cache, true, function);
        gi_thread_detach(&state->thread);
    }
    return state;
}

/* The thread ends: a destructor of its thread-specific key.  Other destructors may attach again afterwards; then this
   one runs again. */
static void thread_ends(void *unused) {
    (void)unused;
    gi_this.ends_known = false;
    gi_this.ended = true;
    PyThreadState *state = gi_runtime_current();
    if (gi_world_is_mine()) {
        die_in_stopped_world("thread exit");
    }
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
        if (gi_thread_status(&state->thread) != GI_DETACHED) {
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
    bool made = false;
    for (const gi_registry *registry = gi_registry_first(); registry != NULL; registry = registry->next) {
        made |= gi_load_relaxed(&registry->ever) != 0; /* relaxed: a counter */
    }
    bool done = !made && change(arg);
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
    gi_store_relaxed(&gi_the_world.free_threaded, mode == GILLOC_MODE_FREE); /* relaxed: no thread has attached yet */
    return true;
}

/* By the stopper, attached by `state`. */
static void switch_mode(PyThreadState *state, bool free_threaded) {
    gi_cache_detach(&state->cache, !free_threaded, "gilloc_set_mode");
    gi_stop_set_mode(&state->thread, free_threaded);
    if (!free_threaded) {
        gi_cache_share_all("gilloc_set_mode");
    }
    gi_cache_attach(&state->cache, free_threaded);
}

int gi_runtime_set_mode(gilloc_mode mode) {
    gi_runtime_ready();
    PyThreadState *state = gi_runtime_current();
    if (state == NULL) {
        return before_first_state(change_mode, &mode);
    }
    bool free_threaded = mode == GILLOC_MODE_FREE;
    if (free_threaded && gi_runtime_has_outer_lock()) {
        errno = EBUSY;
        return -1;
    }
    int saved_errno = errno;
    gi_runtime_stop("gilloc_set_mode");
    if (free_threaded != gi_world_is_free()) {
        switch_mode(state, free_threaded);
    }
    gi_start();
    errno = saved_errno;
    return 0;
}

static bool change_lock(const void *arg) {
    const gilloc_lock *lock = arg;
    if (gi_world_is_mine() || (lock != NULL && (gi_world_is_free() || gi_registry_first()->next != NULL))) {
        return false; /* the stopper holds the lock that there is */
    }
    main_registry()->gil.outer = lock != NULL ? (gi_outer_lock){lock->ctx, lock->acquire, lock->release, lock->held}
                                              : (gi_outer_lock){NULL, NULL, NULL, NULL};
    gi_domain_lock_is_theirs(lock != NULL);
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
        state = gi_runtime_new(&gi_main_interpreter);
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
    size_t size = 0;
    if (!gi_domain_is_replaced(PYMEM_DOMAIN_RAW)) {
        return gi_raw_usable_size((void *)block);
    }
    return gi_debug_size(block, &size) ? size : 0;
}

/* As the public functions of the raw domain, for the caller of the call under way. */
static void *raw_malloc(size_t size) { return gi_domain_malloc(PYMEM_DOMAIN_RAW, size, NULL); }
static void *raw_calloc(size_t count, size_t size) { return gi_domain_calloc(PYMEM_DOMAIN_RAW, count, size, NULL); }
static void *raw_realloc(void *block, size_t size) { return gi_domain_realloc(PYMEM_DOMAIN_RAW, block, size, NULL); }
static void raw_free(void *block) { gi_domain_free(PYMEM_DOMAIN_RAW, block, NULL); }

const gi_object_upcalls gi_object_up = {
    .ready = gi_runtime_ready,
    .attach_itself = attach_itself,
    .lock_held = lock_held,
    .raw_usable_size = raw_usable_size,
    .sampled_size = gi_sample_class_size,
    .raw_malloc = raw_malloc,
    .raw_calloc = raw_calloc,
    .raw_realloc = raw_realloc,
    .raw_free = raw_free,
};

/* --- interpreters ----------------------------------------------------------------------------- */

bool gi_runtime_is_interpreter(const PyInterpreterState *interpreter) {
    bool found = false;
    gi_mutex_lock(&runtime_mutex);
    for (gi_registry *registry = gi_registry_first(); registry != NULL && !found; registry = registry->next) {
        found = gi_runtime_interpreter_of(registry) == interpreter && !interpreter->deleted;
    }
    gi_mutex_unlock(&runtime_mutex);
    return found;
}

static PyInterpreterState *spare_interpreter_locked(void) {
    for (gi_registry *registry = gi_registry_first(); registry != NULL; registry = registry->next) {
        if (gi_runtime_interpreter_of(registry)->deleted) {
            return gi_runtime_interpreter_of(registry);
        }
    }
    return NULL;
}

static PyInterpreterState *interpreter_new_locked(void) {
    bool number_left = gi_heap_last_number() < GI_HEAP_NUMBERS - 2;
    PyInterpreterState *made = number_left ? gi_os_meta_alloc(sizeof(struct _is)) : NULL;
    gi_heap_group *group = made != NULL ? gi_os_meta_alloc(sizeof(gi_heap_group)) : NULL;
    if (group == NULL || !gi_heap_group_init(group)) {
        return NULL;
    }
    made->group = group;
    gi_registry_init(&made->registry);
    if (gi_tool_sees_locks()) {
        gi_gil_watch(&made->registry.gil);
    }
    gi_registry_list(&made->registry);
    return made;
}

PyInterpreterState *gi_runtime_new_interpreter(void) {
    gi_runtime_ready();
    int saved_errno = errno; /* memory may be refused */
    PyInterpreterState *made = NULL;
    gi_mutex_lock(&runtime_mutex);
    if (!gi_runtime_has_outer_lock()) {
        made = spare_interpreter_locked();
        made = made != NULL ? made : interpreter_new_locked();
    }
    if (made != NULL) {
        made->deleted = false;
        /* relaxed: an option */
        gi_store_relaxed(&made->registry.gil.interval_ns, gi_load_relaxed(&main_registry()->gil.interval_ns));
    }
    gi_mutex_unlock(&runtime_mutex);
    errno = saved_errno;
    return made;
}

void gi_runtime_empty(PyInterpreterState *interpreter, const char *function) {
    gi_runtime_stop(function);
    int saved_errno = errno; /* a user's arena allocator may be called */
    gi_runtime_reclaim_all(interpreter->group, function);
    gi_cache_flush_all(function);
    gi_runtime_ask_if_due();
    errno = saved_errno;
    gi_start();
}

void gi_runtime_delete_interpreter(PyInterpreterState *interpreter, const char *function) {
    for (;;) {
        gi_registry *registry = &interpreter->registry;
        gi_mutex_lock(&registry->mutex);
        gi_thread_state *first = registry->first;
        gi_mutex_unlock(&registry->mutex);
        if (first == NULL) {
            break;
        }
        gi_runtime_delete(state_of(first), function);
    }
    /* relaxed: a statistic; no thread is left to be asked, nor to take what the last ones left in the stash */
    if (gi_load_relaxed(&interpreter->group->waiting) != 0 || gi_cache_any_stashed(interpreter->group->stash)) {
        gi_runtime_empty(interpreter, function);
    }
    gi_mutex_lock(&runtime_mutex);
    interpreter->deleted = true;
    gi_mutex_unlock(&runtime_mutex);
}

/* --- fork ------------------------------------------------------------------------------------- */

#define FOR_EACH_REGISTRY(registry) \
    for (gi_registry *registry = gi_registry_first(); registry != NULL; registry = registry->next)

/* Stops the world, and takes every mutex in the order of their ranks, so that none is held by a thread that the child
   lacks.  With a runtime's own lock only who holds it can stop the world. */
void gi_runtime_before_fork(void) {
    /* relaxed: if another thread makes the library ready meanwhile, it has not attached yet, or the child loses it */
    if (gi_load_relaxed(&gi_runtime_is_ready) != 0 && (!gi_runtime_has_outer_lock() || gi_runtime_outer_held())) {
        gi_runtime_stop("fork");
        gi_this.stopped_to_fork = true;
    }
    gi_this.forking = true;
    gi_mutex_lock(&runtime_mutex);
    gi_debug_before_fork();
    gi_trace_before_fork();
    gi_domain_before_fork();
    gi_stop_before_fork();
    gi_registry *first = gi_registry_first_locked();
    for (gi_registry *registry = first; registry != NULL; registry = registry->next) {
        gi_registry_before_fork(registry);
    }
    gi_kind_before_fork();
    gi_heap_before_fork();
    for (gi_registry *registry = first; registry != NULL; registry = registry->next) {
        gi_heap_group_before_fork(gi_runtime_interpreter_of(registry)->group);
    }
    gi_arena_before_fork();
    gi_address_map_before_fork();
    gi_heap_numbers_before_fork();
    gi_debug_quarantine_before_fork();
    gi_trace_threads_before_fork();
    gi_os_before_fork();
    gi_rcu_before_fork();
    gi_ledger_before_fork();
    for (gi_registry *registry = first; registry != NULL; registry = registry->next) {
        gi_registry_lock_before_fork(registry);
    }
}

static void unlock_all(void) {
    gi_ledger_after_fork();
    gi_rcu_after_fork();
    gi_os_after_fork();
    gi_trace_threads_after_fork();
    gi_debug_quarantine_after_fork();
    gi_heap_numbers_after_fork();
    gi_address_map_after_fork();
    gi_arena_after_fork();
    gi_heap_after_fork();
    gi_kind_after_fork();
    for (gi_registry *registry = gi_registry_first_locked(); registry != NULL; registry = registry->next) {
        gi_registry_lock_after_fork(registry);
        gi_heap_group_after_fork(gi_runtime_interpreter_of(registry)->group);
        gi_registry_after_fork(registry);
    }
    gi_stop_after_fork(); /* after those of the registries: whoever has it may wait for them */
    gi_domain_after_fork();
    gi_trace_after_fork();
    gi_debug_after_fork();
    gi_mutex_unlock(&runtime_mutex);
    gi_this.forking = false;
}

static void start_after_fork(void) {
    if (gi_this.stopped_to_fork) {
        gi_this.stopped_to_fork = false;
        gi_start();
    }
}

void gi_runtime_after_fork_parent(void) {
    unlock_all();
    start_after_fork();
}

/* The state of a thread that the child lacks. */
static void end_after_fork(PyThreadState *state, bool outside) {
    gi_store_relaxed(&state->bound, NULL); /* relaxed: one thread is left */
    gi_thread_begin_end_after_fork(&state->thread);
    bool ended = gi_cache_end_after_fork(&state->cache, outside, "fork");
    if (ended) {
        gi_retired_leave(&state->cache.retired, state->cache.own.group);
    }
    forget(state);
    gi_thread_state_fini(&state->thread, ended);
}

void gi_runtime_after_fork_child(void) {
    unlock_all();
    PyThreadState *mine = gi_runtime_current();
    /* Nobody was inside a cache in a stopped world, nor beside the holder of our lock; else those that were detached
       were not. */
    bool stopped = gi_this.stopped_to_fork;
    int former = gi_thread_after_fork_child();
    gi_stop_after_fork_child(mine != NULL ? &mine->thread : NULL);
    FOR_EACH_REGISTRY(registry) {
        for (gi_thread_state *other = registry->first, *next; other != NULL; other = next) {
            next = other->next;
            PyThreadState *state = state_of(other);
            bool detached = gi_thread_status(other) == GI_DETACHED;
            bool own = gi_thread_is_mine_after_fork(other, former) && detached;
            if (state != mine && !own) {
                end_after_fork(state, stopped || detached);
            }
        }
    }
    gi_trace_after_fork_child();
    gi_runtime_ask_if_due();
    start_after_fork();
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
    if (gi_this.forking) {
        gi_rcu_after_fork_child(); /* here in any case: before handlers of others, which may start threads */
    }
    if (prepared_by_handler) {
        prepared_by_handler = false;
        gi_runtime_after_fork_child();
    }
}

/* As early as can be, so that our handlers run next to the fork itself, inside those of programs that use the library.
   What the environment says of the raw domain holds from its first call on. */
__attribute__((constructor(101))) static void loaded(void) { /* before those without a number, in a static link too */
    if (pthread_atfork(before_fork, after_fork_parent, after_fork_child) != 0) {
        gi_fatal("fork handlers", "out of memory while the library is loaded");
    }
    if (gi_options_concern_raw()) {
        gi_runtime_ready();
    }
}

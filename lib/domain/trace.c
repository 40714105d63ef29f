/* SPDX-License-Identifier: MIT */
/*
 * trace.c [L5] - tracing.  Theory: trace.h.
 *   Locks   trace, trace threads.
 *   Orders  trace-state, trace-thread.
 */
#include "lib/domain/trace.h"

#include <errno.h>
#include <pthread.h>

#include "concurrency/atomic.h"
#include "concurrency/check.h"
#include "concurrency/mutex.h"
#include "lib/cache/sample.h"
#include "lib/domain/domain.h"
#include "lib/domain/ledger.h"
#include "lib/domain/sites.h"
#include "lib/domain/trace_foreign.h"
#include "lib/domain/trace_sample.h"
#include "lib/domain/trace_stack.h"
#include "lib/os/os_memory.h"

/* --- constants and state ---------------------------------------------------------------------- */

#define FRAMES_LIMIT 65535u /* CPython's */
#define FOLD_BYTES ((int64_t)64 << 10)
#define CACHED_SITES 512u

/* The fields of a word. */
#define SIZE_BITS 35
#define SESSION_BITS 5
#define SIZE_MASK (((uint64_t)1 << SIZE_BITS) - 1)
#define SIZE_IS_LARGE ((uint64_t)1 << (SIZE_BITS - 1))
#define LARGE_SHIFT 16
#define SESSION_MASK (((uint64_t)1 << SESSION_BITS) - 1)
_Static_assert(GI_SITE_BITS + SESSION_BITS + SIZE_BITS == 64, "a word of the ledger");

/* The session, 0 while tracing is off, and in the upper half how often the peak has been reset. */
static gi_atomic(uint64_t) trace_state;   /* atomic, order(trace-state) */
static gi_atomic(uint32_t) trace_frames;  /* relaxed: an option; not 0 while tracing is on */
static gi_atomic(uint64_t) lost;          /* relaxed: a statistic */
static uint32_t last_session, last_reset; /* guarded by gi_trace_mutex */
static gi_ledger ledger;

/* What the threads of a session have told.  One that a stop overtakes tells an account that nobody reads. */
#define ACCOUNTS 4u
typedef struct account {
    gi_atomic(int64_t) folded, peak; /* relaxed: figures */
    gi_atomic(int64_t) nobodys;      /* relaxed: what was freed by threads for which there was no memory */
} account;
static account accounts[ACCOUNTS];

typedef struct trace_thread {
    struct trace_thread *next;                        /* constant once listed */
    struct trace_thread *spare;                       /* guarded by threads_mutex */
    gi_atomic(uint64_t) seen;                         /* atomic, order(trace-thread) */
    gi_atomic(int64_t) total, unfolded, unfolded_max; /* owner-only; read by anyone */
    const gi_site *sites[CACHED_SITES];               /* owner-only */
} trace_thread;

static gi_mutex threads_mutex = GI_MUTEX_INIT(GI_RANK_TRACE_THREADS);
static trace_thread *threads, *spares; /* guarded by threads_mutex */
static size_t thread_count;            /* guarded by threads_mutex */
static pthread_key_t key;              /* constant once tracing has been on */
static bool key_made;                  /* guarded by gi_trace_mutex */
static __thread trace_thread *mine __attribute__((tls_model("initial-exec")));
static __thread unsigned depth __attribute__((tls_model("initial-exec")));
/* The last word that the thread has taken, for who finds something wrong as the block is freed. */
static __thread struct {
    uintptr_t address;
    uint64_t word;
} taken __attribute__((tls_model("initial-exec")));

static uint32_t session_of(uint64_t state) { return (uint32_t)state; }

static uint64_t current_state(void) {
    /* order(trace-state): acquire; pairs with release in set_state(). */
    return gi_load_acquire(&trace_state);
}

static void set_state(uint64_t state) {
    /* order(trace-state): release; pairs with acquire in current_state(). */
    gi_store_release(&trace_state, state);
}

/* --- words ------------------------------------------------------------------------------------ */

static uint64_t word_make(uint32_t site, uint64_t state, size_t size) {
    uint64_t field = size;
    if (gi_unlikely(size >= SIZE_IS_LARGE)) {
        uint64_t units = (size - 1) / ((uint64_t)1 << LARGE_SHIFT) + 1;
        field = SIZE_IS_LARGE | (units < SIZE_IS_LARGE ? units : SIZE_IS_LARGE - 1);
    }
    return (uint64_t)site << (64 - GI_SITE_BITS) | (session_of(state) & SESSION_MASK) << SIZE_BITS | field;
}

static bool word_is_of(uint64_t word, uint64_t state) {
    return word != 0 && (word >> SIZE_BITS & SESSION_MASK) == (session_of(state) & SESSION_MASK);
}

static uint32_t word_site(uint64_t word) { return (uint32_t)(word >> (64 - GI_SITE_BITS)); }

static int64_t word_size(uint64_t word) {
    uint64_t field = word & SIZE_MASK;
    return (int64_t)((field & SIZE_IS_LARGE) != 0 ? (field & ~SIZE_IS_LARGE) << LARGE_SHIFT : field);
}

/* --- counting --------------------------------------------------------------------------------- */

static account *account_of(uint64_t state) { return &accounts[session_of(state) % ACCOUNTS]; }

static int64_t figure(const gi_atomic(int64_t) *of) { return gi_load_relaxed(of); } /* relaxed: a figure */

static void raise_to(gi_atomic(int64_t) *peak, int64_t value) {
    int64_t before = figure(peak);
    while (before < value && !gi_cas_relaxed(peak, &before, value)) { /* relaxed: a figure */
    }
}

/* Tells the account of the thread's session what it has not told yet. */
static void fold(trace_thread *thread) {
    account *to = account_of(gi_load_relaxed(&thread->seen)); /* relaxed: owner-only */
    int64_t before = gi_fetch_add_relaxed(&to->folded, figure(&thread->unfolded));
    raise_to(&to->peak, before + figure(&thread->unfolded_max));
    gi_store_relaxed(&thread->unfolded, 0);     /* relaxed: owner-only */
    gi_store_relaxed(&thread->unfolded_max, 0); /* relaxed: owner-only */
}

/* The session is another one, or the peak has been reset. */
static __attribute__((noinline)) void adopt(trace_thread *thread, uint64_t state) {
    uint64_t seen = gi_load_relaxed(&thread->seen); /* relaxed: owner-only */
    if (session_of(seen) != session_of(state)) {
        gi_store_relaxed(&thread->total, 0);    /* relaxed: published by `seen` */
        gi_store_relaxed(&thread->unfolded, 0); /* relaxed: as above */
    }
    gi_store_relaxed(&thread->unfolded_max, figure(&thread->unfolded)); /* relaxed: as above */
    /* order(trace-thread): release; pairs with acquire in has_seen(). */
    gi_store_release(&thread->seen, state);
}

static inline __attribute__((always_inline)) void count(trace_thread *thread, uint64_t state, int64_t change) {
    if (gi_unlikely(thread == NULL)) {
        gi_fetch_add_relaxed(&account_of(state)->nobodys, change);
        return;
    }
    if (gi_unlikely(gi_load_relaxed(&thread->seen) != state)) { /* relaxed: owner-only */
        adopt(thread, state);
    }
    int64_t unfolded = figure(&thread->unfolded) + change;
    gi_store_relaxed(&thread->total, figure(&thread->total) + change); /* relaxed: owner-only */
    gi_store_relaxed(&thread->unfolded, unfolded);                     /* relaxed: owner-only */
    if (unfolded > figure(&thread->unfolded_max)) {
        gi_store_relaxed(&thread->unfolded_max, unfolded); /* relaxed: owner-only */
    }
    if (gi_unlikely(unfolded > FOLD_BYTES || unfolded < -FOLD_BYTES)) {
        fold(thread);
    }
}

/* --- threads ---------------------------------------------------------------------------------- */

static trace_thread *thread_make(void) {
    gi_mutex_lock(&threads_mutex);
    trace_thread *made = spares;
    if (made != NULL) {
        spares = made->spare;
    } else if ((made = gi_os_meta_alloc(sizeof(*made))) != NULL) {
        made->next = threads;
        threads = made;
        thread_count++;
    }
    gi_mutex_unlock(&threads_mutex);
    if (made != NULL) {
        mine = made;
        pthread_setspecific(key, made); /* refused: its account is not used again */
    }
    return made;
}

static trace_thread *this_thread(void) {
    trace_thread *thread = mine;
    return gi_likely(thread != NULL) ? thread : thread_make();
}

static void thread_ends(void *ended) {
    trace_thread *thread = ended;
    mine = NULL;
    fold(thread);
    gi_mutex_lock(&threads_mutex);
    thread->spare = spares;
    spares = thread;
    gi_mutex_unlock(&threads_mutex);
}

/* --- records ---------------------------------------------------------------------------------- */

static __attribute__((noinline)) const gi_site *walked_site(trace_thread *thread, unsigned domain, const void *caller) {
    gi_frame frames[GI_SITE_FRAMES_MAX];
    depth++;
    uint32_t count = gi_stack_capture(caller, frames, gi_load_relaxed(&trace_frames)); /* relaxed: an option */
    depth--;
    if (gi_unlikely(count == 0)) {
        return NULL;
    }
    uint64_t hash = gi_site_hash(domain, frames, count);
    const gi_site **cached = &thread->sites[hash % CACHED_SITES];
    const gi_site *site = *cached;
    if (gi_unlikely(site == NULL || site->hash != hash || !gi_site_is(site, domain, frames, count))) {
        site = gi_site_intern(hash, domain, frames, count);
        *cached = site;
    }
    return site;
}

/* The calling thread's site; NULL: no memory for it. */
static inline const gi_site *site_here(trace_thread *thread, unsigned domain, const void *caller) {
    /* relaxed: an option; only compared */
    if (gi_load_relaxed(&trace_frames) != 1 || gi_load_relaxed(&gi_stack_runtime) != NULL) {
        return walked_site(thread, domain, caller);
    }
    /* One frame: without a walk, and without a function for its hash. */
    gi_frame frame = (uintptr_t)caller;
    const gi_site **cached = &thread->sites[frame * 0x9e3779b97f4a7c15u >> 32 & (CACHED_SITES - 1)];
    const gi_site *site = *cached;
    if (gi_unlikely(site == NULL || !gi_site_is(site, domain, &frame, 1))) {
        site = gi_site_intern(gi_site_hash(domain, &frame, 1), domain, &frame, 1);
        *cached = site;
    }
    return site;
}

/* Where the words of a domain's blocks are: those of ours in the ledger, but for two addresses that it cannot know. */
static bool is_in_ledger(unsigned domain, uintptr_t address) {
    return domain == 0 && address != 0 && address != UINTPTR_MAX;
}

static inline uint64_t take(unsigned domain, uintptr_t address) {
    if (gi_unlikely(!is_in_ledger(domain, address))) {
        return gi_foreign_take(domain, address);
    }
    uint64_t word = gi_ledger_take(&ledger, (const void *)address);
    taken.address = address;
    taken.word = word;
    return word;
}

/* *before: that of a block whose free was not seen. */
static inline bool put(unsigned domain, uintptr_t address, uint64_t word, uint64_t *before) {
    return gi_likely(is_in_ledger(domain, address)) ? gi_ledger_swap(&ledger, (const void *)address, word, before)
                                                    : gi_foreign_put(domain, address, word, before);
}

static int64_t size_if_of(uint64_t word, uint64_t state) { return word_is_of(word, state) ? word_size(word) : 0; }

/* Records a block in place of what was there; `before`: bytes that it had, and has no more.  False when memory is out:
   then it is not recorded. */
static inline __attribute__((always_inline)) bool record(unsigned domain, uintptr_t address, size_t size,
                                                         const void *caller, uint64_t state, int64_t before) {
    trace_thread *thread = this_thread();
    const gi_site *site = thread != NULL ? site_here(thread, domain, caller) : NULL;
    uint64_t word = word_make(site != NULL ? site->number : 0, state, size), replaced = 0;
    bool recorded = site != NULL && put(domain, address, word, &replaced);
    count(thread, state, (recorded ? word_size(word) : 0) - size_if_of(replaced, state) - before);
    return recorded;
}

/* Bytes that the block was recorded with; 0: it was not. */
static inline void forget(unsigned domain, uintptr_t address, uint64_t state) {
    int64_t size = size_if_of(take(domain, address), state);
    if (size != 0) {
        count(this_thread(), state, -size);
    }
}

/* --- the watcher ------------------------------------------------------------------------------ */

/* One function of each kind for all domains: the context is the domain. */
static PyMemAllocatorDomain domain_of(void *ctx) { return (PyMemAllocatorDomain)(uintptr_t)ctx; }

static bool is_traced(uint64_t state) { return session_of(state) != 0 && depth == 0; }

static void free_inner(const PyMemAllocatorEx *inner, void *block) {
    depth++;
    inner->free(inner->ctx, block);
    depth--;
}

/* A new block that cannot be recorded is none. */
static void *recorded(const PyMemAllocatorEx *inner, void *block, size_t size, const void *caller, uint64_t state) {
    if (gi_unlikely(block != NULL && !record(0, (uintptr_t)block, size, caller, state, 0))) {
        free_inner(inner, block);
        return NULL;
    }
    return block;
}

static void *watch_malloc(void *ctx, size_t size) {
    const PyMemAllocatorEx *inner = gi_domain_watched(domain_of(ctx));
    uint64_t state = current_state();
    if (gi_unlikely(gi_sampling.small != 0)) {
        return gi_sample_malloc(size);
    }
    if (!is_traced(state)) {
        return inner->malloc(inner->ctx, size);
    }
    const void *caller = gi_domain_caller; /* what serves the call may call too */
    depth++;
    void *block = inner->malloc(inner->ctx, size);
    depth--;
    return recorded(inner, block, size, caller, state);
}

static void *watch_calloc(void *ctx, size_t number, size_t size) {
    const PyMemAllocatorEx *inner = gi_domain_watched(domain_of(ctx));
    uint64_t state = current_state();
    if (gi_unlikely(gi_sampling.small != 0)) {
        return gi_sample_calloc(number, size);
    }
    if (!is_traced(state)) {
        return inner->calloc(inner->ctx, number, size);
    }
    const void *caller = gi_domain_caller;
    depth++;
    void *block = inner->calloc(inner->ctx, number, size);
    depth--;
    return recorded(inner, block, number * size, caller, state);
}

static void *resize(const PyMemAllocatorEx *inner, void *block, size_t size, const void *caller, uint64_t state) {
    uint64_t word = take(0, (uintptr_t)block), replaced = 0;
    depth++;
    void *moved = inner->realloc(inner->ctx, block, size);
    depth--;
    if (moved == NULL) { /* the block is as it was */
        if (word != 0 && gi_unlikely(!put(0, (uintptr_t)block, word, &replaced))) {
            gi_fetch_add_relaxed(&lost, 1);
            count(this_thread(), state, -size_if_of(word, state));
        }
    } else if (gi_unlikely(!record(0, (uintptr_t)moved, size, caller, state, size_if_of(word, state)))) {
        gi_fetch_add_relaxed(&lost, 1); /* the caller's block has gone, so this one stays */
    }
    return moved;
}

static void *watch_realloc(void *ctx, void *block, size_t size) {
    const PyMemAllocatorEx *inner = gi_domain_watched(domain_of(ctx));
    uint64_t state = current_state();
    gi_sample_let_go(block);
    if (!is_traced(state)) {
        return inner->realloc(inner->ctx, block, size);
    }
    const void *caller = gi_domain_caller;
    if (block != NULL) {
        return resize(inner, block, size, caller, state);
    }
    depth++;
    void *made = inner->realloc(inner->ctx, NULL, size);
    depth--;
    return recorded(inner, made, size, caller, state);
}

static void watch_free(void *ctx, void *block) {
    const PyMemAllocatorEx *inner = gi_domain_watched(domain_of(ctx));
    uint64_t state = current_state();
    gi_sample_let_go(block);
    if (is_traced(state) && block != NULL) {
        forget(0, (uintptr_t)block, state);
    }
    free_inner(inner, block);
}

#define WATCHER(domain) [domain] = {(void *)(uintptr_t)(domain), watch_malloc, watch_calloc, watch_realloc, watch_free}
static const PyMemAllocatorEx watchers[GI_DOMAINS] = {
    WATCHER(PYMEM_DOMAIN_RAW),
    WATCHER(PYMEM_DOMAIN_MEM),
    WATCHER(PYMEM_DOMAIN_OBJ),
};

/* --- blocks of other allocators --------------------------------------------------------------- */

int gi_trace_track(unsigned domain, uintptr_t address, size_t size, const void *caller) {
    uint64_t state = current_state();
    if (session_of(state) == 0) {
        return -2;
    }
    return record(domain, address, size, caller, state, 0) ? 0 : -1;
}

int gi_trace_untrack(unsigned domain, uintptr_t address) {
    uint64_t state = current_state();
    if (session_of(state) == 0) {
        return -2;
    }
    forget(domain, address, state);
    return 0;
}

const gi_site *gi_trace_site_of(const void *block) {
    uint64_t state = current_state();
    if (session_of(state) == 0) {
        return NULL;
    }
    uint64_t word = gi_ledger_get(&ledger, block);
    word = word == 0 && taken.address == (uintptr_t)block ? taken.word : word;
    return word_is_of(word, state) ? gi_site_of(word_site(word)) : NULL;
}

/* --- start, stop ------------------------------------------------------------------------------ */

static void clear_words(void) {
    gi_ledger_clear(&ledger);
    gi_foreign_clear();
}

/* From now on no word that is there counts. */
static void new_session_locked(void) {
    last_session = last_session + 1 != 0 ? last_session + 1 : 1;
    account *fresh = &accounts[last_session % ACCOUNTS];
    gi_store_relaxed(&fresh->folded, 0); /* relaxed: published by the state */
    gi_store_relaxed(&fresh->peak, 0);
    gi_store_relaxed(&fresh->nobodys, 0);
    gi_store_relaxed(&lost, 0);
    set_state((uint64_t)last_reset << 32 | last_session);
}

static int start_locked(unsigned frames) {
    if (session_of(current_state()) != 0) {
        gi_store_relaxed(&trace_frames, frames); /* relaxed: an option */
        return 0;
    }
    if (!key_made && pthread_key_create(&key, thread_ends) != 0) {
        return ENOMEM;
    }
    key_made = true;
    gi_ledger_open(&ledger);
    if (!gi_sample_give_way_locked()) {
        return EBUSY;
    }
    clear_words(); /* of threads that the last stop has overtaken */
    gi_store_relaxed(&trace_frames, frames);
    new_session_locked();
    gi_domain_watch(watchers);
    return 0;
}

int gi_trace_start(unsigned frames) {
    if (frames == 0 || frames > FRAMES_LIMIT) {
        return EINVAL;
    }
    int failed = gi_stack_prepare(frames);
    if (failed == 0) {
        gi_mutex_lock(&gi_trace_mutex);
        failed = start_locked(frames < GI_SITE_FRAMES_MAX ? frames : GI_SITE_FRAMES_MAX);
        gi_mutex_unlock(&gi_trace_mutex);
    }
    return failed;
}

void gi_trace_stop(void) {
    gi_mutex_lock(&gi_trace_mutex);
    if (session_of(current_state()) != 0) {
        set_state(0);
        gi_sample_take_over_locked();
        clear_words();
    }
    gi_mutex_unlock(&gi_trace_mutex);
}

void gi_trace_clear(void) {
    gi_mutex_lock(&gi_trace_mutex);
    if (session_of(current_state()) != 0) {
        new_session_locked();
        clear_words();
    }
    gi_mutex_unlock(&gi_trace_mutex);
}

unsigned gi_trace_frames(void) {
    return session_of(current_state()) != 0 ? gi_load_relaxed(&trace_frames) : 0; /* relaxed: an option */
}

/* --- figures ---------------------------------------------------------------------------------- */

/* What the thread has seen of the state. */
static uint64_t has_seen(const trace_thread *thread) {
    /* order(trace-thread): acquire; pairs with release in adopt(). */
    return gi_load_acquire(&thread->seen);
}

/* How far above what it has told now the thread has been since then. */
static int64_t height_of(const trace_thread *thread, uint64_t state) {
    int64_t height = figure(&thread->unfolded_max) - figure(&thread->unfolded);
    return has_seen(thread) == state && height > 0 ? height : 0;
}

static void get_memory_locked(uint64_t state, int64_t *current, int64_t *peak) {
    const account *told = account_of(state);
    int64_t highest = 0;
    *current = figure(&told->nobodys);
    for (const trace_thread *thread = threads; thread != NULL; thread = thread->next) {
        if (session_of(has_seen(thread)) == session_of(state)) {
            int64_t height = height_of(thread, state);
            *current += figure(&thread->total);
            highest = height > highest ? height : highest;
        }
    }
    *current = *current > 0 ? *current : 0;
    *peak = figure(&told->peak);
    *peak = *peak > *current + highest ? *peak : *current + highest;
}

void gi_trace_get_memory(size_t *current, size_t *peak) {
    uint64_t state = current_state();
    int64_t now = 0, most = 0;
    if (session_of(state) != 0) {
        gi_mutex_lock(&threads_mutex);
        get_memory_locked(state, &now, &most);
        gi_mutex_unlock(&threads_mutex);
    }
    *current = (size_t)now;
    *peak = (size_t)most;
}

void gi_trace_reset_peak(void) {
    gi_mutex_lock(&gi_trace_mutex);
    uint64_t state = current_state();
    if (session_of(state) != 0) {
        int64_t now, most;
        set_state((uint64_t)++last_reset << 32 | session_of(state));
        gi_mutex_lock(&threads_mutex);
        get_memory_locked(current_state(), &now, &most);
        gi_mutex_unlock(&threads_mutex);
        gi_store_relaxed(&account_of(state)->peak, now); /* relaxed: a figure */
    }
    gi_mutex_unlock(&gi_trace_mutex);
}

size_t gi_trace_overhead(void) {
    gi_mutex_lock(&threads_mutex);
    size_t bytes = thread_count * sizeof(trace_thread);
    gi_mutex_unlock(&threads_mutex);
    return bytes + gi_site_bytes() + gi_foreign_bytes() + gi_sample_bytes() +
           (gi_ledger_is_open(&ledger) ? gi_ledger_bytes(&ledger) : 0);
}

size_t gi_trace_lost(void) { return gi_load_relaxed(&lost); } /* relaxed: as declared */

typedef struct each {
    void (*visit)(uint32_t site, size_t size, void *arg);
    void *arg;
    uint64_t state;
} each;

static void each_word(const void *address, uint64_t word, void *arg) {
    const each *work = arg;
    (void)address;
    if (word_is_of(word, work->state)) {
        work->visit(word_site(word), (size_t)word_size(word), work->arg);
    }
}

bool gi_trace_each(void (*visit)(uint32_t site, size_t size, void *arg), void *arg) {
    each work = {visit, arg, current_state()};
    if (session_of(work.state) == 0) {
        return false;
    }
    gi_ledger_each(&ledger, each_word, &work);
    gi_foreign_each(each_word, &work);
    return true;
}

/* --- fork ------------------------------------------------------------------------------------- */

void gi_trace_before_fork(void) { gi_mutex_lock(&gi_trace_mutex); }

void gi_trace_after_fork(void) { gi_mutex_unlock(&gi_trace_mutex); }

void gi_trace_threads_before_fork(void) {
    gi_mutex_lock(&threads_mutex);
    gi_sample_before_fork();
    gi_stack_before_fork();
    gi_site_before_fork();
    gi_foreign_before_fork();
}

void gi_trace_threads_after_fork(void) {
    gi_foreign_after_fork();
    gi_site_after_fork();
    gi_stack_after_fork();
    gi_sample_after_fork();
    gi_mutex_unlock(&threads_mutex);
}

void gi_trace_after_fork_child(void) {
    gi_mutex_lock(&threads_mutex);
    spares = NULL;
    for (trace_thread *thread = threads; thread != NULL; thread = thread->next) {
        if (thread != mine) {
            thread->spare = spares;
            spares = thread;
        }
    }
    gi_mutex_unlock(&threads_mutex);
}

/* SPDX-License-Identifier: MIT */
/*
 * atomic.h [L0] - atomic operations, the order in each one's name.  The only file with <stdatomic.h>.
 *   Owner   none.
 *   Orders  acquire and release on the objects themselves, never a fence: ThreadSanitizer does not understand
 *           atomic_thread_fence and would report falsely.  Each non-relaxed use names its partner on the line above
 *           (order(NAME): ...), with a row per NAME in docs/memory-ordering.md.
 *   Hostile builds may yield before each operation, so that the other side gets in between: often before those that
 *   order something or change what others change, seldom before the other relaxed ones, which are many.
 */
#ifndef GI_ATOMIC_H
#define GI_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef GI_HOSTILE
#include <sched.h>
/* One in 2^bits: always yielding makes every schedule the same one. */
static inline void gi_hostile_yield_one_in(unsigned bits) {
    static _Thread_local unsigned count;
    if ((count = count * 1664525u + 1013904223u) >> (32 - bits) == 0) {
        sched_yield();
    }
}
#define gi_hostile_yield() gi_hostile_yield_one_in(3)
#define gi_hostile_yield_relaxed() gi_hostile_yield_one_in(6)
#else
#define gi_hostile_yield() ((void)0)
#define gi_hostile_yield_relaxed() ((void)0)
#endif

#define gi_atomic(type) _Atomic(type)

#define gi_load_relaxed(object) (gi_hostile_yield_relaxed(), atomic_load_explicit((object), memory_order_relaxed))
#define gi_load_acquire(object) (gi_hostile_yield(), atomic_load_explicit((object), memory_order_acquire))
#define gi_store_relaxed(object, value) \
    (gi_hostile_yield_relaxed(), atomic_store_explicit((object), (value), memory_order_relaxed))
#define gi_store_release(object, value) \
    (gi_hostile_yield(), atomic_store_explicit((object), (value), memory_order_release))

#define gi_exchange_acquire(object, value) \
    (gi_hostile_yield(), atomic_exchange_explicit((object), (value), memory_order_acquire))
#define gi_exchange_acq_rel(object, value) \
    (gi_hostile_yield(), atomic_exchange_explicit((object), (value), memory_order_acq_rel))

/* Compare-and-swap: true if *object was *expected and is now `value`; else *expected holds what it was. */
#define gi_cas_relaxed(object, expected, value)                                                                       \
    (gi_hostile_yield(), atomic_compare_exchange_strong_explicit((object), (expected), (value), memory_order_relaxed, \
                                                                 memory_order_relaxed))
#define gi_cas_acquire(object, expected, value)                                                                       \
    (gi_hostile_yield(), atomic_compare_exchange_strong_explicit((object), (expected), (value), memory_order_acquire, \
                                                                 memory_order_relaxed))
#define gi_cas_release(object, expected, value)                                                                       \
    (gi_hostile_yield(), atomic_compare_exchange_strong_explicit((object), (expected), (value), memory_order_release, \
                                                                 memory_order_relaxed))

#define gi_fetch_add_relaxed(object, value) \
    (gi_hostile_yield(), atomic_fetch_add_explicit((object), (value), memory_order_relaxed))
#define gi_fetch_sub_relaxed(object, value) \
    (gi_hostile_yield(), atomic_fetch_sub_explicit((object), (value), memory_order_relaxed))
#define gi_fetch_or_relaxed(object, value) \
    (gi_hostile_yield(), atomic_fetch_or_explicit((object), (value), memory_order_relaxed))
#define gi_fetch_or_acquire(object, value) \
    (gi_hostile_yield(), atomic_fetch_or_explicit((object), (value), memory_order_acquire))
#define gi_fetch_add_release(object, value) \
    (gi_hostile_yield(), atomic_fetch_add_explicit((object), (value), memory_order_release))
#define gi_fetch_and_relaxed(object, value) \
    (gi_hostile_yield(), atomic_fetch_and_explicit((object), (value), memory_order_relaxed))
#define gi_fetch_and_release(object, value) \
    (gi_hostile_yield(), atomic_fetch_and_explicit((object), (value), memory_order_release))

/* A statistic with one writer and any readers: no read-modify-write needed.  relaxed: nothing is published by it. */
typedef gi_atomic(uint64_t) gi_counter;
static inline void gi_counter_add(gi_counter *counter, uint64_t amount) {
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, now + amount, memory_order_relaxed);
}
static inline void gi_counter_sub(gi_counter *counter, uint64_t amount) { gi_counter_add(counter, 0 - amount); }

#if defined(__SANITIZE_THREAD__)
#define GI_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GI_TSAN 1
#endif
#endif

/* Relaxed loads for the two fast paths.  Compilers put the address of an atomic object into a register first and never
   fold its load into a compare; on x86-64, where an aligned load is atomic, the one instruction is spelled out.
   ThreadSanitizer must see the load, so it gets the portable form. */
#if defined(__x86_64__) && !defined(GI_TSAN)
/* value < *limit. */
static inline __attribute__((always_inline)) bool gi_below_relaxed(uint64_t value, const gi_atomic(uint64_t) *limit) {
    bool below;
    if (__builtin_constant_p(value) && value == 0) { /* a limit that is only open or not: no register */
        __asm__("cmpq $0, %1" : "=@ccne"(below) : "m"(*(const uint64_t *)limit));
    } else {
        __asm__("cmpq %2, %1" : "=@ccb"(below) : "r"(value), "m"(*(const uint64_t *)limit));
    }
    return below;
}
static inline uint64_t gi_load_relaxed_u64(const gi_atomic(uint64_t) *object) {
    uint64_t value;
    __asm__("movq %1, %0" : "=r"(value) : "m"(*(const uint64_t *)object));
    return value;
}
#else
static inline bool gi_below_relaxed(uint64_t value, const gi_atomic(uint64_t) *limit) {
    return value < gi_load_relaxed(limit); /* relaxed: see the limit's declaration */
}
static inline uint64_t gi_load_relaxed_u64(const gi_atomic(uint64_t) *object) {
    return gi_load_relaxed(object); /* relaxed: see the object's declaration */
}
#endif

/* Tells the processor that this is a spin. */
static inline void gi_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

#endif /* GI_ATOMIC_H */

/* SPDX-License-Identifier: MIT */
/*
 * chance.h - numbers that are the same in each run, and sizes as programs ask for.
 *   Owner   a struct chance its thread; the sizes are constant after init.
 *   Locks   none.
 */
#ifndef STRESS_BENCH_CHANCE_H
#define STRESS_BENCH_CHANCE_H

#include <stddef.h>
#include <stdint.h>

struct chance {
    uint64_t state;
};

/* The next number (an additive sequence, mixed). */
static inline uint64_t chance_next(struct chance *chance) {
    uint64_t z = chance->state += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 32)) * 0xd6e8feb86659fd93U;
    return z ^ (z >> 32);
}

/* One below `bound`, which fits into 32 bits. */
static inline size_t chance_below(struct chance *chance, size_t bound) {
    return (size_t)(((chance_next(chance) >> 32) * bound) >> 32);
}

#define SIZES 4096 /* a power of two; they stay in the processor's cache */

extern uint16_t sizes_mixed[SIZES];  /* 9 to 512 bytes, as the traces ask for: half are up to 64 */
extern uint16_t sizes_even[SIZES];   /* 16 to 512 bytes, each as often */
extern uint16_t sizes_larson[SIZES]; /* 8 to 1,000 bytes, each as often */
extern uint16_t sizes_large[SIZES];  /* 513 to 2,048 bytes, each as often */
extern uint16_t sizes_steps[SIZES];  /* 8 to 2,048 bytes: two sizes for each power of two, each as often */
extern double sizes_mixed_mean;      /* bytes */

/* Fills them. */
void sizes_init(void);

#endif /* STRESS_BENCH_CHANCE_H */

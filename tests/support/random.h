/* SPDX-License-Identifier: MIT */
/*
 * random.h - a small generator with a seed, so that each run does the same (xorshift, Marsaglia 2003).
 */
#ifndef TESTS_SUPPORT_RANDOM_H
#define TESTS_SUPPORT_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct random {
    uint64_t state; /* never 0 */
};

static inline struct random random_seeded(uint64_t seed) {
    return (struct random){.state = seed * 2 + 0x9e3779b97f4a7c15u};
}

static inline uint64_t random_next(struct random *random) {
    uint64_t x = random->state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    random->state = x;
    return x;
}

/* 0 .. limit - 1. */
static inline size_t random_below(struct random *random, size_t limit) {
    return (size_t)((random_next(random) >> 11) % limit);
}

/* A size as programs ask for them: mostly small, some 0, some at the boundaries, some large. */
static inline size_t random_size(struct random *random) {
    static const size_t boundary[] = {0, 1, 15, 16, 17, 31, 32, 33, 496, 497, 511, 512, 513, 528, 1024, 4096};
    switch (random_below(random, 16)) {
        case 0:
            return boundary[random_below(random, sizeof(boundary) / sizeof(boundary[0]))];
        case 1:
            return 513 + random_below(random, 4096);
        case 2:
        case 3:
        case 4:
            return random_below(random, 513);
        default:
            return 1 + random_below(random, 128);
    }
}

#endif /* TESTS_SUPPORT_RANDOM_H */

/* SPDX-License-Identifier: MIT */
/*
 * chance.c - the sizes of the workloads.
 *   Owner   the main thread, before it starts others.
 *   Locks   none.
 */
#include "stress/bench/chance.h"

uint16_t sizes_mixed[SIZES], sizes_even[SIZES], sizes_larson[SIZES], sizes_large[SIZES], sizes_steps[SIZES];
double sizes_mixed_mean;

/* Of 1,000 requests up to 512 bytes that the traces (../traces) make of the mem and object domains, how many are of
   each class of 16 bytes: the mean of the three. */
static const uint16_t shares[] = {82, 119, 303, 258, 85, 21, 9, 15, 5, 34, 4, 10, 19, 14, 3, 3,
                                  3,  3,   2,   1,   1,  1,  0, 1,  4, 0,  0, 0,  0,  0,  0, 0};

static void fill_even(uint16_t *sizes, unsigned least, unsigned most, struct chance *chance) {
    for (size_t i = 0; i < SIZES; i++) sizes[i] = (uint16_t)(least + chance_below(chance, most - least + 1));
}

static void fill_mixed(struct chance *chance) {
    unsigned total = 0;
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) total += shares[i];
    for (size_t i = 0; i < SIZES; i++) {
        unsigned at = (unsigned)chance_below(chance, total), class = 0;
        while (at >= shares[class]) at -= shares[class ++];
        unsigned step = class == 0 ? 8 : 16; /* the first 8 bytes are written */
        sizes_mixed[i] = (uint16_t)((class + 1) * 16 - chance_below(chance, step));
        sizes_mixed_mean += (double)sizes_mixed[i] / SIZES;
    }
}

void sizes_init(void) {
    struct chance chance = {1};
    fill_mixed(&chance);
    fill_even(sizes_even, 16, 512, &chance);
    fill_even(sizes_larson, 8, 1000, &chance);
    fill_even(sizes_large, 513, 2048, &chance);
    for (size_t i = 0; i < SIZES; i++) {
        unsigned power = 8U << chance_below(&chance, 9);
        sizes_steps[i] = (uint16_t)(power < 2048 && chance_next(&chance) % 2 ? power + power / 2 : power);
    }
}

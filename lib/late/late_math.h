/* SPDX-License-Identifier: MIT */
/*
 * late_math.h [L2] - what is used of libm: numbers by chance, for sampling.  Contract: late.h.
 */
#ifndef GI_LATE_MATH_H
#define GI_LATE_MATH_H

#include <math.h>

#include "lib/late/late.h"

#define GI_LATE_MATH(FUNCTION) \
    FUNCTION(log, log)         \
    FUNCTION(expm1, expm1)

typedef struct gi_late_math {
    GI_LATE_MATH(GI_LATE_MEMBER)
} gi_late_math;

const gi_late_math *gi_late_get_math(void);

#endif /* GI_LATE_MATH_H */

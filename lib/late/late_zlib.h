/* SPDX-License-Identifier: MIT */
/*
 * late_zlib.h [L2] - what is used of zlib: pprof's profiles are compressed.  Contract: late.h.
 */
#ifndef GI_LATE_ZLIB_H
#define GI_LATE_ZLIB_H

#include <zlib.h>

#include "lib/late/late.h"

#define GI_LATE_ZLIB(FUNCTION)            \
    FUNCTION(deflate_init, deflateInit2_) \
    FUNCTION(deflate, deflate)            \
    FUNCTION(deflate_end, deflateEnd)

typedef struct gi_late_zlib {
    GI_LATE_ZLIB(GI_LATE_MEMBER)
} gi_late_zlib;

const gi_late_zlib *gi_late_get_zlib(void);

#endif /* GI_LATE_ZLIB_H */

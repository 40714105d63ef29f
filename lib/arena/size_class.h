/* SPDX-License-Identifier: MIT */
/*
 * size_class.h [L3] - which block serves which request, and the sizes that everything is made of.
 *
 *   class    0    1    2        31        Requests of 1..512 bytes, one class each 16 bytes (CPython's pymalloc:
 *   block   16   32   48  ...  512        ALIGNMENT, SMALL_REQUEST_THRESHOLD); a request of 0 bytes is one of 1.
 *
 *   A pool (lib/os/layout.h) holds blocks of one class and one kind.
 */
#ifndef GI_SIZE_CLASS_H
#define GI_SIZE_CLASS_H

#include <stddef.h>
#include <stdint.h>

#include "lib/os/layout.h"

#define GI_ALIGNMENT 16
#define GI_SMALL_MAX 512
#define GI_CLASSES (GI_SMALL_MAX / GI_ALIGNMENT)

/* A kind keeps its blocks apart from all others (kind.h): mem, object, and GILLOC_KINDS_MAX more.  Page words have room
   for GI_KINDS_MAX. */
enum { GI_KIND_MEM = 0, GI_KIND_OBJECT = 1, GI_KINDS = 14 };
#define GI_KIND_BITS 4
#define GI_KINDS_MAX (1 << GI_KIND_BITS)

/* The class for a request of 1..GI_SMALL_MAX bytes. */
static inline unsigned gi_size_class(size_t size) { return (unsigned)((size - 1) / GI_ALIGNMENT); }
/* The bytes of a block of a class. */
static inline size_t gi_class_size(unsigned size_class) { return (size_t)(size_class + 1) * GI_ALIGNMENT; }

_Static_assert(GI_POOL_SIZE / GI_ALIGNMENT <= UINT16_MAX, "counts of blocks are 16 bits");
_Static_assert(GI_KINDS <= GI_KINDS_MAX, "kinds fit the page word");

#endif /* GI_SIZE_CLASS_H */

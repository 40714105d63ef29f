/* SPDX-License-Identifier: MIT */
/*
 * object_up.h [L4] - what the mem and object domains call upwards.
 *   Owner   the api layer, which defines it; constant.  Locks none.
 */
#ifndef GI_OBJECT_UP_H
#define GI_OBJECT_UP_H

#include <stdbool.h>

#include "lib/cache/thread_cache.h"

/* Set by the api layer: makes the library ready; attaches a thread under a runtime's own lock, or NULL if it must not
   be attached; whether a runtime's own lock is held (true where there is none). */
typedef struct gi_object_upcalls {
    void (*ready)(void);
    gi_thread_cache *(*attach_itself)(void);
    bool (*lock_held)(void);
    size_t (*raw_usable_size)(const void *block); /* 0: not known, another allocator made it */
    size_t (*sampled_size)(const void *block);    /* the class size of a small block that is a sample; 0: it is none */
    void *(*raw_malloc)(size_t size); /* the public functions of the raw domain, so that its hooks see large requests */
    void *(*raw_calloc)(size_t count, size_t size);
    void *(*raw_realloc)(void *block, size_t size);
    void (*raw_free)(void *block);
} gi_object_upcalls;
extern const gi_object_upcalls gi_object_up GI_INTERNAL; /* defined in lib/api/runtime.c */

#endif /* GI_OBJECT_UP_H */

/* SPDX-License-Identifier: MIT */
/*
 * lua.c [L7] - Lua's allocator.  Contract: gilloc/lua.h.
 *
 *   Lua says with which size it allocated each block, and takes it that a block can always be made smaller.  Where a
 *   hook of the domain refuses that, the block stays as it is: from then on Lua's sizes are not those of all blocks,
 *   and none is checked any more.
 *   Owner   none.  No locks.  The object domain's rules: the caller is attached.
 */
#include <gilloc/gilloc.h>
#include <gilloc/lua.h>

#include "concurrency/atomic.h"
#include "concurrency/check.h"

/* relaxed: who frees such a block has it from its thread, or from one that has synchronised with it. */
static gi_atomic(bool) has_stayed;

void *gilloc_lua_alloc(void *user_data, void *block, size_t old_size, size_t new_size) {
    (void)user_data;
    if (new_size == 0) {
        if (block == NULL) {
            return NULL;
        }
        if (gi_likely(!gi_load_relaxed(&has_stayed))) {
            gilloc_free_sized(PYMEM_DOMAIN_OBJ, block, old_size);
        } else {
            PyObject_Free(block);
        }
        return NULL;
    }
    if (block == NULL) {
        return PyObject_Malloc(new_size);
    }
    void *resized = PyObject_Realloc(block, new_size);
    if (gi_unlikely(resized == NULL && new_size <= old_size)) {
        gi_store_relaxed(&has_stayed, true);
        return block;
    }
    return resized;
}

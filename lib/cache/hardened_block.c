/* SPDX-License-Identifier: MIT */
/*
 * hardened_block.c [L4] - hardened mode: a block becomes live, and free again.  Theory: hardened_block.h.
 *   Owner   the attached thread.  Locks none.
 */
#include "lib/cache/hardened_block.h"

#include "concurrency/check.h"

/* --- fatal errors ----------------------------------------------------------------------------- */

void gi_hardened_die_written(unsigned kind, unsigned size_class, const void *block, const char *wrong,
                             const char *function) {
    gi_fatal(function,
             "write after free" GI_FACT("domain  ", "%s") GI_FACT("block   ", "%p, of %zu bytes")
                 GI_FACT("found   ", "as it was to be used again, %zu bytes behind its start")
                     GI_DO("look for a write to the block after it was freed, or past the end of the one before it"),
             gi_kinds[kind].name, block, gi_class_size(size_class), (size_t)(wrong - (const char *)block));
}

static _Noreturn __attribute__((cold)) void die_overrun(unsigned kind, unsigned size_class, const void *block,
                                                        const char *function) {
    gi_fatal(function,
             "overrun" GI_FACT("domain  ", "%s") GI_FACT("block   ", "%p, of %zu bytes that may be used")
                 GI_DO("look for a write past the end of the block, or before the start of the one behind it"),
             gi_kinds[kind].name, block, gi_class_size(size_class) - gi_kinds[kind].tail);
}

/* A block that should be live has another mark. */
static _Noreturn __attribute__((cold)) void die_not_live(unsigned kind, unsigned size_class, const void *block,
                                                         unsigned mark, const char *function) {
    size_t size = gi_class_size(size_class);
    if (mark == GI_MARK_NONE) {
        gi_fatal(function,
                 "invalid pointer" GI_FACT("domain  ", "%s")
                     GI_FACT("block   ", "%p, where no block of %zu bytes has been yet")
                         GI_DO("free each block once, and only pointers that an allocation returned"),
                 gi_kinds[kind].name, block, size);
    }
    gi_fatal(function,
             "double free" GI_FACT("domain  ", "%s") GI_FACT("block   ", "%p, of %zu bytes, which %s")
                 GI_DO("free each block once, and do not use it afterwards"),
             gi_kinds[kind].name, block, size, mark == GI_MARK_FREE ? "is free" : "has been retired");
}

/* --- bins ------------------------------------------------------------------------------------- */

void gi_hardened_swap(gi_bin *bin, unsigned kind, unsigned size_class) {
    gi_link *first = bin->free, *second = gi_link_next(first);
    bool chance = gi_hardened_word(first) * 0x9E3779B97F4A7C15u >> 63 != 0; /* Fibonacci hashing, after Knuth */
    bool change = chance && second != NULL;
    if (change && gi_free_list_may_hold(kind, size_class, second)) { /* if not, whoever comes to it will see */
        gi_link_set(first, gi_link_next(second));
        gi_link_set(second, first);
        first = second;
    }
    bin->alloc = first;
    bin->free = NULL;
    bin->length = bin->cap - (uint32_t)bin->room;
    bin->room = (int32_t)bin->cap;
    bin->fresh = false;
}

/* --- live and free ---------------------------------------------------------------------------- */

/* From live to another mark, by one thread of those that try. */
static void change_mark(unsigned kind, unsigned size_class, const void *block, uint8_t to, const char *function) {
    uint8_t mark = GI_MARK_LIVE;
    if (gi_unlikely(!gi_cas_relaxed(gi_hardened_mark(block), &mark, to))) {
        die_not_live(kind, size_class, block, mark, function);
    }
}

void gi_hardened_free(unsigned kind, unsigned size_class, void *block, const char *function) {
    size_t size = gi_class_size(size_class);
    change_mark(kind, size_class, block, GI_MARK_FREE, function);
    if (gi_unlikely(!gi_hardened_is_whole(kind, block, size))) {
        die_overrun(kind, size_class, block, function);
    }
    gi_hardened_fill(kind, block, size);
}

void gi_hardened_expect_live(unsigned kind, unsigned size_class, const void *block, const char *function) {
    uint8_t mark = gi_load_relaxed(gi_hardened_mark(block)); /* relaxed: hardened.h */
    if (gi_unlikely(mark != GI_MARK_LIVE)) {
        die_not_live(kind, size_class, block, mark, function);
    }
    if (gi_unlikely(!gi_hardened_is_whole(kind, block, gi_class_size(size_class)))) {
        die_overrun(kind, size_class, block, function);
    }
}

void gi_hardened_retire(unsigned kind, unsigned size_class, void *block, const char *function) {
    gi_hardened_expect_live(kind, size_class, block, function);
    change_mark(kind, size_class, block, GI_MARK_RETIRED, function);
}

void gi_hardened_unretire(void *block) {
    uint8_t mark = GI_MARK_RETIRED;
    if (gi_word_is_pool(gi_free_list_word(block))) {
        (void)gi_cas_relaxed(gi_hardened_mark(block), &mark, GI_MARK_LIVE);
    }
}

/* SPDX-License-Identifier: MIT */
/*
 * debug_report.c [L5] - how debug hooks die.  The dump's lines are CPython's (_PyObject_DebugDumpAddress).
 *   Owner   none: no state.  Locks one of tracing's ledger; dladdr() takes one of the loader's.
 */
#define _GNU_SOURCE /* dladdr */
#include "lib/domain/debug_report.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

#include "concurrency/check.h"
#include "lib/domain/sites.h"
#include "lib/domain/trace.h"
#include "lib/os/address_kind.h"

/* --- the dump --------------------------------------------------------------------------------- */

static void dump_pads(const uint8_t *pads, int count, const char *name, int first) {
    bool whole = true;
    for (int i = 0; i < count; i++) {
        whole &= pads[i] == GI_DEBUG_PAD;
    }
    if (whole) {
        gi_dump("FORBIDDENBYTE, as expected.\n");
        return;
    }
    gi_dump("not all FORBIDDENBYTE (0x%02x):\n", GI_DEBUG_PAD);
    for (int i = 0; i < count; i++) {
        int at = first + i;
        gi_dump("        at %s%c%d: 0x%02x%s\n", name, at < 0 ? '-' : '+', at < 0 ? -at : at, pads[i],
                pads[i] != GI_DEBUG_PAD ? " *** OUCH" : "");
    }
}

/* The first eight bytes and the last eight, or all if these are no more than 16. */
static void dump_data(const uint8_t *p, size_t size) {
    size_t i = 0;
    gi_dump("    Data at p:");
    for (; i < size && i < 8; i++) {
        gi_dump(" %02x", p[i]);
    }
    if (size > 16) {
        gi_dump(" ...");
        i = size - 8;
    }
    for (; i < size; i++) {
        gi_dump(" %02x", p[i]);
    }
    gi_dump("\n");
}

/* What a caller's address is in: a function if the loader knows it, else its file. */
static void dump_address(const void *caller) {
    Dl_info info;
    if (dladdr(caller, &info) == 0) {
        gi_dump("  %p\n", caller);
        return;
    }
    const char *file = strrchr(info.dli_fname, '/');
    file = file != NULL ? file + 1 : info.dli_fname;
    if (info.dli_sname != NULL) {
        gi_dump("  %p in %s+0x%zx, %s\n", caller, info.dli_sname,
                (size_t)((const char *)caller - (const char *)info.dli_saddr), file);
    } else {
        gi_dump("  %p in %s+0x%zx\n", caller, file, (size_t)((const char *)caller - (const char *)info.dli_fbase));
    }
}

static void dump_frame(gi_frame frame) {
    const gi_frame_record *record = gi_frame_record_of(frame);
    if (record == NULL) {
        dump_address((const void *)(uintptr_t)frame);
    } else {
        const char *in = record->function[0] != '\0' ? ", in " : "";
        gi_dump("  File \"%s\", line %d%s%s\n", record->file, record->line, in, record->function);
    }
}

/* The whole traceback while the block is traced, else the caller, if that is known. */
static void dump_stack(const char *what, const void *caller, const gi_site *site) {
    if (caller == NULL && site == NULL) {
        return;
    }
    gi_dump("Memory block %s at (most recent call first):\n", what);
    for (uint64_t i = 0; site != NULL && i < site->count; i++) {
        dump_frame(site->frames[i]);
    }
    if (site == NULL) {
        dump_address(caller);
    }
    gi_dump("\n");
}

static void dump_allocation(const gi_debug_block *block) {
    dump_stack("allocated", block->allocated, gi_trace_site_of(block->p));
}

/* A live block; its pads and data are read. */
static void dump_live(const gi_debug_block *block) {
    const uint8_t *p = block->p, *tail = p + block->size;
    gi_dump("Debug memory block at address p=%p: API '%c'\n", (const void *)p, block->api);
    gi_dump("    %zu bytes originally requested\n", block->size);
    gi_dump("    The 7 pad bytes at p-7 are ");
    dump_pads(p - 7, 7, "p", -7);
    gi_dump("    The 8 pad bytes at tail=%p are ", (const void *)tail);
    dump_pads(tail, GI_DEBUG_BACK, "tail", 0);
    if (block->size > 0) {
        dump_data(p, block->size);
    }
    gi_dump("\n");
    dump_allocation(block);
}

static void dump_freed(const gi_debug_block *block) {
    gi_dump("Debug memory block at address p=%p: API '%c'\n\n", (const void *)block->p, block->api);
    dump_allocation(block);
    dump_stack("freed", block->freed, NULL);
}

/* --- messages --------------------------------------------------------------------------------- */

static const char *name_of(char api) { return api == 'r' ? "raw" : api == 'm' ? "mem" : "object"; }

void gi_debug_die_of_id(const gi_debug_block *block, char api, const char *function) {
    dump_live(block);
    gi_fatal(
        function,
        "bad ID: Allocated using API '%c', verified using API '%c'" GI_FACT("domain  ", "%s, but the block is of %s")
            GI_FACT("block   ", "%p") GI_DO("free a block by the family of functions that allocated it"),
        block->api, api, name_of(api), name_of(block->api), (const void *)block->p);
}

void gi_debug_die_of_pads(const gi_debug_block *block, const char *function) {
    bool front = false;
    for (int i = -GI_DEBUG_FRONT / 2 + 1; i < 0; i++) {
        front |= block->p[i] != GI_DEBUG_PAD;
    }
    front |= block->p[-GI_DEBUG_FRONT / 2] != (uint8_t)block->api;
    uint64_t size;
    memcpy(&size, block->p - GI_DEBUG_FRONT, sizeof(size));
    front |= __builtin_bswap64(size) != block->size;
    dump_live(block);
    gi_fatal(function,
             "bad %s pad byte" GI_FACT("domain  ", "%s") GI_FACT("block   ", "%p, of %zu bytes")
                 GI_DO("look for who writes %s"),
             front ? "leading" : "trailing", name_of(block->api), (const void *)block->p, block->size,
             front ? "before its start" : "past its end");
}

void gi_debug_die_of_double_free(const gi_debug_block *block, const char *function) {
    dump_freed(block);
    gi_fatal(function, "double free" GI_FACT("domain  ", "%s") GI_FACT("block   ", "%p") GI_DO("free each block once"),
             name_of(block->api), (const void *)block->p);
}

void gi_debug_die_of_use_after_free(const gi_debug_block *block, const char *function) {
    dump_freed(block);
    gi_fatal(function,
             "use after free" GI_FACT("domain  ", "%s") GI_FACT("block   ", "%p")
                 GI_DO("use a block between its allocation and its free, and what realloc returned in its place"),
             name_of(block->api), (const void *)block->p);
}

void gi_debug_die_of_write_after_free(const gi_debug_block *block, const uint8_t *at, const char *function) {
    dump_freed(block);
    gi_fatal(function,
             "write after free" GI_FACT("domain  ", "%s") GI_FACT("block   ", "%p, of %zu bytes")
                 GI_FACT("written ", "0x%02x at p%+td") GI_DO("look for who keeps a pointer to the block; found as it "
                                                              "left the quarantine, not as it was written"),
             name_of(block->api), (const void *)block->p, block->size, *at, at - block->p);
}

void gi_debug_die_of_pointer(const void *pointer, char api, const gi_debug_block *inside, const char *function) {
    char words[GI_ADDRESS_KIND_SIZE];
    if (inside != NULL && !inside->live) {
        dump_freed(inside);
        gi_fatal(function,
                 "invalid pointer" GI_FACT("domain  ", "%s") GI_FACT("block   ", "%p, inside a freed block, at p%+td")
                     GI_DO("free each block once, and only pointers that an allocation returned"),
                 name_of(api), pointer, (const uint8_t *)pointer - inside->p);
    }
    if (inside != NULL) {
        dump_live(inside);
        gi_fatal(function,
                 "invalid pointer" GI_FACT("domain  ", "%s")
                     GI_FACT("block   ", "%p, inside a block of %zu bytes, at p%+td")
                         GI_DO("free each block once, and only pointers that an allocation returned"),
                 name_of(api), pointer, inside->size, (const uint8_t *)pointer - inside->p);
    }
    gi_fatal(function,
             "invalid pointer" GI_FACT("domain  ", "%s") GI_FACT("block   ", "%p, %s")
                 GI_DO("free each block once, and only pointers that an allocation returned"),
             name_of(api), pointer, gi_address_kind(pointer, words, sizeof(words)));
}

void gi_debug_die_of_size(const gi_debug_block *block, size_t size, const char *function) {
    dump_live(block);
    gi_fatal(function,
             "size mismatch" GI_FACT("domain  ", "%s") GI_FACT("block   ", "%p, of %zu bytes")
                 GI_FACT("size    ", "%zu bytes") GI_DO("pass the size that the block was requested with"),
             name_of(block->api), (const void *)block->p, block->size, size);
}

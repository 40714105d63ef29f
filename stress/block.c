/* SPDX-License-Identifier: MIT */
/*
 * block.c - a block of a domain with the pattern that it must hold.
 *   Owner   one thread at a time.  Locks: none but the fault list's.
 */
#include "stress/block.h"

#include <inttypes.h>

#include "stress/pattern.h"

#define ALIGNMENT 16

/* --- the three domains ------------------------------------------------------------------------ */

static const struct {
    const char *name;
    const char *prefix;
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void (*free)(void *);
} domains[] = {
    [PYMEM_DOMAIN_RAW] = {"raw", "PyMem_Raw", PyMem_RawMalloc, PyMem_RawCalloc, PyMem_RawRealloc, PyMem_RawFree},
    [PYMEM_DOMAIN_MEM] = {"mem", "PyMem_", PyMem_Malloc, PyMem_Calloc, PyMem_Realloc, PyMem_Free},
    [PYMEM_DOMAIN_OBJ] = {"object", "PyObject_", PyObject_Malloc, PyObject_Calloc, PyObject_Realloc, PyObject_Free},
};

/* --- checks ----------------------------------------------------------------------------------- */

/* Is `address` a result that a request may have? */
static bool check_result(const void *address, const struct block *wanted, const char *function, struct faults *faults) {
    uint32_t record = (uint32_t)wanted->id;
    if (address == NULL) {
        faults_add(faults, "%s%s: NULL for %" PRIu32 " bytes (thread %" PRIu32 ", record %" PRIu32 ")",
                   domains[wanted->domain].prefix, function, wanted->size, block_thread(wanted), record);
        return false;
    }
    if ((uintptr_t)address % ALIGNMENT != 0) {
        faults_add(
            faults, "%s%s: %p for %" PRIu32 " bytes is not aligned to %d (thread %" PRIu32 ", record %" PRIu32 ")",
            domains[wanted->domain].prefix, function, address, wanted->size, ALIGNMENT, block_thread(wanted), record);
        return false;
    }
    return true;
}

/* Do the first `size` bytes hold the block's pattern? */
static bool check_pattern(const struct block *block, uint32_t size, const char *when, uint32_t thread,
                          struct faults *faults) {
    size_t offset = pattern_check(block->address, size, block->id);
    if (offset == size) return true;
    faults_add(faults,
               "%s block of %" PRIu32 " bytes at %p (thread %" PRIu32 ", record %" PRIu32
               "): byte %zu is 0x%02x, not 0x%02x, %s by thread %" PRIu32,
               domains[block->domain].name, block->size, block->address, block_thread(block), (uint32_t)block->id,
               offset, ((const unsigned char *)block->address)[offset], pattern_byte(block->id, offset), when, thread);
    return false;
}

/* --- calls ------------------------------------------------------------------------------------ */

bool block_malloc(struct block *block, PyMemAllocatorDomain domain, uint32_t size, uint64_t id, struct faults *faults) {
    struct block made = {.address = domains[domain].malloc(size), .id = id, .size = size, .domain = domain};
    if (!check_result(made.address, &made, "Malloc", faults)) return false;
    pattern_fill(made.address, size, id);
    *block = made;
    return true;
}

bool block_calloc(struct block *block, PyMemAllocatorDomain domain, uint32_t size, uint64_t id, struct faults *faults) {
    size_t count = size % 8 == 0 ? size / 8 : 1; /* the traces know the product only */
    struct block made = {
        .address = domains[domain].calloc(count, size % 8 == 0 ? 8 : size), .id = id, .size = size, .domain = domain};
    if (!check_result(made.address, &made, "Calloc", faults)) return false;
    size_t offset = pattern_check_zero(made.address, size);
    if (offset < size) {
        faults_add(faults,
                   "%sCalloc: byte %zu of a block of %" PRIu32 " bytes at %p is 0x%02x, not 0 (thread %" PRIu32
                   ", record %" PRIu32 ")",
                   domains[domain].prefix, offset, size, made.address, ((unsigned char *)made.address)[offset],
                   block_thread(&made), (uint32_t)id);
        return false;
    }
    pattern_fill(made.address, size, id);
    *block = made;
    return true;
}

bool block_realloc(struct block *block, uint32_t size, uint64_t id, struct faults *faults) {
    struct block made = {.id = id, .size = size, .domain = block->domain};
    uint32_t thread = block_thread(&made);
    if (!check_pattern(block, block->size, "before realloc", thread, faults)) return false;
    made.address = domains[block->domain].realloc(block->address, size);
    if (!check_result(made.address, &made, "Realloc", faults)) return false;
    block->address = made.address;
    if (!check_pattern(block, size < block->size ? size : block->size, "after realloc", thread, faults)) return false;
    pattern_fill(made.address, size, id);
    *block = made;
    return true;
}

bool block_free(struct block *block, uint32_t thread, struct faults *faults) {
    if (!check_pattern(block, block->size, "before free", thread, faults)) return false;
    domains[block->domain].free(block->address);
    block->address = NULL;
    return true;
}

/* SPDX-License-Identifier: MIT */
/*
 * block.c - a block of a domain with the pattern that it must hold.
 *   Owner   one thread at a time.  Locks: none but the fault list's.
 */
#include "stress/block.h"

#include <inttypes.h>

#include "stress/pattern.h"

#define ALIGNMENT 16

/* --- the domains ------------------------------------------------------------------------------ */

/* Of messages.  What gilloc_new_kind() made has no functions of its own. */
static const struct {
    const char *name;
    const char *prefix;
} named[] = {
    [PYMEM_DOMAIN_RAW] = {"raw", "PyMem_Raw"},
    [PYMEM_DOMAIN_MEM] = {"mem", "PyMem_"},
    [PYMEM_DOMAIN_OBJ] = {"object", "PyObject_"},
    {"kind's", "gilloc_"},
};

static size_t name_of(PyMemAllocatorDomain domain) {
    return domain <= PYMEM_DOMAIN_OBJ ? domain : PYMEM_DOMAIN_OBJ + 1;
}

static void *domain_malloc(PyMemAllocatorDomain domain, size_t size) {
    switch (domain) {
        case PYMEM_DOMAIN_RAW:
            return PyMem_RawMalloc(size);
        case PYMEM_DOMAIN_MEM:
            return PyMem_Malloc(size);
        case PYMEM_DOMAIN_OBJ:
            return PyObject_Malloc(size);
        default:
            return gilloc_malloc(domain, size);
    }
}

static void *domain_calloc(PyMemAllocatorDomain domain, size_t count, size_t size) {
    switch (domain) {
        case PYMEM_DOMAIN_RAW:
            return PyMem_RawCalloc(count, size);
        case PYMEM_DOMAIN_MEM:
            return PyMem_Calloc(count, size);
        case PYMEM_DOMAIN_OBJ:
            return PyObject_Calloc(count, size);
        default:
            return gilloc_calloc(domain, count, size);
    }
}

static void *domain_realloc(PyMemAllocatorDomain domain, void *address, size_t size) {
    switch (domain) {
        case PYMEM_DOMAIN_RAW:
            return PyMem_RawRealloc(address, size);
        case PYMEM_DOMAIN_MEM:
            return PyMem_Realloc(address, size);
        case PYMEM_DOMAIN_OBJ:
            return PyObject_Realloc(address, size);
        default:
            return gilloc_realloc(domain, address, size);
    }
}

static void domain_free(PyMemAllocatorDomain domain, void *address) {
    switch (domain) {
        case PYMEM_DOMAIN_RAW:
            PyMem_RawFree(address);
            return;
        case PYMEM_DOMAIN_MEM:
            PyMem_Free(address);
            return;
        case PYMEM_DOMAIN_OBJ:
            PyObject_Free(address);
            return;
        default:
            gilloc_free(domain, address);
    }
}

/* --- checks ----------------------------------------------------------------------------------- */

/* Is `address` a result that a request may have? */
static bool check_result(const void *address, const struct block *wanted, const char *function, struct faults *faults) {
    uint32_t record = (uint32_t)wanted->id;
    if (address == NULL) {
        faults_add(faults, "%s%s: NULL for %" PRIu32 " bytes (thread %" PRIu32 ", record %" PRIu32 ")",
                   named[name_of(wanted->domain)].prefix, function, wanted->size, block_thread(wanted), record);
        return false;
    }
    if ((uintptr_t)address % ALIGNMENT != 0) {
        faults_add(faults,
                   "%s%s: %p for %" PRIu32 " bytes is not aligned to %d (thread %" PRIu32 ", record %" PRIu32 ")",
                   named[name_of(wanted->domain)].prefix, function, address, wanted->size, ALIGNMENT,
                   block_thread(wanted), record);
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
               named[name_of(block->domain)].name, block->size, block->address, block_thread(block),
               (uint32_t)block->id, offset, ((const unsigned char *)block->address)[offset],
               pattern_byte(block->id, offset), when, thread);
    return false;
}

/* --- calls ------------------------------------------------------------------------------------ */

bool block_malloc(struct block *block, PyMemAllocatorDomain domain, uint32_t size, uint64_t id, struct faults *faults) {
    struct block made = {.address = domain_malloc(domain, size), .id = id, .size = size, .domain = domain};
    if (!check_result(made.address, &made, "Malloc", faults)) return false;
    pattern_fill(made.address, size, id);
    *block = made;
    return true;
}

bool block_calloc(struct block *block, PyMemAllocatorDomain domain, uint32_t size, uint64_t id, struct faults *faults) {
    size_t count = size % 8 == 0 ? size / 8 : 1; /* the traces know the product only */
    struct block made = {
        .address = domain_calloc(domain, count, size % 8 == 0 ? 8 : size), .id = id, .size = size, .domain = domain};
    if (!check_result(made.address, &made, "Calloc", faults)) return false;
    size_t offset = pattern_check_zero(made.address, size);
    if (offset < size) {
        faults_add(faults,
                   "%sCalloc: byte %zu of a block of %" PRIu32 " bytes at %p is 0x%02x, not 0 (thread %" PRIu32
                   ", record %" PRIu32 ")",
                   named[name_of(domain)].prefix, offset, size, made.address, ((unsigned char *)made.address)[offset],
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
    made.address = domain_realloc(block->domain, block->address, size);
    if (!check_result(made.address, &made, "Realloc", faults)) return false;
    block->address = made.address;
    if (!check_pattern(block, size < block->size ? size : block->size, "after realloc", thread, faults)) return false;
    pattern_fill(made.address, size, id);
    *block = made;
    return true;
}

bool block_free(struct block *block, uint32_t thread, struct faults *faults) {
    if (!check_pattern(block, block->size, "before free", thread, faults)) return false;
    domain_free(block->domain, block->address);
    block->address = NULL;
    return true;
}

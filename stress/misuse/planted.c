/* SPDX-License-Identifier: MIT */
/*
 * planted.c - the C library's allocator with one fault, once in some thousand calls.
 *   Owner   the main thread.  Locks: none.
 * Where blocks are given twice none is ever freed.
 */
#include "stress/misuse/planted.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stress/bench/allocator.h"

#define FAULT_AFTER 1500 /* calls: after the neighbours and some of the probe */

static void (*volatile fault)(void);
static unsigned long calls;
static char *last;
static size_t last_size, shift;

static bool is_due(void) { return ++calls > FAULT_AFTER; }

static void *keep(void *block, size_t size) {
    last = block;
    last_size = size;
    return block;
}

static void *give(size_t size) {
    if (is_due() && size + shift <= last_size && shift < last_size) return last + shift;
    return keep(malloc(size), size);
}
static void leave(void *block) { (void)block; }

static void *faulty_malloc(size_t size) {
    if (is_due()) fault();
    return keep(malloc(size), size);
}

static void *dirty_calloc(size_t number, size_t size) {
    char *block = calloc(number, size);
    if (is_due() && block != NULL) block[number * size - 1] = 1;
    return block;
}

static void write_to_last(void) {
    if (last != NULL) last[last_size / 2] ^= 1;
}
static void crash(void) { raise(SIGSEGV); }
static void hang(void) {
    for (;;) pause();
}

bool planted_load(const char *name) {
    struct allocator_family family = {malloc, calloc, realloc, free};
    if (strcmp(name, "planted-overlapping") == 0) {
        family.malloc = give;
        family.free = leave;
    } else if (strcmp(name, "planted-shifted") == 0) {
        family.malloc = give;
        family.free = leave;
        shift = 16;
    } else if (strcmp(name, "planted-writing") == 0) {
        family.malloc = faulty_malloc;
        family.free = leave;
        fault = write_to_last;
    } else if (strcmp(name, "planted-dirty") == 0) {
        family.calloc = dirty_calloc;
    } else if (strcmp(name, "planted-sound") != 0) {
        family.malloc = faulty_malloc;
        fault = strcmp(name, "planted-crashing") == 0   ? crash
                : strcmp(name, "planted-hanging") == 0  ? hang
                : strcmp(name, "planted-wordless") == 0 ? abort
                                                        : NULL;
        if (fault == NULL) return false;
    }
    for (int i = 0; i < DOMAINS; i++) allocator.domains[i] = family;
    return true;
}

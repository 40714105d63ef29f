/* SPDX-License-Identifier: MIT */
/*
 * system.c - a gi_os_calls that counts and refuses.
 */
#include "tests/os/system.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/os/os_memory.h"

struct system_counts system_counts;

static gi_os_calls real;
static struct system_refusals now;
static bool writes_new_memory;

static bool refused(unsigned call, size_t size) {
    shared_add(&system_counts.made[call], 1);
    if (!now.calls[call]) {
        return false;
    }
    size_t k = shared_add(&system_counts.meant, 1) + 1;
    struct random random = random_seeded(now.seed + k * 0x9e3779b97f4a7c15u);
    random_next(&random);
    bool is_refused = k == now.at || (now.from != 0 && k >= now.from) || (now.above != 0 && size > now.above) ||
                      random_below(&random, 10) < now.tenths;
    if (is_refused) {
        shared_add(&system_counts.refused, 1);
        errno = ENOMEM;
    }
    return is_refused;
}

static void *map(void *address, size_t size, int protection, int flags) {
    if (refused(SYSTEM_MAP, size)) {
        return MAP_FAILED;
    }
    void *memory = real.map(address, size, protection, flags);
    shared_add(&system_counts.mapped, memory != MAP_FAILED ? size : 0);
    if (memory != MAP_FAILED && writes_new_memory && (protection & PROT_WRITE) != 0) {
        memset(memory, 0, size);
    }
    return memory;
}

static int unmap(void *address, size_t size) {
    shared_add(&system_counts.made[SYSTEM_UNMAP], 1);
    shared_add(&system_counts.mapped, (size_t)0 - size);
    return real.unmap(address, size);
}

static int protect(void *address, size_t size, int protection) {
    return refused(SYSTEM_PROTECT, size) ? -1 : real.protect(address, size, protection);
}

static int advise(void *address, size_t size, int advice) {
    return refused(SYSTEM_ADVISE, size) ? -1 : real.advise(address, size, advice);
}

void system_install(void) {
    real = gi_os;
    gi_os = (gi_os_calls){.map = map, .unmap = unmap, .protect = protect, .advise = advise};
}

void system_refuse(const struct system_refusals *refusals) {
    now = refusals != NULL ? *refusals : (struct system_refusals){.calls = {false}};
    shared_set(&system_counts.meant, 0);
    shared_set(&system_counts.refused, 0);
}

void system_write_new_memory(void) { writes_new_memory = true; }

void system_refuse_all(void) {
    system_refuse(&(struct system_refusals){
        .calls = {[SYSTEM_MAP] = true, [SYSTEM_PROTECT] = true, [SYSTEM_ADVISE] = true}, .from = 1});
}

/* SPDX-License-Identifier: MIT */
/*
 * act.c - what the bodies of many kinds do.
 *   Owner   the main thread, and threads that it waits for.
 *   Locks   none.
 */
#define _GNU_SOURCE /* pthread_tryjoin_np() */

#include "stress/misuse/act.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "stress/misuse/probe.h"
#include "stress/misuse/verdict.h"

void *act_function(const char *name) {
    void *function = dlsym(allocator.handle, name);
    if (function == NULL) act_not_applicable("the library has no %s", name);
    return function;
}

void act_not_applicable(const char *format, ...) {
    char reason[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    verdict_end(VERDICT_NOT_APPLICABLE, "%s", reason);
}

/* --- blocks ----------------------------------------------------------------------------------- */

void act_fill(void *from, int byte, size_t size) {
    volatile char *bytes = from;
    for (size_t i = 0; i < size; i++) bytes[i] = (char)byte;
}

void act_free(const struct act *act, void *block) { block_free(act->domain, block); }

char *act_malloc(const struct act *act) {
    char *block = block_malloc(act->domain, act->size);
    if (block == NULL) verdict_end(VERDICT_BROKEN, "no memory");
    return block;
}

void act_free_victim(struct act *act) {
    probe_forget(act->victim);
    act_free(act, act->victim);
}

void act_free_others(struct act *act) {
    for (size_t i = VICTIM + 100; i < VICTIM + 400; i++) {
        probe_forget(act->neighbours[i]);
        act_free(act, act->neighbours[i]);
    }
}

void act_allocate(struct act *act, size_t count) {
    for (size_t i = 0; i < count; i++) probe_add(act->domain, act_malloc(act), act->size);
}

/* --- what contenders call otherwise ----------------------------------------------------------- */

const char *act_family = "";

static bool is_of(const char *family) { return strcmp(act_family, family) == 0; }

void act_purge(void) {
    if (is_of("gilloc")) {
        SUBJECT(gilloc_purge)();
    } else if (is_of("mimalloc")) {
        ((void (*)(bool force))act_function("mi_collect"))(true);
    } else {
        ((int (*)(size_t pad))act_function("malloc_trim"))(0);
    }
}

void act_free_sized(const struct act *act, void *block, size_t size) {
    if (is_of("gilloc")) {
        SUBJECT(gilloc_free_sized)(act_python_domain(act->domain), block, size);
    } else {
        ((void (*)(void *, size_t))act_function("mi_free_size"))(block, size);
    }
}

size_t act_usable_size(const struct act *act, const void *block) {
    if (is_of("gilloc")) return SUBJECT(gilloc_usable_size)(act_python_domain(act->domain), block);
    const char *name = is_of("mimalloc") ? "mi_usable_size" : "malloc_usable_size";
    return ((size_t(*)(const void *))act_function(name))(block);
}

/* --- threads ---------------------------------------------------------------------------------- */

struct errand {
    void (*body)(struct act *act, void *argument);
    struct act *act;
    void *argument;
    bool attached;
};

static void *run_errand(void *argument) {
    const struct errand *errand = argument;
    bool attached = errand->attached && allocator.ensure != NULL;
    int state = attached ? allocator.ensure() : 0;
    errand->body(errand->act, errand->argument);
    if (attached) allocator.release(state);
    return NULL;
}

static void run(struct errand *errand) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_errand, errand) != 0) verdict_end(VERDICT_BROKEN, "no thread");
    pthread_join(thread, NULL);
}

void act_elsewhere(void (*body)(struct act *act, void *argument), struct act *act, void *argument) {
    struct errand errand = {body, act, argument, true};
    void *state = allocator.save != NULL ? allocator.save() : NULL;
    run(&errand);
    if (allocator.restore != NULL) allocator.restore(state);
}

void act_stranger(void (*body)(struct act *act, void *argument), struct act *act, void *argument) {
    struct errand errand = {body, act, argument, false};
    run(&errand);
}

void act_stranger_beside(void (*body)(struct act *act, void *argument), struct act *act, void *argument) {
    struct errand errand = {body, act, argument, false};
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_errand, &errand) != 0) verdict_end(VERDICT_BROKEN, "no thread");
    while (pthread_tryjoin_np(thread, NULL) != 0) {
        allocator.safepoint();
        usleep(100);
    }
}

/* --- domains ---------------------------------------------------------------------------------- */

enum allocator_domain act_other_domain(const struct act *act) {
    return act->domain == DOMAIN_MEM ? DOMAIN_OBJECT : DOMAIN_MEM;
}

PyMemAllocatorDomain act_python_domain(enum allocator_domain domain) {
    static const PyMemAllocatorDomain domains[] = {
        [DOMAIN_RAW] = PYMEM_DOMAIN_RAW, [DOMAIN_MEM] = PYMEM_DOMAIN_MEM, [DOMAIN_OBJECT] = PYMEM_DOMAIN_OBJ};
    return domains[domain];
}

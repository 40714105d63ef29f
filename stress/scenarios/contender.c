/* SPDX-License-Identifier: MIT */
/*
 * contender.c - the allocators that are looked at.
 *   Owner   the main thread, the only one.  Locks: none.
 */
#include "stress/scenarios/contender.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* A sanitizer's malloc() cannot be replaced. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define CAN_PRELOAD 0
#else
#define CAN_PRELOAD 1
#endif

const struct contender contenders[] = {
    {"gilloc", HEAP_OBJECT, NULL, NULL},
    {"gilloc raw", HEAP_RAW, NULL, NULL},
    {"glibc", HEAP_MALLOC, NULL, NULL},
    {"mimalloc", HEAP_MALLOC, "libmimalloc.so.2", "libmimalloc2.0"},
    {"jemalloc", HEAP_MALLOC, "libjemalloc.so.2", "libjemalloc2"},
    {"tcmalloc", HEAP_MALLOC, "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"},
    {"tbbmalloc", HEAP_MALLOC, "libtbbmalloc_proxy.so.2", "libtbbmalloc2"},
    {0},
};

/* In a child: an allocator that is loaded late is none that this process wants to keep. */
static bool can_load(const char *library) {
    int status = 1;
    pid_t child = fork();
    if (child == 0) _exit(dlopen(library, RTLD_LAZY | RTLD_LOCAL) != NULL ? 0 : 1);
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

const char *contender_missing(const struct contender *contender, char *text, size_t text_size) {
    if (contender->preload == NULL) return NULL;
    if (!CAN_PRELOAD) {
        snprintf(text, text_size, "not under a sanitizer, which has a malloc() of its own");
        return text;
    }
    if (can_load(contender->preload)) return NULL;
    snprintf(text, text_size, "missing: %s (Debian: apt-get install %s)", contender->preload, contender->package);
    return text;
}

char **contender_environment(const struct contender *contender, char *preload, size_t preload_size) {
    size_t count = 0;
    if (contender->preload == NULL) return NULL;
    while (environ[count] != NULL) count++;
    char **environment = calloc(count + 2, sizeof *environment);
    if (environment == NULL) return NULL;
    memcpy(environment + 1, environ, count * sizeof *environment);
    snprintf(preload, preload_size, "LD_PRELOAD=%s", contender->preload);
    environment[0] = preload; /* the first one of a name counts */
    return environment;
}

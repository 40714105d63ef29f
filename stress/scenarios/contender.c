/* SPDX-License-Identifier: MIT */
/*
 * contender.c - the allocators that are looked at.
 *   Owner   the main thread, the only one.  Locks: none.
 */
#include "stress/scenarios/contender.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

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

/* The loader goes on without a library that it does not find, and says so on stderr. */
static bool can_preload(const char *library) {
    int ends[2], status;
    char said[512];
    if (pipe(ends) != 0) return false;
    pid_t child = fork();
    if (child == 0) {
        setenv("LD_PRELOAD", library, 1);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        execl("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    close(ends[1]);
    ssize_t length = read(ends[0], said, sizeof said);
    close(ends[0]);
    return child > 0 && waitpid(child, &status, 0) == child && status == 0 && length == 0;
}

const char *contender_missing(const struct contender *contender, char *text, size_t text_size) {
    if (contender->preload == NULL) return NULL;
    if (!CONTENDER_CAN_PRELOAD) {
        snprintf(text, text_size, "not under a sanitizer, which has a malloc() of its own");
        return text;
    }
    if (can_preload(contender->preload)) return NULL;
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

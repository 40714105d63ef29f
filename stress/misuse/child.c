/* SPDX-License-Identifier: MIT */
/*
 * child.c - one contender, one wrong act, then a look for silent damage; then this
 * process ends.
 *   Owner   the main thread.
 *   Locks   none.
 * It links no allocator, and says what came of it by verdict.h, if it lives to.
 */
#define _GNU_SOURCE /* RTLD_DEFAULT */

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "stress/misuse/act.h"
#include "stress/misuse/planted.h"
#include "stress/misuse/probe.h"
#include "stress/misuse/verdict.h"

enum { CHILD_LOADER = 1, CHILD_LIBRARY, CHILD_KIND, CHILD_DOMAIN, CHILD_SIZE, CHILD_OPERATIONS, CHILD_WORDS };

#define SMALL 48   /* bytes: all of its size class */
#define LARGE 3000 /* above what is small anywhere but in mimalloc; not so large that it is mapped by itself */

#define BODY(identifier, name, group, axes, needs, environment, text) act_##identifier,
static enum act_end (*const bodies[])(struct act *act) = {KINDS(BODY)};

/* The environment was the act, and the library has started nevertheless. */
#define ENVIRONMENT(identifier)                          \
    enum act_end act_env_##identifier(struct act *act) { \
        (void)act;                                       \
        return ACT_DONE;                                 \
    }
ENVIRONMENT(gil)
ENVIRONMENT(reserve)
ENVIRONMENT(deadline)
ENVIRONMENT(overflow)
ENVIRONMENT(malloc)
ENVIRONMENT(trace)
ENVIRONMENT(harden)
ENVIRONMENT(sample)

/* Those are the main program's. */
#define TRACE_FILE(identifier)                             \
    enum act_end act_trace_##identifier(struct act *act) { \
        (void)act;                                         \
        act_not_applicable("a file");                      \
    }
TRACE_FILE(truncated)
TRACE_FILE(no_trace)
TRACE_FILE(corrupt)
TRACE_FILE(record)

/* --- before the act --------------------------------------------------------------------------- */

/* No core files; a loop without end is ended by the system. */
static void limit_process(void) {
    struct rlimit none = {0, 0}, seconds = {10, 10};
    setrlimit(RLIMIT_CORE, &none);
    setrlimit(RLIMIT_CPU, &seconds);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody would read the result */
}

/* The C library's, as programs are linked to it: dlsym() does not find what libc_malloc_debug.so.0 puts before it. */
static void load_linked(void) {
    for (int i = 0; i < DOMAINS; i++) {
        allocator.domains[i] = (struct allocator_family){malloc, calloc, realloc, free};
    }
    allocator.handle = RTLD_DEFAULT;
    act_family = "glibc";
    /* One that cannot be preloaded is left out in silence. */
    Dl_info info;
    const char *preload = getenv("LD_PRELOAD");
    void *function = (void *)(uintptr_t)malloc;
    if (preload == NULL) return;
    if (dladdr(function, &info) == 0 || strstr(info.dli_fname, preload) == NULL) {
        verdict_end(VERDICT_BROKEN, "malloc() is not that of %s", preload);
    }
}

static void load(const char *loader, const char *library) {
    char error[1024];
    if (strcmp(loader, "linked") == 0) {
        load_linked();
        return;
    }
    if (strncmp(loader, "planted-", strlen("planted-")) == 0) {
        if (!planted_load(loader)) verdict_end(VERDICT_BROKEN, "no such allocator: %s", loader);
        act_family = "planted";
        return;
    }
    if (allocator_load(loader, library, error, sizeof error) != 0) verdict_end(VERDICT_BROKEN, "%s", error);
    act_family = strncmp(loader, "gilloc", strlen("gilloc")) == 0 ? "gilloc"
                 : strcmp(loader, "pymalloc") == 0                ? "python"
                 : strcmp(loader, "mimalloc-own") == 0            ? "mimalloc"
                                                                  : "glibc";
}

static size_t find_kind(const char *name) {
    static const char *const names[] = {
#define NAME(identifier, name, group, axes, needs, environment, text) name,
        KINDS(NAME)};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) == 0) return i;
    }
    verdict_end(VERDICT_BROKEN, "no such kind: %s", name);
}

static void make_neighbours(struct act *act) {
    act->neighbours =
        mmap(NULL, NEIGHBOURS * sizeof *act->neighbours, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (act->neighbours == MAP_FAILED) verdict_end(VERDICT_BROKEN, "no memory");
    for (size_t i = 0; i < NEIGHBOURS; i++) {
        act->neighbours[i] = act_malloc(act);
        probe_add(act->domain, act->neighbours[i], act->size);
    }
    act->victim = act->neighbours[VICTIM];
}

/* --- after it --------------------------------------------------------------------------------- */

static void conclude(enum act_end end) {
    if (end == ACT_WRONG) verdict_end(VERDICT_SILENT, "the answer is a wrong one");
    if (strcmp(act_family, "gilloc") == 0 && SUBJECT(gilloc_check)() != 0) {
        verdict_end(VERDICT_CHECKED, "gilloc_check() found it");
    }
    if (end == ACT_RIGHT) verdict_end(VERDICT_RIGHT, "works as documented");
    if (probe_refused() > 0) verdict_end(VERDICT_NONE, "%lu requests were refused", (unsigned long)probe_refused());
    verdict_end(VERDICT_NONE, "no effect was noticed");
}

int main(int argc, char **argv) {
    static char in_data[ARRAY_SIZE] __attribute__((aligned(16)));
    char on_stack[ARRAY_SIZE] __attribute__((aligned(16)));
    static const enum allocator_domain domains[] = {
        [CASE_MEM] = DOMAIN_MEM, [CASE_OBJECT] = DOMAIN_OBJECT, [CASE_RAW] = DOMAIN_RAW};
    if (argc != CHILD_WORDS) return fputs("this program is started by misuse\n", stderr) < 0 ? 1 : 2;
    limit_process();
    size_t kind = find_kind(argv[CHILD_KIND]);
    struct act act = {.domain = domains[atoi(argv[CHILD_DOMAIN]) % CASE_DOMAINS],
                      .size = atoi(argv[CHILD_SIZE]) == CASE_SMALL ? SMALL : LARGE,
                      .on_stack = on_stack + ARRAY_POINTER,
                      .in_data = in_data + ARRAY_POINTER};
    probe_init();
    probe_add_region(on_stack, sizeof on_stack);
    probe_add_region(in_data, sizeof in_data);
    load(argv[CHILD_LOADER], argv[CHILD_LIBRARY]);
    make_neighbours(&act);
    enum act_end end = bodies[kind](&act);
    probe_run(act.domain, act.size, strtoull(argv[CHILD_OPERATIONS], NULL, 10));
    conclude(end);
}

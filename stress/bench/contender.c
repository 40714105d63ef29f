/* SPDX-License-Identifier: MIT */
/*
 * contender.c - who is measured, and where each one's library is.
 *   Owner   the main program.  Locks: none.
 */
#define _GNU_SOURCE /* dlinfo(), asprintf() */

#include "stress/bench/contender.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stress/bench/place.h"

enum {
    IS_REAL = CAN_GIVE_BACK | CAN_EXCHANGE,
    IS_RUNTIME = IS_REAL | CAN_LOCK,
    IS_OURS = IS_RUNTIME | CAN_STOP | CAN_SET
};

#define PLAIN NULL, NULL, 0
/* Another one with a setting: its library and abilities are those of its base. */
#define GIL "gilloc-gil", "libgilloc.so.0", NULL, true, IS_OURS
#define FREE "gilloc-free", "libgilloc.so.0", NULL, false, IS_OURS
#define PYTHON "pymalloc", "libpython3.11.so.1.0", "libpython3.11", true, IS_RUNTIME | CAN_SET
#define WITH(name, row, setting, most) WITH_ROW(name, row, setting, most)
#define WITH_ROW(name, base, library, package, one, abilities, setting, most) \
    { name, library, package, false, false, one, abilities, base " with " setting, base, setting, most }

const struct contender contenders[] = {
    {"gilloc-gil", "libgilloc.so.0", NULL, false, false, true, IS_OURS, "gilloc in gil mode", PLAIN},
    {"gilloc-free", "libgilloc.so.0", NULL, false, false, false, IS_OURS, "gilloc in GIL-free mode", PLAIN},
    {"pymalloc", "libpython3.11.so.1.0", "libpython3.11", false, true, true, IS_RUNTIME | CAN_SET,
     "CPython 3.11's allocator and lock", PLAIN},
    {"glibc", NULL, NULL, false, true, false, IS_REAL, "malloc of the C library", PLAIN},
    {"mimalloc", "libmimalloc.so.2", "libmimalloc2.0", true, true, false, IS_REAL, "preloaded", PLAIN},
    {"jemalloc", "libjemalloc.so.2", "libjemalloc2", true, true, false, IS_REAL, "preloaded", PLAIN},
    {"tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4", true, true, false, IS_REAL,
     "of gperftools, preloaded", PLAIN},
    {"tbbmalloc", "libtbbmalloc_proxy.so.2", "libtbbmalloc2", true, true, false, IS_REAL, "preloaded", PLAIN},
    {"limit-call", "liblimit.so", NULL, false, false, false, 0, "lists of free blocks and nothing else, in a library",
     PLAIN},
    {"limit-inline", NULL, NULL, false, false, false, 0, "the same, inlined into the workload", PLAIN},
    {"null", "liblimit.so", NULL, false, false, false, CAN_EXCHANGE | CAN_SET,
     "calls that do nothing: the workload's own cost", PLAIN},
    WITH("gil-debug", GIL, "PYTHONMALLOC=debug", 2.5),
    WITH("gil-harden", GIL, "GILLOC_HARDEN=1", 1.3),
    WITH("gil-trace", GIL, "PYTHONTRACEMALLOC=1", 4),
    WITH("gil-sample", GIL, "GILLOC_SAMPLE=524288", 1.03),
    WITH("gil-stats", GIL, "BENCH_STATISTICS=10", 0),
    WITH("free-debug", FREE, "PYTHONMALLOC=debug", 2.5),
    WITH("free-harden", FREE, "GILLOC_HARDEN=1", 1.3),
    WITH("free-trace", FREE, "PYTHONTRACEMALLOC=1", 4),
    WITH("free-sample", FREE, "GILLOC_SAMPLE=524288", 1.03),
    WITH("free-stats", FREE, "BENCH_STATISTICS=10", 0),
    WITH("py-debug", PYTHON, "PYTHONMALLOC=debug", 0),
    WITH("py-trace", PYTHON, "PYTHONTRACEMALLOC=1", 0),
};
const size_t contender_count = sizeof contenders / sizeof *contenders;

const struct contender *contender_find(const char *name) {
    for (size_t i = 0; i < contender_count; i++) {
        if (strcmp(contenders[i].name, name) == 0) return &contenders[i];
    }
    return NULL;
}

bool contender_can_run(const struct contender *contender, const struct workload *workload) {
    if (contender->base != NULL && (workload->needs & CAN_SET) == 0) return false;
    return (workload->needs & ~contender->abilities) == 0;
}

/* --- libraries -------------------------------------------------------------------------------- */

/* DIRECTORY/NAME if it can be read. */
static char *in_directory(const char *directory, const char *name) {
    char *path = NULL;
    if (asprintf(&path, "%s/%s", directory, name) < 0) return NULL;
    if (access(path, R_OK) == 0) return path;
    free(path);
    return NULL;
}

/* In the directories that the loader searches by itself. */
static char *in_loaders_directories(const char *name) {
    Dl_serinfo count;
    void *program = dlopen(NULL, RTLD_NOW);
    char *found = NULL;
    if (program == NULL || dlinfo(program, RTLD_DI_SERINFOSIZE, &count) != 0) return NULL;
    Dl_serinfo *directories = malloc(count.dls_size);
    if (directories != NULL && dlinfo(program, RTLD_DI_SERINFOSIZE, directories) == 0 &&
        dlinfo(program, RTLD_DI_SERINFO, directories) == 0) {
        for (unsigned i = 0; i < directories->dls_cnt && found == NULL; i++) {
            found = in_directory(directories->dls_serpath[i].dls_name, name);
        }
    }
    free(directories);
    dlclose(program);
    return found;
}

char *contender_library(const struct contender *contender, const char *directory, char *problem, size_t problem_size) {
    if (contender->library == NULL) return strdup("");
    char *path;
    if (contender->package == NULL) {
        path = place_of_program(contender->library, problem, problem_size);
    } else {
        path = directory != NULL ? in_directory(directory, contender->library)
                                 : in_loaders_directories(contender->library);
        if (path == NULL) {
            snprintf(problem, problem_size, "%s is not in %s (Debian: apt-get install %s)", contender->library,
                     directory != NULL ? directory : "the loader's directories", contender->package);
        }
    }
    return path;
}

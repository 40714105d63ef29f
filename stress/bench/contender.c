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

enum { IS_REAL = CAN_GIVE_BACK | CAN_EXCHANGE, IS_RUNTIME = IS_REAL | CAN_LOCK, IS_OURS = IS_RUNTIME | CAN_STOP };

const struct contender contenders[] = {
    {"gilloc-gil", "libgilloc.so.0", NULL, false, false, true, IS_OURS, "gilloc in gil mode"},
    {"gilloc-free", "libgilloc.so.0", NULL, false, false, false, IS_OURS, "gilloc in GIL-free mode"},
    {"pymalloc", "libpython3.11.so.1.0", "libpython3.11", false, true, true, IS_RUNTIME,
     "CPython 3.11's allocator and lock"},
    {"glibc", NULL, NULL, false, true, false, IS_REAL, "malloc of the C library"},
    {"mimalloc", "libmimalloc.so.2", "libmimalloc2.0", true, true, false, IS_REAL, "preloaded"},
    {"jemalloc", "libjemalloc.so.2", "libjemalloc2", true, true, false, IS_REAL, "preloaded"},
    {"tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4", true, true, false, IS_REAL,
     "of gperftools, preloaded"},
    {"tbbmalloc", "libtbbmalloc_proxy.so.2", "libtbbmalloc2", true, true, false, IS_REAL, "preloaded"},
    {"limit-call", "liblimit.so", NULL, false, false, false, 0, "lists of free blocks and nothing else, in a library"},
    {"limit-inline", NULL, NULL, false, false, false, 0, "the same, inlined into the workload"},
    {"null", "liblimit.so", NULL, false, false, false, CAN_EXCHANGE, "calls that do nothing: the workload's own cost"},
};
const size_t contender_count = sizeof contenders / sizeof *contenders;

const struct contender *contender_find(const char *name) {
    for (size_t i = 0; i < contender_count; i++) {
        if (strcmp(contenders[i].name, name) == 0) return &contenders[i];
    }
    return NULL;
}

bool contender_can_run(const struct contender *contender, const struct workload *workload) {
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

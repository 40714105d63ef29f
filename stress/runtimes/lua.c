/* SPDX-License-Identifier: MIT */
/*
 * lua.c - bazel run -c opt //stress:lua: programs of Lua, each thread with states of its own.
 *   Owner   the main program.  Locks: none.
 */
#include <gilloc/gilloc.h>
#include <gilloc/lua.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>

#include "stress/runtimes/compare.h"

static const char *const programs[] = {"binary_trees", "coroutines", "json",    "life",
                                       "objects",      "queens",     "strings", "words"};
static const lua_Integer results[] = {178859, 40100000, 66241, 178, 82000, 1656, 2187624, 449865};

enum { PROGRAMS = sizeof(programs) / sizeof(programs[0]), PASSES = 4 };

struct job {
    size_t program;
    bool on_gilloc;
};

static int pass(const struct job *job) {
    char path[100];
    snprintf(path, sizeof(path), "stress/runtimes/programs/%s.lua", programs[job->program]);
    lua_State *lua = job->on_gilloc ? lua_newstate(gilloc_lua_alloc, NULL) : luaL_newstate();
    if (lua == NULL) {
        return -1;
    }
    luaL_openlibs(lua);
    bool ran = luaL_dofile(lua, path) == LUA_OK;
    bool right = ran && lua_tointeger(lua, -1) == results[job->program];
    if (!ran) {
        fprintf(stderr, "%s\n", lua_tostring(lua, -1));
    } else if (!right) {
        fprintf(stderr, "%s: %lld, not %lld\n", path, (long long)lua_tointeger(lua, -1),
                (long long)results[job->program]);
    }
    lua_close(lua);
    return right ? 0 : -1;
}

static int run_job(void *arg) {
    const struct job *job = arg;
    int status = 0;
    for (int i = 0; i < PASSES; i++) {
        status |= pass(job);
        if (job->on_gilloc) {
            gilloc_safepoint();
        }
    }
    return status;
}

static int run(size_t program, size_t threads, bool on_gilloc) {
    struct job job = {program, on_gilloc};
    return compare_in_threads(threads, on_gilloc, run_job, &job);
}

int main(int argc, char **argv) {
    static const struct compare compare = {"lua", programs, PROGRAMS, run};
    return compare_main(&compare, argc, argv);
}

/* SPDX-License-Identifier: MIT */
/*
 * lua_test.c - Lua runs on gilloc: what programs compute, every block comes back, memory that is refused, threads.
 */
#include <gilloc/lua.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <string.h>

#include "tests/embed/refuse.h"
#include "tests/support/arena_source.h"
#include "tests/support/case.h"
#include "tests/support/death.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/sanitizer.h"
#include "tests/support/spy.h"
#include "tests/support/threads.h"

/* Tables, strings, closures, coroutines, and a table that grows and is emptied; collected in between. */
static const char program[] =
    "local n, sum, words = ..., 0, {}\n"
    "for i = 1, n do\n"
    "  local t = {i, i + 1, name = 'n' .. i, f = function() return i end}\n"
    "  words[#words + 1] = t.name .. ('x'):rep(i % 300)\n"
    "  sum = sum + t[1] + t.f()\n"
    "end\n"
    "local text = table.concat(words, ',')\n"
    "for w in text:gmatch('n(%d+)') do sum = sum + tonumber(w) end\n"
    "words = nil\n"
    "collectgarbage()\n"
    "local co = coroutine.wrap(function() for i = 1, n do coroutine.yield(i) end return 0 end)\n"
    "for i = 1, n do sum = sum + co() end\n"
    "return sum\n";

/* Four times 1 + 2 + ... + n. */
static lua_Integer expected(lua_Integer n) { return 2 * n * (n + 1); }

static void at_a_step(lua_State *lua, lua_Debug *record) {
    (void)lua;
    (void)record;
    gilloc_safepoint();
}

static lua_State *new_state(void) {
    lua_State *lua = lua_newstate(gilloc_lua_alloc, NULL);
    EXPECT(lua != NULL);
    luaL_openlibs(lua);
    lua_sethook(lua, at_a_step, LUA_MASKCOUNT, 1000);
    return lua;
}

static void run_program(lua_State *lua, lua_Integer n) {
    EXPECT_EQ(luaL_loadstring(lua, program), LUA_OK);
    lua_pushinteger(lua, n);
    EXPECT_EQ(lua_pcall(lua, 1, 1, 0), LUA_OK);
    EXPECT_EQ(lua_tointeger(lua, -1), expected(n));
    lua_pop(lua, 1);
}

static void it_runs_and_every_block_comes_back(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    lua_State *lua = new_state();
    EXPECT(gilloc_allocated_blocks() > 100);
    run_program(lua, ROUNDS(2000));
    lua_close(lua);
    memory_expect_all_back();
    PyGILState_Release(was);
}

static void calls_are_those_of_the_object_domain(void) {
    struct spy spy;
    PyGILState_STATE was = PyGILState_Ensure();
    spy_install(&spy, PYMEM_DOMAIN_OBJ);
    void *block = gilloc_lua_alloc(NULL, NULL, LUA_TSTRING, 40);
    spy_expect(&spy, 1, 0, 0, 0);
    block = gilloc_lua_alloc(NULL, block, 40, 400);
    EXPECT_EQ(shared_get(&spy.last_size), 400);
    spy_expect(&spy, 0, 0, 1, 0);
    EXPECT(gilloc_lua_alloc(NULL, block, 400, 0) == NULL);
    spy_expect(&spy, 0, 0, 0, 1);
    EXPECT(gilloc_lua_alloc(NULL, NULL, 0, 0) == NULL);
    spy_expect(&spy, 0, 0, 0, 0);
    spy_remove(&spy);
    PyGILState_Release(was);
}

/* --- memory that is refused ------------------------------------------------------------------- */

static int main_of_protected(lua_State *lua) {
    luaL_openlibs(lua);
    if (luaL_loadstring(lua, program) != LUA_OK) {
        return lua_error(lua);
    }
    lua_pushinteger(lua, 20);
    lua_call(lua, 1, 1);
    EXPECT_EQ(lua_tointeger(lua, -1), expected(20));
    return 0;
}

/* With the k-th request refused (Lua then collects and asks again), or all from it on; whether Lua got through. */
static int run_refused(struct refuse *refuse, size_t at, int onward) {
    refuse_set(refuse, at, onward);
    lua_State *lua = lua_newstate(gilloc_lua_alloc, NULL);
    int status = LUA_ERRMEM;
    if (lua != NULL) {
        lua_pushcfunction(lua, main_of_protected);
        status = lua_pcall(lua, 0, 0, 0);
        EXPECT(status == LUA_OK || status == LUA_ERRMEM);
        lua_close(lua);
    }
    memory_expect_all_back();
    return status == LUA_OK;
}

static void refused_requests_are_errors_of_lua(void) {
    struct refuse refuse;
    PyGILState_STATE was = PyGILState_Ensure();
    refuse_install(&refuse, PYMEM_DOMAIN_OBJ);
    EXPECT(run_refused(&refuse, 0, 0));
    size_t calls = refuse.calls, failed = 0;
    EXPECT(calls > 500);
    size_t step = PLAIN_BUILD ? 1 : 23;
    for (size_t at = 1; at <= calls; at += step) {
        (void)run_refused(&refuse, at, 0);
        failed += !run_refused(&refuse, at, 1);
    }
    EXPECT(failed > calls / step / 2);
    EXPECT(run_refused(&refuse, 0, 0));
    refuse_remove(&refuse);
    PyGILState_Release(was);
}

/* Lua relies on it.  The block stays, and its size is what Lua says it is. */
static void no_memory_for_a_smaller_block(void) {
    static struct arena_source arenas;
    struct refuse raw;
    PyGILState_STATE was = PyGILState_Ensure();
    size_t size = SMALL_LIMIT;
    char *block = gilloc_lua_alloc(NULL, NULL, LUA_TTABLE, size);
    EXPECT(block != NULL); /* there is one arena, and no other one to come */
    arena_source_init(&arenas);
    arenas.fail_from = 1;
    arena_source_install(&arenas);
    refuse_install(&raw, PYMEM_DOMAIN_RAW);
    refuse_set(&raw, 1, 1);
    while (gilloc_lua_alloc(NULL, NULL, LUA_TTABLE, 16) != NULL) {
    }
    EXPECT(gilloc_lua_alloc(NULL, block, size, 16) == block);
    gilloc_lua_alloc(NULL, block, 16, 0);
    refuse_remove(&raw);
    PyGILState_Release(was);
}

static void a_hook_refuses_a_smaller_block(void) {
    struct refuse refuse;
    PyGILState_STATE was = PyGILState_Ensure();
    char *block = gilloc_lua_alloc(NULL, NULL, LUA_TTABLE, 500);
    refuse_install(&refuse, PYMEM_DOMAIN_OBJ);
    refuse_set(&refuse, 1, 1);
    EXPECT(gilloc_lua_alloc(NULL, block, 500, 100) == block);
    EXPECT(gilloc_lua_alloc(NULL, block, 100, 100) == block);
    EXPECT(gilloc_lua_alloc(NULL, block, 100, 200) == NULL);
    refuse_remove(&refuse);
    gilloc_lua_alloc(NULL, block, 100, 0);
    memory_expect_all_back();
    PyGILState_Release(was);
}

/* --- threads ---------------------------------------------------------------------------------- */

#define STATES 4

static void *run_alone(void *arg) {
    (void)arg;
    PyGILState_STATE was = PyGILState_Ensure();
    for (int i = 0; i < 3; i++) {
        lua_State *lua = new_state();
        run_program(lua, ROUNDS(500) + i);
        lua_close(lua);
    }
    PyGILState_Release(was);
    return NULL;
}

static void states_on_many_threads(void) {
    threads_run(STATES, run_alone, NULL, 0);
    PyGILState_STATE was = PyGILState_Ensure();
    memory_expect_all_back();
    PyGILState_Release(was);
}

static void *run_handed_over(void *arg) {
    PyGILState_STATE was = PyGILState_Ensure();
    run_program(arg, ROUNDS(300));
    PyGILState_Release(was);
    return NULL;
}

static void *close_handed_over(void *arg) {
    PyGILState_STATE was = PyGILState_Ensure();
    lua_close(arg);
    PyGILState_Release(was);
    return NULL;
}

static void a_state_goes_from_thread_to_thread(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    lua_State *lua = new_state();
    run_program(lua, ROUNDS(300));
    PyThreadState *self = PyEval_SaveThread();
    for (int i = 0; i < 4; i++) {
        threads_run(1, run_handed_over, lua, 0);
    }
    threads_run(1, close_handed_over, lua, 0);
    PyEval_RestoreThread(self);
    memory_expect_all_back();
    PyGILState_Release(was);
}

/* --- misuse ----------------------------------------------------------------------------------- */

static void free_by_another_size(const void *arg) {
    (void)arg;
    (void)PyGILState_Ensure();
    gilloc_lua_alloc(NULL, gilloc_lua_alloc(NULL, NULL, 0, 100), 200, 0);
}

static void call_detached(const void *arg) {
    (void)arg;
    gilloc_lua_alloc(NULL, NULL, 0, 100);
}

static struct death_case deaths[] = {
    {"a size that the block cannot have", free_by_another_size, NULL, GILLOC_MODE_GIL, 0,
     "Fatal gilloc error: gilloc_free_sized: size mismatch\n"
     "  domain   object\n"
     "  block    X, of 112 bytes\n"
     "  size     200 bytes\n"
     "  do       pass the size that the block was requested with\n"},
    {"a detached thread", call_detached, NULL, GILLOC_MODE_FREE, 0,
     "Fatal gilloc error: PyObject_Malloc: Python memory allocator called without holding the GIL\n"
     "  domain   object\n"
     "  size     100 bytes\n"
     "  thread   X, detached\n"
     "  do       attach the thread first, by PyGILState_Ensure() or PyEval_RestoreThread()\n"},
};

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(it_runs_and_every_block_comes_back), IN_GIL_MODE(calls_are_those_of_the_object_domain),
        IN_GIL_MODE(refused_requests_are_errors_of_lua),   IN_GIL_MODE(no_memory_for_a_smaller_block),
        IN_GIL_MODE(a_hook_refuses_a_smaller_block),       IN_BOTH_MODES(states_on_many_threads),
        IN_BOTH_MODES(a_state_goes_from_thread_to_thread),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed + (is_hardened() ? 0 : death_run_group("lua_death", deaths, sizeof(deaths) / sizeof(deaths[0])));
}

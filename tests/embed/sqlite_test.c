/* SPDX-License-Identifier: MIT */
/*
 * sqlite_test.c - SQLite runs on gilloc: what queries give, every block comes back, memory that is refused, threads
 *   that are attached and threads that are not.
 */
#include <gilloc/sqlite.h>
#include <limits.h>
#include <sqlite3.h>
#include <string.h>

#include "tests/embed/refuse.h"
#include "tests/support/case.h"
#include "tests/support/domains.h"
#include "tests/support/expect.h"
#include "tests/support/memory.h"
#include "tests/support/runtime_lock.h"
#include "tests/support/sanitizer.h"
#include "tests/support/shared.h"
#include "tests/support/spy.h"
#include "tests/support/threads.h"

/* --- the methods ------------------------------------------------------------------------------ */

static void fill(char *block, int size) { memset(block, size & 127, (size_t)size); }

static void expect_filled(const char *block, int size, int with) {
    for (int i = 0; i < size; i++) {
        EXPECT_EQ(block[i], with & 127);
    }
}

/* Sizes, the bytes that are kept, alignment. */
static void check_methods(void) {
    EXPECT_EQ(gilloc_sqlite_size(NULL), 0);
    EXPECT_EQ(gilloc_sqlite_roundup(INT_MAX), INT_MAX);
    for (int size = 1; size < 1200; size += 7) {
        char *block = gilloc_sqlite_malloc(size);
        EXPECT(block != NULL);
        EXPECT_EQ((uintptr_t)block % 8, 0);
        int usable = gilloc_sqlite_size(block);
        EXPECT(usable >= size);
        EXPECT_EQ(usable, gilloc_sqlite_roundup(size));
        EXPECT_EQ(usable, gilloc_sqlite_roundup(usable));
        fill(block, usable);
        for (int to = 1; to < 1500; to += 311) {
            char *moved = gilloc_sqlite_realloc(block, to);
            EXPECT(moved != NULL);
            EXPECT_EQ(gilloc_sqlite_size(moved), gilloc_sqlite_roundup(to));
            expect_filled(moved, to < usable ? to : usable, usable);
            usable = gilloc_sqlite_size(moved);
            fill(moved, usable);
            block = moved;
        }
        gilloc_sqlite_free(block);
    }
}

static void methods_attached_and_detached(void) {
    check_methods();
    PyGILState_STATE was = PyGILState_Ensure();
    check_methods();
    memory_expect_all_back();
    PyGILState_Release(was);
}

static void who_calls_says_which_domain(void) {
    struct spy raw, mem;
    spy_install(&raw, PYMEM_DOMAIN_RAW);
    spy_install(&mem, PYMEM_DOMAIN_MEM);
    void *detached = gilloc_sqlite_malloc(100);
    spy_expect(&raw, 1, 0, 0, 0);
    PyGILState_STATE was = PyGILState_Ensure();
    void *attached = gilloc_sqlite_malloc(100);
    spy_expect(&mem, 1, 0, 0, 0);
    detached = gilloc_sqlite_realloc(detached, 200);
    spy_expect(&raw, 0, 0, 1, 0);
    attached = gilloc_sqlite_realloc(attached, 200);
    spy_expect(&mem, 0, 0, 1, 0);
    gilloc_sqlite_free(detached);
    spy_expect(&raw, 0, 0, 0, 1);
    gilloc_sqlite_free(attached);
    spy_expect(&mem, 0, 0, 0, 1);
    PyGILState_Release(was);
    spy_remove(&mem);
    spy_remove(&raw);
}

/* In mem, by nobody who may touch it: it waits, and the next call of an attached thread frees it. */
static void what_a_detached_thread_frees_waits(void) {
    enum { BLOCKS = 500 };
    static char *blocks[BLOCKS];
    PyGILState_STATE was = PyGILState_Ensure();
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = gilloc_sqlite_malloc(1 + i);
    }
    PyThreadState *self = PyEval_SaveThread();
    for (int i = 0; i < BLOCKS; i++) {
        if (i % 2 == 0) {
            fill(blocks[i], 1 + i);
            blocks[i] = gilloc_sqlite_realloc(blocks[i], 2 + i); /* moves to raw */
            expect_filled(blocks[i], 1 + i, 1 + i);
        }
        gilloc_sqlite_free(blocks[i]);
    }
    PyEval_RestoreThread(self);
    EXPECT_EQ(gilloc_allocated_blocks(), BLOCKS);
    gilloc_sqlite_free(gilloc_sqlite_malloc(1));
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    blocks[0] = gilloc_sqlite_malloc(10);
    self = PyEval_SaveThread();
    gilloc_sqlite_free(blocks[0]);
    PyEval_RestoreThread(self);
    EXPECT_EQ(gilloc_sqlite_init(NULL), 0);
    gilloc_sqlite_shutdown(NULL);
    memory_expect_all_back();
    PyGILState_Release(was);
}

/* Its blocks would be of another heap. */
static void threads_of_other_interpreters_use_raw(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    char *ours = gilloc_sqlite_malloc(100);
    PyThreadState *self = PyEval_SaveThread();
    PyInterpreterState *other = PyInterpreterState_New();
    PyThreadState *state = PyThreadState_New(other);
    PyEval_RestoreThread(state);
    char *theirs = gilloc_sqlite_malloc(100);
    gilloc_sqlite_free(ours);
    EXPECT_EQ(gilloc_allocated_blocks(), 1);
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
    PyInterpreterState_Delete(other);
    PyEval_RestoreThread(self);
    gilloc_sqlite_free(theirs);
    memory_expect_all_back();
    PyGILState_Release(was);
}

static void with_a_lock_of_the_callers(void) {
    static struct runtime_lock lock; /* gilloc asks it until the end */
    runtime_lock_init(&lock);
    EXPECT_EQ(runtime_lock_set(&lock), 0);
    void *before = gilloc_sqlite_malloc(100);
    runtime_lock_acquire(&lock);
    PyMem_Free(PyMem_Malloc(1)); /* attaches */
    void *held = gilloc_sqlite_malloc(100);
    EXPECT_EQ(gilloc_allocated_blocks(), 1);
    runtime_lock_release(&lock);
    gilloc_sqlite_free(before);
    gilloc_sqlite_free(held);
    check_methods();
    runtime_lock_acquire(&lock);
    gilloc_sqlite_shutdown(NULL);
    EXPECT_EQ(gilloc_allocated_blocks(), 0);
    runtime_lock_release(&lock);
}

/* --- SQLite ----------------------------------------------------------------------------------- */

static void configure(void) {
    static const sqlite3_mem_methods methods = GILLOC_SQLITE_METHODS;
    EXPECT_EQ(sqlite3_config(SQLITE_CONFIG_MALLOC, &methods), SQLITE_OK);
    EXPECT_EQ(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0), SQLITE_OK); /* so that more comes to us */
}

/* The one number that `sql` gives, or -1 where memory is out. */
static sqlite3_int64 ask(sqlite3 *database, const char *sql) {
    sqlite3_stmt *statement = NULL;
    sqlite3_int64 answer = -1;
    int status = sqlite3_prepare_v2(database, sql, -1, &statement, NULL);
    if (status == SQLITE_OK && (status = sqlite3_step(statement)) == SQLITE_ROW) {
        answer = sqlite3_column_int64(statement, 0);
        status = SQLITE_OK;
    }
    EXPECT(status == SQLITE_OK || status == SQLITE_NOMEM);
    sqlite3_finalize(statement);
    return answer;
}

static int do_sql(sqlite3 *database, const char *sql) {
    int status = sqlite3_exec(database, sql, NULL, NULL, NULL);
    EXPECT(status == SQLITE_OK || status == SQLITE_NOMEM);
    return status == SQLITE_OK ? 0 : -1;
}

/* A load in a database of its own: SQLITE_OK, or -1 where memory was out. */
static int load(int rows) {
    sqlite3 *database = NULL;
    char *fill_sql = sqlite3_mprintf(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
        "INSERT INTO t SELECT i, 'name ' || (i * 7919 %% %d), hex(zeroblob(i %% 200)) FROM n",
        rows, rows);
    int status = -1;
    if (fill_sql != NULL && sqlite3_open(":memory:", &database) == SQLITE_OK &&
        do_sql(database, "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, bytes TEXT)") == 0 &&
        do_sql(database, fill_sql) == 0 && do_sql(database, "CREATE INDEX by_name ON t(name)") == 0 &&
        do_sql(database, "DELETE FROM t WHERE id % 10 = 0") == 0 &&
        do_sql(database, "UPDATE t SET name = name || '!' WHERE id % 3 = 0") == 0) {
        sqlite3_int64 sum = ask(database, "SELECT sum(id) FROM t");
        sqlite3_int64 names =
            ask(database, "SELECT count(*) FROM (SELECT name FROM t GROUP BY name ORDER BY length(name), name DESC)");
        sqlite3_int64 whole = ask(database, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'");
        if (sum >= 0 && names >= 0 && whole >= 0) {
            sqlite3_int64 tens = rows / 10;
            EXPECT_EQ(sum, (sqlite3_int64)rows * (rows + 1) / 2 - 10 * tens * (tens + 1) / 2);
            EXPECT_EQ(names, rows - tens);
            EXPECT_EQ(whole, 1);
            status = SQLITE_OK;
        }
    }
    sqlite3_free(fill_sql);
    EXPECT_EQ(sqlite3_close(database), SQLITE_OK);
    return status;
}

/* Not a multiple of 7919, so that all names differ. */
#define ROWS (ROUNDS(1000) + 1)

static void a_load_gives_what_it_must(void) {
    struct spy spy;
    configure();
    spy_install(&spy, PYMEM_DOMAIN_MEM);
    PyGILState_STATE was = PyGILState_Ensure();
    EXPECT_EQ(load(ROWS), SQLITE_OK);
    EXPECT(shared_get(&spy.mallocs) > 500);
    spy_reset(&spy);
    EXPECT_EQ(sqlite3_shutdown(), SQLITE_OK);
    memory_expect_all_back();
    PyGILState_Release(was);
    EXPECT_EQ(load(ROWS), SQLITE_OK); /* detached */
    EXPECT_EQ(shared_get(&spy.mallocs), 0);
    EXPECT_EQ(sqlite3_shutdown(), SQLITE_OK);
}

static void *load_attached(void *arg) {
    (void)arg;
    PyGILState_STATE was = PyGILState_Ensure();
    EXPECT_EQ(load(ROWS), SQLITE_OK);
    PyGILState_Release(was);
    return NULL;
}

static void *load_detached(void *arg) {
    (void)arg;
    EXPECT_EQ(load(ROWS), SQLITE_OK);
    return NULL;
}

static void expect_shut_down(void) {
    PyGILState_STATE was = PyGILState_Ensure();
    EXPECT_EQ(sqlite3_shutdown(), SQLITE_OK);
    memory_expect_all_back();
    PyGILState_Release(was);
}

static void attached_threads_load(void) {
    configure();
    threads_run(4, load_attached, NULL, 0);
    expect_shut_down();
}

/* Attached and detached ones at once, each in a database of its own: SQLite's own mutexes are between them. */
static void all_sorts_of_threads_load(void) {
    configure();
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        threads[i] = thread_start(i % 2 == 0 ? load_attached : load_detached, NULL);
    }
    for (int i = 0; i < 4; i++) {
        thread_join(threads[i]);
    }
    expect_shut_down();
}

/* One connection for all: what one thread allocates another one frees, attached or not. */
struct sharing {
    sqlite3 *database;
    int attached;
};

static void *share(void *arg) {
    struct sharing *sharing = arg;
    for (int i = 0; i < ROUNDS(100); i++) {
        PyGILState_STATE was = sharing->attached ? PyGILState_Ensure() : PyGILState_LOCKED;
        EXPECT_EQ(do_sql(sharing->database, "INSERT INTO t VALUES(hex(randomblob(50)))"), 0);
        EXPECT(ask(sharing->database, "SELECT count(DISTINCT substr(x, 1, 40)) FROM t") > 0);
        if (sharing->attached) {
            PyGILState_Release(was);
        }
    }
    return NULL;
}

static void threads_share_a_connection(void) {
    configure();
    sqlite3 *database = NULL;
    EXPECT_EQ(sqlite3_open_v2(":memory:", &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
                              NULL),
              SQLITE_OK);
    EXPECT_EQ(do_sql(database, "CREATE TABLE t(x TEXT)"), 0);
    struct sharing sharing[4];
    for (int i = 0; i < 4; i++) {
        sharing[i] = (struct sharing){database, i % 2};
    }
    threads_run(4, share, sharing, sizeof(sharing[0]));
    EXPECT_EQ(ask(database, "SELECT count(*) FROM t"), 4 * ROUNDS(100));
    EXPECT_EQ(sqlite3_close(database), SQLITE_OK);
    expect_shut_down();
}

/* A thread that is not attached waits for nothing of gilloc's: it goes on in a stopped world. */
static void a_stopped_world_does_not_stop_it(void) {
    configure();
    PyGILState_STATE was = PyGILState_Ensure();
    sqlite3 *database = NULL;
    EXPECT_EQ(sqlite3_open(":memory:", &database), SQLITE_OK); /* mem's, which the other thread resizes and frees */
    EXPECT_EQ(do_sql(database, "CREATE TABLE t(x TEXT)"), 0);
    gilloc_stop_the_world();
    struct sharing sharing = {database, 0};
    threads_run(1, share, &sharing, 0);
    threads_run(1, load_detached, NULL, 0);
    gilloc_start_the_world();
    EXPECT_EQ(sqlite3_close(database), SQLITE_OK);
    PyGILState_Release(was);
    expect_shut_down();
}

/* The k-th request alone, and all from it on, of attached and of detached threads. */
static void refused_requests_are_errors_of_sqlite(void) {
    configure();
    struct refuse refuse[2];
    refuse_install(&refuse[0], PYMEM_DOMAIN_MEM);
    refuse_install(&refuse[1], PYMEM_DOMAIN_RAW);
    for (int attached = 0; attached < 2; attached++) {
        PyGILState_STATE was = attached ? PyGILState_Ensure() : PyGILState_LOCKED;
        struct refuse *one = &refuse[!attached];
        refuse_set(one, 0, 0);
        EXPECT_EQ(load(30), SQLITE_OK);
        size_t calls = one->calls, failed = 0, step = PLAIN_BUILD ? 5 : 97;
        EXPECT(calls > 100);
        for (size_t at = 1; at <= calls; at += step) {
            refuse_set(one, at, 0);
            (void)load(30);
            refuse_set(one, at, 1);
            failed += load(30) != SQLITE_OK;
        }
        EXPECT(failed > calls / step / 2);
        refuse_set(one, 0, 0);
        EXPECT_EQ(load(30), SQLITE_OK);
        EXPECT_EQ(sqlite3_shutdown(), SQLITE_OK);
        if (attached) {
            memory_expect_all_back();
            PyGILState_Release(was);
        }
    }
    refuse_remove(&refuse[1]);
    refuse_remove(&refuse[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH_MODES(methods_attached_and_detached),
        IN_BOTH_MODES(who_calls_says_which_domain),
        IN_BOTH_MODES(what_a_detached_thread_frees_waits),
        IN_BOTH_MODES(threads_of_other_interpreters_use_raw),
        IN_OPEN_MODE(with_a_lock_of_the_callers),
        IN_BOTH_MODES(a_load_gives_what_it_must),
        IN_BOTH_MODES(attached_threads_load),
        IN_FREE_MODE(all_sorts_of_threads_load),
        IN_FREE_MODE(threads_share_a_connection),
        IN_BOTH_MODES(a_stopped_world_does_not_stop_it),
        IN_GIL_MODE(refused_requests_are_errors_of_sqlite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

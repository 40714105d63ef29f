/* SPDX-License-Identifier: MIT */
/*
 * sqlite.c - bazel run -c opt //stress:sqlite: loads of SQLite, each thread with a database of its own in memory.
 *   SQLite's memory statistics are off, as its documents advise: a mutex around each allocation goes with them.
 *   Owner   the main program.  Locks: none.
 */
#include <gilloc/gilloc.h>
#include <gilloc/sqlite.h>
#include <sqlite3.h>
#include <stdio.h>

#include "stress/runtimes/compare.h"

#define NUMBERS(n) "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < " #n ") "
#define FILL                                                                   \
    "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, kind INT, bytes BLOB);" \
    "INSERT INTO t SELECT 1, '', 0, '' WHERE 0;" NUMBERS(                      \
        30000) "INSERT INTO t SELECT i, 'name ' || (i * 7919 % 30000), i % 97, zeroblob(i % 200) FROM n;"

struct load {
    const char *sql;   /* done first */
    const char *query; /* asked `times` times with the number of the time as ?1; the numbers it gives are added */
    int times;
    bool prepared; /* once for all times */
    sqlite3_int64 result;
};

static const char *const names[] = {"insert", "index", "group", "text", "json", "statements"};
static const struct load loads[] = {
    {FILL "CREATE INDEX by_name ON t(name);", "SELECT count(*) + ?1 FROM t", 3, true, 90006},
    {FILL "CREATE INDEX by_kind ON t(kind, name); DELETE FROM t WHERE id % 3 = 0; UPDATE t SET name = name || '!';",
     "SELECT sum(id % 10) + ?1 FROM t WHERE kind = ?1 AND name LIKE '%!'", 97, true, 93717},
    {FILL, "SELECT sum(m) FROM (SELECT max(id) % 1000 + ?1 AS m FROM t GROUP BY name, kind ORDER BY m DESC)", 6, true,
     90540000},
    {FILL, "SELECT length(group_concat(upper(name) || replace(name, 'm', 'mm'), ';')) + ?1 FROM t WHERE id % 10 <> ?1",
     15, true, 8992803},
    {"CREATE TABLE t(x TEXT);" NUMBERS(8000) "INSERT INTO t SELECT json_object('id', i, 'tags', json_array(i % 7, 'b' "
                                             "|| i), 'p', json('{\"x\":1.5}')) FROM n;",
     "SELECT sum(json_extract(x, '$.id') + json_extract(x, '$.tags[0]')) + ?1 FROM t", 8, true, 256224060},
    {"CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b TEXT); INSERT INTO t VALUES (1, 2, 'three'), (4, 5, 'six');",
     "SELECT sum(x.a + y.id) + ?1 FROM t AS x JOIN t AS y ON x.id <= y.id AND x.b <> 'none' "
     "LEFT JOIN (SELECT a, count(*) AS n FROM t GROUP BY a HAVING n > 0) AS z ON z.a = x.a "
     "WHERE x.id IN (SELECT id FROM t WHERE b LIKE '%e%' OR a > 1) ORDER BY 1 LIMIT 5",
     6000, false, 18111000},
};

enum { LOADS = sizeof(loads) / sizeof(loads[0]), PASSES = 4 };

/* The sum of all that the query gives, or -1. */
static sqlite3_int64 ask(sqlite3 *database, const struct load *load) {
    sqlite3_stmt *statement = NULL;
    sqlite3_int64 sum = 0;
    for (int time = 1; time <= load->times; time++) {
        if (statement == NULL && sqlite3_prepare_v2(database, load->query, -1, &statement, NULL) != SQLITE_OK) {
            return -1;
        }
        sqlite3_bind_int(statement, 1, time);
        int status = 0;
        while ((status = sqlite3_step(statement)) == SQLITE_ROW) {
            sum += sqlite3_column_int64(statement, 0);
        }
        if (status != SQLITE_DONE) {
            return -1;
        }
        sqlite3_reset(statement);
        if (!load->prepared) {
            sqlite3_finalize(statement);
            statement = NULL;
        }
    }
    sqlite3_finalize(statement);
    return sum;
}

static int pass(const struct load *load) {
    sqlite3 *database = NULL;
    sqlite3_int64 sum = -1;
    if (sqlite3_open_v2(":memory:", &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) == SQLITE_OK &&
        sqlite3_exec(database, load->sql, NULL, NULL, NULL) == SQLITE_OK) {
        sum = ask(database, load);
    }
    if (sum != load->result) {
        fprintf(stderr, "%s: %lld, not %lld (%s)\n", names[load - loads], (long long)sum, (long long)load->result,
                sqlite3_errmsg(database));
    }
    return sqlite3_close(database) == SQLITE_OK && sum == load->result ? 0 : -1;
}

static int run_load(void *arg) {
    int status = 0;
    for (int i = 0; i < PASSES; i++) {
        status |= pass(arg);
    }
    return status;
}

static int run(size_t load, size_t threads, bool on_gilloc) {
    static const sqlite3_mem_methods methods = GILLOC_SQLITE_METHODS;
    if ((on_gilloc && sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) != SQLITE_OK) ||
        sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0) != SQLITE_OK || sqlite3_initialize() != SQLITE_OK) {
        return -1;
    }
    return compare_in_threads(threads, on_gilloc, run_load, (void *)&loads[load]);
}

int main(int argc, char **argv) {
    static const struct compare compare = {"sqlite", names, LOADS, run};
    return compare_main(&compare, argc, argv);
}

/* SPDX-License-Identifier: MIT */
/*
 * gilloc/sqlite.h - SQLite's memory from gilloc.  Needs no header of SQLite.
 *
 *     static const sqlite3_mem_methods methods = GILLOC_SQLITE_METHODS;
 *     sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);    before any other call of SQLite
 *
 * SQLite may be called by any thread, attached or not, and may start threads of its
 * own.  What an attached thread allocates comes from the mem domain; what another
 * one does, from the raw domain.  Any thread frees and resizes either.  No function
 * here attaches, waits for gilloc's lock or is a safepoint: SQLite calls them with
 * its mutexes held, for which attached threads may wait.
 */
#ifndef GILLOC_SQLITE_H
#define GILLOC_SQLITE_H

#include <gilloc/pymem.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The methods of sqlite3_mem_methods (its fields xMalloc, xFree, xRealloc, xSize,
   xRoundup, xInit, xShutdown), for any thread.  Blocks are aligned to 8 bytes. */

/* Allocates at least `size` bytes, `size` > 0; NULL: memory is out. */
GILLOC_API void *gilloc_sqlite_malloc(int size);
/* Frees `block`, not NULL.  A block of the mem domain that a detached thread frees
   waits for the next call of an attached one to be freed. */
GILLOC_API void gilloc_sqlite_free(void *block);
/* Resizes `block`, not NULL, to at least `size` bytes, `size` > 0; NULL: memory is
   out, and the block is as it was. */
GILLOC_API void *gilloc_sqlite_realloc(void *block, int size);
/* Bytes that may be used in `block`; 0 for NULL. */
GILLOC_API int gilloc_sqlite_size(void *block);
/* The bytes that a block of `size` would have. */
GILLOC_API int gilloc_sqlite_roundup(int size);
/* Does nothing, and returns 0 (SQLITE_OK). */
GILLOC_API int gilloc_sqlite_init(void *unused);
/* Frees what waits to be freed, if the caller is attached. */
GILLOC_API void gilloc_sqlite_shutdown(void *unused);

#define GILLOC_SQLITE_METHODS                                                                                       \
    {                                                                                                               \
        gilloc_sqlite_malloc, gilloc_sqlite_free, gilloc_sqlite_realloc, gilloc_sqlite_size, gilloc_sqlite_roundup, \
            gilloc_sqlite_init, gilloc_sqlite_shutdown, NULL                                                        \
    }

#ifdef __cplusplus
}
#endif

#endif /* GILLOC_SQLITE_H */

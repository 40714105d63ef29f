/* SPDX-License-Identifier: MIT */
/*
 * files.h - files that the tests make: traces, good and bad, in the test's own
 * directory.
 *   Owner   the test, one thread.  Locks: none.
 */
#ifndef TESTS_STRESS_FILES_H
#define TESTS_STRESS_FILES_H

/* cmocka.h needs these before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

/* Bytes of a file or to be written to one. */
struct bytes {
    unsigned char *at; /* from malloc */
    size_t size;
};

/* Appends to `bytes`. */
void bytes_add(struct bytes *bytes, const void *more, size_t size);
/* Appends a header of a trace, or a record of one, little-endian. */
void bytes_add_header(struct bytes *bytes, const char *magic, uint32_t version, uint64_t records, uint32_t slots,
                      uint32_t zero);
void bytes_add_record(struct bytes *bytes, unsigned op, unsigned domain, uint32_t size, uint32_t slot);
/* Packs `bytes` with xz, in place. */
void bytes_pack(struct bytes *bytes);
void bytes_free(struct bytes *bytes);

/* The path of `name` in the test's own directory, into PATH_MAX bytes; `path`. */
char *test_path(char *path, const char *name);
void write_file(const char *path, const struct bytes *bytes);
/* All of a file. */
struct bytes read_file(const char *path);

#endif /* TESTS_STRESS_FILES_H */

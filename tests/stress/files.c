/* SPDX-License-Identifier: MIT */
/*
 * files.c - files that the tests make.
 *   Owner   the test, one thread.  Locks: none.
 */
#include "tests/stress/files.h"

#include <endian.h>
#include <limits.h>
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- bytes ------------------------------------------------------------------------------------ */

void bytes_add(struct bytes *bytes, const void *more, size_t size) {
    bytes->at = realloc(bytes->at, bytes->size + size + 1);
    assert_non_null(bytes->at);
    memcpy(bytes->at + bytes->size, more, size);
    bytes->size += size;
    bytes->at[bytes->size] = 0;
}

static void add32(struct bytes *bytes, uint32_t value) {
    value = htole32(value);
    bytes_add(bytes, &value, sizeof value);
}

void bytes_add_header(struct bytes *bytes, const char *magic, uint32_t version, uint64_t records, uint32_t slots,
                      uint32_t zero) {
    bytes_add(bytes, magic, 4);
    add32(bytes, version);
    add32(bytes, (uint32_t)records);
    add32(bytes, (uint32_t)(records >> 32));
    add32(bytes, slots);
    add32(bytes, zero);
}

void bytes_add_record(struct bytes *bytes, unsigned op, unsigned domain, uint32_t size, uint32_t slot) {
    add32(bytes, op | domain << 3);
    add32(bytes, size);
    add32(bytes, slot);
}

void bytes_pack(struct bytes *bytes) {
    size_t room = lzma_stream_buffer_bound(bytes->size), size = 0;
    unsigned char *packed = malloc(room);
    lzma_ret code = lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, NULL, bytes->at, bytes->size, packed, &size, room);
    bytes_free(bytes);
    *bytes = (struct bytes){.at = packed, .size = size};
    assert_int_equal(code, LZMA_OK);
}

void bytes_free(struct bytes *bytes) {
    free(bytes->at);
    *bytes = (struct bytes){0};
}

/* --- files ------------------------------------------------------------------------------------ */

char *test_path(char *path, const char *name) {
    const char *directory = getenv("TEST_TMPDIR");
    assert_true(snprintf(path, PATH_MAX, "%s/%s", directory ? directory : "/tmp", name) < PATH_MAX);
    return path;
}

void write_file(const char *path, const struct bytes *bytes) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    if (bytes->size > 0) assert_int_equal(fwrite(bytes->at, 1, bytes->size, file), bytes->size);
    assert_int_equal(fclose(file), 0);
}

struct bytes read_file(const char *path) {
    struct bytes bytes = {0};
    char part[4096];
    size_t n;
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    bytes_add(&bytes, "", 0);
    while ((n = fread(part, 1, sizeof part, file)) > 0) bytes_add(&bytes, part, n);
    fclose(file);
    return bytes;
}

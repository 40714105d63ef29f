/* SPDX-License-Identifier: MIT */
/*
 * trace_test.c - good traces are read, and each kind of bad one is refused with
 * its text, whole.
 */
#include "stress/trace.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/stress/files.h"

#define COPY_AGAIN "get a good copy of the file"
#define RECORD_AGAIN "the trace is corrupt: record it again or get a good copy"

enum { MALLOC, CALLOC, REALLOC, FREE };
enum { RAW, MEM, OBJECT };

/* Loading the file must fail with `text` behind its path. */
static void assert_refused_file(const char *path, const char *text) {
    char expected[512], error[512] = "";
    struct trace trace;
    assert_int_equal(trace_load(&trace, path, error, sizeof error), -1);
    snprintf(expected, sizeof expected, "%s: %s", path, text);
    assert_string_equal(error, expected);
}

static void assert_refused(struct bytes *bytes, const char *text) {
    char path[PATH_MAX];
    write_file(test_path(path, "bad.trc.xz"), bytes);
    bytes_free(bytes);
    assert_refused_file(path, text);
    unlink(path);
}

static void assert_refused_packed(struct bytes *bytes, const char *text) {
    bytes_pack(bytes);
    assert_refused(bytes, text);
}

/* --- good traces ------------------------------------------------------------------------------ */

static void test_real_traces(void **state) {
    (void)state;
    static const struct {
        const char *path;
        uint32_t count, slots;
    } real[] = {
        {"stress/traces/startup.trc.xz", 53068, 16949},
        {"stress/traces/jsonre.trc.xz", 1000000, 25450},
        {"stress/traces/compileall.trc.xz", 1000000, 96284},
    };
    for (size_t i = 0; i < sizeof real / sizeof *real; i++) {
        char error[512] = "";
        struct trace trace;
        int result = trace_load(&trace, real[i].path, error, sizeof error);
        assert_string_equal(error, "");
        assert_int_equal(result, 0);
        assert_int_equal(trace.count, real[i].count);
        assert_int_equal(trace.slots, real[i].slots);
        trace_unload(&trace);
    }
}

static void test_records_as_written(void **state) {
    (void)state;
    struct bytes bytes = {0};
    struct trace trace;
    char path[PATH_MAX], error[512] = "";
    bytes_add_header(&bytes, "GTRC", 1, 6, 2, 0);
    bytes_add_record(&bytes, MALLOC, RAW, 0, 1);
    bytes_add_record(&bytes, REALLOC, OBJECT, 16, 0);
    bytes_add_record(&bytes, REALLOC, OBJECT, 4000000000, 0);
    bytes_add_record(&bytes, FREE, RAW, 0, 1);
    bytes_add_record(&bytes, CALLOC, MEM, 7, 1);
    bytes_add_record(&bytes, FREE, MEM | 5 << 2, 0, 1); /* of thread 5, which says nothing */
    bytes_pack(&bytes);
    write_file(test_path(path, "good.trc.xz"), &bytes);
    int result = trace_load(&trace, path, error, sizeof error);
    assert_string_equal(error, "");
    assert_int_equal(result, 0);
    assert_int_equal(trace.count, 6);
    assert_int_equal(trace.slots, 2);
    assert_int_equal(trace_op(&trace.records[2]), TRACE_REALLOC);
    assert_int_equal(trace_domain(&trace.records[2]), OBJECT);
    assert_int_equal(trace.records[2].size, 4000000000);
    assert_int_equal(trace.records[2].slot, 0);
    assert_int_equal(trace_op(&trace.records[5]), TRACE_FREE);
    assert_int_equal(trace_domain(&trace.records[5]), MEM);
    assert_int_equal(trace.records[5].slot, 1);
    trace_unload(&trace);
    bytes_free(&bytes);
}

/* --- files ------------------------------------------------------------------------------------ */

static void test_no_file(void **state) {
    (void)state;
    char path[PATH_MAX];
    assert_refused_file(test_path(path, "none.trc.xz"),
                        "cannot open: No such file or directory; --trace takes the name of a trace or a file");
    assert_refused_file(test_path(path, "."), "cannot read: Is a directory");
}

static void test_empty_file(void **state) {
    (void)state;
    struct bytes bytes = {0};
    assert_refused(&bytes, "the file is empty; " COPY_AGAIN);
}

static void test_no_xz(void **state) {
    (void)state;
    struct bytes bytes = {0};
    bytes_add_header(&bytes, "GTRC", 1, 1, 1, 0);
    bytes_add_record(&bytes, MALLOC, RAW, 1, 0);
    assert_refused(&bytes, "not an xz file; a trace is packed with xz (stress/traces/README.md)");
}

static void test_cut_file(void **state) {
    (void)state;
    struct bytes bytes = read_file("stress/traces/startup.trc.xz");
    size_t whole = bytes.size;
    bytes.size = whole / 2;
    char path[PATH_MAX], text[PATH_MAX + 100] = "", error[512] = "";
    struct trace trace;
    /* Where it ends is liblzma's to say: a record, and never one behind the last. */
    write_file(test_path(path, "bad.trc.xz"), &bytes);
    unsigned record;
    assert_int_equal(trace_load(&trace, path, error, sizeof error), -1);
    snprintf(text, sizeof text, "%s: the file is cut off: its xz data ends in record %%u; " COPY_AGAIN "%%n", path);
    int length = 0;
    assert_int_equal(sscanf(error, text, &record, &length), 1);
    assert_int_equal(length, strlen(error));
    assert_in_range(record, 1, 53067);
    bytes.size = 20;
    assert_refused(&bytes, "the file is cut off: its xz data ends in the header; " COPY_AGAIN);
}

/* Without its last byte all records can be unpacked, and still it is refused. */
static void test_last_byte_missing(void **state) {
    (void)state;
    struct bytes bytes = {0};
    bytes_add_header(&bytes, "GTRC", 1, 1, 1, 0);
    bytes_add_record(&bytes, MALLOC, RAW, 1, 0);
    bytes_pack(&bytes);
    bytes.size--;
    assert_refused(&bytes, "the file is cut off: its xz data ends in record 1; " COPY_AGAIN);
}

static void test_damaged_xz(void **state) {
    (void)state;
    struct bytes bytes = {0};
    bytes_add_header(&bytes, "GTRC", 1, 1, 1, 0);
    bytes_add_record(&bytes, MALLOC, RAW, 1, 0);
    bytes_pack(&bytes);
    bytes.at[bytes.size - 24] ^= 0xff; /* the checksum, which stands behind all that it covers */
    assert_refused(&bytes, "the xz data is damaged in record 1 or after it; " COPY_AGAIN);

    bytes = read_file("stress/traces/startup.trc.xz");
    for (size_t i = 0; i < 64; i++) bytes.at[bytes.size / 2 + i] ^= 0x5a;
    char path[PATH_MAX], error[512] = "";
    struct trace trace;
    write_file(test_path(path, "bad.trc.xz"), &bytes);
    assert_int_equal(trace_load(&trace, path, error, sizeof error), -1);
    assert_non_null(strstr(error, ": the xz data is damaged in record "));
    unlink(path);
    bytes_free(&bytes);
}

static void test_more_behind_xz(void **state) {
    (void)state;
    struct bytes bytes = read_file("stress/traces/startup.trc.xz");
    bytes_add(&bytes, "x", 1);
    assert_refused(&bytes, "more bytes follow the xz data; " COPY_AGAIN);
}

/* --- header ----------------------------------------------------------------------------------- */

static void test_short_header(void **state) {
    (void)state;
    struct bytes bytes = {0};
    bytes_add(&bytes, "GTRC", 4);
    assert_refused_packed(&bytes, "4 bytes unpacked, and the header alone has 24; " COPY_AGAIN);
}

static void test_bad_magic(void **state) {
    (void)state;
    struct bytes bytes = {0};
    bytes_add_header(&bytes, "GT\x01X", 1, 1, 1, 0);
    bytes_add_record(&bytes, MALLOC, RAW, 1, 0);
    assert_refused_packed(&bytes, "not a trace: begins with 'GT.X' and not 'GTRC'; --trace takes traces only");
}

static void test_bad_version(void **state) {
    (void)state;
    struct bytes bytes = {0};
    bytes_add_header(&bytes, "GTRC", 2, 1, 1, 0);
    bytes_add_record(&bytes, MALLOC, RAW, 1, 0);
    assert_refused_packed(&bytes, "version 2, and this program reads version 1; record the trace again");
}

static void test_last_word_not_zero(void **state) {
    (void)state;
    struct bytes bytes = {0};
    bytes_add_header(&bytes, "GTRC", 1, 1, 1, 9);
    bytes_add_record(&bytes, MALLOC, RAW, 1, 0);
    assert_refused_packed(&bytes, "the header's last word is 9, not 0; " RECORD_AGAIN);
}

static void test_no_records(void **state) {
    (void)state;
    struct bytes bytes = {0};
    bytes_add_header(&bytes, "GTRC", 1, 0, 0, 0);
    assert_refused_packed(&bytes, "no records, so nothing to replay; " RECORD_AGAIN);
}

static void test_fewer_records(void **state) {
    (void)state;
    struct bytes bytes = {0};
    bytes_add_header(&bytes, "GTRC", 1, 3, 1, 0);
    bytes_add_record(&bytes, MALLOC, RAW, 1, 0);
    bytes_add(&bytes, "\0\0\0", 3);
    assert_refused_packed(&bytes, "the header says 3 records, and the data ends in record 1; " COPY_AGAIN);
    bytes_add_header(&bytes, "GTRC", 1, UINT64_MAX, 1, 0);
    assert_refused_packed(&bytes,
                          "the header says 18446744073709551615 records, and the data ends in record 0; " COPY_AGAIN);
}

static void test_more_records(void **state) {
    (void)state;
    struct bytes bytes = {0};
    bytes_add_header(&bytes, "GTRC", 1, 1, 1, 0);
    bytes_add_record(&bytes, MALLOC, RAW, 1, 0);
    bytes_add_record(&bytes, FREE, RAW, 1, 0);
    assert_refused_packed(&bytes, "12 bytes follow the last of 1 records; " COPY_AGAIN);
    bytes_add_header(&bytes, "GTRC", 1, 1, 1, 0);
    bytes_add_record(&bytes, MALLOC, RAW, 1, 0);
    bytes_add(&bytes, "", 1);
    assert_refused_packed(&bytes, "1 bytes follow the last of 1 records; " COPY_AGAIN);
}

static void test_more_slots_than_records(void **state) {
    (void)state;
    struct bytes bytes = {0};
    bytes_add_header(&bytes, "GTRC", 1, 1, 4000000000, 0);
    bytes_add_record(&bytes, MALLOC, RAW, 1, 0);
    assert_refused_packed(&bytes, "4000000000 block slots and only 1 records to fill them; " RECORD_AGAIN);
}

/* --- records ---------------------------------------------------------------------------------- */

/* A trace of 4 records and 3 slots: two good ones, then `op` and so on, then a good one. */
static void assert_third_refused(unsigned op, unsigned domain, uint32_t slot, const char *text) {
    struct bytes bytes = {0};
    char expected[512];
    bytes_add_header(&bytes, "GTRC", 1, 4, 3, 0);
    bytes_add_record(&bytes, MALLOC, OBJECT, 1, 0);
    bytes_add_record(&bytes, CALLOC, MEM, 1, 1);
    bytes_add_record(&bytes, op, domain, 1, slot);
    bytes_add_record(&bytes, FREE, MEM, 1, 1);
    snprintf(expected, sizeof expected, "record 2 (byte 48 unpacked): %s; " RECORD_AGAIN, text);
    assert_refused_packed(&bytes, expected);
}

static void test_bad_records(void **state) {
    (void)state;
    assert_third_refused(4, RAW, 2, "operation 4, and there are 0 (malloc) to 3 (free)");
    assert_third_refused(7, RAW, 2, "operation 7, and there are 0 (malloc) to 3 (free)");
    assert_third_refused(MALLOC, 3, 2, "domain 3, and there are 0 (raw) to 2 (object)");
    assert_third_refused(MALLOC, RAW, 3, "slot 3 of 3");
    assert_third_refused(FREE, RAW, UINT32_MAX, "slot 4294967295 of 3");
    assert_third_refused(MALLOC, OBJECT, 0, "malloc into slot 0, which holds a block");
    assert_third_refused(CALLOC, MEM, 1, "calloc into slot 1, which holds a block");
    assert_third_refused(FREE, MEM, 2, "free of slot 2, which is empty");
    assert_third_refused(FREE, MEM, 0, "free in the mem domain of slot 0, which holds a block of the object domain");
    assert_third_refused(REALLOC, RAW, 1, "realloc in the raw domain of slot 1, which holds a block of the mem domain");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_traces),
        cmocka_unit_test(test_records_as_written),
        cmocka_unit_test(test_no_file),
        cmocka_unit_test(test_empty_file),
        cmocka_unit_test(test_no_xz),
        cmocka_unit_test(test_cut_file),
        cmocka_unit_test(test_last_byte_missing),
        cmocka_unit_test(test_damaged_xz),
        cmocka_unit_test(test_more_behind_xz),
        cmocka_unit_test(test_short_header),
        cmocka_unit_test(test_bad_magic),
        cmocka_unit_test(test_bad_version),
        cmocka_unit_test(test_last_word_not_zero),
        cmocka_unit_test(test_no_records),
        cmocka_unit_test(test_fewer_records),
        cmocka_unit_test(test_more_records),
        cmocka_unit_test(test_more_slots_than_records),
        cmocka_unit_test(test_bad_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

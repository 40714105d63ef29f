/* SPDX-License-Identifier: MIT */
/*
 * trace_file.c - traces for the main job that are wrong (../traces/README.md has the
 * format).
 *   Owner   the main program.  Locks: none.
 */
#define _GNU_SOURCE /* memfd_create() */

#include "stress/misuse/trace_file.h"

#include <lzma.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stress/trace.h"

#define RECORDS 1000
#define PACKED_MAX 65536

struct file {
    struct {
        char magic[4];
        uint32_t version;
        uint64_t records;
        uint32_t slots, zero;
    } header;
    struct trace_record records[RECORDS];
};

/* Each slot is filled, and emptied by the next record. */
static void make_sound(struct file *file) {
    memcpy(file->header.magic, "GTRC", 4);
    file->header.version = 1;
    file->header.records = RECORDS;
    file->header.slots = RECORDS;
    for (uint32_t i = 0; i < RECORDS; i++) {
        file->records[i].what = (i % 2 == 0 ? TRACE_MALLOC : TRACE_FREE) | 2 << 3;
        file->records[i].size = i % 2 == 0 ? 16 + i : 0;
        file->records[i].slot = i / 2;
    }
}

int trace_file_make(const char *kind, char *path, size_t path_size) {
    static struct file file;
    static uint8_t packed[PACKED_MAX];
    size_t size = sizeof file, length = 0;
    make_sound(&file);
    if (strcmp(kind, "trace-truncated") == 0) size -= sizeof file.records[0] / 2;
    if (strcmp(kind, "trace-record") == 0) file.records[501].slot = 7;
    if (lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, NULL, (const uint8_t *)&file, size, packed, &length,
                                sizeof packed) != LZMA_OK) {
        return -1;
    }
    if (strcmp(kind, "trace-corrupt") == 0) packed[length / 2] ^= 0xff;
    if (strcmp(kind, "trace-no-trace") == 0) memset(packed, 'a', length);
    int descriptor = memfd_create("trace", MFD_CLOEXEC);
    if (descriptor < 0) return -1;
    if (write(descriptor, packed, length) != (ssize_t)length) {
        close(descriptor);
        return -1;
    }
    snprintf(path, path_size, "/proc/%d/fd/%d", (int)getpid(), descriptor);
    return descriptor;
}

/* SPDX-License-Identifier: MIT */
/*
 * trace.c - reads an xz file of trace records and believes nothing it says.
 *   Owner   the calling thread.  Locks: none.  Orders: none.
 * The bytes are unpacked first (memory grows with what really is in the file,
 * not with what the header promises), then header and records are judged.
 */
#include "stress/trace.h"

#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <lzma.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC "GTRC"
#define VERSION 1
#define DOMAINS 3
/* Far above what `xz -9` asks of a reader. */
#define UNPACK_LIMIT ((uint64_t)256 << 20)
#define COPY_AGAIN "get a good copy of the file"
#define RECORD_AGAIN "the trace is corrupt: record it again or get a good copy"

struct header {
    char magic[4];
    uint32_t version;
    uint64_t records;
    uint32_t slots;
    uint32_t zero;
};
_Static_assert(sizeof(struct header) == 24, "the file's header");
_Static_assert(sizeof(struct trace_record) == 12, "the file's record");

struct reader {
    const char *path;
    char *error;
    size_t error_size;
    unsigned char *bytes; /* unpacked */
    size_t size, capacity;
};

/* --- errors ----------------------------------------------------------------------------------- */

/* The results are in the macros, where an analyser sees them. */
#define fail(...) (say(__VA_ARGS__), -1)
#define fail_record(...) (say_record(__VA_ARGS__), -1)

__attribute__((format(printf, 2, 3))) static void say(const struct reader *reader, const char *format, ...) {
    int n = snprintf(reader->error, reader->error_size, "%s: ", reader->path);
    if (n < 0 || (size_t)n >= reader->error_size) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reader->error + n, reader->error_size - (size_t)n, format, arguments);
    va_end(arguments);
}

/* `format` says what is wrong with record `number`, counted from 0. */
__attribute__((format(printf, 3, 4))) static void say_record(const struct reader *reader, uint64_t number,
                                                             const char *format, ...) {
    char what[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    say(reader, "record %" PRIu64 " (byte %" PRIu64 " unpacked): %s; " RECORD_AGAIN, number,
        sizeof(struct header) + number * sizeof(struct trace_record), what);
}

/* Where in the trace the unpacked bytes end. */
static const char *where(const struct reader *reader, char *text, size_t size) {
    if (reader->size < sizeof(struct header)) {
        snprintf(text, size, "in the header");
    } else {
        snprintf(text, size, "in record %zu", (reader->size - sizeof(struct header)) / sizeof(struct trace_record));
    }
    return text;
}

/* --- unpacking -------------------------------------------------------------------------------- */

static int grow(struct reader *reader) {
    if (reader->size < reader->capacity) return 0;
    size_t capacity = reader->capacity ? reader->capacity * 2 : (size_t)1 << 20;
    unsigned char *bytes = realloc(reader->bytes, capacity);
    if (bytes == NULL) return fail(reader, "no memory for %zu bytes of trace; use a smaller trace", capacity);
    reader->bytes = bytes;
    reader->capacity = capacity;
    return 0;
}

static int fail_unpack(const struct reader *reader, lzma_ret code) {
    char at[40];
    switch (code) {
        case LZMA_FORMAT_ERROR:
            return fail(reader, "not an xz file; a trace is packed with xz (stress/traces/README.md)");
        case LZMA_BUF_ERROR:
            return fail(reader, "the file is cut off: its xz data ends %s; " COPY_AGAIN, where(reader, at, sizeof at));
        case LZMA_DATA_ERROR:
            return fail(reader, "the xz data is damaged %s or after it; " COPY_AGAIN, where(reader, at, sizeof at));
        case LZMA_OPTIONS_ERROR:
            return fail(reader, "the xz data uses a filter that this liblzma does not know; pack it with plain xz");
        case LZMA_MEMLIMIT_ERROR:
            return fail(reader, "unpacking needs more than %" PRIu64 " MiB; pack it with plain xz", UNPACK_LIMIT >> 20);
        case LZMA_MEM_ERROR:
            return fail(reader, "no memory to unpack it; use a smaller trace");
        default:
            return fail(reader, "liblzma says %d; " COPY_AGAIN, (int)code);
    }
}

/* Unpacks the whole of `file`, which must hold one xz stream and nothing else. */
static int unpack(struct reader *reader, FILE *file, lzma_stream *stream, unsigned char *packed, size_t room) {
    lzma_ret code = lzma_stream_decoder(stream, UNPACK_LIMIT, 0);
    if (code != LZMA_OK) return fail_unpack(reader, code);
    bool any = false;
    while (code == LZMA_OK) {
        if (stream->avail_in == 0 && !feof(file)) {
            stream->next_in = packed;
            stream->avail_in = fread(packed, 1, room, file);
            if (ferror(file)) return fail(reader, "cannot read: %s", strerror(errno));
            any = any || stream->avail_in > 0;
            if (!any) return fail(reader, "the file is empty; " COPY_AGAIN);
        }
        if (grow(reader) != 0) return -1;
        stream->next_out = reader->bytes + reader->size;
        stream->avail_out = reader->capacity - reader->size;
        code = lzma_code(stream, feof(file) ? LZMA_FINISH : LZMA_RUN);
        reader->size = reader->capacity - stream->avail_out;
    }
    if (code != LZMA_STREAM_END) return fail_unpack(reader, code);
    if (stream->avail_in > 0 || fgetc(file) != EOF) {
        return fail(reader, "more bytes follow the xz data; " COPY_AGAIN);
    }
    return 0;
}

static int read_file(struct reader *reader) {
    errno = 0;
    FILE *file = fopen(reader->path, "rb");
    if (file == NULL) {
        return fail(reader, "cannot open: %s; --trace takes the name of a trace or a file", strerror(errno));
    }
    unsigned char packed[1 << 16];
    lzma_stream stream = LZMA_STREAM_INIT;
    int result = unpack(reader, file, &stream, packed, sizeof packed);
    lzma_end(&stream);
    fclose(file);
    return result;
}

/* --- judging ---------------------------------------------------------------------------------- */

static int check_header(const struct reader *reader, struct header *header) {
    if (reader->size < sizeof *header) {
        return fail(reader, "%zu bytes unpacked, and the header alone has %zu; " COPY_AGAIN, reader->size,
                    sizeof *header);
    }
    memcpy(header, reader->bytes, sizeof *header);
    header->version = le32toh(header->version);
    header->records = le64toh(header->records);
    header->slots = le32toh(header->slots);
    header->zero = le32toh(header->zero);
    if (memcmp(header->magic, MAGIC, sizeof header->magic) != 0) {
        char text[5] = "";
        for (int i = 0; i < 4; i++) text[i] = isprint((unsigned char)header->magic[i]) ? header->magic[i] : '.';
        return fail(reader, "not a trace: begins with '%s' and not '" MAGIC "'; --trace takes traces only", text);
    }
    if (header->version != VERSION) {
        return fail(reader, "version %" PRIu32 ", and this program reads version %d; record the trace again",
                    header->version, VERSION);
    }
    if (header->zero != 0) {
        return fail(reader, "the header's last word is %" PRIu32 ", not 0; " RECORD_AGAIN, header->zero);
    }
    return 0;
}

static int check_count(const struct reader *reader, const struct header *header) {
    size_t bytes = reader->size - sizeof *header;
    size_t records = bytes / sizeof(struct trace_record), rest = bytes % sizeof(struct trace_record);
    if (header->records == 0) return fail(reader, "no records, so nothing to replay; " RECORD_AGAIN);
    if (header->records > records) {
        return fail(reader, "the header says %" PRIu64 " records, and the data ends in record %zu; " COPY_AGAIN,
                    header->records, records);
    }
    if (header->records < records || rest != 0) {
        return fail(reader, "%zu bytes follow the last of %" PRIu64 " records; " COPY_AGAIN,
                    (size_t)(records - header->records) * sizeof(struct trace_record) + rest, header->records);
    }
    if (header->records > UINT32_MAX) {
        return fail(reader, "%" PRIu64 " records, and at most %" PRIu32 " can be told apart; cut the trace",
                    header->records, UINT32_MAX);
    }
    if (header->slots > header->records) {
        return fail(reader, "%" PRIu32 " block slots and only %" PRIu64 " records to fill them; " RECORD_AGAIN,
                    header->slots, header->records);
    }
    return 0;
}

/* `filled` has, for each slot, 0 or the domain that filled it plus 1. */
static int check_record(const struct reader *reader, uint32_t number, const struct trace_record *record, uint32_t slots,
                        unsigned char *filled) {
    static const char *const domains[DOMAINS] = {"raw", "mem", "object"};
    unsigned op = trace_op(record), domain = trace_domain(record);
    if (op >= TRACE_OPS) {
        return fail_record(reader, number, "operation %u, and there are 0 (malloc) to %d (free)", op, TRACE_OPS - 1);
    }
    if (domain >= DOMAINS) {
        return fail_record(reader, number, "domain %u, and there are 0 (raw) to %d (object)", domain, DOMAINS - 1);
    }
    if (record->slot >= slots) {
        return fail_record(reader, number, "slot %" PRIu32 " of %" PRIu32, record->slot, slots);
    }
    unsigned char *slot = &filled[record->slot];
    if (op <= TRACE_CALLOC && *slot != 0) {
        return fail_record(reader, number, "%s into slot %" PRIu32 ", which holds a block",
                           op == TRACE_MALLOC ? "malloc" : "calloc", record->slot);
    }
    if (op == TRACE_FREE && *slot == 0) {
        return fail_record(reader, number, "free of slot %" PRIu32 ", which is empty", record->slot);
    }
    if (*slot != 0 && *slot != domain + 1) {
        return fail_record(reader, number,
                           "%s in the %s domain of slot %" PRIu32 ", which holds a block of the %s domain",
                           op == TRACE_FREE ? "free" : "realloc", domains[domain], record->slot, domains[*slot - 1]);
    }
    *slot = op == TRACE_FREE ? 0 : domain + 1;
    return 0;
}

static int check_records(const struct reader *reader, struct trace_record *records, const struct header *header) {
    unsigned char *filled = calloc(header->slots ? header->slots : 1, 1);
    if (filled == NULL) return fail(reader, "no memory for %" PRIu32 " slots; use a smaller trace", header->slots);
    int result = 0;
    for (uint32_t i = 0; i < header->records && result == 0; i++) {
        records[i].what = le32toh(records[i].what);
        records[i].size = le32toh(records[i].size);
        records[i].slot = le32toh(records[i].slot);
        result = check_record(reader, i, &records[i], header->slots, filled);
    }
    free(filled);
    return result;
}

/* --- lifecycle -------------------------------------------------------------------------------- */

static int load(struct reader *reader, struct trace *trace) {
    struct header header;
    if (read_file(reader) != 0 || check_header(reader, &header) != 0 || check_count(reader, &header) != 0) return -1;
    /* Records to the front of the bytes, and what is over back to the system. */
    size_t size = header.records * sizeof(struct trace_record);
    memmove(reader->bytes, reader->bytes + sizeof header, size);
    unsigned char *fitted = realloc(reader->bytes, size);
    if (fitted != NULL) reader->bytes = fitted;
    struct trace_record *records = (struct trace_record *)(void *)reader->bytes;
    if (check_records(reader, records, &header) != 0) return -1;
    *trace = (struct trace){.records = records, .count = (uint32_t)header.records, .slots = header.slots};
    return 0;
}

int trace_load(struct trace *trace, const char *path, char *error, size_t error_size) {
    struct reader reader = {.path = path, .error = error, .error_size = error_size};
    if (load(&reader, trace) == 0) return 0;
    free(reader.bytes);
    return -1;
}

void trace_unload(struct trace *trace) {
    free(trace->records);
    *trace = (struct trace){0};
}

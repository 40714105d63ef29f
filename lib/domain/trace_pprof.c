/* SPDX-License-Identifier: MIT */
/*
 * trace_pprof.c [L5] - a snapshot as pprof's profile: the messages of profile.proto, compressed by zlib.
 *
 *   The format is a stream of fields: a key (number << 3 | how it is written), then a number in groups of seven bits,
 *   or a length and so many bytes.  That is all of Protocol Buffers that it needs; a generator and its library would be
 *   two more packages for each build, and a third for each program.
 *
 *   Profile  1 sample_type  2 sample  3 mapping  4 location  5 function  6 string_table  11 period_type  12 period
 *   ValueType  1 type  2 unit (of the string table)        Sample    1 location_id  2 value  3 label
 *   Mapping  1 id  2 memory_start  3 memory_limit  4 file_offset  5 filename  6 build_id
 *   Location  1 id  2 mapping_id  3 address  4 line         Line      1 function_id  2 line
 *   Function  1 id  2 name  3 system_name  4 filename       Label     1 key  3 num
 *   Owner   the caller.  No locks of its own.
 */
#define _GNU_SOURCE /* the loader's own: dladdr(), dl_iterate_phdr() */
#include <errno.h>
#include <inttypes.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/domain/trace_names.h"
#include "lib/late/late_zlib.h"

/* --- bytes ------------------------------------------------------------------------------------ */

typedef struct bytes {
    unsigned char *data;
    size_t size, room;
    bool failed; /* memory is out: nothing more is added */
} bytes;

static void append(bytes *to, const void *data, size_t size) {
    if (to->size + size > to->room && !to->failed) {
        size_t room = (to->size + size) * 2;
        unsigned char *more = realloc(to->data, room);
        to->failed = more == NULL;
        to->data = more != NULL ? more : to->data;
        to->room = more != NULL ? room : to->room;
    }
    if (!to->failed && size != 0) {
        memcpy(to->data + to->size, data, size);
        to->size += size;
    }
}

static void append_number(bytes *to, uint64_t number) {
    unsigned char groups[10];
    size_t count = 0;
    do {
        groups[count++] = (unsigned char)((number & 0x7f) | (number > 0x7f ? 0x80 : 0));
        number >>= 7;
    } while (number != 0);
    append(to, groups, count);
}

static void field_number(bytes *to, unsigned field, uint64_t number) {
    if (number != 0) { /* 0 is what is not there */
        append_number(to, (uint64_t)field << 3);
        append_number(to, number);
    }
}

static void field_bytes(bytes *to, unsigned field, const void *data, size_t size) {
    append_number(to, (uint64_t)field << 3 | 2);
    append_number(to, size);
    append(to, data, size);
}

/* A message within `to`; it is empty for the next one. */
static void field_message(bytes *to, unsigned field, bytes *message) {
    field_bytes(to, field, message->data, message->size);
    to->failed = to->failed || message->failed;
    message->size = 0;
}

/* --- strings ---------------------------------------------------------------------------------- */

typedef struct profile {
    bytes out, message, inner; /* the profile; the message of it being made; one within that */
    uint64_t strings;          /* how many there are */
} profile;

static uint64_t add_string(profile *of, const char *text) {
    field_bytes(&of->out, 6, text, strlen(text));
    return of->strings++;
}

static void value_type(profile *of, unsigned field, const char *type, const char *unit) {
    field_number(&of->message, 1, add_string(of, type));
    field_number(&of->message, 2, add_string(of, unit));
    field_message(&of->out, field, &of->message);
}

/* --- mappings --------------------------------------------------------------------------------- */

typedef struct mappings {
    profile *of;
    uint64_t count;
    struct range {
        uintptr_t start, limit;
    } * ranges; /* by number - 1 */
} mappings;

/* The identity that the linker gave a file, in hexadecimal. */
static void build_id(const struct dl_phdr_info *file, char *text, size_t size) {
    text[0] = '\0';
    for (int i = 0; i < file->dlpi_phnum; i++) {
        if (file->dlpi_phdr[i].p_type != PT_NOTE) {
            continue;
        }
        const char *note = (const char *)(file->dlpi_addr + file->dlpi_phdr[i].p_vaddr);
        const char *end = note + file->dlpi_phdr[i].p_memsz;
        while (note + sizeof(ElfW(Nhdr)) <= end) {
            const ElfW(Nhdr) *head = (const ElfW(Nhdr) *)(const void *)note;
            const char *name = note + sizeof(*head), *id = name + ((head->n_namesz + 3) & ~3u);
            if (head->n_type == NT_GNU_BUILD_ID && head->n_namesz == 4 && memcmp(name, "GNU", 4) == 0) {
                for (size_t j = 0; j < head->n_descsz && 2 * j + 3 <= size; j++) {
                    snprintf(text + 2 * j, 3, "%02x", (unsigned char)id[j]);
                }
                return;
            }
            note = id + ((head->n_descsz + 3) & ~3u);
        }
    }
}

static int add_mapping(struct dl_phdr_info *file, size_t size, void *arg) {
    mappings *all = arg;
    profile *of = all->of;
    (void)size;
    for (int i = 0; i < file->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &file->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || (part->p_flags & PF_X) == 0) {
            continue;
        }
        struct range *more = realloc(all->ranges, (all->count + 1) * sizeof(*more));
        if (more == NULL) {
            of->out.failed = true;
            return 1;
        }
        all->ranges = more;
        more[all->count++] =
            (struct range){file->dlpi_addr + part->p_vaddr, file->dlpi_addr + part->p_vaddr + part->p_memsz};
        char id[64], program[4096];
        ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
        program[length > 0 ? length : 0] = '\0';
        build_id(file, id, sizeof(id));
        field_number(&of->message, 1, all->count);
        field_number(&of->message, 2, more[all->count - 1].start);
        field_number(&of->message, 3, more[all->count - 1].limit);
        field_number(&of->message, 4, part->p_offset);
        field_number(&of->message, 5, add_string(of, file->dlpi_name[0] != '\0' ? file->dlpi_name : program));
        field_number(&of->message, 6, add_string(of, id));
        field_number(&of->message, 7, 1); /* has_functions */
        field_message(&of->out, 3, &of->message);
    }
    return 0;
}

static uint64_t mapping_of(const mappings *all, uintptr_t address) {
    for (uint64_t i = 0; i < all->count; i++) {
        if (address >= all->ranges[i].start && address < all->ranges[i].limit) {
            return i + 1;
        }
    }
    return 0;
}

/* --- the profile ------------------------------------------------------------------------------ */

/* A location and a function for each name, by the number of the name + 1. */
static void add_location(profile *of, const mappings *all, const gi_name *name, uint64_t number) {
    bool native = gi_frame_record_of(name->frame) == NULL;
    uint64_t text = add_string(of, name->function);
    field_number(&of->message, 1, number);
    field_number(&of->message, 2, text);
    field_number(&of->message, 3, text);
    field_number(&of->message, 4, native ? 0 : add_string(of, name->file));
    field_message(&of->out, 5, &of->message);

    field_number(&of->inner, 1, number);
    field_number(&of->inner, 2, (uint64_t)name->line);
    field_number(&of->message, 1, number);
    if (native) {
        field_number(&of->message, 2, mapping_of(all, name->frame - 1));
        field_number(&of->message, 3, name->frame - 1); /* within the call */
    }
    field_message(&of->message, 4, &of->inner);
    field_message(&of->out, 4, &of->message);
}

static void add_sample(profile *of, const gi_names *names, const gi_snapshot_entry *entry, uint64_t domain_key) {
    const int64_t values[] = {entry->blocks_ever, entry->bytes_ever, entry->blocks, entry->bytes};
    for (uint64_t i = 0; i < entry->site->count; i++) {
        append_number(&of->inner, (uint64_t)(gi_names_find(names, entry->site->frames[i]) - names->names) + 1);
    }
    field_message(&of->message, 1, &of->inner);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        append_number(&of->inner, (uint64_t)values[i]);
    }
    field_message(&of->message, 2, &of->inner);
    if (entry->site->domain != 0) {
        field_number(&of->inner, 1, domain_key);
        field_number(&of->inner, 3, entry->site->domain);
        field_message(&of->message, 3, &of->inner);
    }
    field_message(&of->out, 2, &of->message);
}

static void add_all(profile *of, const gilloc_snapshot *snapshot, const gi_names *names) {
    mappings all = {of, 0, NULL};
    add_string(of, ""); /* the first one is always this */
    value_type(of, 1, "alloc_objects", "count");
    value_type(of, 1, "alloc_space", "bytes");
    value_type(of, 1, "inuse_objects", "count");
    value_type(of, 1, "inuse_space", "bytes");
    uint64_t domain_key = add_string(of, "domain");
    dl_iterate_phdr(add_mapping, &all);
    for (size_t i = 0; i < names->count; i++) {
        add_location(of, &all, &names->names[i], i + 1);
    }
    for (size_t i = 0; i < snapshot->count; i++) {
        add_sample(of, names, &snapshot->entries[i], domain_key);
    }
    if (snapshot->mean != 0) {
        value_type(of, 11, "space", "bytes");
        field_number(&of->out, 12, snapshot->mean);
    }
    free(all.ranges);
}

/* In gzip's format: zlib says so by 16 more bits of its window. */
static int write_compressed(const gi_late_zlib *zlib, const bytes *data, FILE *f) {
    z_stream stream = {0};
    unsigned char piece[4096];
    if (zlib->deflate_init(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY,
                           ZLIB_VERSION, (int)sizeof(stream)) != Z_OK) {
        return ENOMEM;
    }
    stream.next_in = data->data;
    size_t left = data->size;
    int state = Z_OK;
    while (state == Z_OK) {
        if (stream.avail_in == 0 && left != 0) {
            stream.avail_in = (uInt)(left < (1u << 30) ? left : 1u << 30);
            left -= stream.avail_in;
        }
        stream.next_out = piece;
        stream.avail_out = sizeof(piece);
        state = zlib->deflate(&stream, left == 0 ? Z_FINISH : Z_NO_FLUSH);
        fwrite(piece, 1, sizeof(piece) - stream.avail_out, f);
    }
    zlib->deflate_end(&stream);
    return state == Z_STREAM_END ? 0 : EIO;
}

int gi_snapshot_write_pprof(const gilloc_snapshot *snapshot, FILE *f, bool ever) {
    gi_names names;
    profile made = {.strings = 0};
    const gi_late_zlib *zlib = gi_late_get_zlib();
    (void)ever; /* it has both */
    if (zlib == NULL) {
        return errno;
    }
    if (!gi_names_init(&names, snapshot)) {
        return ENOMEM;
    }
    add_all(&made, snapshot, &names);
    int failed = made.out.failed ? ENOMEM : write_compressed(zlib, &made.out, f);
    free(made.out.data);
    free(made.message.data);
    free(made.inner.data);
    gi_names_fini(&names);
    return failed;
}

/* SPDX-License-Identifier: MIT */
/*
 * address_kind.c [L2] - where an address is, in words.
 *   Owner   none: no state.  Locks none.
 *
 *   A line of the list of mappings (proc(5)):  START-END PERMS OFFSET DEVICE INODE   NAME
 *   pthread_getattr_np() would know the stack, but takes memory; so the mapping that this function's own frame is in is
 *   taken for it.
 */
#include "lib/os/address_kind.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/os/layout.h"
#include "lib/os/os_memory.h"

/* --- reading mappings ------------------------------------------------------------------------- */

enum { NAME_SIZE = 128, READ_SIZE = 512 };

typedef struct mapping {
    uintptr_t start, end;
    char permissions[4]; /* "rw-p", not ended by a null byte */
    char name[NAME_SIZE];
} mapping;

typedef struct reader {
    int file;
    size_t next, length; /* of `text`: what has not been looked at yet */
    char text[READ_SIZE];
} reader;

/* The next byte, or -1 at the end. */
static int next_byte(reader *from) {
    if (from->next == from->length) {
        ssize_t got;
        do {
            got = read(from->file, from->text, sizeof(from->text));
        } while (got < 0 && errno == EINTR);
        from->next = 0;
        from->length = got > 0 ? (size_t)got : 0;
        if (got <= 0) {
            return -1;
        }
    }
    return (unsigned char)from->text[from->next++];
}

/* A number in hexadecimal digits; the byte behind it is read too. */
static uintptr_t read_address(reader *from) {
    uintptr_t address = 0;
    for (int byte; (byte = next_byte(from)) > 0;) {
        if (byte >= '0' && byte <= '9') {
            address = address << 4 | (uintptr_t)(byte - '0');
        } else if (byte >= 'a' && byte <= 'f') {
            address = address << 4 | (uintptr_t)(byte - 'a' + 10);
        } else {
            break;
        }
    }
    return address;
}

static void skip_fields(reader *from, int count) {
    for (int byte; count > 0 && (byte = next_byte(from)) > 0;) {
        count -= byte == ' ';
    }
}

/* The next mapping; false at the end. */
static bool next_mapping(reader *from, mapping *to) {
    to->start = read_address(from);
    to->end = read_address(from);
    for (size_t i = 0; i < sizeof(to->permissions); i++) {
        int byte = next_byte(from);
        to->permissions[i] = (char)(byte > 0 ? byte : '-');
    }
    skip_fields(from, 4); /* the blank behind the permissions, and three more */
    size_t length = 0;
    int byte;
    bool inode = true;
    while ((byte = next_byte(from)) > 0 && byte != '\n') {
        inode = inode && byte != ' ';
        if (!inode && (length != 0 || byte != ' ') && length < NAME_SIZE - 1) {
            to->name[length++] = (char)byte;
        }
    }
    to->name[length] = '\0';
    return byte == '\n';
}

/* --- from a mapping to words ------------------------------------------------------------------ */

typedef struct found {
    mapping here;
    bool any;
    bool is_program; /* a mapping of the same file holds code */
    bool is_behind;  /* anonymous, right behind a program's data: its zeroed variables */
    bool has_frame;  /* the stack of this thread */
} found;

static bool holds(const mapping *m, const void *address) {
    return (uintptr_t)address >= m->start && (uintptr_t)address < m->end;
}

static bool is_file(const mapping *m) { return m->name[0] == '/'; }

/* A file's mappings follow each other, its code before its data. */
static void look_up(reader *from, const void *address, const void *frame, found *to) {
    mapping m;
    char program[NAME_SIZE] = ""; /* the last file with code */
    uintptr_t data_end = 0;       /* where its data end */
    while (next_mapping(from, &m)) {
        bool has_code = is_file(&m) && m.permissions[2] == 'x';
        if (has_code) {
            memcpy(program, m.name, sizeof(program));
        }
        bool of_program = is_file(&m) && strcmp(program, m.name) == 0;
        if (holds(&m, address)) {
            to->here = m;
            to->any = true;
            to->is_program = of_program;
            to->has_frame = holds(&m, frame);
            to->is_behind = m.name[0] == '\0' && m.start == data_end;
            if (to->is_behind) {
                memcpy(to->here.name, program, sizeof(program));
            }
        } else if (to->any && !to->is_program && has_code && strcmp(m.name, to->here.name) == 0) {
            to->is_program = true; /* its headers come before its code */
        }
        data_end = of_program && m.permissions[1] == 'w' ? m.end : 0;
    }
}

static void describe(const found *at, char *buffer, size_t size) {
    const mapping *m = &at->here;
    bool writable = m->permissions[1] == 'w';
    if (!at->any) {
        snprintf(buffer, size, "not mapped");
    } else if (memcmp(m->permissions, "---", 3) == 0) {
        snprintf(buffer, size, "in memory that must not be touched");
    } else if (at->has_frame) {
        snprintf(buffer, size, "on the stack of this thread");
    } else if (at->is_behind) {
        snprintf(buffer, size, "in the data of %s", m->name);
    } else if (is_file(m)) {
        bool of_program = m->permissions[3] != 's' && at->is_program;
        const char *part = !of_program ? "a mapping" : writable ? "the data" : "the code or constants";
        snprintf(buffer, size, "in %s of %s", part, m->name);
    } else if (strcmp(m->name, "[stack]") == 0) {
        snprintf(buffer, size, "on the stack of the main thread");
    } else if (strcmp(m->name, "[heap]") == 0) {
        snprintf(buffer, size, "in the C library's heap");
    } else if (m->name[0] == '[') {
        snprintf(buffer, size, "in the system's %s", m->name);
    } else {
        snprintf(buffer, size, "in anonymous memory");
    }
}

/* What the reservation is known to be; false for all else. */
static bool describe_own(const void *address, char *buffer, size_t size) {
    const gi_reservation *ours = gi_os_reservation();
    if (ours->base == NULL || (uintptr_t)address - (uintptr_t)ours->base >= ours->pages * GI_POOL_SIZE) {
        return false;
    }
    snprintf(buffer, size, (const char *)address < ours->slots ? "in gilloc's own memory" : "in gilloc's arenas");
    return true;
}

const char *gi_address_kind(const void *address, char *buffer, size_t size) {
    int saved_errno = errno;
    if (!describe_own(address, buffer, size)) {
        reader from = {.file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC)};
        if (from.file < 0) {
            snprintf(buffer, size, "at a place that the system does not tell");
        } else {
            found at = {.any = false};
            look_up(&from, address, __builtin_frame_address(0), &at);
            close(from.file);
            describe(&at, buffer, size);
        }
    }
    errno = saved_errno;
    return buffer;
}

/* SPDX-License-Identifier: MIT */
/*
 * trace_names.c [L5] - the names of the frames of a snapshot.  Theory: trace_names.h.
 *   Owner   the caller.  Locks none of its own.
 */
#define _GNU_SOURCE /* the loader's own: dladdr(), dl_iterate_phdr() */
#include "lib/domain/trace_names.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/domain/trace_stack.h"

enum { NAME_SIZE = 512 };

static int by_frame(const void *a, const void *b) {
    gi_frame one = ((const gi_name *)a)->frame, other = ((const gi_name *)b)->frame;
    return one < other ? -1 : one > other;
}

/* What would end a frame or a line of the folded format. */
static void make_plain(char *text) {
    for (; *text != '\0'; text++) {
        if (*text == ';') {
            *text = ':';
        } else if ((unsigned char)*text < ' ') {
            *text = ' ';
        }
    }
}

static bool look_up(gi_name *name) {
    char text[NAME_SIZE];
    const gi_frame_record *record = gi_frame_record_of(name->frame);
    Dl_info where = {0};
    if (record != NULL) {
        snprintf(text, sizeof(text), "%s", record->function[0] != '\0' ? record->function : record->file);
        name->file = record->file;
        name->line = record->line;
    } else {
        const void *address = (const void *)(uintptr_t)(name->frame - 1); /* within the call */
        bool mapped = dladdr(address, &where) != 0 && where.dli_fname != NULL;
        name->file = mapped ? where.dli_fname : "";
        if (!gi_stack_symbol((const void *)(uintptr_t)name->frame, text, sizeof(text), &name->offset)) {
            const char *slash = strrchr(name->file, '/');
            name->offset = 0;
            snprintf(text, sizeof(text), "0x%" PRIx64 " (%s)",
                     mapped ? name->frame - (uintptr_t)where.dli_fbase : name->frame,
                     slash != NULL ? slash + 1
                     : mapped      ? name->file
                                   : "?");
        }
    }
    name->function = strdup(text);
    if (name->function != NULL) {
        make_plain(name->function);
    }
    return name->function != NULL;
}

bool gi_names_init(gi_names *names, const gilloc_snapshot *snapshot) {
    size_t frames = 0, count = 0;
    for (size_t i = 0; i < snapshot->count; i++) {
        frames += snapshot->entries[i].site->count;
    }
    *names = (gi_names){calloc(frames + 1, sizeof(gi_name)), 0};
    if (names->names == NULL) {
        return false;
    }
    for (size_t i = 0; i < snapshot->count; i++) {
        const gi_site *site = snapshot->entries[i].site;
        for (uint64_t j = 0; j < site->count; j++) {
            names->names[count++].frame = site->frames[j];
        }
    }
    qsort(names->names, count, sizeof(gi_name), by_frame);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || names->names[i].frame != names->names[names->count - 1].frame) {
            gi_name *name = &names->names[names->count];
            *name = (gi_name){.frame = names->names[i].frame};
            names->count++;
            if (!look_up(name)) {
                gi_names_fini(names);
                return false;
            }
        }
    }
    return true;
}

void gi_names_fini(gi_names *names) {
    for (size_t i = 0; i < names->count; i++) {
        free(names->names[i].function);
    }
    free(names->names);
    *names = (gi_names){NULL, 0};
}

const gi_name *gi_names_find(const gi_names *names, gi_frame frame) {
    gi_name like = {.frame = frame};
    return bsearch(&like, names->names, names->count, sizeof(like), by_frame);
}

/* SPDX-License-Identifier: MIT */
/*
 * record.c [L7] - the recorder.  Theory: record.h.
 *   Owner   as in record.h.
 *   Locks   record.  Orders: none: the switch is relaxed.
 */
#include "lib/embed/cpython/record.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <gilloc/pymem.h>
#include <lzma.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "concurrency/atomic.h"
#include "concurrency/mutex.h"
#include "lib/domain/ledger.h"
#include "lib/embed/cpython/cpython.h"

/* --- state ------------------------------------------------------------------------------------ */

enum { RECORDS = 1 << 14, DOMAINS = PYMEM_DOMAIN_OBJ + 1, DOMAIN_SHIFT = 3, THREAD_SHIFT = 5, PACK_LEVEL = 3 };
enum { OP_MALLOC, OP_CALLOC, OP_REALLOC, OP_FREE };

/* As in the file, little endian. */
typedef struct record {
    uint32_t what;
    uint32_t size;
    uint32_t slot;
} record;

typedef struct header {
    char magic[4];
    uint32_t version;
    uint64_t records;
    uint32_t slots;
    uint32_t zero;
} header;

_Static_assert(sizeof(record) == 12 && sizeof(header) == 24, "the format");

static gi_mutex record_mutex = GI_MUTEX_INIT(GI_RANK_RECORD);
static gi_atomic(uint32_t) is_on;          /* relaxed: one call more or less is recorded */
static record waiting[RECORDS];            /* guarded by record_mutex */
static uint64_t count;                     /* guarded by record_mutex: records so far */
static uint32_t *empty_slots, empty_count; /* guarded by record_mutex: a stack */
static uint32_t slots, empty_room;         /* guarded by record_mutex */
static int problem;                        /* guarded by record_mutex: errno of what went wrong */
static uint32_t threads;                   /* guarded by record_mutex */
static int records_file = -1, trace_file;  /* constant once started */
static const char *trace_path;             /* constant once started */
static gi_ledger ledger;                   /* a block's slot, plus 1 */
static PyMemAllocatorEx nexts[DOMAINS];    /* constant once started */
static __thread uint32_t this_thread;      /* its number plus 1; 0: none yet */

/* --- records ---------------------------------------------------------------------------------- */

static bool write_all(int file, const void *bytes, size_t size) {
    for (const char *at = bytes; size != 0;) {
        ssize_t done = write(file, at, size);
        if (done < 0 && errno != EINTR) {
            return false;
        }
        at += done > 0 ? done : 0;
        size -= done > 0 ? (size_t)done : 0;
    }
    return true;
}

static void give_up_locked(int error) {
    problem = error;
    gi_store_relaxed(&is_on, 0); /* relaxed: as declared */
}

static void add_locked(unsigned op, int domain, size_t size, uint32_t slot) {
    if (problem != 0) {
        return;
    }
    if (this_thread == 0) {
        this_thread = ++threads;
    }
    uint32_t what = op | (uint32_t)domain << DOMAIN_SHIFT | (this_thread - 1) << THREAD_SHIFT;
    waiting[count % RECORDS] = (record){htole32(what), htole32((uint32_t)size), htole32(slot)};
    count++;
    if (count % RECORDS == 0 && !write_all(records_file, waiting, sizeof(waiting))) {
        give_up_locked(errno);
    } else if (count == UINT32_MAX) {
        give_up_locked(EFBIG);
    }
}

/* An empty slot.  There is room to give it back. */
static bool take_slot_locked(uint32_t *slot) {
    if (empty_count != 0) {
        *slot = empty_slots[--empty_count];
        return true;
    }
    if (slots == empty_room) {
        uint32_t room = empty_room != 0 ? empty_room * 2 : 1u << 12;
        uint32_t *more = realloc(empty_slots, room * sizeof(*more));
        if (more == NULL) {
            give_up_locked(ENOMEM);
            return false;
        }
        empty_slots = more;
        empty_room = room;
    }
    *slot = slots++;
    return true;
}

static void record_free(int domain, uint32_t slot) {
    gi_mutex_lock(&record_mutex);
    add_locked(OP_FREE, domain, 0, slot);
    empty_slots[empty_count++] = slot;
    gi_mutex_unlock(&record_mutex);
}

static void record_new(unsigned op, int domain, const void *block, size_t size) {
    uint32_t slot = 0;
    if (size > UINT32_MAX) {
        return;
    }
    gi_mutex_lock(&record_mutex);
    bool any = take_slot_locked(&slot);
    if (any) {
        add_locked(op, domain, size, slot);
    }
    gi_mutex_unlock(&record_mutex);
    if (any && !gi_ledger_put(&ledger, block, (uint64_t)slot + 1)) {
        record_free(domain, slot);
    }
}

static void record_resized(int domain, const void *block, size_t size, uint32_t slot) {
    if (size > UINT32_MAX || !gi_ledger_put(&ledger, block, (uint64_t)slot + 1)) {
        record_free(domain, slot);
        return;
    }
    gi_mutex_lock(&record_mutex);
    add_locked(OP_REALLOC, domain, size, slot);
    gi_mutex_unlock(&record_mutex);
}

/* --- the tables ------------------------------------------------------------------------------- */

static bool is_recording(void) { return gi_load_relaxed(&is_on) != 0; } /* relaxed: as declared */

static int domain_of(void *ctx) { return (int)((PyMemAllocatorEx *)ctx - nexts); }

static void *recorded_malloc(void *ctx, size_t size) {
    const PyMemAllocatorEx *next = ctx;
    void *block = next->malloc(next->ctx, size);
    if (block != NULL && is_recording()) {
        record_new(OP_MALLOC, domain_of(ctx), block, size);
    }
    return block;
}

static void *recorded_calloc(void *ctx, size_t count_of, size_t size) {
    const PyMemAllocatorEx *next = ctx;
    void *block = next->calloc(next->ctx, count_of, size);
    if (block != NULL && is_recording()) {
        record_new(OP_CALLOC, domain_of(ctx), block, count_of * size);
    }
    return block;
}

/* The word of the old block is taken first: once it is moved, its address may be another thread's. */
static void *recorded_realloc(void *ctx, void *block, size_t size) {
    const PyMemAllocatorEx *next = ctx;
    uint64_t word = block != NULL && is_recording() ? gi_ledger_take(&ledger, block) : 0;
    void *moved = next->realloc(next->ctx, block, size);
    if (moved == NULL && word != 0) {
        gi_ledger_put(&ledger, block, word); /* refused: it is live to the end of the trace */
    } else if (moved != NULL && is_recording()) {
        if (word != 0) {
            record_resized(domain_of(ctx), moved, size, (uint32_t)(word - 1));
        } else {
            record_new(OP_REALLOC, domain_of(ctx), moved, size);
        }
    }
    return moved;
}

static void recorded_free(void *ctx, void *block) {
    const PyMemAllocatorEx *next = ctx;
    uint64_t word = block != NULL && is_recording() ? gi_ledger_take(&ledger, block) : 0;
    if (word != 0) {
        record_free(domain_of(ctx), (uint32_t)(word - 1));
    }
    next->free(next->ctx, block);
}

static void record_around(int domain, void *table) {
    nexts[domain] = *(PyMemAllocatorEx *)table;
    *(PyMemAllocatorEx *)table =
        (PyMemAllocatorEx){&nexts[domain], recorded_malloc, recorded_calloc, recorded_realloc, recorded_free};
}

/* --- the end ---------------------------------------------------------------------------------- */

static bool pack(lzma_stream *stream, const void *bytes, size_t size, lzma_action action) {
    unsigned char packed[1 << 14];
    stream->next_in = bytes;
    stream->avail_in = size;
    for (;;) {
        stream->next_out = packed;
        stream->avail_out = sizeof(packed);
        lzma_ret code = lzma_code(stream, action);
        if (code != LZMA_OK && code != LZMA_STREAM_END) {
            errno = code == LZMA_MEM_ERROR ? ENOMEM : EIO;
            return false;
        }
        if (!write_all(trace_file, packed, sizeof(packed) - stream->avail_out)) {
            return false;
        }
        if (action == LZMA_FINISH ? code == LZMA_STREAM_END : stream->avail_in == 0) {
            return true;
        }
    }
}

static bool pack_records(lzma_stream *stream) {
    header head = {"GTRC", htole32(1), htole64(count), htole32(slots), 0};
    if (lseek(records_file, 0, SEEK_SET) != 0 || !pack(stream, &head, sizeof(head), LZMA_RUN)) {
        return false;
    }
    for (;;) {
        ssize_t got = read(records_file, waiting, sizeof(waiting));
        if (got < 0 && errno != EINTR) {
            return false;
        }
        if (got == 0) {
            return pack(stream, NULL, 0, LZMA_FINISH);
        }
        if (got > 0 && !pack(stream, waiting, (size_t)got, LZMA_RUN)) {
            return false;
        }
    }
}

/* At exit(), when other threads may still run. */
static void finish(void) {
    if (records_file < 0) {
        return; /* a child's exit */
    }
    gi_mutex_lock(&record_mutex);
    gi_store_relaxed(&is_on, 0); /* relaxed: as declared */
    if (problem == 0 && !write_all(records_file, waiting, count % RECORDS * sizeof(record))) {
        problem = errno;
    }
    lzma_stream stream = LZMA_STREAM_INIT;
    if (problem == 0 && lzma_easy_encoder(&stream, PACK_LEVEL, LZMA_CHECK_CRC64) != LZMA_OK) {
        problem = ENOMEM;
    }
    if (problem == 0 && !pack_records(&stream)) {
        problem = errno;
    }
    lzma_end(&stream);
    if (problem != 0) {
        fprintf(stderr, "gilloc-python: --record: %s: %s; the trace is not whole\n", trace_path, strerror(problem));
    }
    problem = problem != 0 ? problem : ECANCELED; /* whoever comes now */
    gi_mutex_unlock(&record_mutex);
}

/* --- lifecycle -------------------------------------------------------------------------------- */

static void after_fork_child(void) {
    gi_store_relaxed(&is_on, 0); /* relaxed: the child has one thread */
    gi_mutex_init(&record_mutex, GI_RANK_RECORD);
    records_file = -1;
}

static const char *start(const char *path) {
    FILE *temporary = tmpfile();
    trace_path = path;
    trace_file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (trace_file < 0) {
        return strerror(errno);
    }
    records_file = temporary != NULL ? fcntl(fileno(temporary), F_DUPFD_CLOEXEC, 3) : -1;
    if (records_file < 0) {
        return "no temporary file can be made";
    }
    fclose(temporary);
    if (atexit(finish) != 0 || pthread_atfork(NULL, NULL, after_fork_child) != 0) {
        return "out of memory";
    }
    gi_ledger_open(&ledger);
    gi_store_relaxed(&is_on, 1); /* relaxed: as declared */
    return NULL;
}

const char *gi_cpython_record(const char *path) {
    const char *why_not = start(path);
    if (why_not == NULL) {
        gi_cpython_put_around(record_around);
    }
    return why_not;
}

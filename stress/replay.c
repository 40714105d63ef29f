/* SPDX-License-Identifier: MIT */
/*
 * replay.c - one thread's life: one pass over one trace.
 *   Owner   the calling thread.  Locks: see replay.h.
 *
 *   attach -> [ detach: hand blocks on, take others', get the next records: attach
 *               -> free others' blocks -> replay the records ] ... -> free -> detach
 *
 * The records of each part are copied into a block of the raw domain, taken and
 * freed while detached; blocks of the raw domain that came from others are freed
 * detached, too.
 */
#include "stress/replay.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "stress/pattern.h"

#define PART 2048     /* records between two times of being detached */
#define SAFEPOINT 100 /* operations between two safepoints */

/* Salts: two different draws on the same block. */
enum draw { DRAW_FREE = 1, DRAW_END = 2 };

struct pass {
    const struct replay *job;
    struct replay_counts done; /* since the job was last told */
    struct block *slots;       /* of the trace */
    struct block *outbox;      /* to be freed by others; room for PART */
    size_t outgoing;
    struct block *inbox; /* made by others, to be freed here; room for REPLAY_MAILBOX */
    size_t incoming;
    struct block *estate; /* inherited */
    size_t inherited;
    struct trace_record *records; /* of this part, in the raw domain */
    uint32_t first, count;        /* which they are */
    unsigned since_safepoint;
};

/* --- small steps ------------------------------------------------------------------------------ */

static void begin_attached(struct pass *pass) {
    if (pass->job->attached != NULL) *pass->job->attached = pass->job->thread;
}

/* In gil mode nobody else may have been attached since begin_attached(). */
static void check_attached_alone(struct pass *pass) {
    if (pass->job->attached == NULL || *pass->job->attached == pass->job->thread) return;
    faults_add(pass->job->faults, "threads %" PRIu32 " and %" PRIu32 " are attached at one time, in gil mode",
               pass->job->thread, *pass->job->attached);
}

static void attached_operation(struct pass *pass) {
    check_attached_alone(pass);
    pass->done.operations++;
    if (++pass->since_safepoint == SAFEPOINT) {
        pass->since_safepoint = 0;
        gilloc_safepoint();
        begin_attached(pass);
    }
}

/* Is this block among those that change hands? */
static bool drawn(const struct pass *pass, const struct block *block, enum draw draw) {
    uint64_t bits = pattern_mix(block->id ^ pattern_mix(pass->job->seed + (uint64_t)draw));
    return (bits >> 32) * 100 >> 32 < pass->job->remote_percent;
}

/* Frees a block in this thread, whoever made it. */
static bool free_block(struct pass *pass, struct block *block) {
    bool remote = block_thread(block) != pass->job->thread;
    if (!block_free(block, pass->job->thread, pass->job->faults)) return false;
    pass->done.freed++;
    pass->done.remote_frees += remote;
    return true;
}

/* --- detached --------------------------------------------------------------------------------- */

/* Frees the blocks of the raw domain among `count`, and moves the others up; how many stay. */
static size_t free_raw(struct pass *pass, struct block *blocks, size_t count) {
    size_t stay = 0;
    for (size_t i = 0; i < count; i++) {
        if (blocks[i].domain != PYMEM_DOMAIN_RAW) {
            blocks[stay++] = blocks[i];
        } else {
            free_block(pass, &blocks[i]);
            pass->done.operations++;
        }
    }
    return stay;
}

static void drop_records(struct pass *pass) {
    if (pass->records == NULL) return;
    const struct trace_record *original = pass->job->trace->records + pass->first;
    if (memcmp(pass->records, original, pass->count * sizeof *original) != 0) {
        faults_add(pass->job->faults,
                   "raw block at %p with the records of thread %" PRIu32 " from %" PRIu32 " on has changed",
                   (void *)pass->records, pass->job->thread, pass->first);
    }
    PyMem_RawFree(pass->records);
    pass->records = NULL;
}

static bool take_records(struct pass *pass, uint32_t first) {
    const struct trace *trace = pass->job->trace;
    uint32_t count = trace->count - first < PART ? trace->count - first : PART;
    pass->records = PyMem_RawMalloc(count * sizeof *pass->records);
    if (pass->records == NULL) {
        faults_add(pass->job->faults, "PyMem_RawMalloc: NULL for %zu bytes (thread %" PRIu32 ")",
                   count * sizeof *pass->records, pass->job->thread);
        return false;
    }
    memcpy(pass->records, trace->records + first, count * sizeof *pass->records);
    pass->first = first;
    pass->count = count;
    return true;
}

/* All that needs no lock of gilloc's; false: no more records. */
static bool between_parts(struct pass *pass, uint32_t first) {
    const struct replay *job = pass->job;
    size_t given = exchange_give(job->exchange, job->place, job->thread + first / PART, pass->outbox, pass->outgoing);
    memmove(pass->outbox, pass->outbox + given, (pass->outgoing - given) * sizeof *pass->outbox);
    pass->outgoing = free_raw(pass, pass->outbox, pass->outgoing - given);
    pass->incoming = exchange_take(job->exchange, job->place, job->thread, pass->inbox, REPLAY_MAILBOX);
    pass->incoming = free_raw(pass, pass->inbox, pass->incoming);
    drop_records(pass);
    bool go_on = job->go_on(job->argument, &pass->done);
    pass->done = (struct replay_counts){0};
    if (first == job->trace->count) return false;
    return (go_on || first == 0) && take_records(pass, first);
}

static bool next_part(struct pass *pass, uint32_t first) {
    bool more;
    Py_BEGIN_ALLOW_THREADS;
    more = between_parts(pass, first);
    Py_END_ALLOW_THREADS;
    begin_attached(pass);
    return more;
}

/* --- attached --------------------------------------------------------------------------------- */

/* Frees `count` blocks from the end of `blocks`. */
static bool free_blocks(struct pass *pass, struct block *blocks, size_t *held, size_t count) {
    bool sound = true;
    for (; count > 0; count--) {
        if (!free_block(pass, &blocks[--*held])) sound = false;
        attached_operation(pass);
    }
    return sound;
}

/* What others sent, what they refused, and the share of the estate that is due. */
static bool free_others(struct pass *pass) {
    size_t parts_left = (pass->job->trace->count - pass->first + PART - 1) / PART;
    size_t due = (pass->inherited + parts_left - 1) / parts_left;
    bool sound = free_blocks(pass, pass->inbox, &pass->incoming, pass->incoming);
    sound &= free_blocks(pass, pass->outbox, &pass->outgoing, pass->outgoing);
    return free_blocks(pass, pass->estate, &pass->inherited, due) && sound;
}

static bool replay_record(struct pass *pass, const struct trace_record *record, uint32_t number) {
    struct faults *faults = pass->job->faults;
    struct block *block = &pass->slots[record->slot];
    PyMemAllocatorDomain domain = (PyMemAllocatorDomain)trace_domain(record);
    uint64_t id = block_id(pass->job->thread, number);
    switch ((enum trace_op)trace_op(record)) {
        case TRACE_REALLOC:
            if (block->address != NULL) return block_realloc(block, record->size, id, faults);
            /* fall through */
        case TRACE_MALLOC:
            pass->done.allocated++;
            return block_malloc(block, domain, record->size, id, faults);
        case TRACE_CALLOC:
            pass->done.allocated++;
            return block_calloc(block, domain, record->size, id, faults);
        default:
            if (!drawn(pass, block, DRAW_FREE)) return free_block(pass, block);
            pass->outbox[pass->outgoing++] = *block;
            block->address = NULL;
            pass->done.operations--; /* counted where it is done */
            return true;
    }
}

static bool replay_part(struct pass *pass) {
    for (uint32_t i = 0; i < pass->count; i++) {
        if (!replay_record(pass, &pass->records[i], pass->first + i)) return false;
        attached_operation(pass);
    }
    return true;
}

/* --- the end of a pass ------------------------------------------------------------------------ */

/* Frees what is alive but for a share, which goes to the front of `slots`; how many. */
static size_t free_live(struct pass *pass) {
    size_t kept = 0;
    for (uint32_t i = 0; i < pass->job->trace->slots; i++) {
        struct block block = pass->slots[i];
        if (block.address == NULL) continue;
        if (drawn(pass, &block, DRAW_END)) {
            pass->slots[kept++] = block;
        } else {
            free_block(pass, &block);
            attached_operation(pass);
        }
    }
    free_blocks(pass, pass->inbox, &pass->incoming, pass->incoming);
    free_blocks(pass, pass->outbox, &pass->outgoing, pass->outgoing);
    free_blocks(pass, pass->estate, &pass->inherited, pass->inherited);
    return kept;
}

/* --- lifecycle -------------------------------------------------------------------------------- */

static bool init(struct pass *pass, const struct replay *job) {
    *pass = (struct pass){.job = job};
    pass->slots = calloc(job->trace->slots, sizeof *pass->slots);
    pass->outbox = calloc(PART, sizeof *pass->outbox);
    pass->inbox = calloc(REPLAY_MAILBOX, sizeof *pass->inbox);
    if (pass->slots != NULL && pass->outbox != NULL && pass->inbox != NULL) return true;
    faults_add(job->faults, "no memory for the %" PRIu32 " slots of a trace (thread %" PRIu32 ")", job->trace->slots,
               job->thread);
    return false;
}

static void fini(struct pass *pass, size_t kept) {
    struct block *fitted = kept > 0 ? realloc(pass->slots, kept * sizeof *fitted) : NULL;
    if (fitted != NULL) pass->slots = fitted;
    if (kept == 0) {
        free(pass->slots);
    } else if (exchange_bequeath(pass->job->exchange, pass->slots, kept) != 0) {
        faults_add(pass->job->faults, "no memory to leave %zu blocks to another thread (thread %" PRIu32 ")", kept,
                   pass->job->thread);
        free(pass->slots);
    }
    free(pass->outbox);
    free(pass->inbox);
    free(pass->estate);
}

void replay_pass(const struct replay *job) {
    struct pass pass;
    size_t kept = 0;
    if (init(&pass, job)) {
        pass.inherited = exchange_inherit(job->exchange, &pass.estate);
        PyGILState_STATE outer = PyGILState_Ensure();
        begin_attached(&pass);
        bool more = true;
        for (uint32_t first = 0; more; first = pass.first + pass.count) {
            more = next_part(&pass, first) && free_others(&pass) && replay_part(&pass);
        }
        kept = free_live(&pass);
        PyGILState_Release(outer);
        drop_records(&pass);
        job->go_on(job->argument, &pass.done);
    }
    fini(&pass, kept);
}

void replay_free_rest(struct exchange *exchange, unsigned places, uint32_t thread, struct faults *faults,
                      struct replay_counts *counts) {
    struct replay job = {.thread = thread, .faults = faults};
    struct block *rest = calloc(REPLAY_MAILBOX, sizeof *rest);
    struct pass pass = {.job = &job};
    size_t count;
    if (rest == NULL) {
        faults_add(faults, "no memory to free the blocks that are left");
        return;
    }
    PyGILState_STATE outer = PyGILState_Ensure();
    for (unsigned place = 0; place < places; place++) {
        while ((count = exchange_take(exchange, place, thread, rest, REPLAY_MAILBOX)) > 0) {
            free_blocks(&pass, rest, &count, count);
        }
    }
    free(rest);
    while ((count = exchange_inherit(exchange, &rest)) > 0) {
        free_blocks(&pass, rest, &count, count);
        free(rest);
    }
    PyGILState_Release(outer);
    *counts = pass.done;
}

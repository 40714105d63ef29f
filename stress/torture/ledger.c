/* SPDX-License-Identifier: MIT */
/*
 * ledger.c - the program's own list of the blocks that one thread has alive.
 *   Owner   its thread; who has stopped the world; a child after a fork.
 *   Locks   none.
 */
#include "stress/torture/ledger.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "stress/pattern.h"

struct ledger_block {
    uint64_t seal; /* over what follows and the address */
    uint32_t ledger, entry;
    uint32_t visit; /* the last one that saw it */
    uint32_t size;
    unsigned char body[];
};

/* --- one block -------------------------------------------------------------------------------- */

static uint64_t seal_of(const struct ledger_block *block) {
    return pattern_mix((uint64_t)(uintptr_t)block << 16 ^ (uint64_t)block->ledger << 40 ^ (uint64_t)block->entry << 32 ^
                       block->size);
}

static bool is_whole(const struct ledger_block *block) {
    size_t body = block->size - sizeof *block;
    return pattern_check(block->body, body, block->seal) == body;
}

static void make(const struct ledgers *ledgers, struct ledger *ledger, uint32_t entry, struct task *task) {
    uint32_t room = LEDGER_SMALL - sizeof(struct ledger_block), size = sizeof(struct ledger_block);
    size += task_below(task, task_once_in(task, 64) ? 3000 : room + 1);
    PyMemAllocatorDomain domain = ledgers->domains[task_below(task, LEDGER_DOMAINS)];
    struct ledger_block *block = gilloc_malloc(domain, size);
    if (block == NULL) {
        trial_bug(task->trial, "gilloc_malloc(%d, %" PRIu32 ") is NULL", (int)domain, size);
        return;
    }
    *block = (struct ledger_block){.ledger = ledger->number, .entry = entry, .size = size};
    block->seal = seal_of(block);
    pattern_fill(block->body, size - sizeof *block, block->seal);
    ledger->entries[entry].block = block;
    ledger->entries[entry].domain = domain;
    ledger->entries[entry].size = size;
}

/* Is the block what the entry says? */
static bool check(const struct ledger *ledger, uint32_t entry, struct trial *trial) {
    const struct ledger_block *block = ledger->entries[entry].block;
    if (block->ledger == ledger->number && block->entry == entry && block->size == ledger->entries[entry].size &&
        block->seal == seal_of(block) && is_whole(block)) {
        return true;
    }
    if (trial != NULL) {
        trial_bug(trial, "block of %" PRIu32 " bytes at %p of thread %u is damaged", ledger->entries[entry].size,
                  (const void *)block, ledger->number);
    }
    return false;
}

/* --- a thread's blocks ------------------------------------------------------------------------ */

void ledger_turn(const struct ledgers *ledgers, struct ledger *ledger, struct task *task) {
    uint32_t entry = task_below(task, LEDGER_ENTRIES);
    struct ledger_block *block = ledger->entries[entry].block;
    task_worked(task, 1);
    if (block == NULL) {
        make(ledgers, ledger, entry, task);
        return;
    }
    if (!check(ledger, entry, task->trial)) return;
    if (task_once_in(task, 4)) {
        gilloc_retire(ledger->entries[entry].domain, block);
    } else {
        gilloc_free(ledger->entries[entry].domain, block);
    }
    ledger->entries[entry].block = NULL;
}

bool ledger_free_all(struct ledger *ledger, struct trial *trial) {
    bool good = true;
    for (uint32_t entry = 0; entry < LEDGER_ENTRIES; entry++) {
        struct ledger_block *block = ledger->entries[entry].block;
        if (block == NULL) continue;
        if (!check(ledger, entry, trial)) {
            good = false;
            continue;
        }
        gilloc_free(ledger->entries[entry].domain, block);
        ledger->entries[entry].block = NULL;
    }
    return good;
}

/* --- the walk --------------------------------------------------------------------------------- */

struct visit {
    const struct ledgers *ledgers;
    struct trial *trial;
    PyMemAllocatorDomain domain;
    uint32_t serial;
    size_t seen;
};

static int see(void *address, size_t block_size, void *argument) {
    struct visit *visit = argument;
    struct ledger_block *block = address;
    visit->seen++;
    if (block_size < sizeof *block || block->ledger >= visit->ledgers->count || block->entry >= LEDGER_ENTRIES ||
        visit->ledgers->at[block->ledger].entries[block->entry].block != block) {
        trial_bug(visit->trial, "gilloc_visit_blocks(%d) visits %p of %zu bytes, which is not alive",
                  (int)visit->domain, address, block_size);
        return 1;
    }
    if (visit->ledgers->at[block->ledger].entries[block->entry].domain != visit->domain || block_size < block->size) {
        trial_bug(visit->trial, "gilloc_visit_blocks(%d) visits %p of %zu bytes; it has %" PRIu32 " of domain %d",
                  (int)visit->domain, address, block_size, block->size,
                  (int)visit->ledgers->at[block->ledger].entries[block->entry].domain);
        return 1;
    }
    if (block->visit == visit->serial) {
        trial_bug(visit->trial, "gilloc_visit_blocks(%d) visits %p twice", (int)visit->domain, address);
        return 1;
    }
    block->visit = visit->serial;
    return 0;
}

/* How many blocks the ledgers have of a domain; each must have been seen. */
static size_t count_alive(const struct visit *visit) {
    size_t alive = 0;
    for (unsigned i = 0; i < visit->ledgers->count; i++) {
        const struct ledger *ledger = &visit->ledgers->at[i];
        for (uint32_t entry = 0; entry < LEDGER_ENTRIES; entry++) {
            const struct ledger_block *block = ledger->entries[entry].block;
            if (block == NULL || ledger->entries[entry].domain != visit->domain) continue;
            if (ledger->entries[entry].size > LEDGER_SMALL) continue;
            alive++;
            if (block->visit == visit->serial) continue;
            trial_bug(visit->trial, "gilloc_visit_blocks(%d) does not visit %p of thread %u, which is alive",
                      (int)visit->domain, (const void *)block, i);
            return alive;
        }
    }
    return alive;
}

void ledgers_visit(const struct ledgers *ledgers, struct trial *trial) {
    gilloc_stop_the_world();
    for (unsigned i = 0; i < LEDGER_DOMAINS; i++) {
        struct visit visit = {
            .ledgers = ledgers, .trial = trial, .domain = ledgers->domains[i], .serial = trial_serial(trial)};
        int result = gilloc_visit_blocks(visit.domain, see, &visit);
        size_t alive = result == 0 ? count_alive(&visit) : 0;
        if (result == 0 && alive != visit.seen) {
            trial_bug(trial, "gilloc_visit_blocks(%d) visits %zu blocks, and %zu are alive", (int)visit.domain,
                      visit.seen, alive);
        }
    }
    gilloc_start_the_world();
}

/* --- lifecycle -------------------------------------------------------------------------------- */

bool ledgers_init(struct ledgers *ledgers, struct trial *trial) {
    int kind = gilloc_new_kind("ledger", 0, 0);
    *ledgers = (struct ledgers){.count = trial->threads,
                                .domains = {PYMEM_DOMAIN_OBJ, PYMEM_DOMAIN_MEM, (PyMemAllocatorDomain)kind}};
    ledgers->at = calloc(trial->threads, sizeof *ledgers->at);
    if (ledgers->at == NULL || kind < 0) {
        trial_bug(trial, "no memory for %u ledgers, or no kind (errno %d)", trial->threads, errno);
        return false;
    }
    for (unsigned i = 0; i < trial->threads; i++) ledgers->at[i].number = i;
    return true;
}

void ledgers_fini(struct ledgers *ledgers) {
    free(ledgers->at);
    *ledgers = (struct ledgers){0};
}

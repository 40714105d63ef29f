/* SPDX-License-Identifier: MIT */
/*
 * frees.c - blocks that are freed twice, pointers that are no block, sizes that are
 * not the block's.
 *   Owner   the main thread, and threads that it waits for.
 *   Locks   none.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stress/misuse/act.h"
#include "stress/misuse/probe.h"
#include "stress/misuse/verdict.h"

#define BETWEEN 200 /* allocations */

/* --- double free ------------------------------------------------------------------------------ */

enum act_end act_double_free(struct act *act) {
    act_free_victim(act);
    act_free(act, act->victim);
    return ACT_DONE;
}

enum act_end act_double_free_between(struct act *act) {
    char *another = act->neighbours[VICTIM + 50];
    act_free_victim(act);
    probe_forget(another);
    act_free(act, another);
    act_free(act, act->victim);
    return ACT_DONE;
}

enum act_end act_double_free_late(struct act *act) {
    act_free_victim(act);
    act_free_others(act);
    act_free(act, act->victim);
    return ACT_DONE;
}

enum act_end act_double_free_reused(struct act *act) {
    act_free_victim(act);
    act_allocate(act, BETWEEN);
    act_free(act, act->victim); /* whoever got it meanwhile believes that it is alive */
    return ACT_DONE;
}

static void free_it(struct act *act, void *block) { act_free(act, block); }

enum act_end act_double_free_thread(struct act *act) {
    act_free_victim(act);
    act_elsewhere(free_it, act, act->victim);
    return ACT_DONE;
}

enum act_end act_double_free_remote(struct act *act) {
    probe_forget(act->victim);
    act_elsewhere(free_it, act, act->victim);
    act_free(act, act->victim);
    return ACT_DONE;
}

static void make_blocks(struct act *act, void *blocks) {
    for (int i = 0; i < 10; i++) ((char **)blocks)[i] = act_malloc(act);
}

enum act_end act_double_free_orphan(struct act *act) {
    char *blocks[10];
    act_elsewhere(make_blocks, act, blocks);
    for (int i = 0; i < 10; i++) {
        if (i != 5) probe_add(act->domain, blocks[i], act->size);
    }
    act_free(act, blocks[5]);
    act_free(act, blocks[5]);
    return ACT_DONE;
}

/* Grows it, so that it moves; its old address. */
static char *move_victim(struct act *act) {
    char *old = act->victim;
    size_t size = act->size * 3 + 100;
    char *moved = block_realloc(act->domain, old, size);
    if (moved == NULL || moved == old) act_not_applicable("realloc did not move the block");
    probe_forget(old);
    probe_add(act->domain, moved, size);
    return old;
}

enum act_end act_double_free_realloc(struct act *act) {
    act_free(act, move_victim(act));
    return ACT_DONE;
}

enum act_end act_double_free_purge(struct act *act) {
    act_free_victim(act);
    act_purge();
    act_free(act, act->victim);
    return ACT_DONE;
}

/* --- invalid free ----------------------------------------------------------------------------- */

enum act_end act_free_interior(struct act *act) {
    act_free(act, act->victim + 16);
    return ACT_DONE;
}

enum act_end act_free_unaligned(struct act *act) {
    act_free(act, act->victim + 1);
    return ACT_DONE;
}

enum act_end act_free_before(struct act *act) {
    act_free(act, act->victim - 16);
    return ACT_DONE;
}

/* 20 blocks above the highest of the neighbours that the victim's pages may go on with. */
enum act_end act_free_unused(struct act *act) {
    char *highest = act->victim;
    for (size_t i = VICTIM; i < NEIGHBOURS; i++) {
        if (act->neighbours[i] > highest && (size_t)(act->neighbours[i] - highest) < 1 << 20) {
            highest = act->neighbours[i];
        }
    }
    act_free(act, highest + 20 * (act->size + 16) / 16 * 16);
    return ACT_DONE;
}

enum act_end act_free_stack(struct act *act) {
    act_free(act, act->on_stack);
    return ACT_DONE;
}

enum act_end act_free_static(struct act *act) {
    act_free(act, act->in_data);
    return ACT_DONE;
}

enum act_end act_free_code(struct act *act) {
    void *function = (void *)(uintptr_t)act_free_static;
    act_free(act, function);
    return ACT_DONE;
}

/* The second of three pages of the program's own. */
static char *pages(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *memory = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) verdict_end(VERDICT_BROKEN, "no memory");
    return memory + page;
}

enum act_end act_free_mapped(struct act *act) {
    char *page = pages();
    probe_add_region(page - 4096, 8192);
    act_free(act, page);
    return ACT_DONE;
}

static char *unmapped_page(void) {
    char *page = pages();
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    munmap(page - size, 3 * size);
    return page;
}

enum act_end act_free_unmapped(struct act *act) {
    act_free(act, unmapped_page());
    return ACT_DONE;
}

enum act_end act_free_past(struct act *act) {
    act_free(act, act->victim + (32 << 20));
    return ACT_DONE;
}

enum act_end act_free_small_number(struct act *act) {
    act_free(act, (void *)16);
    return ACT_DONE;
}

enum act_end act_free_filler(struct act *act) {
    act_free(act, (void *)0xdddddddddddddddd);
    return ACT_DONE;
}

enum act_end act_free_foreign(struct act *act) {
    act_free(act, malloc(act->size));
    return ACT_DONE;
}

/* A block like the victim, of another domain. */
static char *of_another_domain(struct act *act) { return block_malloc(act_other_domain(act), act->size); }

enum act_end act_free_other_domain(struct act *act) {
    act_free(act, of_another_domain(act));
    return ACT_DONE;
}

/* A block like the victim, of another interpreter; afterwards the thread is attached as before. */
enum act_end act_free_other_interpreter(struct act *act) {
    PyInterpreterState *other = SUBJECT(PyInterpreterState_New)();
    PyThreadState *there = SUBJECT(PyThreadState_New)(other);
    PyThreadState *here = SUBJECT(PyThreadState_Swap)(there);
    char *block = act_malloc(act);
    SUBJECT(PyThreadState_Swap)(here);
    act_free(act, block);
    return ACT_RIGHT; /* it is given back to that interpreter */
}

/* --- invalid realloc -------------------------------------------------------------------------- */

static enum act_end grow(struct act *act, void *block) {
    size_t size = act->size * 2 + 100;
    char *grown = block_realloc(act->domain, block, size);
    if (grown != NULL) probe_add(act->domain, grown, size);
    return ACT_DONE;
}

enum act_end act_realloc_freed(struct act *act) {
    act_free_victim(act);
    return grow(act, act->victim);
}

enum act_end act_realloc_interior(struct act *act) { return grow(act, act->victim + 16); }

enum act_end act_realloc_unaligned(struct act *act) { return grow(act, act->victim + 1); }

enum act_end act_realloc_stack(struct act *act) { return grow(act, act->on_stack); }

enum act_end act_realloc_unmapped(struct act *act) { return grow(act, unmapped_page()); }

enum act_end act_realloc_foreign(struct act *act) { return grow(act, malloc(act->size)); }

enum act_end act_realloc_other_domain(struct act *act) { return grow(act, of_another_domain(act)); }

/* --- wrong sizes ------------------------------------------------------------------------------ */

enum act_end act_sized_too_large(struct act *act) {
    probe_forget(act->victim);
    act_free_sized(act, act->victim, act->size * 2);
    return ACT_DONE;
}

enum act_end act_sized_too_small(struct act *act) {
    probe_forget(act->victim);
    act_free_sized(act, act->victim, act->size / 4);
    return ACT_DONE;
}

enum act_end act_usable_size_freed(struct act *act) {
    act_free_victim(act);
    act_usable_size(act, act->victim);
    return ACT_DONE;
}

/* --- legal, but odd --------------------------------------------------------------------------- */

static enum act_end right_if(bool right) { return right ? ACT_RIGHT : ACT_WRONG; }

enum act_end act_free_null(struct act *act) {
    act_free(act, NULL);
    return ACT_RIGHT;
}

enum act_end act_malloc_huge(struct act *act) { return right_if(block_malloc(act->domain, SIZE_MAX / 2) == NULL); }

enum act_end act_malloc_negative(struct act *act) { return right_if(block_malloc(act->domain, SIZE_MAX) == NULL); }

enum act_end act_calloc_overflow(struct act *act) {
    return right_if(block_calloc(act->domain, ((size_t)1 << 62) + 4, 4) == NULL);
}

enum act_end act_realloc_huge(struct act *act) {
    return right_if(block_realloc(act->domain, act->victim, SIZE_MAX / 2) == NULL);
}

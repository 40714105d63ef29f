/* SPDX-License-Identifier: MIT */
/*
 * slots.h - an array of pointers to elements that threads read without a lock,
 * while others replace and retire them.
 *
 *   An element has its own number (whose low 16 bits are its slot), a seal over
 *   the number, the address and the size, and a pattern in the rest: what has
 *   been freed and used again cannot pass for it.  Its age is 0 while it is in
 *   its slot, 1 once it is not, and one more for each grace period that it has
 *   survived since: a reader may see 0 and 1.
 *
 *              read                     replace
 *   read       any number               any number
 *   replace    pointer: acquire with    pointer: one exchange each (acq_rel)
 *              acq_rel; age: relaxed
 *
 *   Owner   the trial.  Locks: none.
 */
#ifndef STRESS_TORTURE_SLOTS_H
#define STRESS_TORTURE_SLOTS_H

#include "stress/torture/trial.h"

enum { SLOTS_HELD = 8, SLOTS_PIPE = 32 };

struct element;

struct slots {
    struct trial *trial;
    uint32_t count;                  /* at most 65536 */
    PyMemAllocatorDomain domains[4]; /* where elements come from */
    unsigned domain_count;
    struct element **at; /* each atomic */
};

/* What one thread holds between two safepoints, and the elements that it lets age by itself. */
struct slots_view {
    struct slots *slots;
    struct task *task;
    unsigned held;
    struct {
        const struct element *element;
        uint64_t id;
        uint32_t size;
    } hold[SLOTS_HELD];
    unsigned aging;
    struct element *pipe[SLOTS_PIPE];
};

/* Fills each slot (attached); false: told. */
bool slots_init(struct slots *slots, struct trial *trial, uint32_t count, const PyMemAllocatorDomain *domains,
                unsigned domain_count, struct task *task);
/* Frees what is in the slots, each element checked (attached; nobody reads). */
void slots_fini(struct slots *slots);

/* Loads the pointer of some slot, looks at its element, and goes on holding it until slots_let_go(). */
void slots_read(struct slots_view *view);
/* Looks at all that is held once more; no reference is left.  Before each safepoint and detach. */
void slots_let_go(struct slots_view *view);

/* Replaces the element of some slot and gilloc_retire()s the old one. */
void slots_replace(struct slots_view *view);
/* The same, but the old one is kept, and gets older by slots_age(). */
void slots_replace_and_keep(struct slots_view *view);
/* After a grace period that began after the caller's last replacement: what is kept gets older; the old is freed. */
void slots_age(struct slots_view *view);
/* Frees what is kept, when no other thread can hold it (or after a grace period). */
void slots_view_fini(struct slots_view *view);

/* An element is about to be freed by somebody else's hand (a hook): it can be seen no more. */
void slots_freed(void *block);

#endif /* STRESS_TORTURE_SLOTS_H */

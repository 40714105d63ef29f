/* SPDX-License-Identifier: MIT */
/*
 * slots.c - an array of pointers to elements that threads read without a lock.
 *   Owner   the trial.  Locks: none.
 */
#include "stress/torture/slots.h"

#include <inttypes.h>
#include <stdlib.h>

#include "stress/pattern.h"

struct element {
    uint64_t id;   /* whose low 16 bits are the slot; read by atomic loads, so that each look is one */
    uint64_t seal; /* over id, address and size */
    uint32_t size; /* of all */
    uint32_t age;  /* atomic, relaxed: a mark */
    unsigned char body[];
};

/* --- an element ------------------------------------------------------------------------------- */

static uint64_t seal_of(const struct element *element, uint64_t id, uint32_t size) {
    return pattern_mix(id ^ (uint64_t)(uintptr_t)element << 8 ^ (uint64_t)size << 40);
}

/* Mostly small, some large, few very large. */
static uint32_t any_size(struct task *task) {
    uint32_t head = sizeof(struct element);
    if (task_once_in(task, 4096)) return head + task_below(task, 200000);
    if (task_once_in(task, 32)) return head + task_below(task, 2048);
    return head + task_below(task, 488);
}

static struct element *make(struct slots *slots, struct task *task, uint32_t slot) {
    PyMemAllocatorDomain domain = slots->domains[slot % slots->domain_count];
    uint32_t size = any_size(task);
    uint64_t id = (uint64_t)trial_serial(task->trial) << 16 | slot;
    struct element *element = gilloc_malloc(domain, size);
    task_worked(task, 1);
    if (element == NULL) {
        trial_bug(task->trial, "gilloc_malloc(%d, %" PRIu32 ") is NULL", (int)domain, size);
        return NULL;
    }
    element->id = id;
    element->seal = seal_of(element, id, size);
    element->size = size;
    element->age = 0;
    pattern_fill(element->body, size - sizeof *element, id);
    return element;
}

/* Is it what it was when this thread found it? */
static bool check(const struct element *element, uint64_t id, uint32_t size, struct trial *trial, unsigned thread,
                  const char *when) {
    uint64_t found = __atomic_load_n(&element->id, __ATOMIC_RELAXED);
    uint64_t seal = __atomic_load_n(&element->seal, __ATOMIC_RELAXED);
    if (found != id) {
        trial_bug(trial,
                  "thread %u, %s: block 0x%" PRIx64 " of %" PRIu32 " bytes at %p is block 0x%" PRIx64
                  " now: it was reused",
                  thread, when, id, size, (const void *)element, found);
        return false;
    }
    if (seal != seal_of(element, id, size)) {
        trial_bug(trial, "thread %u, %s: block 0x%" PRIx64 " of %" PRIu32 " bytes at %p has a broken seal", thread,
                  when, id, size, (const void *)element);
        return false;
    }
    size_t body = size - sizeof *element, offset = pattern_check(element->body, body, id);
    if (offset == body) return true;
    trial_bug(trial, "thread %u, %s: block 0x%" PRIx64 " of %" PRIu32 " bytes at %p: byte %zu is 0x%02x, not 0x%02x",
              thread, when, id, size, (const void *)element, offset + sizeof *element, element->body[offset],
              pattern_byte(id, offset));
    return false;
}

/* --- readers ---------------------------------------------------------------------------------- */

void slots_read(struct slots_view *view) {
    struct slots *slots = view->slots;
    struct task *task = view->task;
    if (view->held == SLOTS_HELD) slots_let_go(view);
    uint32_t slot = task_below(task, slots->count);
    const struct element *element = __atomic_load_n(&slots->at[slot], __ATOMIC_ACQUIRE);
    task_add(&task->reads, 1);
    if (element == NULL) return;
    uint64_t id = __atomic_load_n(&element->id, __ATOMIC_RELAXED);
    uint32_t size = __atomic_load_n(&element->size, __ATOMIC_RELAXED);
    if ((id & 0xffff) != slot || size < sizeof *element) {
        trial_bug(task->trial,
                  "thread %u: slot %" PRIu32 " leads to block 0x%" PRIx64 " of %" PRIu32
                  " bytes at %p, which is of another slot: it was reused",
                  task->number, slot, id, size, (const void *)element);
        return;
    }
    task_saw(task, __atomic_load_n(&element->age, __ATOMIC_RELAXED), id);
    if (!check(element, id, size, task->trial, task->number, "at its first look")) return;
    view->hold[view->held].element = element;
    view->hold[view->held].id = id;
    view->hold[view->held++].size = size;
    task_linger(task);
    task_saw(task, __atomic_load_n(&element->age, __ATOMIC_RELAXED), id);
}

void slots_let_go(struct slots_view *view) {
    for (unsigned i = 0; i < view->held; i++) {
        const struct element *element = view->hold[i].element;
        if (!check(element, view->hold[i].id, view->hold[i].size, view->task->trial, view->task->number,
                   "before its safepoint")) {
            break;
        }
        task_saw(view->task, __atomic_load_n(&element->age, __ATOMIC_RELAXED), view->hold[i].id);
        task_add(&view->task->reads, 1);
    }
    view->held = 0;
}

/* --- updaters --------------------------------------------------------------------------------- */

/* Puts a new element into some slot; the old one, of age 1, and its domain. */
static struct element *exchange(struct slots_view *view, PyMemAllocatorDomain *domain) {
    struct slots *slots = view->slots;
    uint32_t slot = task_below(view->task, slots->count);
    struct element *element = make(slots, view->task, slot);
    if (element == NULL) return NULL;
    struct element *old = __atomic_exchange_n(&slots->at[slot], element, __ATOMIC_ACQ_REL);
    *domain = slots->domains[slot % slots->domain_count];
    if (old != NULL) __atomic_store_n(&old->age, 1, __ATOMIC_RELAXED);
    return old;
}

void slots_replace(struct slots_view *view) {
    PyMemAllocatorDomain domain = PYMEM_DOMAIN_RAW;
    struct element *old = exchange(view, &domain);
    gilloc_retire(domain, old);
    task_worked(view->task, 1);
}

static void free_kept(struct slots_view *view, struct element *element) {
    uint64_t id = element->id;
    PyMemAllocatorDomain domain = view->slots->domains[(id & 0xffff) % view->slots->domain_count];
    if (!check(element, id, element->size, view->task->trial, view->task->number, "before its free")) return;
    gilloc_free(domain, element);
    task_worked(view->task, 1);
}

void slots_replace_and_keep(struct slots_view *view) {
    PyMemAllocatorDomain domain;
    if (view->aging == SLOTS_PIPE) return;
    struct element *old = exchange(view, &domain);
    if (old != NULL) view->pipe[view->aging++] = old;
}

void slots_age(struct slots_view *view) {
    unsigned left = 0;
    for (unsigned i = 0; i < view->aging; i++) {
        struct element *element = view->pipe[i];
        uint32_t age = __atomic_load_n(&element->age, __ATOMIC_RELAXED) + 1;
        __atomic_store_n(&element->age, age, __ATOMIC_RELAXED);
        if (age > TRIAL_AGE_LIMIT + 1 && task_once_in(view->task, 4)) {
            free_kept(view, element);
        } else {
            view->pipe[left++] = element;
        }
    }
    view->aging = left;
}

void slots_freed(void *block) {
    struct element *element = block;
    if (element == NULL) return;
    __atomic_store_n(&element->age, TRIAL_AGE_LIMIT, __ATOMIC_RELAXED);
    __atomic_store_n(&element->seal, ~element->seal, __ATOMIC_RELAXED);
}

/* --- lifecycle -------------------------------------------------------------------------------- */

bool slots_init(struct slots *slots, struct trial *trial, uint32_t count, const PyMemAllocatorDomain *domains,
                unsigned domain_count, struct task *task) {
    *slots = (struct slots){.trial = trial, .count = count, .domain_count = domain_count};
    for (unsigned i = 0; i < domain_count; i++) slots->domains[i] = domains[i];
    slots->at = calloc(count, sizeof *slots->at);
    if (slots->at == NULL) {
        trial_bug(trial, "no memory for %" PRIu32 " slots", count);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) slots->at[i] = make(slots, task, i);
    return true;
}

void slots_view_fini(struct slots_view *view) {
    for (unsigned i = 0; i < view->aging; i++) free_kept(view, view->pipe[i]);
    view->aging = 0;
}

void slots_fini(struct slots *slots) {
    for (uint32_t i = 0; slots->at != NULL && i < slots->count; i++) {
        struct element *element = slots->at[i];
        if (element != NULL && check(element, element->id, element->size, slots->trial, 0, "at the end")) {
            gilloc_free(slots->domains[i % slots->domain_count], element);
        }
    }
    free(slots->at);
}

/* SPDX-License-Identifier: MIT */
/*
 * hooks.c - allocators and arenas of the program's own that are wrong, or come and go
 * at the wrong time.
 *   Owner   the main thread.
 *   Locks   none.
 */
#include <string.h>
#include <sys/mman.h>

#include "stress/misuse/act.h"
#include "stress/misuse/probe.h"
#include "stress/misuse/verdict.h"

/* --- a hook with a header --------------------------------------------------------------------- */

#define HEADER 16

static PyMemAllocatorEx inner, headed;

static void *with_header(char *block) { return block != NULL ? block + HEADER : NULL; }
static void *without_header(void *block) { return block != NULL ? (char *)block - HEADER : NULL; }

static void *hook_malloc(void *ctx, size_t size) {
    (void)ctx;
    return with_header(inner.malloc(inner.ctx, size + HEADER));
}
static void *hook_calloc(void *ctx, size_t count, size_t size) {
    (void)ctx;
    return with_header(inner.calloc(inner.ctx, 1, count * size + HEADER));
}
static void *hook_realloc(void *ctx, void *block, size_t size) {
    (void)ctx;
    return with_header(inner.realloc(inner.ctx, without_header(block), size + HEADER));
}
static void hook_free(void *ctx, void *block) {
    (void)ctx;
    inner.free(inner.ctx, without_header(block));
}

static void install(const struct act *act) {
    SUBJECT(PyMem_GetAllocator)(act_python_domain(act->domain), &inner);
    headed = (PyMemAllocatorEx){NULL, hook_malloc, hook_calloc, hook_realloc, hook_free};
    SUBJECT(PyMem_SetAllocator)(act_python_domain(act->domain), &headed);
}

static void remove_hook(const struct act *act) { SUBJECT(PyMem_SetAllocator)(act_python_domain(act->domain), &inner); }

/* The block that is freed is the hook's, 16 bytes into the allocator's. */
enum act_end act_hook_removed(struct act *act) {
    install(act);
    char *block = act_malloc(act);
    remove_hook(act);
    act_free(act, block);
    return ACT_DONE;
}

/* The hook frees 16 bytes before a block that it has not made. */
enum act_end act_hook_late(struct act *act) {
    install(act);
    act_free_victim(act);
    remove_hook(act);
    return ACT_DONE;
}

enum act_end act_hook_null(struct act *act) {
    install(act);
    headed.malloc = NULL;
    SUBJECT(PyMem_SetAllocator)(act_python_domain(act->domain), &headed);
    char *block = block_malloc(act->domain, act->size);
    remove_hook(act);
    if (block != NULL) probe_add(act->domain, block, act->size);
    return ACT_DONE;
}

/* The victim and its neighbours are older than the hooks, which gilloc allows and CPython does not. */
enum act_end act_debug_late(struct act *act) {
    SUBJECT(PyMem_SetupDebugHooks)();
    act_free_victim(act);
    return strcmp(act_family, "gilloc") == 0 ? ACT_RIGHT : ACT_DONE;
}

/* --- arenas ----------------------------------------------------------------------------------- */

#define ARENAS (64 << 20) /* bytes of all arenas that the hook gives out */

static char *arenas;
static size_t given;

static void arena_free(void *ctx, void *arena, size_t size) { (void)ctx, (void)arena, (void)size; }

/* The next `size` bytes but for `less` of them. */
static void *next_arena(size_t size, size_t less) {
    if (given + size > ARENAS) return NULL;
    given += size - less;
    return arenas + given - (size - less);
}

static void *arena_none(void *ctx, size_t size) {
    (void)ctx, (void)size;
    return NULL;
}
static void *arena_odd(void *ctx, size_t size) {
    (void)ctx;
    char *arena = next_arena(size + 64, 0);
    return arena != NULL ? arena + 3 : NULL;
}
static void *arena_same(void *ctx, size_t size) {
    (void)ctx, (void)size;
    return arenas;
}
static void *arena_half(void *ctx, size_t size) {
    (void)ctx;
    return next_arena(size, size / 2);
}
static void *arena_gone(void *ctx, size_t size) {
    (void)ctx;
    char *arena = next_arena(size, 0);
    if (arena != NULL) munmap(arena, size);
    return arena;
}
static void *arena_good(void *ctx, size_t size) {
    (void)ctx;
    return next_arena(size, 0);
}

/* From now on small blocks need arenas of the hook's: what is free in the older ones is used up.  Some stay alive. */
static void use_arenas(struct act *act, void *(*alloc)(void *ctx, size_t size)) {
    arenas = mmap(NULL, ARENAS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arenas == MAP_FAILED) verdict_end(VERDICT_BROKEN, "no memory");
    PyObjectArenaAllocator allocator_of_arenas = {NULL, alloc, arena_free};
    SUBJECT(PyObject_SetArenaAllocator)(&allocator_of_arenas);
    for (size_t size = 512; size >= 384; size -= 64) {
        for (int i = 0; i < 3000; i++) {
            char *block = block_malloc(act->domain, size);
            if (block != NULL && i % 8 == 0) probe_add(act->domain, block, size);
        }
    }
}

enum act_end act_arena_refused(struct act *act) {
    use_arenas(act, arena_none);
    return ACT_RIGHT;
}

enum act_end act_arena_misaligned(struct act *act) {
    use_arenas(act, arena_odd);
    return ACT_RIGHT;
}

enum act_end act_arena_twice(struct act *act) {
    use_arenas(act, arena_same);
    return ACT_DONE;
}

enum act_end act_arena_overlapping(struct act *act) {
    use_arenas(act, arena_half);
    return ACT_DONE;
}

enum act_end act_arena_unmapped(struct act *act) {
    use_arenas(act, arena_gone);
    return ACT_DONE;
}

enum act_end act_arena_pulled(struct act *act) {
    use_arenas(act, arena_good);
    munmap(arenas, given);
    return ACT_DONE;
}

enum act_end act_arena_null(struct act *act) {
    use_arenas(act, NULL);
    return ACT_DONE;
}

/* SPDX-License-Identifier: MIT */
/*
 * writes.c - writes outside blocks and after their free, of the bytes that hurt most.
 *   Owner   the main thread.
 *   Locks   none.
 * What the program itself wrote over its live blocks does not count as damage:
 * probe_fill().
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "stress/misuse/act.h"
#include "stress/misuse/probe.h"
#include "stress/misuse/verdict.h"

#define BYTE 0x41
#define FAR 20000   /* bytes */
#define INSIDE 24   /* bytes from the start */
#define BETWEEN 200 /* allocations */

/* --- overruns and underruns ------------------------------------------------------------------- */

/* Each byte becomes another one: what is written over as it was, by chance, is no damage. */
static void spoil(char *from, size_t size) {
    volatile char *bytes = from;
    for (size_t i = 0; i < size; i++) bytes[i] = (char)(bytes[i] == BYTE ? BYTE + 1 : BYTE);
}

/* Writes, and frees the victim as it should be. */
static enum act_end run_over(struct act *act, char *from, size_t size) {
    spoil(from, size);
    probe_fill();
    act_free_victim(act);
    return ACT_DONE;
}

static enum act_end overrun(struct act *act, size_t by) { return run_over(act, act->victim + act->size, by); }

/* Of 7 bytes less than the victim: the same size class everywhere, and never one that ends at its block's end. */
enum act_end act_overrun_slack(struct act *act) {
    size_t size = act->size - 7;
    char *block = block_malloc(act->domain, size);
    probe_add(act->domain, block, size);
    spoil(block + size, 1);
    probe_forget(block);
    act_free(act, block);
    return ACT_DONE;
}

enum act_end act_overrun_1(struct act *act) { return overrun(act, 1); }
enum act_end act_overrun_8(struct act *act) { return overrun(act, 8); }
enum act_end act_overrun_16(struct act *act) { return overrun(act, 16); }
enum act_end act_overrun_next(struct act *act) { return overrun(act, act->size + 16); }
enum act_end act_overrun_far(struct act *act) { return overrun(act, FAR); }

/* The neighbour that stands next above the victim in memory. */
enum act_end act_overrun_free(struct act *act) {
    char *next = NULL;
    for (size_t i = 0; i < NEIGHBOURS; i++) {
        char *block = act->neighbours[i];
        if (block > act->victim && (next == NULL || block < next)) next = block;
    }
    if (next == NULL) act_not_applicable("no block is above the victim");
    probe_forget(next);
    act_free(act, next);
    return overrun(act, (size_t)(next - act->victim) - act->size + 8);
}

static enum act_end underrun(struct act *act, size_t by) { return run_over(act, act->victim - by, by); }

enum act_end act_underrun_1(struct act *act) { return underrun(act, 1); }
enum act_end act_underrun_8(struct act *act) { return underrun(act, 8); }
enum act_end act_underrun_16(struct act *act) { return underrun(act, 16); }
enum act_end act_underrun_previous(struct act *act) { return underrun(act, act->size + 16); }
enum act_end act_underrun_far(struct act *act) { return underrun(act, FAR); }

/* --- after the free --------------------------------------------------------------------------- */

enum act_end act_write_freed(struct act *act) {
    act_free_victim(act);
    act_fill(act->victim, BYTE, 8);
    return ACT_DONE;
}

enum act_end act_write_freed_inside(struct act *act) {
    act_free_victim(act);
    act_fill(act->victim + INSIDE, BYTE, 8);
    return ACT_DONE;
}

enum act_end act_write_freed_late(struct act *act) {
    act_free_victim(act);
    act_free_others(act);
    act_fill(act->victim, BYTE, act->size);
    return ACT_DONE;
}

enum act_end act_write_freed_reused(struct act *act) {
    act_free_victim(act);
    act_allocate(act, BETWEEN);
    act_fill(act->victim, BYTE, act->size);
    probe_fill();
    return ACT_DONE;
}

enum act_end act_write_moved(struct act *act) {
    char *old = act->victim;
    size_t size = act->size * 3 + 100;
    char *moved = block_realloc(act->domain, old, size);
    if (moved == NULL || moved == old) act_not_applicable("realloc did not move the block");
    probe_forget(old);
    probe_add(act->domain, moved, size);
    act_fill(old, BYTE, act->size);
    return ACT_DONE;
}

enum act_end act_write_purged(struct act *act) {
    act_free_victim(act);
    act_purge();
    act_fill(act->victim, BYTE, act->size);
    return ACT_DONE;
}

static void read_victim(struct act *act) {
    const volatile char *bytes = act->victim;
    for (size_t i = 0; i < act->size; i++) (void)bytes[i];
}

enum act_end act_read_freed(struct act *act) {
    act_free_victim(act);
    read_victim(act);
    return ACT_DONE;
}

enum act_end act_read_freed_reused(struct act *act) {
    act_free_victim(act);
    act_allocate(act, BETWEEN);
    read_victim(act);
    return ACT_DONE;
}

/* --- the list of free blocks ------------------------------------------------------------------ */

static enum act_end link_to(struct act *act, const char *target) {
    act_free_victim(act);
    *(const char *volatile *)(void *)act->victim = target;
    return ACT_DONE;
}

enum act_end act_link_live(struct act *act) { return link_to(act, act->neighbours[VICTIM + 10]); }
enum act_end act_link_stack(struct act *act) { return link_to(act, act->on_stack); }
enum act_end act_link_itself(struct act *act) { return link_to(act, act->victim); }
enum act_end act_link_inside(struct act *act) { return link_to(act, act->neighbours[VICTIM + 10] + 16); }

/* --- what describes a pool -------------------------------------------------------------------- */

#define GILLOC_POOL 16384         /* both have pools of this size, at multiples of it */
#define MIMALLOC_SEGMENT 33554432 /* whose head describes its pages */
#define DESCRIPTOR 48             /* bytes that are overwritten */
#define SEARCHED 33554432         /* bytes of each mapping */

/* How gilloc's descriptor of a pool begins (lib/arena/pool.h). */
struct descriptor {
    const char *pool;
    const void *pointers[4];
    uint16_t taken, free, carved, capacity;
};

/* The descriptor of `pool` in [from, to). */
static char *find_in(const char *from, const char *to, const char *pool) {
    for (; from + sizeof(struct descriptor) <= to; from += sizeof(void *)) {
        const struct descriptor *found = (const void *)from;
        if (found->pool != pool || found->capacity > GILLOC_POOL / 16 || found->carved > found->capacity) continue;
        if (found->carved > 0 && found->taken > 0 && found->taken <= found->carved) return (char *)(uintptr_t)from;
    }
    return NULL;
}

/* In writable memory that no file is behind. */
static char *find_descriptor(const char *pool) {
    static char maps[1 << 18];
    size_t length = 0;
    ssize_t n;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && length + 1 < sizeof maps && (n = read(fd, maps + length, sizeof maps - 1 - length)) > 0) {
        length += (size_t)n;
    }
    close(fd);
    char *found = NULL;
    for (char *line = strtok(maps, "\n"); line != NULL && found == NULL; line = strtok(NULL, "\n")) {
        uintptr_t from, to;
        char rights[8], rest[8] = "";
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %7s", &from, &to, rights, rest) < 3) continue;
        if (strncmp(rights, "rw", 2) != 0 || rest[0] != '\0') continue;
        found = find_in((const char *)from, (const char *)(to - from > SEARCHED ? from + SEARCHED : to), pool);
    }
    return found;
}

static enum act_end overwrite_descriptor(struct act *act, int byte) {
    char *pool = act->victim - (uintptr_t)act->victim % GILLOC_POOL, *descriptor = pool;
    if (strcmp(act_family, "mimalloc") == 0) descriptor = act->victim - (uintptr_t)act->victim % MIMALLOC_SEGMENT;
    if (strcmp(act_family, "gilloc") == 0) descriptor = find_descriptor(pool);
    if (descriptor == NULL) act_not_applicable("the descriptor of the pool was not found");
    act_fill(descriptor, byte, strcmp(act_family, "mimalloc") == 0 ? 4096 : DESCRIPTOR);
    return ACT_DONE;
}

enum act_end act_descriptor_zeroed(struct act *act) { return overwrite_descriptor(act, 0); }
enum act_end act_descriptor_filled(struct act *act) { return overwrite_descriptor(act, 0xff); }
